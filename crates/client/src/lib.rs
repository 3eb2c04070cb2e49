//! Stonechat's SDK: an account on this machine, as an object.
//!
//! A [`Client`] owns a *home*, a folder with one account: its encrypted vault and what opens it. Behind it, one thread owns the
//! protocol (`stonechat-core`) and the vault, and keeps two connections to the server open: one logged in as this device, and an
//! anonymous one for conversations. Reading never needs the network. Writing saves first and sends as soon as it can, in this
//! process or the next that opens the home.
//!
//! ```no_run
//! use futures_util::StreamExt as _;
//! use stonechat_client::{Client, Event, Handle, KeyChoice, Target};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = "https://chat.example.org".parse()?;
//! let (client, phrase) = Client::sign_up("/var/lib/me", KeyChoice::Auto, Handle::parse("@alice")?, &server).await?;
//! println!("write these words down: {}", phrase.danger_words());
//!
//! let mut events = client.events();
//! client.send(Target::Person(Handle::parse("@bob")?), "hello").await?;
//! while let Some(event) = events.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{}: {:?}", message.sender_handle, message.body);
//!     }
//! }
//! client.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! In a browser (wasm32, in a dedicated worker) it is the same: a home is the name of a place in the browser's private storage, its key
//! is kept by the browser, and one task of the event loop stands for the thread. What differs is in `web/`.
//!
//! Nothing waits for ever: [`Client::send`] has [`SEND_TIMEOUT`], everything else that needs the server [`COMMAND_TIMEOUT`], unless
//! [`Builder::timeouts`] says otherwise. Every method is safe to cancel: what was asked goes on, only the answer is lost.

mod client;
mod directory;
mod engine;
mod error;
mod history;
mod open;
mod status;
mod transport;
mod vault;

// What differs in a browser; each has its counterpart in `web/`.
#[cfg_attr(target_arch = "wasm32", path = "web/home.rs")]
mod home;
#[cfg_attr(target_arch = "wasm32", path = "web/keys.rs")]
mod keys;
#[cfg_attr(target_arch = "wasm32", path = "web/place.rs")]
mod place;
#[cfg_attr(target_arch = "wasm32", path = "web/rt.rs")]
mod rt;

pub use client::{COMMAND_TIMEOUT, Client, SEND_TIMEOUT, Sent};
pub use error::{ClientError, OpenError, SignUpError};
pub use history::FOUND_MAX;
pub use home::HomeError;
pub use keys::{KeyChoice, KeyError, KeySource};
pub use open::{Builder, RecoveryPhrase};
pub use status::{ConnectionStatus, Event, LinkStatus, Note};
pub use transport::{AddressError, ConnectError, ServerUrl};
pub use vault::VaultProblem;

pub use stonechat_core::api::{
    Alarm, AlarmId, AlarmKind, Body, ChangeFault, Check, Command, CommandError, ContactRequest, Conversation, Distrust,
    Doubt, Draft, Finding, Found, Hold, Invalid, InvitationFault, KeyPackageFault, LetterFault, Link, Lock, Me, Member,
    Message, MessageId, MessageKey, NotAllowed, Notice, Outcome, OwnDevice, Page, Place, Problem, Refusal, Role, Rule,
    Safety, Status, Target, Text, Why, words,
};
pub use stonechat_core::limits::{GROUP_NAME_BYTES_MAX, TEXT_BYTES_MAX};
pub use stonechat_wire::{
    AccountId, ConversationId, DeviceId, Handle, HandleError, InviteCode, InviteCodeError, Timestamp,
};
