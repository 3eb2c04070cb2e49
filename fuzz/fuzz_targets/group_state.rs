//! `stonechat_fuzz::core::group_state`, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_fuzz::core::group_state;

fuzz_target!(|bytes: &[u8]| {
    group_state(bytes);
});
