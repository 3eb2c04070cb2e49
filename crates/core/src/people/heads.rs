//! Heads of the directory: every one that is seen, here or by somebody who tells of it in a conversation, must be consistent
//! with all the others.
//!
//! The server is asked for the consistency proof beside everything else. A head that it cannot connect is a fork.

use minicbor::{Decode, Encode};
use stonechat_directory::head::SeenHead;
use stonechat_directory::{DirectoryPolicy, Evidence, Head, tlog};
use stonechat_wire::{AccountId, ErrorCode, Failure, LogHead, Request, SignedHead, Timestamp, TreeHash, TreeProof};

use super::accounts::{Checked, Contact, handle_of};
use super::alarms::{Raised, raise};
use super::belief::{policy, settle_contact};
use super::lookup::backoff_secs;
use super::{People, Question};
use crate::api::{AlarmKind, Doubt, Finding, Link, Refusal};
use crate::content::ToldHead;
use crate::error::CoreError;
use crate::step::Ctx;
use crate::store::{Listed, Read, Record, Table, VaultError};

/// A head of the directory that is still to be shown to be of the same log as the newest. Under its size and its root.
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct HeadRecord {
    #[n(0)]
    pub size: u64,
    #[n(1)]
    pub root: TreeHash,
    #[cbor(n(2), with = "stonechat_wire::codec::fixed")]
    pub signature: [u8; 64],
    /// How often the directory refused to show it.
    #[n(3)]
    pub tries: u32,
    #[n(4)]
    pub not_before: Timestamp,
    /// It could not be shown: the directory has forked, unless it shows it after all.
    #[n(5)]
    pub failed: bool,
}

/// What was last told of the directory in a conversation.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    #[n(0)]
    pub size: u64,
    #[n(1)]
    pub length: u64,
}

impl Record for HeadRecord {
    const TABLE: Table = Table::Meta;
    type Key = (u64, TreeHash);
    fn key((size, root): &Self::Key) -> Vec<u8> {
        [Self::PREFIX, &size.to_be_bytes(), &root.0].concat()
    }
}

impl Listed for HeadRecord {
    const PREFIX: &'static [u8] = b"directory/heads/";
    fn parse_key(rest: &[u8]) -> Option<Self::Key> {
        let (size, root) = rest.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*size), TreeHash(root.try_into().ok()?)))
    }
}

