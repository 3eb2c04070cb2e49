//! `stonechat_fuzz::directory::note`, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_fuzz::directory::note;

fuzz_target!(|bytes: &[u8]| {
    note(bytes);
});
