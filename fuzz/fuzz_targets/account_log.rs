//! `stonechat_fuzz::wire::account_log`, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_fuzz::wire::account_log;

fuzz_target!(|bytes: &[u8]| {
    account_log(bytes);
});
