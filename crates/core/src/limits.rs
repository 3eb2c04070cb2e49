//! Bounds of the client, in one place. Those of the protocol are in [`stonechat_wire::limits`].

pub use stonechat_api::{GROUP_MEMBERS_MAX, GROUP_NAME_BYTES_MAX, TEXT_BYTES_MAX};

/// People added by one commit. Their key packages, account logs and proofs (10 to 25 KiB each, more as the directory grows)
/// must also fit one entry, which is what bounds it.
pub const ADDS_PER_COMMIT_MAX: usize = 100;
/// Key packages, account logs and proofs in one commit, in bytes: the rest of its entry is for the commit itself and its
/// padding. An account alone may have more, if it has many devices and a long log.
pub const ADD_BYTES_PER_COMMIT_MAX: usize = 768 * 1024;
/// The largest welcome, in bytes: with its padding it fits a blob of 16 MiB.
pub const WELCOME_BYTES_MAX: usize = 14 * 1024 * 1024;
/// Application entries of one conversation that wait for the server's acknowledgement.
pub const IN_FLIGHT_MAX: usize = 32;
/// Messages that one receipt marks as delivered; what is older and was never receipted stays sent.
pub const DELIVERED_MAX: usize = 2_048;
/// Key packages that a device keeps in its pool on the server.
pub const KEY_PACKAGE_POOL: u32 = 50;
/// Tokens that a device keeps.
pub const TOKEN_POOL: usize = 48;
/// Requests that wait for the person's decision; further ones are dropped unseen.
pub const REQUESTS_MAX: usize = 256;
/// Identifiers remembered against replay.
pub const SEEN_MAX: usize = 4_096;
/// How long a request may stay unanswered before the connection counts as dead, in milliseconds.
pub const REPLY_TIMEOUT_MS: u64 = 20_000;
