//! What a person sees and asks, once: the types that the core, the SDK, the terminal and the web app's page share.
//!
//! Plain data with serde, so that a page gets from its worker what the core made, and restates nothing. There is no MLS here, no SQL,
//! no clock and no socket. What happened is a code with fields; the words for it are in [`words`], in English, and for other languages
//! beside whoever shows them. What people wrote is a [`Text`], which no log and no panic ever shows.

// Time, randomness and the machine come in as arguments: clippy.toml says what that excludes.
#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

#[cfg(any(test, feature = "samples"))]
pub mod samples;
pub mod words;

mod command;
mod event;
mod id;
mod reasons;
mod text;
mod trust;
mod view;

pub use command::{Command, CommandError, CommandId, Invalid, NotAllowed, Outcome, Target};
pub use event::{Event, Link};
pub use id::{AlarmId, MessageId};
pub use reasons::{ChangeFault, Distrust, InvitationFault, KeyPackageFault, LetterFault, Refusal, Rule};
pub use text::Text;
pub use trust::{Alarm, AlarmKind, Check, Doubt, Finding, Lock, OwnDevice, Problem, Safety, Why};
pub use view::{
    Body, ContactRequest, Conversation, Draft, Found, Hold, Me, Member, Message, MessageKey, Notice, Page, Place, Role,
    Status,
};

/// A text message, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// A group's name, in bytes of UTF-8.
pub const GROUP_NAME_BYTES_MAX: usize = 128;
/// Accounts in a group.
pub const GROUP_MEMBERS_MAX: usize = 1_000;
