//! What this client believes of the directory, and what it does when the directory contradicts itself.
//!
//! Somebody's account is believed when a proof against a head of the pinned policy says so ([`Core::believe`]), wherever the
//! proof came from: the server's answer, a letter, a welcome, a commit. Every head that is seen, here or by somebody who tells
//! of it in a conversation, must be of one log with all the others ([`Core::see_head`]); the server is asked for the
//! consistency proof beside everything else. What contradicts is an alarm, with evidence where there is any. An alarm opens
//! locks; it never holds a message up in a conversation that exists.
//!
//! How the own account is watched is in [`crate::people::watch`].

use sha2::{Digest as _, Sha256};
use stonechat_directory::evidence::LookUp;
use stonechat_directory::head::SeenHead;
use stonechat_directory::proof::{Asked, verify_account};
use stonechat_directory::{
    DirectoryPolicy, Evidence, Head, HeadError, PolicyError, ProofError, Verdict, VerifiedAccount, tlog,
};
use stonechat_wire::{
    AccountId, AccountLog, AccountProof, AccountState, DeviceId, ErrorCode, Failure, Handle, List, LogEntry, LogHead,
    ProvenAccount, Request, Seq, SignedHead, Timestamp, TreeProof,
};

use crate::api::{Alarm, AlarmId, AlarmKind, CommandError, Doubt, Event, Link, Status};
use crate::content::{Body, MessageId, Notice, ToldHead};
use crate::links::Pending;
use crate::people::accounts::{Learned, learn, remember_handle};
use crate::step::Ctx;
use crate::store::records::{
    ALARMS, AlarmRecord, Checked, ContactRecord, Head as ConversationHead, HeadRecord, MessageRecord, NEWEST, POLICY,
    Read, Told, WATCH, WatchRecord, Write, check_key, index_key, message_key, moved_key, pending_head_key, proof_key,
    thread,
};
use crate::store::vault::{Order, Table};
use crate::{Core, CoreError};

/// Who brought a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The server, asked now: its head must be of now.
    Server,
    /// Somebody in a letter, welcome or commit: judged without a clock, so that all members judge alike.
    Member,
}

/// What became of a proof.
pub(crate) enum Belief {
    /// It holds. Whether its head is of one log with the others may still have to be shown.
    Known(AccountState),
    /// Time may help.
    Later(String),
    /// It does not hold.
    Untrusted(String),
}

impl Core {
    // --- accounts --------------------------------------------------------------------------------------------------------

    /// Verifies an account with its proof and stores it, if it holds and contradicts nothing that was seen before.
    pub(crate) fn believe(
        &mut self,
        ctx: &mut Ctx<'_>,
        asked: Asked<'_>,
        proven: &ProvenAccount,
        source: Source,
    ) -> Result<Belief, CoreError> {
        let Some(policy) = ctx.txn.policy()? else {
            return Ok(Belief::Later("the directory's policy is not known here yet".into()));
        };
        let verified = match VerifiedAccount::verify(&policy, asked, &proven.log, &proven.proof) {
            Ok(verified) => verified,
            Err(error @ ProofError::Head(HeadError::Policy(PolicyError::Witnesses { .. }))) => {
                if source == Source::Server {
                    self.unwitnessed(ctx, &error)?;
                }
                return Ok(Belief::Later(error.to_string()));
            }
            Err(error) => return self.disbelieve(ctx, &policy, asked, proven, source, &error),
        };
        if source == Source::Server {
            self.witnessed(ctx)?;
            if let Some(why) = self.out_of_date(ctx, &policy, &verified.head)? {
                return Ok(Belief::Untrusted(why));
            }
        }
        let id = verified.state.id();
        if source == Source::Member && self.identity.as_ref().is_some_and(|me| me.account() == id) {
            // Nobody else tells this device what its own account is: the watch looks itself, and raises its alarms.
            let own = crate::people::accounts::known(ctx, &id)?
                .ok_or_else(|| CoreError::Bug("the own log is missing".into()))?;
            if verified.state.head().0 > own.head().0 {
                self.session.watched = false;
            }
            return Ok(Belief::Known(own));
        }
        let before = ctx.txn.contact(&id)?;
        if let Some(why) = self.taken_back(ctx, &policy, &verified, proven, before.as_ref())? {
            return Ok(Belief::Untrusted(why));
        }
        let state = match learn(ctx, &proven.log, Some(id))? {
            Learned::Known(state) => state,
            Learned::Untrusted(why) => {
                let stored = before.map(|contact| contact.log);
                let evidence = stored.and_then(|log| contradiction(&policy, &id, &proven.proof, &log));
                let what =
                    format!("The directory shows another account log for {} than before.", verified.state.handle());
                self.raise(ctx, Finding::new(AlarmKind::OtherLog, &id.0, what, evidence).about(id));
                return Ok(Belief::Untrusted(why));
            }
        };
        let connected = self.see_head(ctx, &policy, verified.head.seen())?;
        self.keep_proof(ctx, &verified, proven, connected)?;
        Ok(Belief::Known(state))
    }

