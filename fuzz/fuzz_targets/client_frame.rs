//! `stonechat_fuzz::wire::client_frame`, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_fuzz::wire::client_frame;

fuzz_target!(|bytes: &[u8]| {
    client_frame(bytes);
});
