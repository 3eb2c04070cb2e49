//! What client and server read from each other and from the store.

use stonechat_wire::{
    AccountLog, AccountState, ClientFrame, LogBody, LogRecord, ServerFrame, decode, decode_canonical, encode,
};

/// What a server reads after the first frame.
pub fn client_frame(bytes: &[u8]) -> bool {
    decode::<ClientFrame>(bytes).is_ok_and(|frame| {
        let again = encode(&frame);
        assert!(again.len() <= bytes.len(), "a message grew by being read");
        assert_eq!(decode::<ClientFrame>(&again).as_ref(), Ok(&frame));
        true
    })
}

/// What a client reads.
pub fn server_frame(bytes: &[u8]) -> bool {
    decode::<ServerFrame>(bytes).is_ok_and(|frame| {
        let again = encode(&frame);
        assert!(again.len() <= bytes.len(), "a message grew by being read");
        assert_eq!(decode::<ServerFrame>(&again).as_ref(), Ok(&frame));
        true
    })
}

/// What a server reads from its store.
pub fn log_record(bytes: &[u8]) -> bool {
    decode::<LogRecord>(bytes).is_ok_and(|record| {
        let again = encode(&record);
        assert!(again.len() <= bytes.len(), "a message grew by being read");
        assert_eq!(decode::<LogRecord>(&again).as_ref(), Ok(&record));
        true
    })
}

/// What anybody reads about an account: decoding, and the verification of the chain.
pub fn account_log(bytes: &[u8]) -> bool {
    // Signatures stop a fuzzer early: bodies are read on their own as well.
    let body = decode_canonical::<LogBody>(bytes);
    if let Ok(body) = &body {
        assert_eq!(encode(body), bytes);
    }
    let Ok(log) = decode::<AccountLog>(bytes) else { return body.is_ok() };
    if let Ok(state) = AccountState::verify(&log, None) {
        assert_eq!(state.head().0, log.0.len());
        assert_eq!(AccountState::verify(&log, Some(state.id())), Ok(state));
    }
    true
}