    /// The same for an account that a welcome or a commit brings: it holds now, or it does not.
    pub(crate) fn believe_member(
        &mut self,
        ctx: &mut Ctx<'_>,
        proven: &ProvenAccount,
    ) -> Result<Result<AccountId, String>, CoreError> {
        let id = match AccountState::verify(&proven.log, None) {
            Ok(state) => state.id(),
            Err(error) => return Ok(Err(error.to_string())),
        };
        Ok(match self.believe(ctx, Asked::Account(&id), proven, Source::Member)? {
            Belief::Known(_) => Ok(id),
            Belief::Later(why) | Belief::Untrusted(why) => Err(why),
        })
    }

    /// A proof that does not hold. From the server that is an alarm; anybody can put anything into a letter.
    fn disbelieve(
        &mut self,
        ctx: &mut Ctx<'_>,
        policy: &DirectoryPolicy,
        asked: Asked<'_>,
        proven: &ProvenAccount,
        source: Source,
        error: &ProofError,
    ) -> Result<Belief, CoreError> {
        let account = match asked {
            Asked::Account(id) => Some(*id),
            Asked::Handle(handle) => ctx.txn.account_of(handle)?,
        };
        let own_log = match &account {
            Some(id) => ctx.txn.contact(id)?.map(|contact| contact.log),
            None => None,
        };
        let stated = AccountState::verify(&proven.log, None).ok().map(|state| (state.id(), proven.log.clone()));
        let evidence = account.zip(own_log).into_iter().chain(stated);
        let evidence = evidence.filter_map(|(id, log)| contradiction(policy, &id, &proven.proof, &log));
        let evidence = evidence.max_by_key(|evidence| matches!(evidence.judge(), Ok(Verdict::Proven(_))));
        let proves = evidence.as_ref().is_some_and(|e| matches!(e.judge(), Ok(Verdict::Proven(_))));
        if source == Source::Server || proves {
            let who = match asked {
                Asked::Handle(handle) => handle.to_string(),
                Asked::Account(_) => "somebody".to_owned(),
            };
            let kind = if evidence.is_some() { AlarmKind::OtherLog } else { AlarmKind::Proof };
            let what = format!("What the server says about {who} does not hold: {error}. It may not be them.");
            let subject = account.map_or_else(|| who.clone().into_bytes(), |id| id.0.to_vec());
            self.raise(ctx, Finding::new(kind, &subject, what, evidence));
        }
        Ok(Belief::Untrusted(error.to_string()))
    }

    /// A head that the server gave as its newest must be of now: it publishes at least every hour.
    pub(crate) fn out_of_date(
        &mut self,
        ctx: &mut Ctx<'_>,
        policy: &DirectoryPolicy,
        head: &Head,
    ) -> Result<Option<String>, CoreError> {
        let why = if head.is_stale(ctx.now) {
            "the directory shows an old state, or this machine's clock is ahead"
        } else if head.is_from_the_future(ctx.now) {
            "the directory shows a state of the future: this machine's clock is behind, or the directory's is ahead"
        } else {
            return Ok(None);
        };
        let newest = ctx.txn.record::<HeadRecord>(Table::Meta, NEWEST)?;
        let evidence = newest
            .filter(|newest| newest.size != head.size())
            .map(|newest| Evidence::heads(policy, &newest.seen(), &head.seen(), &TreeProof::default()));
        let what = format!("Whoever you write to for the first time cannot be checked: {why}.");
        self.raise(ctx, Finding::new(AlarmKind::Stale, b"", what, evidence));
        Ok(Some(why.into()))
    }

    /// Whether the directory now says less, or something else, of an account than an older head of it said.
    fn taken_back(
        &mut self,
        ctx: &mut Ctx<'_>,
        policy: &DirectoryPolicy,
        verified: &VerifiedAccount,
        proven: &ProvenAccount,
        before: Option<&ContactRecord>,
    ) -> Result<Option<String>, CoreError> {
        let Some((checked, stored)) =
            before.and_then(|contact| contact.checked).zip(ctx.txn.proof(&verified.state.id())?)
        else {
            return Ok(None);
        };
        let (size, length) = (verified.head.size(), verified.log.value.length);
        let back =
            (size >= checked.size && length < checked.length) || (size <= checked.size && length > checked.length);
        let other = length == checked.length
            && stored.log.0.last().map(LogEntry::hash) != proven.log.0.last().map(LogEntry::hash);
        if !back && !other {
            return Ok(None);
        }
        let id = verified.state.id();
        let evidence = Evidence::account_taken_back(policy, &id, &look_up(&stored.proof), &look_up(&proven.proof));
        let who = verified.state.handle();
        let what = format!(
            "The directory took back what it had said about {who}'s account: it may hide a device or a revocation."
        );
        self.raise(ctx, Finding::new(AlarmKind::TakenBack, &id.0, what.clone(), Some(evidence)).about(id));
        if let Some(mut contact) = ctx.txn.contact(&id)? {
            contact.doubt = Some(Doubt::TakenBack);
            ctx.txn.save(Table::Account, &id.0, &contact);
        }
        Ok(Some(what))
    }

