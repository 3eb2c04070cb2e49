//! `stonechat_fuzz::core::content`, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_fuzz::core::content;

fuzz_target!(|bytes: &[u8]| {
    content(bytes);
});
