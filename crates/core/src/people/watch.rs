//! The watch over this account: what the directory says of it, at every log-in and daily, against the log that this device
//! has; and the entries that this device adds to it.
//!
//! The device looks itself up on its own connection, so that the anonymous one never names this account. The proof that comes
//! back is what it shows to others in letters and welcomes: they need not look it up.

use stonechat_directory::proof::{Asked, verify_account, verify_handle};
use stonechat_directory::{Head, HeadError, PolicyError, ProofError, VerifiedAccount, VerifiedHistory};
use stonechat_wire::limits::HISTORY_VERSIONS_MAX;
use stonechat_wire::{
    AccountHistory, AccountId, AccountLog, DeviceId, DeviceKeys, ErrorCode, Failure, List, LogBody, LogEntry, LogHead,
    ProvenAccount, Request, Signer, Timestamp, decode_canonical,
};

use crate::api::{AlarmKind, CommandError, CommandId, Event, Link, Outcome};
use crate::links::Pending;
use crate::people::accounts::{Learned, learn};
use crate::people::directory::{Belief, Finding, Source, contradiction, handle_moved, look_up};
use crate::step::Ctx;
use crate::store::records::{Intent, POLICY, Phase, Read, WATCH, WatchRecord, Write, info_key};
use crate::store::vault::{Table, VaultError, VaultRead};
use crate::{Core, CoreError};

/// The entry that adds a device to this vault's account: what a linked device and the one that links it sign together.
///
/// # Errors
/// When the vault cannot be read or has no account.
pub fn add_device_entry(
    vault: &dyn VaultRead,
    now: Timestamp,
    device: DeviceKeys,
    new: &ed25519_dalek::SigningKey,
) -> Result<(AccountId, LogEntry), VaultError> {
    let missing = |detail: &str| VaultError { detail: detail.to_owned() };
    let me = Read::me(&vault)?.ok_or_else(|| missing("nobody is signed up here"))?;
    let log = vault.contact(&me.account)?.ok_or_else(|| missing("the own account log is missing"))?.log;
    let previous = log.0.last().ok_or_else(|| missing("the own account log is empty"))?.hash();
    let signing = me.secrets().signing_key();
    let added = Signer::Device(device.id);
    let body = LogBody::AddDevice { previous, device, at: now };
    Ok((me.account, LogEntry::sign(&body, &[(Signer::Device(me.device), &signing), (added, new)])))
}

/// The account log of this vault's account, as far as it is known here.
///
/// # Errors
/// When the vault cannot be read.
pub fn own_log(vault: &dyn VaultRead) -> Result<Option<AccountLog>, VaultError> {
    let Some(me) = Read::me(&vault)? else { return Ok(None) };
    Ok(vault.contact(&me.account)?.map(|contact| contact.log))
}

impl Core {
    /// Looks at the own account when it is time: at every log-in, then daily.
    pub(crate) fn watch(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        let Some(me) = &self.identity else { return Ok(()) };
        let (account, handle) = (me.account(), me.record.handle.clone());
        // Every step comes by here, so nothing large is read before it is time.
        if !self.session.device_ready() || ctx.txn.get(Table::Meta, POLICY)?.is_none() {
            return Ok(());
        }
        if self.session.waits(Link::Device, |p| matches!(p, Pending::OwnHistory | Pending::OwnLookUp)) {
            return Ok(());
        }
        let record: WatchRecord = ctx.txn.record(Table::Meta, WATCH)?.unwrap_or_default();
        let own = ctx.txn.contact(&account)?;
        let (shown, known) = own.map_or((0, 0), |own| (own.checked.map_or(0, |c| c.length), own.log.0.len() as u64));
        let due = if self.session.watched && shown >= known {
            record.next
        } else {
            // The first look of a connection, and until the directory has what this device wrote.
            self.session.watch_again
        };
        if ctx.now < due {
            ctx.wake(due, "the own account is looked at");
            return Ok(());
        }
        self.session.watch_again = ctx.now.plus_secs(AGAIN_SECS);
        self.ask(ctx, Link::Device, Request::LookUpHandle { handle }, Pending::OwnLookUp);
        self.ask(ctx, Link::Device, Request::GetOwnHistory { versions: HISTORY_VERSIONS_MAX }, Pending::OwnHistory);
        Ok(())
    }

    /// The look is over, with or without an answer.
    pub(crate) fn watched(&mut self, ctx: &mut Ctx<'_>, well: bool) -> Result<(), CoreError> {
        self.session.watched = true;
        let mut record: WatchRecord = ctx.txn.record(Table::Meta, WATCH)?.unwrap_or_default();
        if well {
            record.next = ctx.now.plus_secs(DAILY_SECS);
            record.seen = Some(ctx.now);
        } else {
            record.next = ctx.now.plus_secs(AGAIN_SECS * 12);
        }
        ctx.txn.save(Table::Meta, WATCH, &record);
        ctx.wake(record.next, "the own account is looked at");
        Ok(())
    }

