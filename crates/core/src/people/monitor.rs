//! This account, monitored: what the directory says of it, at every log-in and daily, against the log that this device has.
//!
//! The device looks itself up on its own connection, so that the anonymous one never names this account. The proof that comes
//! back is what it shows to others in letters and welcomes: they need not look it up.

use minicbor::{Decode, Encode};
use stonechat_directory::proof::{Asked, verify_account, verify_handle};
use stonechat_directory::{Evidence, Head, ProofError, VerifiedAccount, VerifiedHistory};
use stonechat_wire::limits::HISTORY_VERSIONS_MAX;
use stonechat_wire::{
    AccountHistory, AccountLog, DeviceId, ErrorCode, Failure, LogBody, LogHead, ProvenAccount, Request, Timestamp,
    decode_canonical,
};

use super::accounts::{Contact, learn};
use super::alarms::{Raised, raise, unwitnessed, witnessed};
use super::belief::{
    Belief, Source, believe, contradiction, distrust, handle_moved, is_policy_pinned, look_up, out_of_date, policy,
};
use super::heads::see_head;
use super::{People, Question};
use crate::api::{AlarmKind, Distrust, Finding, Link, Refusal};
use crate::error::{CoreError, refusal_of};
use crate::step::Ctx;
use crate::store::{Read as _, Record, Table};

/// What came of monitoring this account.
#[derive(Encode, Decode, Clone, Default)]
#[cbor(map)]
pub(crate) struct MonitorRecord {
    /// Not before this moment: the next look.
    #[n(0)]
    pub next: Timestamp,
    /// When an entry of this account's log was first found missing in the directory.
    #[n(1)]
    pub missing_since: Option<Timestamp>,
    /// The longest own log that the directory ever showed.
    #[n(2)]
    pub published: u64,
    /// When the look that went well last was.
    #[n(3)]
    pub seen: Option<Timestamp>,
    /// Answers of the directory in a row, to whatever was asked, whose head too few witnesses confirm.
    #[n(4)]
    pub unwitnessed: u32,
}

impl Record for MonitorRecord {
    const TABLE: Table = Table::Meta;
    type Key = ();
    fn key((): &()) -> Vec<u8> {
        b"directory/watch".to_vec()
    }
}

/// Monitoring, as far as this connection knows.
#[derive(Default)]
pub(super) struct Monitor {
    /// This account was looked at on this connection.
    done: bool,
    /// Not before this moment: the next look, while the last one was not good.
    again: Timestamp,
}

impl Monitor {
    pub(super) fn connected(&mut self, now: Timestamp) {
        self.done = false;
        self.again = now;
    }

    /// The log is longer than what is known here.
    pub(super) fn look_soon(&mut self) {
        self.done = false;
    }

    /// What this device wrote will be published in a moment.
    pub(super) fn look_at(&mut self, when: Timestamp) {
        self.again = when;
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }
}

impl People {
    /// Looks at this account when it is time: at every log-in, then daily.
    pub(super) fn look_at_self(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        let (account, handle) = (ctx.me.account(), ctx.me.record.handle.clone());
        // Every step comes by here, so nothing large is read before it is time.
        if !ctx.links.is_ready(Link::Device) || !is_policy_pinned(ctx)? {
            return Ok(());
        }
        if self.questions.has(|q| matches!(q, Question::OwnHistory | Question::OwnLookUp)) {
            return Ok(());
        }
        let record = ctx.txn.load::<MonitorRecord>(&())?.unwrap_or_default();
        let own = ctx.txn.load::<Contact>(&account)?;
        let (shown, known) = own.map_or((0, 0), |own| (own.checked.map_or(0, |c| c.length), own.log.0.len() as u64));
        let due = if self.monitor.done && shown >= known {
            record.next
        } else {
            // The first look of a connection, and until the directory has what this device wrote.
            self.monitor.again
        };
        if ctx.now < due {
            ctx.wake(due, "this account is looked at");
            return Ok(());
        }
        self.monitor.again = ctx.now.plus_secs(AGAIN_SECS);
        self.questions.ask(ctx, Link::Device, Request::LookUpHandle { handle }, Question::OwnLookUp);
        self.questions.ask(
            ctx,
            Link::Device,
            Request::GetOwnHistory { versions: HISTORY_VERSIONS_MAX },
            Question::OwnHistory,
        );
        Ok(())
    }