/// The newest head that is known to continue all others.
#[derive(Encode, Decode)]
#[cbor(transparent)]
struct Newest(#[n(0)] HeadRecord);

impl Record for Newest {
    const TABLE: Table = Table::Meta;
    type Key = ();
    fn key((): &()) -> Vec<u8> {
        b"directory/newest".to_vec()
    }
}

/// The newest head.
pub(crate) fn newest<R: Read + ?Sized>(reader: &R) -> Result<Option<HeadRecord>, VaultError> {
    Ok(reader.load::<Newest>(&())?.map(|newest| newest.0))
}

/// Heads that are still to be connected with it.
pub(crate) fn pending<R: Read + ?Sized>(reader: &R) -> Result<Vec<HeadRecord>, VaultError> {
    Ok(reader.list::<HeadRecord>(usize::MAX)?.into_iter().map(|(_, head)| head).collect())
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

    pub(super) fn seen(&self) -> SeenHead {
        SeenHead { size: self.size, root: self.root, signature: self.signature }
    }
}

/// Takes note of a head that somebody was shown. Returns whether it is known to be consistent with all others; if not,
/// the server is asked to show it.
pub(crate) fn see_head(ctx: &mut Ctx<'_>, policy: &DirectoryPolicy, seen: SeenHead) -> Result<bool, CoreError> {
    let Some(newest) = newest(&ctx.txn)? else {
        ctx.txn.store(&(), &Newest(HeadRecord::of(&seen)));
        return Ok(true);
    };
    if (newest.size, newest.root) == (seen.size, seen.root) {
        return Ok(true);
    }
    let key = (seen.size, seen.root);
    if ctx.txn.has::<HeadRecord>(&key)? {
        return Ok(false);
    }
    let mut record = HeadRecord::of(&seen);
    let pending = pending(&ctx.txn)?;
    let other = pending.iter().chain([&newest]).find(|other| other.size == seen.size);
    if let Some(other) = other {
        // One size, two roots, both signed. Nothing more is needed.
        let evidence = Evidence::heads(policy, &other.seen(), &seen, &TreeProof::default());
        record.failed = true;
        forked(ctx, &seen, Some(evidence));
    }
    ctx.txn.store(&key, &record);
    Ok(false)
}

fn forked(ctx: &mut Ctx<'_>, seen: &SeenHead, evidence: Option<Evidence>) {
    let subject = [&seen.size.to_be_bytes()[..], &seen.root.0].concat();
    raise(ctx, Raised::new(AlarmKind::Fork, &subject, Finding::Forked, evidence));
    // Every lock is open now, and nobody is looked up.
    ctx.mail.all_changed = true;
    ctx.mail.forked = true;
}

impl People {
    /// Asks for the proofs that heads are consistent.
    pub(super) fn connect_heads(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        if !ctx.links.is_ready(Link::Anonymous) || self.questions.has(|q| matches!(q, Question::Consistency { .. })) {
            return Ok(());
        }
        let Some(newest) = newest(&ctx.txn)? else { return Ok(()) };
        for head in pending(&ctx.txn)? {
            if head.size == newest.size {
                continue;
            }
            if head.not_before > ctx.now {
                ctx.wake(head.not_before, "the directory is asked about a head again");
                continue;
            }
            let (from, to) = (head.size.min(newest.size), head.size.max(newest.size));
            let pending = Question::Consistency { newest: newest.seen(), head: head.seen() };
            self.questions.ask(ctx, Link::Anonymous, Request::GetConsistency { from, to }, pending);
            return Ok(());
        }
        Ok(())
    }

    pub(super) fn consistency_answered(
        &mut self,
        ctx: &mut Ctx<'_>,
        newest: &SeenHead,
        head: &SeenHead,
        proof: &TreeProof,
    ) -> Result<(), CoreError> {
        let key = (head.size, head.root);
        let Some(mut record) = ctx.txn.load::<HeadRecord>(&key)? else { return Ok(()) };
        let (old, new) = if head.size < newest.size { (head, newest) } else { (newest, head) };
        if tlog::verify_consistency((old.size, &old.root), (new.size, &new.root), proof).is_err() {
            record.failed = true;
            record.not_before = ctx.now.plus_secs(FAILED_AGAIN_SECS);
            ctx.txn.store(&key, &record);
            let evidence = policy(&ctx.txn)?.map(|policy| Evidence::heads(&policy, newest, head, proof));
            self.questions.ask(ctx, Link::Anonymous, Request::GetHead, Question::Head);
            forked(ctx, head, evidence);
            return Ok(());
        }
        ctx.txn.remove::<HeadRecord>(&key);
        let current = self::newest(&ctx.txn)?;
        if current.is_none_or(|current| (current.size, current.root) == (newest.size, newest.root))
            && head.size > newest.size
        {
            ctx.txn.store(&(), &Newest(HeadRecord::of(head)));
        }
        for (id, mut contact) in ctx.txn.list::<Contact>(usize::MAX)? {
            let here =
                |checked: &&mut Checked| (checked.size, checked.root) == (head.size, head.root) && !checked.connected;
            let Some(checked) = contact.checked.as_mut().filter(here) else { continue };
            checked.connected = true;
            ctx.txn.store(&id, &contact);
            settle_contact(ctx, &id)?;
        }
        Ok(())
    }

    pub(super) fn consistency_refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        newest: &SeenHead,
        head: &SeenHead,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        let key = (head.size, head.root);
        let Some(mut record) = ctx.txn.load::<HeadRecord>(&key)? else { return Ok(()) };
        record.not_before = ctx.now.plus_secs(backoff_secs(record.tries + 1));
        // A server that is busy owes the answer later; one that does not know a head which it signed owes it now.
        if !matches!(failure.code, ErrorCode::Unavailable | ErrorCode::Slow) {
            record.tries += 1;
        }
        let give_up = record.tries >= CONSISTENCY_TRIES && !record.failed;
        record.failed |= give_up;
        ctx.txn.store(&key, &record);
        if give_up {
            let evidence =
                policy(&ctx.txn)?.map(|policy| Evidence::heads(&policy, newest, head, &TreeProof::default()));
            self.questions.ask(ctx, Link::Anonymous, Request::GetHead, Question::Head);
            forked(ctx, head, evidence);
            return Ok(());
        }
        Ok(())
    }
}