    pub(crate) fn watch_refused(&mut self, ctx: &mut Ctx<'_>, failure: &Failure) -> Result<(), CoreError> {
        // What was just written is published within a second or two.
        let least = if failure.code == ErrorCode::Unpublished { 1 } else { AGAIN_SECS };
        let wait = u64::from(failure.retry_after_secs.unwrap_or(0)).max(least);
        self.session.watch_again = ctx.now.plus_secs(wait);
        self.watched(ctx, false)
    }

    /// What the server shows for the own handle.
    pub(crate) fn own_looked_up(&mut self, ctx: &mut Ctx<'_>, found: &ProvenAccount) -> Result<(), CoreError> {
        let Some(policy) = ctx.txn.policy()? else { return Ok(()) };
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody looks themselves up".into()))?;
        let (account, handle, device) = (me.account(), me.record.handle.clone(), me.record.device);
        let own =
            ctx.txn.contact(&account)?.ok_or_else(|| CoreError::Bug("the own account log is missing".into()))?.log;
        let head = match Head::verify(&policy, &found.proof.head) {
            Ok(head) => head,
            Err(error) => return self.own_proof_fails(ctx, &error.into()),
        };
        if self.out_of_date(ctx, &policy, &head)?.is_some() {
            return self.watched(ctx, false);
        }
        self.see_head(ctx, &policy, head.seen())?;
        // Whose the handle is, and what the directory says of this account, whatever log came along.
        if let Some(proof) = &found.proof.handle {
            match verify_handle(&policy, &head, &handle, proof) {
                Ok(holder) if holder.value == account => {}
                Ok(holder) => {
                    let stored = ctx.txn.proof(&account)?;
                    let evidence =
                        stored.and_then(|stored| handle_moved(&policy, &handle, &stored.proof, &found.proof));
                    let what = format!(
                        "The directory gives your handle {handle} to another account: whoever looks you up now reaches \
                         somebody else. If you did not start over with it yourself, tell your contacts by another way."
                    );
                    self.raise(ctx, Finding::new(AlarmKind::HandleMoved, &holder.value.0, what, evidence));
                    return self.watched(ctx, false);
                }
                Err(error) => return self.own_proof_fails(ctx, &error),
            }
        }
        let said = match verify_account(&policy, &head, &account, &found.proof.account) {
            Ok(said) => said.value,
            Err(error) => return self.own_proof_fails(ctx, &error),
        };
        if is_prefix(&said, &own) {
            self.own_published(ctx, &head, &said, &own, found)?;
        } else if found.log.extends(&own)
            && VerifiedAccount::verify(&policy, Asked::Account(&account), &found.log, &found.proof).is_ok()
        {
            self.own_grew(ctx, &found.log, own.0.len(), device)?;
        } else {
            let what = "The directory names an account log for you that your keys did not sign: others are shown devices that \
                        are not yours. Tell your contacts by another way, and keep the evidence."
                .to_owned();
            let evidence = contradiction(&policy, &account, &found.proof, &own);
            self.raise(ctx, Finding::new(AlarmKind::OtherLog, &account.0, what, evidence));
            return self.watched(ctx, false);
        }
        // It holds: it is what others are shown.
        if let Belief::Untrusted(why) | Belief::Later(why) =
            self.believe(ctx, Asked::Handle(&handle), found, Source::Server)?
        {
            ctx.refused(None, format!("what the directory says of this account does not hold: {why}"));
            return self.watched(ctx, false);
        }
        self.dirty.extend(ctx.txn.conversation_ids()?);
        self.watched(ctx, true)
    }