    /// The look is over, with or without an answer.
    pub(crate) fn look_over(&mut self, ctx: &mut Ctx<'_>, well: bool) -> Result<(), CoreError> {
        self.monitor.done = true;
        let mut record = ctx.txn.load::<MonitorRecord>(&())?.unwrap_or_default();
        if well {
            record.next = ctx.now.plus_secs(DAILY_SECS);
            record.seen = Some(ctx.now);
        } else {
            record.next = ctx.now.plus_secs(AGAIN_SECS * 12);
        }
        ctx.txn.store(&(), &record);
        ctx.wake(record.next, "this account is looked at");
        Ok(())
    }

    pub(super) fn look_refused(&mut self, ctx: &mut Ctx<'_>, failure: &Failure) -> Result<(), CoreError> {
        // What was just written is published within a second or two.
        let least = if failure.code == ErrorCode::Unpublished { 1 } else { AGAIN_SECS };
        let wait = u64::from(failure.retry_after_secs.unwrap_or(0)).max(least);
        self.monitor.again = ctx.now.plus_secs(wait);
        self.look_over(ctx, false)
    }

    /// What the server shows for this account's handle.
    pub(super) fn own_looked_up(&mut self, ctx: &mut Ctx<'_>, found: &ProvenAccount) -> Result<(), CoreError> {
        let Some(policy) = policy(&ctx.txn)? else { return Ok(()) };
        let me = ctx.me;
        let (account, handle, device) = (me.account(), me.record.handle.clone(), me.record.device);
        let own =
            ctx.txn.load::<Contact>(&account)?.ok_or_else(|| CoreError::bug("this account's log is missing"))?.log;
        let head = match Head::verify(&policy, &found.proof.head) {
            Ok(head) => head,
            Err(error) => return self.own_proof_fails(ctx, &error.into()),
        };
        if out_of_date(ctx, &policy, &head)?.is_some() {
            return self.look_over(ctx, false);
        }
        see_head(ctx, &policy, head.seen())?;
        // Whose the handle is, and what the directory says of this account, whatever log came along.
        if let Some(proof) = &found.proof.handle {
            match verify_handle(&policy, &head, &handle, proof) {
                Ok(holder) if holder.value == account => {}
                Ok(holder) => {
                    let stored = ctx.txn.load::<ProvenAccount>(&account)?;
                    let evidence =
                        stored.and_then(|stored| handle_moved(&policy, &handle, &stored.proof, &found.proof));
                    let finding = Finding::OwnHandleGiven { handle };
                    raise(ctx, Raised::new(AlarmKind::HandleMoved, &holder.value.0, finding, evidence));
                    return self.look_over(ctx, false);
                }
                Err(error) => return self.own_proof_fails(ctx, &error),
            }
        }
        let said = match verify_account(&policy, &head, &account, &found.proof.account) {
            Ok(said) => said.value,
            Err(error) => return self.own_proof_fails(ctx, &error),
        };
        if is_prefix(&said, &own) {
            own_published(ctx, &head, &said, &own, found)?;
        } else if found.log.extends(&own)
            && VerifiedAccount::verify(&policy, Asked::Account(&account), &found.log, &found.proof).is_ok()
        {
            own_grew(ctx, &found.log, own.0.len(), device)?;
        } else {
            let evidence = contradiction(&policy, &account, &found.proof, &own);
            raise(ctx, Raised::new(AlarmKind::OtherLog, &account.0, Finding::OwnLogForged, evidence));
            return self.look_over(ctx, false);
        }
        // It holds: it is what others are shown.
        if let Belief::Untrusted(why) | Belief::Later(why) =
            believe(ctx, Asked::Handle(&handle), found, Source::Server)?
        {
            ctx.refused(None, Refusal::OwnAccount(why));
            return self.look_over(ctx, false);
        }
        ctx.mail.look_again = true;
        self.look_over(ctx, true)
    }

    fn own_proof_fails(&mut self, ctx: &mut Ctx<'_>, error: &ProofError) -> Result<(), CoreError> {
        match distrust(error) {
            Distrust::Witnesses { have, need } => unwitnessed(ctx, have, need)?,
            why => raise(ctx, Raised::new(AlarmKind::Proof, b"own", Finding::OwnProofFails { why }, None)),
        }
        self.look_over(ctx, false)
    }

