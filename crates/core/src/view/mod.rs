//! What a person sees, read from the committed state of a vault.
//!
//! Read-only: nothing here has a step, writes a row or asks a server.

pub mod conversations;
pub mod history;
pub mod trust;
