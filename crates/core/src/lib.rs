//! Stonechat's client as a pure state machine: accounts, devices, conversations, messages, trust.
//!
//! No sockets, no clock, no files: time and randomness come in with each [`Input`], and out comes a [`Step`]: changes for
//! the vault, to be committed in one transaction, then effects, each of which is safe to repeat. The cursor into a
//! conversation, the MLS state and the decrypted message move in one transaction: that one rule is what keeps a
//! conversation readable through any crash.
//!
//! Each folder is a room that owns some rows of the vault and some memory: [`store`] the vault, [`crypto`] keys and sealing, [`mls`]
//! the MLS library, [`links`] the two connections, [`people`] who is known and believed, [`post`] letters between devices, [`log`] the logs of
//! conversations, [`view`] what a person sees, [`commands`] what a person asks for.

pub mod api;
pub mod content;
pub mod limits;
pub mod mls;

mod commands;
mod crypto;
mod links;
mod log;
mod people;
mod post;
mod step;
mod store;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use rand_core::CryptoRngCore;
use stonechat_wire::{ConversationId, Timestamp};

pub use api::{
    Alarm, AlarmId, AlarmKind, Check, Command, CommandError, CommandId, ContactRequest, Conversation, Effect, Event,
    Input, Link, Lock, Me, Member, Message, Outcome, OwnDevice, Role, Safety, Status, Step, Target, Why,
};
pub use crypto::{keys, letter as envelope, outer, tokens};
pub use log::policy;
pub use people::accounts::{SignUp, SignUpError, pin_policy, sign_up};
pub use people::watch::{add_device_entry, own_log};
pub use store::vault::{self, Change, VaultError, VaultRead};
pub use view::{conversations as query, history, trust};

use links::Session;
use log::follow::Live;
use people::accounts::Identity;
use step::Ctx;

/// The core cannot go on: the vault cannot be read, or this is our own bug. Drop the [`Core`] and open it again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CoreError {
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// An assumption of ours does not hold.
    #[error("this is a fault in Stonechat: {0}")]
    Bug(String),
}

/// The client. One for each vault; what it holds in memory can be dropped at any time and is read again.
pub struct Core {
    identity: Option<Identity>,
    session: Session,
    /// Conversations by id: what is only worth keeping while the process runs.
    live: BTreeMap<ConversationId, Live>,
    /// Conversations that have something to do.
    dirty: BTreeSet<ConversationId>,
    /// When conversations have something to do.
    timers: BTreeSet<(Timestamp, ConversationId)>,
    /// Commands that wait for everything to settle.
    syncing: Vec<CommandId>,
    posting: Vec<CommandId>,
}

impl Core {
    /// Opens the client over a vault, with or without an account in it.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub fn open(vault: &dyn VaultRead) -> Result<Self, CoreError> {
        Ok(Self {
            identity: Identity::load(vault)?,
            session: Session::default(),
            live: BTreeMap::new(),
            dirty: BTreeSet::new(),
            timers: BTreeSet::new(),
            syncing: Vec::new(),
            posting: Vec::new(),
        })
    }

    /// Takes one input. Commit the step's changes, then perform its effects.
    ///
    /// # Errors
    /// [`CoreError`]: nothing of the step happened; drop this core and open another.
    pub fn handle(
        &mut self,
        vault: &dyn VaultRead,
        rng: &mut dyn CryptoRngCore,
        now: Timestamp,
        input: Input,
    ) -> Result<Step, CoreError> {
        let mut ctx = Ctx::new(vault, rng, now);
        if self.identity.is_none() {
            self.identity = Identity::load(vault)?;
        }
        match input {
            Input::Connected { link, host, hello } => self.connected(&mut ctx, link, host, &hello)?,
            Input::Disconnected { link } => self.disconnected(&mut ctx, link),
            Input::Frame { link, frame } => self.frame(&mut ctx, link, frame)?,
            Input::Tick => {}
            Input::Command { id, command } => self.command(&mut ctx, id, command)?,
        }
        self.drive(&mut ctx)?;
        Ok(ctx.into_step())
    }

    /// The changes of the last step could not be committed: forget everything that is not in the vault. Connections must be
    /// opened anew.
    pub fn abandon(&mut self) {
        self.identity = None;
        self.session = Session::default();
        self.live.clear();
        self.dirty.clear();
        self.timers.clear();
        self.syncing.clear();
        self.posting.clear();
    }

    /// Does whatever has become possible or due.
    fn drive(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        while let Some((at, id)) = self.timers.first().copied() {
            if at > ctx.now {
                break;
            }
            self.timers.remove(&(at, id));
            self.dirty.insert(id);
        }
        self.drive_session(ctx)?;
        self.remove_revoked(ctx)?;
        while let Some(id) = self.dirty.pop_first() {
            self.drive_conversation(ctx, id)?;
        }
        self.drive_envelopes(ctx)?;
        self.drive_requests(ctx)?;
        self.settle_syncs(ctx)?;
        self.settle_letters(ctx)?;
        if let Some((at, _)) = self.timers.first() {
            ctx.wake(*at, "a conversation has something to do");
        }
        Ok(())
    }

    fn at(&mut self, when: Timestamp, id: ConversationId) {
        self.timers.insert((when, id));
    }
}
