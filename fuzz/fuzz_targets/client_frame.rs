//! What a server reads after the first frame.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_wire::{ClientFrame, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = decode::<ClientFrame>(bytes) {
        let again = encode(&frame);
        assert!(again.len() <= bytes.len(), "a message grew by being read");
        assert_eq!(decode::<ClientFrame>(&again).as_ref(), Ok(&frame));
    }
});
