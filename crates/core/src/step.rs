//! The context of one step: the overlay, the clock, the randomness, who this is, what may be asked, what comes out; and the
//! mail from room to room.
//!
//! A room uses only rooms that stand above it in the table of `lib.rs`. What it has for one below, it puts into [`Mail`], and
//! `lib.rs` hands it over **in the same step**: one transaction has all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;

use rand_core::CryptoRngCore;
use stonechat_wire::{
    AccountId, BlobId, ClientFrame, ConversationId, DeviceId, EpochId, Handle, Request, Seq, Timestamp,
};

use crate::api::{CommandError, CommandId, Effect, Event, Link, Outcome, Refusal, Step};
use crate::content::{Body, MessageId, Notice};
use crate::crypto::letter::Welcome;
use crate::identity::Identity;
use crate::links::{Links, Room};
use crate::store::{Savepoint, Txn, VaultRead};

/// Everything that a room may use in a step.
pub(crate) struct Ctx<'a> {
    pub txn: Txn<'a>,
    pub rng: &'a mut dyn CryptoRngCore,
    pub now: Timestamp,
    /// This account and device.
    pub me: &'a Identity,
    pub links: &'a mut Links,
    /// Conversations in which something has become possible.
    pub dirty: BTreeSet<ConversationId>,
    pub mail: Mail,
    effects: Vec<Effect>,
    wake_at: Option<(Timestamp, &'static str)>,
}

/// What rooms have for rooms above them.
#[derive(Clone, Default)]
pub(crate) struct Mail {
    // From what is believed of people.
    /// Handles that are proven to be somebody's.
    pub proven: Vec<Handle>,
    /// Accounts whose log is longer, by their own word, than what is known here.
    pub longer: Vec<AccountId>,
    /// This account's log is longer than what is known here.
    pub own_longer: bool,
    /// The directory contradicts itself.
    pub forked: bool,
    /// The directory's policy is pinned: letters can be judged.
    pub policy_pinned: bool,
    /// People who are to be shown differently.
    pub changed: BTreeSet<AccountId>,
    /// Every lock may have changed.
    pub all_changed: bool,
    /// Accounts whose log lost a device.
    pub revoked: BTreeSet<AccountId>,
    /// Lines for the conversations with somebody.
    pub notices: Vec<(AccountId, Notice)>,

    // From the supplies and the blobs.
    /// Tokens came, or this account is proven: whatever waited may go on.
    pub look_again: bool,
    /// Blobs that the server does not have.
    pub missing: Vec<BlobId>,

    // From the post and from the logs.
    /// What verified letters ask for.
    pub letters: Vec<Asked>,
    /// Key packages of this device that somebody used: whether it was the last resort.
    pub used: Vec<bool>,
    /// What happened to messages, in order.
    pub messages: Vec<News>,
}

impl Mail {
    /// Whether everything was handed over.
    pub(crate) fn is_empty(&self) -> bool {
        // Field by field, so that a new one cannot be forgotten.
        let Self {
            proven,
            longer,
            own_longer,
            forked,
            policy_pinned,
            changed,
            all_changed,
            revoked,
            notices,
            look_again,
            missing,
            letters,
            used,
            messages,
        } = self;
        let flags = *own_longer || *forked || *policy_pinned || *all_changed || *look_again;
        !flags
            && proven.is_empty()
            && longer.is_empty()
            && changed.is_empty()
            && revoked.is_empty()
            && notices.is_empty()
            && missing.is_empty()
            && letters.is_empty()
            && used.is_empty()
            && messages.is_empty()
    }
}

/// What a letter asks for. Who wrote it is verified.
#[derive(Clone)]
pub(crate) enum Asked {
    /// To join a conversation.
    Join {
        from: AccountId,
        conversation: ConversationId,
        epoch: Seq,
        epoch_id: EpochId,
        is_group: bool,
        welcome: Welcome,
    },
    /// To be added again to a conversation that the device cannot follow.
    Help { account: AccountId, device: DeviceId, conversation: ConversationId, stuck_in: EpochId, key_package: Vec<u8> },
}

/// What a conversation's log says of messages.
#[derive(Clone)]
pub(crate) enum News {
    /// One came.
    Came(Came),
    /// One of this device's is in the log, or will be: where.
    Sent { conversation: ConversationId, id: MessageId, time: Timestamp, seq: Seq },
    /// One of this device's cannot be sent.
    Failed { conversation: ConversationId, id: MessageId },
    /// There are new members, who cannot write to this account's inbox yet.
    Introduce(ConversationId),
}