    /// The directory says what this device knows, or the beginning of it.
    fn own_published(
        &mut self,
        ctx: &mut Ctx<'_>,
        head: &Head,
        said: &LogHead,
        own: &AccountLog,
        found: &ProvenAccount,
    ) -> Result<(), CoreError> {
        let Some(policy) = ctx.txn.policy()? else { return Ok(()) };
        let account = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody watches".into()))?.account();
        let mut record: WatchRecord = ctx.txn.record(Table::Meta, WATCH)?.unwrap_or_default();
        // An older head may say less; whether it is of one log with the newer one is asked anyway.
        let newer = ctx.txn.contact(&account)?.and_then(|own| own.checked).is_none_or(|old| head.size() >= old.size);
        if newer && said.length < record.published {
            let stored = ctx.txn.proof(&account)?;
            let evidence = stored.map(|stored| {
                let (first, second) = (look_up(&stored.proof), look_up(&found.proof));
                stonechat_directory::Evidence::account_taken_back(&policy, &account, &first, &second)
            });
            let what =
                "The directory took back a part of your account log: others are shown an older list of your devices, \
                        with those that you revoked."
                    .to_owned();
            self.raise(ctx, Finding::new(AlarmKind::TakenBack, &account.0, what, evidence));
        }
        record.published = record.published.max(said.length);
        if (said.length as usize) < own.0.len() {
            let since = *record.missing_since.get_or_insert(ctx.now);
            if since.plus_secs(PUBLISH_SECS) < ctx.now {
                let what =
                    "The server took a change of your devices and does not publish it: others still trust what you \
                            revoked. Tell them by another way."
                        .to_owned();
                let evidence = contradiction(&policy, &account, &found.proof, own);
                self.raise(ctx, Finding::new(AlarmKind::Unpublished, &account.0, what, evidence));
            }
        } else {
            record.missing_since = None;
        }
        ctx.txn.save(Table::Meta, WATCH, &record);
        Ok(())
    }

    /// Somebody with the keys of this account added to its log, and it was not this device.
    fn own_grew(&mut self, ctx: &mut Ctx<'_>, log: &AccountLog, known: usize, this: DeviceId) -> Result<(), CoreError> {
        for entry in &log.0[known..] {
            let Ok(body) = decode_canonical::<LogBody>(&entry.body) else { continue };
            let (kind, what, device) = match body {
                LogBody::AddDevice { device, .. } => (
                    AlarmKind::Device,
                    format!(
                        "A device was added to your account, and not by this one: {}. If it was not you, revoke it now: it \
                         can read what is written from here on.",
                        device.id
                    ),
                    Some(device.id),
                ),
                LogBody::RevokeDevice { device, .. } if device == this => (
                    AlarmKind::Log,
                    "This device was revoked by another device of your account. It can read nothing new.".to_owned(),
                    None,
                ),
                LogBody::RevokeDevice { device, .. } => (
                    AlarmKind::Log,
                    format!("The device {device} of your account was revoked, and not by this one."),
                    None,
                ),
                LogBody::RotateRecovery { .. } => (
                    AlarmKind::Log,
                    "Your recovery words were replaced, and not by this device. If it was not you, somebody has taken your \
                     account's keys."
                        .to_owned(),
                    None,
                ),
                LogBody::Genesis { .. } => continue,
            };
            self.raise(ctx, Finding::new(kind, &entry.hash(), what, None).device(device));
        }
        let account = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody watches".into()))?.account();
        match learn(ctx, log, Some(account))? {
            Learned::Known(_) => Ok(()),
            Learned::Untrusted(why) => Err(CoreError::Bug(format!("a verified own log is not learned: {why}"))),
        }
    }

    fn own_proof_fails(&mut self, ctx: &mut Ctx<'_>, error: &ProofError) -> Result<(), CoreError> {
        if matches!(error, ProofError::Head(HeadError::Policy(PolicyError::Witnesses { .. }))) {
            self.unwitnessed(ctx, error)?;
        } else {
            let what = format!("What the directory says of your own account does not hold: {error}.");
            self.raise(ctx, Finding::new(AlarmKind::Proof, b"own", what, None));
        }
        self.watched(ctx, false)
    }

    /// What the directory said of this account over time: also what was there for a while and is gone again.
    pub(crate) fn own_history(&mut self, ctx: &mut Ctx<'_>, history: &AccountHistory) -> Result<(), CoreError> {
        let Some(policy) = ctx.txn.policy()? else { return Ok(()) };
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody asks for their history".into()))?;
        let (account, handle) = (me.account(), me.record.handle.clone());
        let own =
            ctx.txn.contact(&account)?.ok_or_else(|| CoreError::Bug("the own account log is missing".into()))?.log;
        let said = match VerifiedHistory::verify(&policy, &account, &handle, HISTORY_VERSIONS_MAX, history) {
            Ok(said) => said,
            Err(error) => return self.own_proof_fails(ctx, &error),
        };
        self.witnessed(ctx)?;
        self.see_head(ctx, &policy, said.head.seen())?;
        // What is longer than the log here is judged with the log that the look-up brings.
        let wrong = said.log.iter().find(|v| v.value.length <= own.0.len() as u64 && !is_prefix(&v.value, &own));
        if let Some(version) = wrong {
            let what = format!(
                "In its epoch {} the directory named an account log for you that your keys did not sign.",
                version.epoch
            );
            self.raise(ctx, Finding::new(AlarmKind::OtherLog, &account.0, what, None));
        }
        if let Some(newest) = said.handle.first().filter(|newest| newest.value != account) {
            let what = format!("The directory gives your handle {handle} to another account.");
            self.raise(ctx, Finding::new(AlarmKind::HandleMoved, &newest.value.0, what, None));
        }
        Ok(())
    }

