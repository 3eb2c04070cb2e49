//! What can go wrong, by what the caller was doing. The texts are for people: what happened, what it means, what to do.

use std::path::PathBuf;

use stonechat_core::api::{CommandError, Hold, MessageId};
use stonechat_core::{CoreError, VaultError};
use stonechat_wire::{ConversationId, Handle};

use crate::engine::Failed;
use crate::home::HomeError;
use crate::keys::KeyError;
use crate::transport::{AddressError, ConnectError};
use crate::vault::VaultProblem;

/// Why a home cannot be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The vault's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultProblem),
    /// The vault opens, but what is in it cannot be read.
    #[error("{0}; put the vault back from a backup")]
    Unreadable(#[from] CoreError),
    /// A sign-up was begun here and never finished.
    #[error("nobody is signed up in {}; sign up first", home.display())]
    NoAccount {
        /// The folder of the home.
        home: PathBuf,
    },
    /// The server's address in the vault is not one.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl From<VaultError> for OpenError {
    fn from(error: VaultError) -> Self {
        Self::Unreadable(error.into())
    }
}

/// Why nobody was signed up.
#[derive(Debug, thiserror::Error)]
pub enum SignUpError {
    /// The home cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The home has an account.
    #[error("{} belongs to {handle} already; choose another home for another account", home.display())]
    AlreadySignedUp {
        /// The folder of the home.
        home: PathBuf,
        /// Who has it.
        handle: Handle,
    },
    /// No server there. Nothing was made.
    #[error("{0}")]
    Server(#[from] ConnectError),
    /// The server does not want this account. Nothing is left of it.
    #[error(transparent)]
    Refused(CommandError),
    /// The server did not say whether it took the account.
    #[error(
        "the server did not confirm the account ({why}). It is kept in {}: sign up there once more with the same handle, and \
         it goes on where it stopped", home.display()
    )]
    Unconfirmed {
        /// The folder of the home.
        home: PathBuf,
        /// What is in the way.
        why: String,
    },
}

/// Why something could not be done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// It is not allowed, not known, or not possible.
    #[error(transparent)]
    Command(CommandError),
    /// Nothing is called that.
    #[error("{text:?} is nobody and nothing here: {why}")]
    NoTarget {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Several conversations could be meant.
    #[error(
        "{text:?} could be any of {}; give more of the id", found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Ambiguous {
        /// What was given.
        text: String,
        /// What it could mean.
        found: Vec<ConversationId>,
    },
    /// It needs the server. Nothing was done.
    #[error("not connected to the server: {why}")]
    Offline {
        /// What is in the way.
        why: String,
    },
    /// The message is in the vault; it goes out as soon as it can, whichever process has the home open then.
    #[error("the message is saved; it will be sent when {until}")]
    Saved {
        /// The conversation that the message is in.
        conversation: ConversationId,
        /// The message's id.
        message: MessageId,
        /// What must happen first.
        until: String,
    },
    /// The message will not be sent.
    #[error("the message cannot be sent: {}", why.as_ref().map_or_else(|| "its conversation cannot be opened".to_owned(), ToString::to_string))]
    NotSent {
        /// The conversation that the message is in.
        conversation: ConversationId,
        /// The message's id.
        message: MessageId,
        /// What holds its conversation up.
        why: Option<Hold>,
    },
    /// It takes too long. It may still happen.
    #[error("not finished after {secs} s{}; it goes on by itself, look again later", why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default())]
    TimedOut {
        /// How long was waited.
        secs: u64,
        /// What is in the way, when that is known.
        why: Option<String>,
    },
    /// The vault could not be written. Nothing was done.
    #[error(transparent)]
    Vault(#[from] VaultProblem),
    /// The vault could not be read.
    #[error("{0}; close this and look at the disk")]
    Unreadable(#[from] CoreError),
    /// Too many commands wait already.
    #[error("{0}")]
    Busy(String),
    /// The client was shut down, or stopped because its vault kept failing.
    #[error("the client has stopped: {why}")]
    Stopped {
        /// What stopped it.
        why: String,
    },
}

impl From<VaultError> for ClientError {
    fn from(error: VaultError) -> Self {
        Self::Unreadable(error.into())
    }
}

impl From<Failed> for ClientError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Command(error) => Self::Command(error),
            Failed::Vault(problem) => Self::Vault(problem),
            Failed::Core(error) => Self::Unreadable(error),
            Failed::Busy => Self::Busy(failed.to_string()),
        }
    }
}
