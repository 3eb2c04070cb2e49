//! `stonechat_fuzz::directory::evidence`, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_fuzz::directory::evidence;

fuzz_target!(|bytes: &[u8]| {
    evidence(bytes);
});
