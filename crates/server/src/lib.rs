//! `stonechatd`: delivers sealed bytes.
//!
//! This crate owns the keyed-log [`store`], the [`services`] over it (accounts, inboxes, key packages, tokens, conversation
//! logs, blobs) and the shell around them ([`serve()`]: HTTP, WebSocket, TLS, metrics, upkeep, drain). It speaks
//! `stonechat-wire` and nothing else.
//!
//! It never holds a plaintext: it does not depend on the client's core or on an MLS library, so it cannot even name one.
//! It never records who talks to whom: a conversation has no members here, an envelope no sender, a connection is a device's
//! or anonymous and the two are not linked. It logs what happened, never what was said, by whom or from where.
//!
//! Where to start: a request arrives in `connection.rs`, is answered in the file of [`services`] that carries its name, and
//! lands under a key that `services/keys.rs` makes.

pub mod admin;
pub mod backup;
pub mod check;
pub mod config;
mod connection;
pub mod directory;
mod directory_http;
pub mod disclose;
mod metrics;
mod secrets;
mod serve;
pub mod services;
pub mod store;
mod tls;
mod web;
pub mod witnesses;

pub use secrets::{SecretsError, load_directory_keys, load_token_key};
pub use serve::serve;
pub use tls::{TlsError, load_tls};