/// The server's newest head, asked for after it could not connect two: with luck of the same size as one of them, which
/// proves the fork; and what others are told from here on.
pub(super) fn head_answered(ctx: &mut Ctx<'_>, signed: &SignedHead) -> Result<(), CoreError> {
    let Some(policy) = policy(&ctx.txn)? else { return Ok(()) };
    match Head::verify(&policy, signed) {
        Ok(head) => see_head(ctx, &policy, head.seen()).map(drop),
        Err(_) => {
            ctx.refused(None, Refusal::Head);
            Ok(())
        }
    }
}

/// What to tell the members of a conversation of the directory, if it is news there.
pub(crate) fn tell(ctx: &Ctx<'_>, before: Option<Told>) -> Result<Option<(Told, ToldHead)>, CoreError> {
    let Some(newest) = newest(&ctx.txn)? else { return Ok(None) };
    // What this device knows that the directory has: it tells nobody of what is on its way there.
    let Some(own) = ctx.txn.load::<Contact>(&ctx.me.account())? else { return Ok(None) };
    let Some(length) = own.checked.map(|checked| checked.length) else { return Ok(None) };
    let last = usize::try_from(length.saturating_sub(1)).ok().and_then(|at| own.log.0.get(at));
    let Some(last) = last else { return Ok(None) };
    let told = Told { size: newest.size, length };
    if before == Some(told) {
        return Ok(None);
    }
    let own = LogHead { length, hash: last.hash() };
    Ok(Some((told, ToldHead { size: newest.size, root: newest.root, signature: newest.signature, own })))
}

/// A member told what they saw.
pub(crate) fn told(ctx: &mut Ctx<'_>, member: AccountId, told: &ToldHead) -> Result<(), CoreError> {
    let Some(policy) = policy(&ctx.txn)? else { return Ok(()) };
    let seen = SeenHead { size: told.size, root: told.root, signature: told.signature };
    let newest = newest(&ctx.txn)?;
    let familiar = newest.is_some_and(|newest| (newest.size, newest.root) == (seen.size, seen.root));
    if !familiar && !seen.is_signed(&policy) {
        ctx.refused(None, Refusal::UnsignedHead);
        return Ok(());
    }
    // A member may tell of many states that the directory really signed; some at a time are enough to find a fork.
    if familiar || pending(&ctx.txn)?.len() < HEADS_MAX {
        see_head(ctx, &policy, seen)?;
    }
    if ctx.me.account() == member {
        // Another device of this account: this device looks at it, on the connection that may name the account.
        let own = ctx.txn.load::<Contact>(&member)?.map_or(0, |contact| contact.log.0.len() as u64);
        if told.own.length > own {
            ctx.mail.own_longer = true;
        }
        return Ok(());
    }
    let Some(mut contact) = ctx.txn.load::<Contact>(&member)? else { return Ok(()) };
    let known = contact.log.0.len() as u64;
    let mine = usize::try_from(told.own.length.saturating_sub(1)).ok().and_then(|at| contact.log.0.get(at));
    match mine {
        Some(entry) if entry.hash() == told.own.hash => Ok(()),
        Some(_) => {
            let finding = Finding::OtherLogForThem { who: handle_of(&ctx.txn, &member)? };
            contact.doubt = Some(Doubt::OtherForThem);
            ctx.txn.store(&member, &contact);
            raise(ctx, Raised::new(AlarmKind::OtherLog, &member.0, finding, None).about(member));
            ctx.mail.changed.insert(member);
            Ok(())
        }
        None if told.own.length > known && contact.told.is_none_or(|t| t < told.own.length) => {
            contact.told = Some(told.own.length);
            ctx.txn.store(&member, &contact);
            ctx.mail.longer.push(member);
            Ok(())
        }
        None => Ok(()),
    }
}