    /// Keeps a proof that says more, or later, than the one that is kept.
    fn keep_proof(
        &mut self,
        ctx: &mut Ctx<'_>,
        verified: &VerifiedAccount,
        proven: &ProvenAccount,
        connected: bool,
    ) -> Result<(), CoreError> {
        let id = verified.state.id();
        let mut contact = ctx.txn.contact(&id)?.ok_or_else(|| CoreError::Bug("a learned log vanished".into()))?;
        let old = contact.checked;
        let (size, length) = (verified.head.size(), verified.log.value.length);
        let handle = verified.handle.is_some();
        let better = old.is_none_or(|old| {
            length > old.length
                || (length == old.length && (handle || !old.handle) && (size > old.size || (handle && !old.handle)))
        });
        if better {
            contact.checked = Some(Checked {
                length,
                size,
                root: *verified.head.root(),
                time: verified.head.time(),
                handle: handle || old.is_some_and(|old| old.handle),
                connected: connected || old.is_some_and(|old| old.connected),
            });
            ctx.txn.save(Table::Meta, &proof_key(&id), proven);
        } else if let Some(checked) = contact.checked.as_mut() {
            checked.connected |= connected;
            checked.handle |= handle;
        }
        if contact.told.is_some_and(|told| told <= length) {
            contact.told = None;
        }
        ctx.txn.save(Table::Account, &id.0, &contact);
        if handle {
            // No look-up is needed: the proof came along.
            ctx.txn.delete(Table::Meta, check_key(verified.state.handle(), &id));
        }
        self.settle_contact(ctx, &id)
    }

    /// A contact whose proof is complete gets its handle; who waited for that goes on.
    fn settle_contact(&mut self, ctx: &mut Ctx<'_>, id: &AccountId) -> Result<(), CoreError> {
        let Some(contact) = ctx.txn.contact(id)? else { return Ok(()) };
        let Some(checked) = contact.checked.filter(|checked| checked.connected) else { return Ok(()) };
        let Some(state) = crate::people::accounts::known(ctx, id)? else { return Ok(()) };
        if checked.handle {
            self.claim(ctx, state.handle(), *id, &contact)?;
            let handle = state.handle().clone();
            self.look_up_settled(ctx, &handle)?;
        }
        ctx.event(Event::Requests);
        self.touch_conversations(ctx, id)
    }

    /// The directory says that a handle is this account's.
    fn claim(
        &mut self,
        ctx: &mut Ctx<'_>,
        handle: &Handle,
        id: AccountId,
        contact: &ContactRecord,
    ) -> Result<(), CoreError> {
        let known = match ctx.txn.account_of(handle)? {
            None => {
                remember_handle(ctx, handle, id);
                return Ok(());
            }
            Some(known) if known == id => return Ok(()),
            Some(known) => known,
        };
        let Some(mut old) = ctx.txn.contact(&known)? else { return Ok(()) };
        // Of two claims, the later head's counts: an old letter does not move a handle back.
        if old.checked.is_some_and(|old| contact.checked.is_some_and(|new| new.size < old.size)) {
            return Ok(());
        }
        if ctx.txn.moved(handle)? == Some(id) {
            return Ok(());
        }
        ctx.txn.put(Table::Meta, moved_key(handle), id.0);
        old.doubt = Some(Doubt::StartedOver);
        ctx.txn.save(Table::Account, &known.0, &old);
        let (policy, first, second) = (ctx.txn.policy()?, ctx.txn.proof(&known)?, ctx.txn.proof(&id)?);
        let evidence = policy
            .zip(first.zip(second))
            .and_then(|(policy, (first, second))| handle_moved(&policy, handle, &first.proof, &second.proof));
        let what = format!(
            "{handle} belongs to another account than before. They started over, or somebody else has their handle: ask them \
             by another way, and compare safety numbers."
        );
        self.raise(
            ctx,
            Finding::new(AlarmKind::HandleMoved, &[handle.as_str().as_bytes(), &id.0].concat(), what, evidence)
                .about(known),
        );
        notice(ctx, &known, &Notice::StartedOver(handle.clone()))
    }

    /// Conversations with somebody look different now.
    pub(crate) fn touch_conversations(&mut self, ctx: &mut Ctx<'_>, account: &AccountId) -> Result<(), CoreError> {
        for id in ctx.txn.conversation_ids()? {
            if ctx.txn.info(&id)?.is_some_and(|info| info.leaves.iter().any(|leaf| leaf.account == *account)) {
                ctx.event(Event::Conversation(id));
                self.dirty.insert(id);
            }
        }
        Ok(())
    }

    /// Asks for the account of somebody who says that their log is longer than what is known here.
    pub(crate) fn ask_accounts(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        for account in self.session.asked_after.clone() {
            if self.session.waits(Link::Anonymous, |p| matches!(p, Pending::GetAccount { account: a } if *a == account))
            {
                continue;
            }
            match self.session.not_before.get(&account) {
                Some(at) if *at > ctx.now => ctx.wake(*at, "an account is asked for again"),
                _ => self.ask(ctx, Link::Anonymous, Request::GetAccount { account }, Pending::GetAccount { account }),
            }
        }
        Ok(())
    }

