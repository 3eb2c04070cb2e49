//! The context of one step: the overlay, the clock, the randomness, and what comes out.

use std::collections::BTreeSet;

use rand_core::CryptoRngCore;
use stonechat_wire::{AccountId, ConversationId, Timestamp};

use crate::api::{CommandError, CommandId, Effect, Event, Link, Outcome, Step};
use crate::store::vault::{Txn, VaultRead};

pub(crate) struct Ctx<'a> {
    pub txn: Txn<'a>,
    pub rng: &'a mut dyn CryptoRngCore,
    pub now: Timestamp,
    /// Accounts whose log lost a device in this step.
    pub revoked: BTreeSet<AccountId>,
    effects: Vec<Effect>,
    wake_at: Option<(Timestamp, &'static str)>,
}

impl<'a> Ctx<'a> {
    pub(crate) fn new(vault: &'a dyn VaultRead, rng: &'a mut dyn CryptoRngCore, now: Timestamp) -> Self {
        Self { txn: Txn::new(vault), rng, now, revoked: BTreeSet::new(), effects: Vec::new(), wake_at: None }
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

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
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

    pub(crate) fn refused(&mut self, conversation: Option<ConversationId>, what: impl Into<String>) {
        self.event(Event::Refused { conversation, what: what.into() });
    }

    pub(crate) fn disconnect(&mut self, link: Link) {
        self.effects.push(Effect::Disconnect { link });
    }

    pub(crate) fn wake(&mut self, at: Timestamp, why: &'static str) {
        if self.wake_at.is_none_or(|(earlier, _)| at < earlier) {
            self.wake_at = Some((at, why));
        }
    }

    pub(crate) fn into_step(self) -> Step {
        Step { changes: self.txn.into_changes(), effects: self.effects, wake_at: self.wake_at }
    }
}