/// Heads that wait to be connected; members tell one each at most now and then.
const HEADS_MAX: usize = 64;

/// Refusals of a consistency proof before that is a fork.
const CONSISTENCY_TRIES: u32 = 5;

/// A head that could not be connected is tried again after this time.
const FAILED_AGAIN_SECS: u64 = 3_600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Event;
    use crate::testing::{Directory, Home, Out};

    fn see(home: &mut Home, directory: &Directory, head: SeenHead) -> Out<(bool, bool)> {
        home.step(|ctx| {
            let connected = see_head(ctx, &directory.policy, head).unwrap();
            (connected, ctx.mail.forked)
        })
    }

    fn alarms(out: &Out<(bool, bool)>) -> usize {
        out.events().iter().filter(|event| matches!(event, Event::Alarm(_))).count()
    }

    #[test]
    fn the_first_head_is_taken_and_another_waits_for_its_proof() {
        let (mut home, directory) = (Home::online("alice"), Directory::new());
        assert_eq!(see(&mut home, &directory, directory.head(5, 1)).value, (true, false));
        assert_eq!(see(&mut home, &directory, directory.head(5, 1)).value, (true, false), "the same again");
        assert_eq!(see(&mut home, &directory, directory.head(9, 2)).value, (false, false));
        let mut people = People::default();
        let out = home.step(|ctx| people.connect_heads(ctx).unwrap());
        assert!(matches!(out.requests()[..], [Request::GetConsistency { from: 5, to: 9 }]));
    }

    #[test]
    fn two_heads_of_one_size_are_a_fork_at_once() {
        let (mut home, directory) = (Home::of("alice"), Directory::new());
        see(&mut home, &directory, directory.head(5, 1));
        let out = see(&mut home, &directory, directory.head(5, 2));
        assert_eq!((out.value, alarms(&out)), ((false, true), 1));
        assert!(home.step(|ctx| pending(&ctx.txn).unwrap()[0].failed).value);
    }

    #[test]
    fn a_proof_that_connects_two_heads_makes_the_larger_the_newest_and_one_that_does_not_is_a_fork() {
        let (mut home, directory) = (Home::online("alice"), Directory::new());
        // A log of one leaf and its continuation.
        let leaves = [tlog::leaf_hash(b"one"), tlog::leaf_hash(b"two")];
        let root = tlog::node_hash(&leaves[0], &leaves[1]);
        let with_root = |size, root| SeenHead { root, ..directory.head(size, 0) };
        let (old, new) = (with_root(1, leaves[0]), with_root(2, root));
        see(&mut home, &directory, old);
        see(&mut home, &directory, new);
        let mut people = People::default();
        let good = TreeProof::new(vec![leaves[1]]).unwrap();
        let out = home.step(|ctx| {
            people.consistency_answered(ctx, &old, &new, &good).unwrap();
            (ctx.mail.forked, self::newest(&ctx.txn).unwrap().unwrap().size, pending(&ctx.txn).unwrap().len())
        });
        assert_eq!(out.value, (false, 2, 0));
        let other = directory.head(7, 9);
        see(&mut home, &directory, other);
        let out = home.step(|ctx| {
            people.consistency_answered(ctx, &new, &other, &good).unwrap();
            (ctx.mail.forked, self::newest(&ctx.txn).unwrap().unwrap().size, pending(&ctx.txn).unwrap()[0].failed)
        });
        assert_eq!(out.value, (true, 2, true));
    }

    #[test]
    fn a_refusal_is_forgiven_to_a_busy_server_and_becomes_a_fork_otherwise() {
        let (mut home, directory) = (Home::online("alice"), Directory::new());
        home.pin(&directory);
        let (old, new) = (directory.head(5, 1), directory.head(9, 2));
        see(&mut home, &directory, old);
        see(&mut home, &directory, new);
        let mut people = People::default();
        let mut refuse = |home: &mut Home, code| {
            let failure = Failure { code, retry_after_secs: None, detail: None };
            home.step(|ctx| {
                people.consistency_refused(ctx, &old, &new, &failure).unwrap();
                ctx.mail.forked
            })
            .value
        };
        assert!((0..2 * CONSISTENCY_TRIES).all(|_| !refuse(&mut home, ErrorCode::Slow)));
        assert!((1..CONSISTENCY_TRIES).all(|_| !refuse(&mut home, ErrorCode::NotFound)));
        assert!(refuse(&mut home, ErrorCode::NotFound));
    }

    #[test]
    fn others_are_told_of_a_head_once_and_of_nothing_that_is_not_proven() {
        let (mut home, directory) = (Home::of("alice"), Directory::new());
        let me = home.identity.account();
        see(&mut home, &directory, directory.head(5, 1));
        assert!(home.step(|ctx| tell(ctx, None).unwrap()).value.is_none(), "this account is not proven yet");
        home.step(|ctx| {
            let mut own: Contact = ctx.txn.need(&me).unwrap();
            let (size, root) = (5, TreeHash([1; 32]));
            own.checked = Some(Checked { length: 1, size, root, time: Timestamp(1), handle: true, connected: true });
            ctx.txn.store(&me, &own);
        });
        let (told, said) = home.step(|ctx| tell(ctx, None).unwrap()).value.unwrap();
        assert_eq!((told.size, said.size, said.own.length), (5, 5, 1));
        assert!(home.step(|ctx| tell(ctx, Some(told)).unwrap()).value.is_none());
    }

    #[test]
    fn what_a_member_tells_counts_only_if_the_directory_signed_it() {
        let (mut home, directory) = (Home::of("alice"), Directory::new());
        home.pin(&directory);
        let bob = home.meet("bob", 10);
        let hear = |home: &mut Home, head: SeenHead, length, hash| {
            let own = LogHead { length, hash };
            let said = ToldHead { size: head.size, root: head.root, signature: head.signature, own };
            home.step(|ctx| {
                told(ctx, bob.id(), &said).unwrap();
                (self::newest(&ctx.txn).unwrap().is_some(), ctx.mail.longer.clone())
            })
        };
        let hash = bob.log.0[0].hash();
        let forged = SeenHead { size: 6, ..directory.head(5, 1) };
        let out = hear(&mut home, forged, 1, hash);
        assert_eq!((out.refusals(), out.value), (1, (false, vec![])));
        assert_eq!(hear(&mut home, directory.head(5, 1), 1, hash).value, (true, vec![]));
        // Their log is longer than here: it is asked for.
        assert_eq!(hear(&mut home, directory.head(5, 1), 2, [9; 32]).value.1, [bob.id()]);
        // Another log of the same length is a doubt.
        hear(&mut home, directory.head(5, 1), 1, [9; 32]);
        let doubt = home.step(|ctx| ctx.txn.need::<Contact>(&bob.id()).unwrap().doubt).value;
        assert_eq!(doubt, Some(Doubt::OtherForThem));
    }
}