    pub(crate) fn account_answered(
        &mut self,
        ctx: &mut Ctx<'_>,
        account: AccountId,
        found: &ProvenAccount,
    ) -> Result<(), CoreError> {
        let belief = self.believe(ctx, Asked::Account(&account), found, Source::Server)?;
        let still = ctx.txn.contact(&account)?.is_some_and(|contact| contact.told.is_some());
        match belief {
            Belief::Known(_) if !still => {
                self.session.asked_after.remove(&account);
                self.session.not_before.remove(&account);
                Ok(())
            }
            Belief::Untrusted(_) => {
                self.session.asked_after.remove(&account);
                Ok(())
            }
            Belief::Known(state) => {
                let tries = self.ask_later(ctx, account);
                if tries == TOLD_TRIES
                    && let Some(mut contact) = ctx.txn.contact(&account)?
                {
                    let who = state.handle();
                    let what = format!(
                        "{who} says that their account log is longer than the directory shows: it may hide that a device was revoked."
                    );
                    contact.doubt = Some(Doubt::KeptBack);
                    ctx.txn.save(Table::Account, &account.0, &contact);
                    self.raise(ctx, Finding::new(AlarmKind::Unpublished, &account.0, what, None).about(account));
                    self.touch_conversations(ctx, &account)?;
                }
                Ok(())
            }
            Belief::Later(_) => {
                self.ask_later(ctx, account);
                Ok(())
            }
        }
    }

    pub(crate) fn account_refused(&mut self, ctx: &mut Ctx<'_>, account: AccountId) {
        self.ask_later(ctx, account);
    }

    fn ask_later(&mut self, ctx: &mut Ctx<'_>, account: AccountId) -> u32 {
        let tries = self.session.tries.entry(account).or_default();
        *tries += 1;
        let tries = *tries;
        self.session.not_before.insert(account, ctx.now.plus_secs(backoff_secs(tries)));
        tries
    }

    // --- look-ups --------------------------------------------------------------------------------------------------------

    /// The server answered a look-up of a handle.
    pub(crate) fn looked_up(
        &mut self,
        ctx: &mut Ctx<'_>,
        handle: &Handle,
        found: &ProvenAccount,
    ) -> Result<(), CoreError> {
        let trouble = match self.believe(ctx, Asked::Handle(handle), found, Source::Server)? {
            // When its head is one with the others, `settle_contact` goes on; otherwise once it is.
            Belief::Known(state) => {
                let claimed = Some(state.id());
                return self.settle_claims(ctx, handle, claimed);
            }
            Belief::Later(why) => return self.look_up_later(ctx, handle, &why),
            Belief::Untrusted(why) => why,
        };
        self.settle_claims(ctx, handle, None)?;
        for waiting in self.take_waiting(handle) {
            ctx.finish(waiting.id, Err(CommandError::Untrusted(handle.clone(), trouble.clone())));
        }
        Ok(())
    }

    /// Whose a handle is can be told later. Commands wait, but not for ever.
    pub(crate) fn look_up_later(&mut self, ctx: &mut Ctx<'_>, handle: &Handle, why: &str) -> Result<(), CoreError> {
        let (at, tries) = self.session.look_up_again.entry(handle.clone()).or_insert((ctx.now, 0));
        *tries += 1;
        *at = ctx.now.plus_secs(backoff_secs(*tries));
        let (again, tries) = (*at, *tries);
        ctx.wake(again, "a handle is looked up again");
        if tries >= LOOK_UP_TRIES {
            for waiting in self.take_waiting(handle) {
                ctx.finish(waiting.id, Err(CommandError::Directory(why.to_owned())));
            }
        }
        Ok(())
    }

    /// The directory answered with a head that too few of its witnesses confirm: that gets better, or it is an alarm.
    pub(crate) fn unwitnessed(&mut self, ctx: &mut Ctx<'_>, error: &ProofError) -> Result<(), CoreError> {
        let mut record: WatchRecord = ctx.txn.record(Table::Meta, WATCH)?.unwrap_or_default();
        record.unwitnessed = record.unwitnessed.saturating_add(1);
        ctx.txn.save(Table::Meta, WATCH, &record);
        if record.unwitnessed >= UNWITNESSED_MAX {
            let what = format!(
                "The directory shows no state that enough of its witnesses confirm ({error}). Nobody new can be written to \
                 until it does."
            );
            self.raise(ctx, Finding::new(AlarmKind::Unwitnessed, b"", what, None));
        }
        Ok(())
    }

    /// It answered with one that enough of them confirm.
    pub(crate) fn witnessed(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        let record = ctx.txn.record::<WatchRecord>(Table::Meta, WATCH)?;
        if let Some(record) = record.filter(|record| record.unwitnessed > 0) {
            ctx.txn.save(Table::Meta, WATCH, &WatchRecord { unwitnessed: 0, ..record });
        }
        Ok(())
    }

    /// Looks up again what could not be answered.
    pub(crate) fn look_up_again(&mut self, ctx: &mut Ctx<'_>) {
        if !self.session.anonymous.ready {
            return;
        }
        let waiting: Vec<_> =
            self.session.look_up_again.iter().map(|(handle, (at, _))| (handle.clone(), *at)).collect();
        for (handle, at) in waiting {
            if at > ctx.now {
                ctx.wake(at, "a handle is looked up again");
            } else if self.session.look_ups.iter().any(|(other, _)| *other == handle)
                && !self.session.waits(Link::Anonymous, |p| matches!(p, Pending::LookUp { handle: h } if *h == handle))
            {
                let request = Request::LookUpHandle { handle: handle.clone() };
                self.ask(ctx, Link::Anonymous, request, Pending::LookUp { handle });
            }
        }
    }

