//! Stonechat in a browser: what its page and its worker say to each other.
//!
//! The worker holds the client: keys, vault and connections. The page draws and asks, and never sees a key. Between them pass
//! the messages of [`protocol`] as JSON text. They are compiled natively too, so that they are tested there, and so that a native
//! shell can take the worker's place.

pub mod protocol;