/// A message of a member, decrypted.
#[derive(Clone)]
pub(crate) struct Came {
    pub conversation: ConversationId,
    pub sender: AccountId,
    /// Its place in the log, and the log's clock there.
    pub seq: Seq,
    pub time: Timestamp,
    /// The entries that its sender holds as this device does: those after the first place and up to the second.
    pub agreed: Option<(Seq, Seq)>,
    pub id: MessageId,
    pub sent_at: Timestamp,
    pub body: Body,
}

/// Where an [attempt](Ctx::savepoint) began.
pub(crate) struct Before {
    writes: Savepoint,
    mail: Mail,
}

impl<'a> Ctx<'a> {
    pub(crate) fn new(
        vault: &'a dyn VaultRead,
        rng: &'a mut dyn CryptoRngCore,
        now: Timestamp,
        me: &'a Identity,
        links: &'a mut Links,
    ) -> Self {
        Self {
            txn: Txn::new(vault),
            rng,
            now,
            me,
            links,
            dirty: BTreeSet::new(),
            mail: Mail::default(),
            effects: Vec::new(),
            wake_at: None,
        }
    }

    pub(crate) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Uniform enough for jitter, in `0..bound`.
    pub(crate) fn jitter_ms(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound.max(1)
    }

    pub(crate) fn event(&mut self, event: Event) {
        // Several changes of one conversation in a step are one piece of news.
        let repeated = matches!(event, Event::Conversation(_) | Event::Requests)
            && self.effects.iter().any(|e| matches!(e, Effect::Event(old) if *old == event));
        if !repeated {
            self.effects.push(Effect::Event(event));
        }
    }

    pub(crate) fn finish(&mut self, command: CommandId, result: Result<Outcome, CommandError>) {
        self.event(Event::Finished { command, result });
    }

    pub(crate) fn refused(&mut self, conversation: Option<ConversationId>, what: Refusal) {
        self.event(Event::Refused { conversation, what });
    }

    pub(crate) fn disconnect(&mut self, link: Link) {
        self.effects.push(Effect::Disconnect { link });
    }

    /// The server said something that makes no sense here. Its connection is closed and opened again.
    pub(crate) fn misbehaved(&mut self, link: Link) {
        self.refused(None, Refusal::Misbehaved);
        self.disconnect(link);
    }

    pub(crate) fn wake(&mut self, at: Timestamp, why: &'static str) {
        if self.wake_at.is_none_or(|(earlier, _)| at < earlier) {
            self.wake_at = Some((at, why));
        }
    }

    /// Begins something that may turn out not to have happened.
    pub(crate) fn savepoint(&self) -> Before {
        Before { writes: self.txn.savepoint(), mail: self.mail.clone() }
    }

    /// Takes back every write and all mail since `before`.
    pub(crate) fn restore(&mut self, before: Before) {
        self.txn.restore(before.writes);
        self.mail = before.mail;
    }

    pub(crate) fn into_step(self) -> Step {
        Step { changes: self.txn.into_changes(), effects: self.effects, wake_at: self.wake_at }
    }
}

/// What one room asked the server and has no answer to.
pub(crate) struct Questions<P> {
    room: Room,
    open: BTreeMap<(Link, u32), P>,
}

impl<P> Questions<P> {
    pub(crate) const fn of(room: Room) -> Self {
        Self { room, open: BTreeMap::new() }
    }

    /// Asks the server something. Without a connection nothing happens: whoever needs it asks again once there is one.
    pub(crate) fn ask(&mut self, ctx: &mut Ctx<'_>, link: Link, request: Request, question: P) {
        if let Some(id) = ctx.links.begin(link, ctx.now, self.room) {
            self.open.insert((link, id), question);
            ctx.effects.push(Effect::Send { link, frame: ClientFrame { id, request } });
        }
    }

    /// Whether something like this is asked already.
    pub(crate) fn has(&self, matches: impl Fn(&P) -> bool) -> bool {
        self.open.values().any(matches)
    }

    /// The question that an answer is to.
    pub(crate) fn take(&mut self, link: Link, id: u32) -> Option<P> {
        self.open.remove(&(link, id))
    }

    /// A connection is gone, and with it what was asked on it.
    pub(crate) fn lost(&mut self, link: Link) -> Vec<P> {
        let (lost, kept) = take(&mut self.open).into_iter().partition(|((on, _), _)| *on == link);
        self.open = kept;
        BTreeMap::into_values(lost).collect()
    }
}