    /// A handle is known: the commands that waited for it are done.
    fn look_up_settled(&mut self, ctx: &mut Ctx<'_>, handle: &Handle) -> Result<(), CoreError> {
        self.session.look_up_again.remove(handle);
        for waiting in self.take_waiting(handle) {
            self.command(ctx, waiting.id, waiting.command)?;
        }
        Ok(())
    }

    // --- heads -----------------------------------------------------------------------------------------------------------

    /// Takes note of a head that somebody was shown. Returns whether it is known to be of one log with all others; if not,
    /// the server is asked to show it.
    pub(crate) fn see_head(
        &mut self,
        ctx: &mut Ctx<'_>,
        policy: &DirectoryPolicy,
        seen: SeenHead,
    ) -> Result<bool, CoreError> {
        let Some(newest) = ctx.txn.record::<HeadRecord>(Table::Meta, NEWEST)? else {
            ctx.txn.save(Table::Meta, NEWEST, &HeadRecord::of(&seen));
            return Ok(true);
        };
        if (newest.size, newest.root) == (seen.size, seen.root) {
            return Ok(true);
        }
        let key = pending_head_key(seen.size, &seen.root);
        if ctx.txn.get(Table::Meta, &key)?.is_some() {
            return Ok(false);
        }
        let mut record = HeadRecord::of(&seen);
        let pending = ctx.txn.pending_heads()?;
        let other = pending.iter().chain([&newest]).find(|other| other.size == seen.size);
        if let Some(other) = other {
            // One size, two roots, both signed. Nothing more is needed.
            let evidence = Evidence::heads(policy, &other.seen(), &seen, &TreeProof::default());
            record.failed = true;
            self.forked(ctx, &seen, Some(evidence))?;
        }
        ctx.txn.save(Table::Meta, &key, &record);
        Ok(false)
    }

    fn forked(&mut self, ctx: &mut Ctx<'_>, seen: &SeenHead, evidence: Option<Evidence>) -> Result<(), CoreError> {
        let what = "The directory shows different people different states, or cannot show that it does not. Nobody's keys can \
                    be checked. Keep the evidence, and tell people by another way."
            .to_owned();
        self.raise(
            ctx,
            Finding::new(AlarmKind::Fork, &[&seen.size.to_be_bytes()[..], &seen.root.0].concat(), what, evidence),
        );
        // Every lock is open now.
        for id in ctx.txn.conversation_ids()? {
            ctx.event(Event::Conversation(id));
        }
        let waiting: Vec<_> = self.session.look_ups.iter().map(|(handle, _)| handle.clone()).collect();
        for handle in waiting {
            for waiting in self.take_waiting(&handle) {
                let why = "the directory has forked".to_owned();
                ctx.finish(waiting.id, Err(CommandError::Untrusted(handle.clone(), why)));
            }
        }
        Ok(())
    }

    /// Asks for the proofs that heads are of one log.
    pub(crate) fn connect_heads(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        if !self.session.anonymous.ready
            || self.session.waits(Link::Anonymous, |p| matches!(p, Pending::Consistency { .. }))
        {
            return Ok(());
        }
        let Some(newest) = ctx.txn.record::<HeadRecord>(Table::Meta, NEWEST)? else { return Ok(()) };
        for head in ctx.txn.pending_heads()? {
            if head.size == newest.size {
                continue;
            }
            if head.not_before > ctx.now {
                ctx.wake(head.not_before, "the directory is asked about a head again");
                continue;
            }
            let (from, to) = (head.size.min(newest.size), head.size.max(newest.size));
            let pending = Pending::Consistency { newest: newest.seen(), head: head.seen() };
            self.ask(ctx, Link::Anonymous, Request::GetConsistency { from, to }, pending);
            return Ok(());
        }
        Ok(())
    }

