//! `stonechat_fuzz::wire::server_frame`, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_fuzz::wire::server_frame;

fuzz_target!(|bytes: &[u8]| {
    server_frame(bytes);
});
