//! What a client reads.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_wire::{ServerFrame, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = decode::<ServerFrame>(bytes) {
        let again = encode(&frame);
        assert!(again.len() <= bytes.len(), "a message grew by being read");
        assert_eq!(decode::<ServerFrame>(&again).as_ref(), Ok(&frame));
    }
});