    pub(crate) fn consistency_answered(
        &mut self,
        ctx: &mut Ctx<'_>,
        newest: &SeenHead,
        head: &SeenHead,
        proof: &TreeProof,
    ) -> Result<(), CoreError> {
        let key = pending_head_key(head.size, &head.root);
        let Some(mut record) = ctx.txn.record::<HeadRecord>(Table::Meta, &key)? else { return Ok(()) };
        let (old, new) = if head.size < newest.size { (head, newest) } else { (newest, head) };
        if tlog::verify_consistency((old.size, &old.root), (new.size, &new.root), proof).is_err() {
            record.failed = true;
            record.not_before = ctx.now.plus_secs(FAILED_AGAIN_SECS);
            ctx.txn.save(Table::Meta, &key, &record);
            let evidence = ctx.txn.policy()?.map(|policy| Evidence::heads(&policy, newest, head, proof));
            self.ask(ctx, Link::Anonymous, Request::GetHead, Pending::Head);
            return self.forked(ctx, head, evidence);
        }
        ctx.txn.delete(Table::Meta, key);
        let current = ctx.txn.record::<HeadRecord>(Table::Meta, NEWEST)?;
        if current.is_none_or(|current| (current.size, current.root) == (newest.size, newest.root))
            && head.size > newest.size
        {
            ctx.txn.save(Table::Meta, NEWEST, &HeadRecord::of(head));
        }
        let accounts = ctx.txn.range(Table::Account, &[], &[], Order::Ascending, usize::MAX)?;
        for (key, value) in accounts {
            let mut contact: ContactRecord = crate::store::records::parse(&value)?;
            let here =
                |checked: &&mut Checked| (checked.size, checked.root) == (head.size, head.root) && !checked.connected;
            let Some(checked) = contact.checked.as_mut().filter(here) else { continue };
            checked.connected = true;
            let Ok(id) = key.try_into().map(AccountId) else { continue };
            ctx.txn.save(Table::Account, &id.0, &contact);
            self.settle_contact(ctx, &id)?;
        }
        Ok(())
    }

    /// The server's newest head, asked for after it could not connect two: with luck of the same size as one of them, which
    /// proves the fork; and what others are told from here on.
    pub(crate) fn head_answered(&mut self, ctx: &mut Ctx<'_>, signed: &SignedHead) -> Result<(), CoreError> {
        let Some(policy) = ctx.txn.policy()? else { return Ok(()) };
        match Head::verify(&policy, signed) {
            Ok(head) => self.see_head(ctx, &policy, head.seen()).map(drop),
            Err(error) => {
                ctx.refused(None, format!("a head of the directory was thrown away: {error}"));
                Ok(())
            }
        }
    }