    /// What the directory said of this account over time: also what was there for a while and is gone again.
    pub(super) fn own_history(&mut self, ctx: &mut Ctx<'_>, history: &AccountHistory) -> Result<(), CoreError> {
        let Some(policy) = policy(&ctx.txn)? else { return Ok(()) };
        let me = ctx.me;
        let (account, handle) = (me.account(), me.record.handle.clone());
        let own =
            ctx.txn.load::<Contact>(&account)?.ok_or_else(|| CoreError::bug("this account's log is missing"))?.log;
        let said = match VerifiedHistory::verify(&policy, &account, &handle, HISTORY_VERSIONS_MAX, history) {
            Ok(said) => said,
            Err(error) => return self.own_proof_fails(ctx, &error),
        };
        witnessed(ctx)?;
        see_head(ctx, &policy, said.head.seen())?;
        // What is longer than the log here is judged with the log that the look-up brings.
        let wrong = said.log.iter().find(|v| v.value.length <= own.0.len() as u64 && !is_prefix(&v.value, &own));
        if let Some(version) = wrong {
            let finding = Finding::OwnLogWasForged { epoch: version.epoch };
            raise(ctx, Raised::new(AlarmKind::OtherLog, &account.0, finding, None));
        }
        if let Some(newest) = said.handle.first().filter(|newest| newest.value != account) {
            let finding = Finding::OwnHandleGiven { handle };
            raise(ctx, Raised::new(AlarmKind::HandleMoved, &newest.value.0, finding, None));
        }
        Ok(())
    }
}

/// The directory says what this device knows, or the beginning of it.
fn own_published(
    ctx: &mut Ctx<'_>,
    head: &Head,
    said: &LogHead,
    own: &AccountLog,
    found: &ProvenAccount,
) -> Result<(), CoreError> {
    let Some(policy) = policy(&ctx.txn)? else { return Ok(()) };
    let account = ctx.me.account();
    let mut record = ctx.txn.load::<MonitorRecord>(&())?.unwrap_or_default();
    // An older head may say less; whether it is consistent with the newer one is asked anyway.
    let newer =
        ctx.txn.load::<Contact>(&account)?.and_then(|own| own.checked).is_none_or(|old| head.size() >= old.size);
    if newer && said.length < record.published {
        let stored = ctx.txn.load::<ProvenAccount>(&account)?;
        let evidence = stored.map(|stored| {
            let (first, second) = (look_up(&stored.proof), look_up(&found.proof));
            Evidence::account_taken_back(&policy, &account, &first, &second)
        });
        raise(ctx, Raised::new(AlarmKind::TakenBack, &account.0, Finding::OwnLogTakenBack, evidence));
    }
    record.published = record.published.max(said.length);
    if (said.length as usize) < own.0.len() {
        let since = *record.missing_since.get_or_insert(ctx.now);
        if since.plus_secs(PUBLISH_SECS) < ctx.now {
            let evidence = contradiction(&policy, &account, &found.proof, own);
            raise(ctx, Raised::new(AlarmKind::Unpublished, &account.0, Finding::OwnLogUnpublished, evidence));
        }
    } else {
        record.missing_since = None;
    }
    ctx.txn.store(&(), &record);
    Ok(())
}

/// Somebody with the keys of this account added to its log, and it was not this device.
fn own_grew(ctx: &mut Ctx<'_>, log: &AccountLog, known: usize, this: DeviceId) -> Result<(), CoreError> {
    for entry in &log.0[known..] {
        let Ok(body) = decode_canonical::<LogBody>(&entry.body) else { continue };
        let (kind, finding, device) = match body {
            LogBody::AddDevice { device, .. } => {
                (AlarmKind::Device, Finding::DeviceAdded { device: device.id }, Some(device.id))
            }
            LogBody::RevokeDevice { device, .. } if device == this => {
                (AlarmKind::Log, Finding::ThisDeviceRevoked, None)
            }
            LogBody::RevokeDevice { device, .. } => (AlarmKind::Log, Finding::DeviceRevoked { device }, None),
            LogBody::RotateRecovery { .. } => (AlarmKind::Log, Finding::RecoveryReplaced, None),
            LogBody::Genesis { .. } => continue,
        };
        raise(ctx, Raised::new(kind, &entry.hash(), finding, None).device(device));
    }
    let account = ctx.me.account();
    match refusal_of(learn(ctx, log, Some(account)))? {
        Ok(_) => Ok(()),
        Err(why) => Err(CoreError::bug(format!("a verified own log is not learned: {why}"))),
    }
}

