//! Every byte that passes between a Stonechat client and a Stonechat server.
//!
//! This crate owns ids, messages, limits, error codes and the formats that both sides must verify the same way (account
//! logs, epoch ids). It never opens a socket, reads a clock or knows MLS. Everything is CBOR (RFC 8949) with integer
//! keys and definite lengths; `docs/wire.cddl` describes it, `vectors/` shows every type's bytes.
//!
//! Bounds are part of the types: a decoder rejects a length before it allocates, and always rejects trailing bytes.

// Time, randomness and the machine come in as arguments: clippy.toml says what that excludes.
#![warn(clippy::disallowed_methods, clippy::disallowed_types)]
#![no_std]
extern crate alloc;

pub mod account;
pub mod codec;
pub mod conversation;
pub mod directory;
pub mod ids;
pub mod limits;
pub mod message;

pub use account::{AccountLog, AccountLogError, AccountState, DeviceKeys, LogBody, LogEntry, LogSignature, Signer};
pub use codec::{Bytes, DecodeError, List, decode, decode_canonical, encode};
pub use conversation::{EntryKind, EpochCaps, LogRecord, epoch_id, first_epoch_id};
pub use directory::{
    AccountHistory, AccountProof, DirectoryRecord, LogHead, ProvenAccount, SignedHead, TreeHash, TreeProof,
};
pub use ids::{
    AccountId, BlobId, Capability, CapabilityHash, ConversationId, DeviceId, EpochId, Handle, HandleError, InviteCode,
    InviteCodeError, Seq, Timestamp,
};
pub use message::{
    Admission, AuthChallenge, ClientFrame, Entry, Envelope, ErrorCode, Failure, Hello, HelloReply, Lane, Push, Reply,
    Request, ServerFrame, Token,
};

/// The protocol version that this crate speaks. It is the first number of the first frame.
pub const PROTOCOL_VERSION: u32 = 1;