    pub(crate) fn consistency_refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        newest: &SeenHead,
        head: &SeenHead,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        let key = pending_head_key(head.size, &head.root);
        let Some(mut record) = ctx.txn.record::<HeadRecord>(Table::Meta, &key)? else { return Ok(()) };
        record.not_before = ctx.now.plus_secs(backoff_secs(record.tries + 1));
        // A server that is busy owes the answer later; one that does not know a head which it signed owes it now.
        if !matches!(failure.code, ErrorCode::Unavailable | ErrorCode::Slow) {
            record.tries += 1;
        }
        let give_up = record.tries >= CONSISTENCY_TRIES && !record.failed;
        record.failed |= give_up;
        ctx.txn.save(Table::Meta, &key, &record);
        if give_up {
            let evidence =
                ctx.txn.policy()?.map(|policy| Evidence::heads(&policy, newest, head, &TreeProof::default()));
            self.ask(ctx, Link::Anonymous, Request::GetHead, Pending::Head);
            return self.forked(ctx, head, evidence);
        }
        Ok(())
    }

    /// What to tell the members of a conversation of the directory, if it is news there.
    pub(crate) fn tell(&self, ctx: &Ctx<'_>, head: &mut ConversationHead) -> Result<Option<ToldHead>, CoreError> {
        let Some(newest) = ctx.txn.record::<HeadRecord>(Table::Meta, NEWEST)? else { return Ok(None) };
        let Some(me) = &self.identity else { return Ok(None) };
        // What this device knows that the directory has: it tells nobody of what is on its way there.
        let Some(own) = ctx.txn.contact(&me.account())? else { return Ok(None) };
        let Some(length) = own.checked.map(|checked| checked.length) else { return Ok(None) };
        let last = usize::try_from(length.saturating_sub(1)).ok().and_then(|at| own.log.0.get(at));
        let Some(last) = last else { return Ok(None) };
        let told = Told { size: newest.size, length };
        if head.told == Some(told) {
            return Ok(None);
        }
        head.told = Some(told);
        let own = LogHead { length, hash: last.hash() };
        Ok(Some(ToldHead { size: newest.size, root: newest.root, signature: newest.signature, own }))
    }

    /// A member told what they saw.
    pub(crate) fn told(&mut self, ctx: &mut Ctx<'_>, member: AccountId, told: &ToldHead) -> Result<(), CoreError> {
        let Some(policy) = ctx.txn.policy()? else { return Ok(()) };
        let seen = SeenHead { size: told.size, root: told.root, signature: told.signature };
        let newest = ctx.txn.record::<HeadRecord>(Table::Meta, NEWEST)?;
        let familiar = newest.is_some_and(|newest| (newest.size, newest.root) == (seen.size, seen.root));
        if !familiar && !seen.is_signed(&policy) {
            ctx.refused(None, "a member told of a state of the directory that it never signed; it was ignored");
            return Ok(());
        }
        // A member may tell of many states that the directory really signed; some at a time are enough to find a fork.
        if familiar || ctx.txn.pending_heads()?.len() < HEADS_MAX {
            self.see_head(ctx, &policy, seen)?;
        }
        if self.identity.as_ref().is_some_and(|me| me.account() == member) {
            // Another device of this account: the own watch looks, on the connection that may name the account.
            let own = ctx.txn.contact(&member)?.map_or(0, |contact| contact.log.0.len() as u64);
            if told.own.length > own {
                self.session.watched = false;
            }
            return Ok(());
        }
        let Some(mut contact) = ctx.txn.contact(&member)? else { return Ok(()) };
        let known = contact.log.0.len() as u64;
        let mine = usize::try_from(told.own.length.saturating_sub(1)).ok().and_then(|at| contact.log.0.get(at));
        match mine {
            Some(entry) if entry.hash() == told.own.hash => Ok(()),
            Some(_) => {
                let who = crate::people::accounts::known(ctx, &member)?
                    .map_or_else(|| "Somebody".into(), |s| s.handle().to_string());
                contact.doubt = Some(Doubt::OtherForThem);
                ctx.txn.save(Table::Account, &member.0, &contact);
                let what = format!("{who}'s own account log is another than the one that the directory shows here.");
                self.raise(ctx, Finding::new(AlarmKind::OtherLog, &member.0, what, None).about(member));
                self.touch_conversations(ctx, &member)
            }
            None if told.own.length > known && contact.told.is_none_or(|t| t < told.own.length) => {
                contact.told = Some(told.own.length);
                ctx.txn.save(Table::Account, &member.0, &contact);
                self.session.asked_after.insert(member);
                self.session.tries.remove(&member);
                self.session.not_before.remove(&member);
                Ok(())
            }
            None => Ok(()),
        }
    }

    // --- the policy ------------------------------------------------------------------------------------------------------

    pub(crate) fn policy_answered(&mut self, ctx: &mut Ctx<'_>, json: &[u8]) -> Result<(), CoreError> {
        let Ok(offered) = DirectoryPolicy::from_json(json) else {
            self.raise(
                ctx,
                Finding::new(
                    AlarmKind::Policy,
                    b"malformed",
                    "The server's directory policy cannot be read.".into(),
                    None,
                ),
            );
            return Ok(());
        };
        match ctx.txn.policy()? {
            // Trust on first use, once and for all.
            None => {
                ctx.txn.put(Table::Meta, POLICY, offered.to_json().into_bytes());
                if std::mem::take(&mut self.session.letters_wait) {
                    // They are pushed again after the next log-in, and now they can be judged.
                    ctx.disconnect(Link::Device);
                }
            }
            Some(pinned) if pinned == offered => {}
            Some(_) => {
                let what = "The server gives out another directory policy than the one that was pinned when this account was \
                            made. The pinned one still counts. If the operator has not announced other keys, do not trust \
                            this server."
                    .to_owned();
                self.raise(ctx, Finding::new(AlarmKind::Policy, &Sha256::digest(json), what, None));
            }
        }
        Ok(())
    }

    /// Contacts whose proof is missing, as in vaults from before there was a directory, are looked up.
    pub(crate) fn check_old_contacts(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        let own = self.identity.as_ref().map(crate::people::accounts::Identity::account);
        for (key, value) in ctx.txn.range(Table::Account, &[], &[], Order::Ascending, usize::MAX)? {
            let contact: ContactRecord = crate::store::records::parse(&value)?;
            let Ok(id) = key.try_into().map(AccountId) else { continue };
            if contact.checked.is_none() && Some(id) != own {
                if let Some(state) = crate::people::accounts::known(ctx, &id)? {
                    ctx.txn.put(Table::Meta, check_key(state.handle(), &id), Vec::new());
                }
            } else if contact.told.is_some() {
                self.session.asked_after.insert(id);
            }
        }
        Ok(())
    }

    // --- alarms ----------------------------------------------------------------------------------------------------------

    /// Raises an alarm, once for each kind and subject. Evidence that comes later is added.
    pub(crate) fn raise(&mut self, ctx: &mut Ctx<'_>, finding: Finding) {
        let Finding { id, record } = finding;
        let key = [ALARMS, &id.0].concat();
        let record = match ctx.txn.record::<AlarmRecord>(Table::Meta, &key).ok().flatten() {
            // What a person settled about the own account is settled; what the directory does again is news again.
            Some(old) if old.dismissed && !matches!(old.kind, AlarmKind::Device | AlarmKind::Log) => {
                AlarmRecord { dismissed: false, evidence: record.evidence.or(old.evidence), ..old }
            }
            Some(old) if old.evidence.is_some() || record.evidence.is_none() => return,
            Some(old) => AlarmRecord { evidence: record.evidence, ..old },
            None => AlarmRecord { at: ctx.now, ..record },
        };
        ctx.txn.save(Table::Meta, &key, &record);
        ctx.event(Event::Alarm(record.public(id)));
    }
}

/// What an alarm is raised about.
pub(crate) struct Finding {
    id: AlarmId,
    record: AlarmRecord,
}

impl Finding {
    /// The same kind and subject is the same alarm.
    pub(crate) fn new(kind: AlarmKind, subject: &[u8], what: String, evidence: Option<Evidence>) -> Self {
        let digest = Sha256::new_with_prefix(kind.name()).chain_update(subject).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        let evidence = evidence.map(|evidence| evidence.to_json());
        let at = Timestamp(0);
        let record = AlarmRecord { kind, what, at, device: None, evidence, dismissed: false, about: None };
        Self { id: AlarmId(id), record }
    }

