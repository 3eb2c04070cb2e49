//! `stonechat_fuzz::wire::log_record`, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_fuzz::wire::log_record;

fuzz_target!(|bytes: &[u8]| {
    log_record(bytes);
});