/// Whether what the directory says is the log, or a beginning of it.
fn is_prefix(said: &LogHead, log: &AccountLog) -> bool {
    let last = usize::try_from(said.length).ok().and_then(|length| log.0.get(length.checked_sub(1)?));
    last.is_some_and(|entry| entry.hash() == said.hash)
}

/// Between two looks at this account.
const DAILY_SECS: u64 = 24 * 3_600;

/// Until the directory has what this device wrote, and after a failure.
const AGAIN_SECS: u64 = 5;

/// The directory publishes within a second or two. After this time it keeps something back.
const PUBLISH_SECS: u64 = 120;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Directory, Home, Person};

    fn looks(home: &mut Home, people: &mut People) -> usize {
        home.step(|ctx| people.look_at_self(ctx).unwrap()).requests().len()
    }

    fn online() -> (Home, People) {
        let (mut home, mut people) = (Home::online("alice"), People::default());
        home.pin(&Directory::new());
        people.monitor.connected(home.now);
        (home, people)
    }

    #[test]
    fn this_account_is_looked_at_once_the_policy_is_pinned_and_the_device_logged_in() {
        let (mut home, mut people) = (Home::online("alice"), People::default());
        assert_eq!(looks(&mut home, &mut people), 0, "nothing to judge by");
        home.pin(&Directory::new());
        assert_eq!(looks(&mut home, &mut people), 2, "the handle, and what was said over time");
        assert_eq!(looks(&mut home, &mut people), 0, "it is asked already");
        let mut home = Home::of("alice");
        home.pin(&Directory::new());
        assert_eq!(looks(&mut home, &mut People::default()), 0, "not logged in");
    }

    #[test]
    fn after_a_refusal_it_is_looked_at_again_soon_and_after_a_good_look_a_day_later() {
        let (mut home, mut people) = online();
        assert_eq!(looks(&mut home, &mut people), 2);
        let failure = Failure { code: ErrorCode::Slow, retry_after_secs: Some(60), detail: None };
        for id in 1..=2 {
            home.step(|ctx| people.refused(ctx, Link::Device, id, &failure).unwrap());
        }
        assert!(people.monitor.is_done(), "who waits for everything does not wait for the directory");
        assert_eq!(looks(&mut home, &mut people), 0);
        home.now = home.now.plus_secs(60);
        assert_eq!(looks(&mut home, &mut people), 2);
        home.step(|ctx| people.look_over(ctx, true).unwrap());
        let record = home.step(|ctx| ctx.txn.need::<MonitorRecord>(&()).unwrap()).value;
        assert_eq!((record.next, record.seen), (home.now.plus_secs(DAILY_SECS), Some(home.now)));
    }

    #[test]
    fn a_head_that_says_a_prefix_of_the_log_agrees_with_it_and_another_does_not() {
        let bob = Person::of("bob", 10);
        let (longer, _) = bob.with_device(30);
        let said = |log: &AccountLog, length: u64| LogHead {
            length,
            hash: log.0[usize::try_from(length).unwrap() - 1].hash(),
        };
        assert!(is_prefix(&said(&bob.log, 1), &longer) && is_prefix(&said(&longer, 2), &longer));
        assert!(!is_prefix(&said(&longer, 2), &bob.log));
        assert!(!is_prefix(&LogHead { length: 1, hash: [9; 32] }, &longer));
        assert!(!is_prefix(&LogHead { length: 0, ..said(&bob.log, 1) }, &longer));
    }

    #[test]
    fn a_device_that_somebody_else_added_is_an_alarm_and_is_learned() {
        let mut home = Home::of("alice");
        let me = home.identity.account();
        let log = home.identity.log.clone();
        let added = Person::of("other", 40);
        let (_, entry) = crate::people::sign_up::add_device_entry(
            &home.vault,
            home.now,
            added.secrets.device_keys(added.device),
            &added.secrets.signing_key(),
        )
        .unwrap();
        let mut entries = log.0.into_vec();
        entries.push(entry);
        let longer = AccountLog(stonechat_wire::List::new(entries).unwrap());
        let this = home.identity.record.device;
        let out = home.step(|ctx| own_grew(ctx, &longer, 1, this).unwrap());
        let alarm = out.events().into_iter().find_map(|event| match event {
            crate::api::Event::Alarm(alarm) => Some((alarm.kind, alarm.device)),
            _ => None,
        });
        assert_eq!(alarm, Some((AlarmKind::Device, Some(added.device))));
        assert_eq!(home.step(|ctx| ctx.txn.need::<Contact>(&me).unwrap().log).value, longer);
    }
}
