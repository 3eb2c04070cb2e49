//! Stonechat in a browser: what its page and its worker say to each other.
//!
//! The worker holds the client: keys, vault and connections. The page draws and asks, and never sees a key. Between them pass
//! the messages of [`protocol`] as JSON text; [`transport`] is the page's end. They are compiled natively too, so that they are
//! tested there, and so that a native shell can take the worker's place. Where there are several tabs, one of them has the worker
//! (`tabs`).

pub mod protocol;
#[cfg(target_arch = "wasm32")]
mod tabs;
pub mod transport;
pub mod view;
pub mod words;
