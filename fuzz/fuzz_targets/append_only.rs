//! `stonechat_fuzz::directory::append_only`, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_fuzz::directory::append_only;

fuzz_target!(|bytes: &[u8]| {
    append_only(bytes);
});