    // --- changes ---------------------------------------------------------------------------------------------------------

    /// Signs a device out of this account's log. The answer comes when the server has it.
    pub(crate) fn revoke_device(
        &mut self,
        ctx: &mut Ctx<'_>,
        command: CommandId,
        device: DeviceId,
    ) -> Result<Option<Result<Outcome, CommandError>>, CoreError> {
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody revokes".into()))?;
        if device == me.record.device {
            return Ok(Some(Err(CommandError::ThisDevice)));
        }
        let account = me.account();
        let signing = me.signing.clone();
        let by = Signer::Device(me.record.device);
        let Some(state) = crate::people::accounts::known(ctx, &account)? else {
            return Err(CoreError::Bug("the own account log is missing".into()));
        };
        if state.device(&device).is_none() {
            return Ok(Some(Err(CommandError::UnknownDevice(device))));
        }
        if !self.session.device_ready() {
            return Ok(Some(Err(CommandError::Offline)));
        }
        let (_, previous) = state.head();
        let entry = LogEntry::sign(&LogBody::RevokeDevice { previous, device, at: ctx.now }, &[(by, &signing)]);
        self.ask(
            ctx,
            Link::Device,
            Request::ExtendAccount { account, entry: entry.clone() },
            Pending::ExtendAccount { command, entry },
        );
        Ok(None)
    }

    pub(crate) fn account_extended(
        &mut self,
        ctx: &mut Ctx<'_>,
        command: CommandId,
        entry: LogEntry,
    ) -> Result<(), CoreError> {
        let account = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody extends".into()))?.account();
        let contact =
            ctx.txn.contact(&account)?.ok_or_else(|| CoreError::Bug("the own account log is missing".into()))?;
        let mut entries = contact.log.0.into_vec();
        entries.push(entry);
        let result = match List::new(entries) {
            Ok(entries) => match learn(ctx, &AccountLog(entries), Some(account))? {
                Learned::Known(_) => Ok(Outcome::Done),
                // Another device was faster: the watch brings its entry, and the person may try again.
                Learned::Untrusted(why) => Err(CommandError::Refused(why)),
            },
            Err(_) => Err(CommandError::Refused("the account log is full".into())),
        };
        self.session.watch_again = ctx.now.plus_secs(1);
        ctx.finish(command, result);
        Ok(())
    }

    /// Somebody's log no longer has some devices: they are to be removed from every conversation.
    pub(crate) fn remove_revoked(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        for account in std::mem::take(&mut ctx.revoked) {
            let Some(state) = crate::people::accounts::known(ctx, &account)? else { continue };
            let own = self.identity.as_ref().is_some_and(|me| me.account() == account);
            for id in ctx.txn.conversation_ids()? {
                let (Some(mut head), Some(mut info)) = (ctx.txn.head(&id)?, ctx.txn.info(&id)?) else { continue };
                let gone = |leaf: &&crate::store::records::LeafRecord| {
                    leaf.account == account && state.device(&leaf.device).is_none()
                };
                let intents: Vec<_> = info
                    .leaves
                    .iter()
                    .filter(gone)
                    .map(|leaf| Intent::RemoveDevice(account, leaf.device))
                    .filter(|intent| !info.intents.contains(intent))
                    .collect();
                if intents.is_empty() || head.phase != Phase::Live {
                    continue;
                }
                info.intents.extend(intents);
                ctx.txn.save(Table::Conversation, &info_key(&id), &info);
                // The own other devices at once; otherwise one member after the other tries.
                self.commit_soon(ctx, id, &mut head, if own { 400 } else { REMOVE_JITTER_MS })?;
                ctx.txn.save(Table::Conversation, &id.0, &head);
                ctx.event(Event::Conversation(id));
                self.dirty.insert(id);
            }
        }
        Ok(())
    }
}

/// Whether what the directory says is the log, or a beginning of it.
fn is_prefix(said: &LogHead, log: &AccountLog) -> bool {
    let last = usize::try_from(said.length).ok().and_then(|length| log.0.get(length.checked_sub(1)?));
    last.is_some_and(|entry| entry.hash() == said.hash)
}

/// Between two looks at the own account.
const DAILY_SECS: u64 = 24 * 3_600;
/// Until the directory has what this device wrote, and after a failure.
const AGAIN_SECS: u64 = 5;
/// The directory publishes within a second or two. After this time it keeps something back.
const PUBLISH_SECS: u64 = 120;
/// Before a member removes another's revoked device.
const REMOVE_JITTER_MS: u64 = 2_000;
