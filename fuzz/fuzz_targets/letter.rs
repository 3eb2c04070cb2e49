//! `stonechat_fuzz::core::letter`, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_fuzz::core::letter;

fuzz_target!(|bytes: &[u8]| {
    letter(bytes);
});