    /// It is about one contact; otherwise about everybody.
    pub(crate) fn about(mut self, contact: AccountId) -> Self {
        self.record.about = Some(contact);
        self
    }

    /// It is about a device that can be revoked.
    pub(crate) fn device(mut self, device: Option<DeviceId>) -> Self {
        self.record.device = device;
        self
    }
}

impl AlarmRecord {
    pub(crate) fn public(&self, id: AlarmId) -> Alarm {
        Alarm {
            id,
            kind: self.kind,
            what: self.what.clone(),
            at: self.at,
            device: self.device,
            evidence: self.evidence.clone(),
            dismissed: self.dismissed,
        }
    }
}

impl HeadRecord {
    fn of(seen: &SeenHead) -> Self {
        Self {
            size: seen.size,
            root: seen.root,
            signature: seen.signature,
            tries: 0,
            not_before: Timestamp(0),
            failed: false,
        }
    }

    fn seen(&self) -> SeenHead {
        SeenHead { size: self.size, root: self.root, signature: self.signature }
    }
}

/// The look-up of an account in a proof, as evidence takes it.
pub(crate) fn look_up(proof: &AccountProof) -> LookUp<'_> {
    LookUp { head: &proof.head, proof: &proof.account }
}

/// Evidence that the directory gave a handle to two accounts, when both proofs have the handle.
pub(crate) fn handle_moved(
    policy: &DirectoryPolicy,
    handle: &Handle,
    first: &AccountProof,
    second: &AccountProof,
) -> Option<Evidence> {
    let (one, two) = first.handle.as_ref().zip(second.handle.as_ref())?;
    let (first, second) = (LookUp { head: &first.head, proof: one }, LookUp { head: &second.head, proof: two });
    Some(Evidence::handle_moved(policy, handle, &first, &second))
}

/// Evidence that the directory names another log for an account than this one, if it does.
pub(crate) fn contradiction(
    policy: &DirectoryPolicy,
    account: &AccountId,
    proof: &AccountProof,
    log: &AccountLog,
) -> Option<Evidence> {
    let head = Head::verify_unwitnessed(policy, &proof.head).ok()?;
    verify_account(policy, &head, account, &proof.account).ok()?;
    let evidence = Evidence::account(policy, account, &look_up(proof), log);
    match evidence.judge() {
        Ok(Verdict::Proven(_) | Verdict::Unanswered(_)) => Some(evidence),
        Ok(Verdict::Harmless(_)) | Err(_) => None,
    }
}

/// Writes a line into every conversation that somebody is in.
pub(crate) fn notice(ctx: &mut Ctx<'_>, account: &AccountId, notice: &Notice) -> Result<(), CoreError> {
    for id in ctx.txn.conversation_ids()? {
        let (Some(head), Some(info)) = (ctx.txn.head(&id)?, ctx.txn.info(&id)?) else { continue };
        if !info.leaves.iter().any(|leaf| leaf.account == *account) {
            continue;
        }
        let record = MessageRecord {
            id: MessageId(ctx.random()),
            conversation: id,
            sender: *account,
            sent_at: ctx.now,
            body: Body::Notice(notice.clone()).encode(),
            status: Status::Received,
        };
        let thread = thread(&id, &info);
        let key = message_key(&thread, head.last_time.max(ctx.now), Seq(0), &record.id);
        ctx.txn.save(Table::Message, &key, &record);
        ctx.txn.put(Table::MessageIndex, index_key(&thread, account, &record.id), key);
        if let Some(message) = crate::view::conversations::message(&ctx.txn, &record)? {
            ctx.event(Event::Message(message));
        }
        ctx.event(Event::Conversation(id));
    }
    Ok(())
}

/// The proofs of some accounts, each with as much as is known; `None` for who is not proven yet.
pub(crate) fn proofs<const N: usize>(
    ctx: &Ctx<'_>,
    accounts: impl IntoIterator<Item = AccountId>,
) -> Result<Option<List<ProvenAccount, N>>, CoreError> {
    let mut proofs = Vec::new();
    for account in accounts {
        match ctx.txn.proof(&account)? {
            Some(proof) => proofs.push(proof),
            None => return Ok(None),
        }
    }
    List::new(proofs).map(Some).map_err(|_| CoreError::Bug("more accounts than a list takes".into()))
}

/// Seconds until the next try: 1, 2, 4, … and at most ten minutes.
fn backoff_secs(tries: u32) -> u64 {
    (1 << tries.saturating_sub(1).min(10)).min(600)
}

/// Heads that wait to be connected; members tell one each at most now and then.
const HEADS_MAX: usize = 64;
/// Look-ups of a handle before who waits for it is told that the directory has no good answer.
const LOOK_UP_TRIES: u32 = 5;
/// Answers in a row without enough witnesses before that is an alarm. A look at the own account brings two.
const UNWITNESSED_MAX: u32 = LOOK_UP_TRIES;
/// Refusals of a consistency proof before that is a fork.
const CONSISTENCY_TRIES: u32 = 5;
/// Look-ups of somebody whose log is longer by their own word before that is an alarm.
const TOLD_TRIES: u32 = 6;
/// A head that could not be connected is tried again after this time.
const FAILED_AGAIN_SECS: u64 = 3_600;
