//! Whom this client knows, and what it believes of them: account logs, proofs of the directory, alarms.
//!
//! Never sends a message and never changes a conversation.

pub(crate) mod accounts;
pub(crate) mod directory;
pub(crate) mod watch;
