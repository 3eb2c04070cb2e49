//! What anybody reads about an account: decoding, and the verification of the chain.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stonechat_wire::{AccountLog, AccountState, LogBody, decode, decode_canonical, encode};

fuzz_target!(|bytes: &[u8]| {
    // Signatures stop the fuzzer early: bodies are read on their own as well.
    if let Ok(body) = decode_canonical::<LogBody>(bytes) {
        assert_eq!(encode(&body), bytes);
    }
    if let Ok(log) = decode::<AccountLog>(bytes)
        && let Ok(state) = AccountState::verify(&log, None)
    {
        assert_eq!(state.head().0, log.0.len());
        assert_eq!(AccountState::verify(&log, Some(state.id())), Ok(state));
    }
});
