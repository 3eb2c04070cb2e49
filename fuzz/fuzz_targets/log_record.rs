//! What a server reads from its store.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_wire::{LogRecord, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = decode::<LogRecord>(bytes) {
        let again = encode(&record);
        assert!(again.len() <= bytes.len(), "a message grew by being read");
        assert_eq!(decode::<LogRecord>(&again).as_ref(), Ok(&record));
    }
});
