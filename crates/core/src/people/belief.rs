//! What this client believes of accounts.
//!
//! Somebody's account is believed when a proof against a head of the pinned policy says so ([`believe`]), wherever the proof
//! came from: the server's answer, a letter, a welcome, a commit. What contradicts is an alarm, with evidence where there is
//! any. An alarm opens locks; it never holds a message up in a conversation that exists.

use stonechat_directory::evidence::LookUp;
use stonechat_directory::proof::{Asked, verify_account};
use stonechat_directory::{
    DirectoryPolicy, Evidence, Head, HeadError, PolicyError, ProofError, Verdict, VerifiedAccount,
};
use stonechat_wire::{
    AccountId, AccountLog, AccountProof, AccountState, Handle, List, LogEntry, ProvenAccount, TreeProof,
};

use super::accounts::{Checked, Claim, Contact, Successor, account_of, known, learn, remember_handle, successor_of};
use super::alarms::{Raised, raise, unwitnessed, witnessed};
use super::heads::{newest, see_head};
use crate::api::{AlarmKind, Distrust, Doubt, Event, Finding};
use crate::content::Notice;
use crate::error::{CoreError, Judged, refusal_of, refuse};
use crate::step::Ctx;
use crate::store::{Change, Read, Record, Table, VaultError, damaged};

/// The proof that is kept of an account. Under the account's id.
impl Record for ProvenAccount {
    const TABLE: Table = Table::Meta;
    type Key = AccountId;
    fn key(account: &AccountId) -> Vec<u8> {
        [b"directory/proof/".as_slice(), &account.0].concat()
    }
}

/// The pinned policy of the directory, which stands in the vault as JSON.
pub(crate) fn policy<R: Read + ?Sized>(reader: &R) -> Result<Option<DirectoryPolicy>, VaultError> {
    let read = |bytes: Vec<u8>| DirectoryPolicy::from_json(&bytes).map_err(|_| damaged());
    reader.value(Table::Meta, POLICY)?.map(read).transpose()
}

/// Whether a policy is pinned. Nothing large is read.
pub(crate) fn is_policy_pinned(ctx: &Ctx<'_>) -> Result<bool, VaultError> {
    Ok(ctx.txn.get(Table::Meta, POLICY)?.is_some())
}

/// What pins a policy.
pub(super) fn pinned(policy: &DirectoryPolicy) -> Change {
    Change { table: Table::Meta, key: POLICY.to_vec(), value: Some(policy.to_json().into_bytes()) }
}

const POLICY: &[u8] = b"directory/policy";

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
    /// It holds. Whether its head is consistent with the others may still have to be shown.
    Known(AccountState),
    /// Time may help.
    Later(Distrust),
    /// It does not hold.
    Untrusted(Distrust),
}

/// Verifies an account with its proof and stores it, if it holds and contradicts nothing that was seen before.
pub(crate) fn believe(
    ctx: &mut Ctx<'_>,
    asked: Asked<'_>,
    proven: &ProvenAccount,
    source: Source,
) -> Result<Belief, CoreError> {
    let Some(policy) = policy(&ctx.txn)? else {
        return Ok(Belief::Later(Distrust::NoPolicy));
    };
    let verified = match VerifiedAccount::verify(&policy, asked, &proven.log, &proven.proof) {
        Ok(verified) => verified,
        Err(ProofError::Head(HeadError::Policy(PolicyError::Witnesses { have, need }))) => {
            if source == Source::Server {
                unwitnessed(ctx, have, need)?;
            }
            return Ok(Belief::Later(Distrust::Witnesses { have, need }));
        }
        Err(error) => return disbelieve(ctx, &policy, asked, proven, source, &error),
    };
    if source == Source::Server {
        witnessed(ctx)?;
        if let Some(why) = out_of_date(ctx, &policy, &verified.head)? {
            return Ok(Belief::Untrusted(why));
        }
    }
    let id = verified.state.id();
    if source == Source::Member && ctx.me.account() == id {
        // Nobody else tells this device what its own account is: the watch looks itself, and raises its alarms.
        let own = known(ctx, &id)?.ok_or_else(|| CoreError::bug("this account's log is missing"))?;
        if verified.state.head().0 > own.head().0 {
            ctx.mail.own_longer = true;
        }
        return Ok(Belief::Known(own));
    }
    let before = ctx.txn.load::<Contact>(&id)?;
    if let Some(why) = taken_back(ctx, &policy, &verified, proven, before.as_ref())? {
        return Ok(Belief::Untrusted(why));
    }
    let state = match refusal_of(learn(ctx, &proven.log, Some(id)))? {
        Ok(state) => state,
        Err(why) => {
            let stored = before.map(|contact| contact.log);
            let evidence = stored.and_then(|log| contradiction(&policy, &id, &proven.proof, &log));
            let finding = Finding::OtherLog { who: verified.state.handle().clone() };
            raise(ctx, Raised::new(AlarmKind::OtherLog, &id.0, finding, evidence).about(id));
            return Ok(Belief::Untrusted(why));
        }
    };
    let connected = see_head(ctx, &policy, verified.head.seen())?;
    keep_proof(ctx, &verified, proven, connected)?;
    Ok(Belief::Known(state))
}

/// The same for an account that a welcome or a commit brings: it holds now, or it does not.
pub(crate) fn believe_member(ctx: &mut Ctx<'_>, proven: &ProvenAccount) -> Judged<AccountId, Distrust> {
    let id = AccountState::verify(&proven.log, None).or_else(|_| refuse(Distrust::Log))?.id();
    match believe(ctx, Asked::Account(&id), proven, Source::Member)? {
        Belief::Known(_) => Ok(id),
        Belief::Later(why) | Belief::Untrusted(why) => refuse(why),
    }
}

/// A proof that does not hold. From the server that is an alarm; anybody can put anything into a letter.
fn disbelieve(
    ctx: &mut Ctx<'_>,
    policy: &DirectoryPolicy,
    asked: Asked<'_>,
    proven: &ProvenAccount,
    source: Source,
    error: &ProofError,
) -> Result<Belief, CoreError> {
    let why = distrust(error);
    let account = match asked {
        Asked::Account(id) => Some(*id),
        Asked::Handle(handle) => account_of(&ctx.txn, handle)?,
    };
    let own_log = match &account {
        Some(id) => ctx.txn.load::<Contact>(id)?.map(|contact| contact.log),
        None => None,
    };
    let stated = AccountState::verify(&proven.log, None).ok().map(|state| (state.id(), proven.log.clone()));
    let evidence = account.zip(own_log).into_iter().chain(stated);
    let evidence = evidence.filter_map(|(id, log)| contradiction(policy, &id, &proven.proof, &log));
    let evidence = evidence.max_by_key(|evidence| matches!(evidence.judge(), Ok(Verdict::Proven(_))));
    let proves = evidence.as_ref().is_some_and(|e| matches!(e.judge(), Ok(Verdict::Proven(_))));
    if source == Source::Server || proves {
        let who = match asked {
            Asked::Handle(handle) => Some(handle.clone()),
            Asked::Account(_) => None,
        };
        let kind = if evidence.is_some() { AlarmKind::OtherLog } else { AlarmKind::Proof };
        let name = || who.as_ref().map_or_else(|| "somebody".to_owned(), Handle::to_string).into_bytes();
        let subject = account.map_or_else(name, |id| id.0.to_vec());
        raise(ctx, Raised::new(kind, &subject, Finding::ProofFails { who, why }, evidence));
    }
    Ok(Belief::Untrusted(why))
}

/// A head that the server gave as its newest must be of now: it publishes at least every hour.
pub(super) fn out_of_date(
    ctx: &mut Ctx<'_>,
    policy: &DirectoryPolicy,
    head: &Head,
) -> Result<Option<Distrust>, CoreError> {
    let (why, finding) = if head.is_stale(ctx.now) {
        (Distrust::Old, Finding::Stale)
    } else if head.is_from_the_future(ctx.now) {
        (Distrust::Future, Finding::Future)
    } else {
        return Ok(None);
    };
    let newest = newest(&ctx.txn)?;
    let evidence = newest
        .filter(|newest| newest.size != head.size())
        .map(|newest| Evidence::heads(policy, &newest.seen(), &head.seen(), &TreeProof::default()));
    raise(ctx, Raised::new(AlarmKind::Stale, b"", finding, evidence));
    Ok(Some(why))
}

/// Whether the directory now says less, or something else, of an account than an older head of it said.
fn taken_back(
    ctx: &mut Ctx<'_>,
    policy: &DirectoryPolicy,
    verified: &VerifiedAccount,
    proven: &ProvenAccount,
    before: Option<&Contact>,
) -> Result<Option<Distrust>, CoreError> {
    let Some((checked, stored)) =
        before.and_then(|contact| contact.checked).zip(ctx.txn.load::<ProvenAccount>(&verified.state.id())?)
    else {
        return Ok(None);
    };
    let (size, length) = (verified.head.size(), verified.log.value.length);
    let back = (size >= checked.size && length < checked.length) || (size <= checked.size && length > checked.length);
    let other =
        length == checked.length && stored.log.0.last().map(LogEntry::hash) != proven.log.0.last().map(LogEntry::hash);
    if !back && !other {
        return Ok(None);
    }
    let id = verified.state.id();
    let evidence = Evidence::account_taken_back(policy, &id, &look_up(&stored.proof), &look_up(&proven.proof));
    let finding = Finding::TakenBack { who: verified.state.handle().clone() };
    raise(ctx, Raised::new(AlarmKind::TakenBack, &id.0, finding, Some(evidence)).about(id));
    if let Some(mut contact) = ctx.txn.load::<Contact>(&id)? {
        contact.doubt = Some(Doubt::TakenBack);
        ctx.txn.store(&id, &contact);
    }
    Ok(Some(Distrust::TakenBack))
}

/// Keeps a proof that says more, or later, than the one that is kept.
fn keep_proof(
    ctx: &mut Ctx<'_>,
    verified: &VerifiedAccount,
    proven: &ProvenAccount,
    connected: bool,
) -> Result<(), CoreError> {
    let id = verified.state.id();
    let mut contact = ctx.txn.load::<Contact>(&id)?.ok_or_else(|| CoreError::bug("a learned log vanished"))?;
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
        ctx.txn.store(&id, proven);
    } else if let Some(checked) = contact.checked.as_mut() {
        checked.connected |= connected;
        checked.handle |= handle;
    }
    if contact.told.is_some_and(|told| told <= length) {
        contact.told = None;
    }
    ctx.txn.store(&id, &contact);
    if handle {
        // No look-up is needed: the proof came along.
        ctx.txn.remove::<Claim>(&(id, verified.state.handle().clone()));
    }
    settle_contact(ctx, &id)
}

/// A contact whose proof is complete gets its handle; who waited for that goes on.
pub(super) fn settle_contact(ctx: &mut Ctx<'_>, id: &AccountId) -> Result<(), CoreError> {
    let Some(contact) = ctx.txn.load::<Contact>(id)? else { return Ok(()) };
    let Some(checked) = contact.checked.filter(|checked| checked.connected) else { return Ok(()) };
    let Some(state) = known(ctx, id)? else { return Ok(()) };
    if checked.handle {
        claim(ctx, state.handle(), *id, &contact)?;
        ctx.mail.proven.push(state.handle().clone());
    }
    ctx.event(Event::Requests);
    ctx.mail.changed.insert(*id);
    Ok(())
}

/// The directory says that a handle is this account's.
fn claim(ctx: &mut Ctx<'_>, handle: &Handle, id: AccountId, contact: &Contact) -> Result<(), CoreError> {
    let known = match account_of(&ctx.txn, handle)? {
        None => {
            remember_handle(ctx, handle, id);
            return Ok(());
        }
        Some(known) if known == id => return Ok(()),
        Some(known) => known,
    };
    let Some(mut old) = ctx.txn.load::<Contact>(&known)? else { return Ok(()) };
    // Of two claims, the later head's counts: an old letter does not move a handle back.
    if old.checked.is_some_and(|old| contact.checked.is_some_and(|new| new.size < old.size)) {
        return Ok(());
    }
    if successor_of(&ctx.txn, handle)? == Some(id) {
        return Ok(());
    }
    ctx.txn.store(handle, &Successor(id));
    old.doubt = Some(Doubt::StartedOver);
    ctx.txn.store(&known, &old);
    let (policy, first, second) =
        (policy(&ctx.txn)?, ctx.txn.load::<ProvenAccount>(&known)?, ctx.txn.load::<ProvenAccount>(&id)?);
    let evidence = policy
        .zip(first.zip(second))
        .and_then(|(policy, (first, second))| handle_moved(&policy, handle, &first.proof, &second.proof));
    let subject = [handle.as_str().as_bytes(), &id.0].concat();
    let finding = Finding::HandleMoved { handle: handle.clone() };
    raise(ctx, Raised::new(AlarmKind::HandleMoved, &subject, finding, evidence).about(known));
    ctx.mail.notices.push((known, Notice::StartedOver(handle.clone())));
    Ok(())
}

/// What a proof that does not hold says of whoever made it.
pub(super) fn distrust(error: &ProofError) -> Distrust {
    match error {
        ProofError::Head(HeadError::Policy(PolicyError::Witnesses { have, need })) => {
            Distrust::Witnesses { have: *have, need: *need }
        }
        ProofError::Head(
            HeadError::Policy(PolicyError::Malformed { .. } | PolicyError::Log(_)) | HeadError::Record,
        ) => Distrust::Head,
        ProofError::Malformed | ProofError::False { .. } => Distrust::Proof,
        ProofError::Log(_) => Distrust::Log,
        ProofError::OtherLog => Distrust::OtherLog,
        ProofError::OtherAccount => Distrust::OtherAccount,
        ProofError::NoHandle => Distrust::NoHandle,
    }
}

/// The look-up of an account in a proof, as evidence takes it.
pub(super) fn look_up(proof: &AccountProof) -> LookUp<'_> {
    LookUp { head: &proof.head, proof: &proof.account }
}

/// Evidence that the directory gave a handle to two accounts, when both proofs have the handle.
pub(super) fn handle_moved(
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
pub(super) fn contradiction(
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

/// The proofs of some accounts, each with as much as is known; `None` for who is not proven yet.
pub(crate) fn proofs<const N: usize>(
    ctx: &Ctx<'_>,
    accounts: impl IntoIterator<Item = AccountId>,
) -> Result<Option<List<ProvenAccount, N>>, CoreError> {
    let mut proofs = Vec::new();
    for account in accounts {
        match ctx.txn.load::<ProvenAccount>(&account)? {
            Some(proof) => proofs.push(proof),
            None => return Ok(None),
        }
    }
    List::new(proofs).map(Some).map_err(|_| CoreError::bug("more accounts than a list takes"))
}

#[cfg(test)]
mod tests {
    use stonechat_wire::{Bytes, SignedHead};

    use super::*;
    use crate::api::Event;
    use crate::testing::{Directory, Home, Out, Person};

    /// Somebody's log with a proof that proves nothing.
    fn unproven(person: &Person) -> ProvenAccount {
        let bytes = || Bytes::new(vec![1, 2, 3]).unwrap();
        let record = Bytes::new(vec![1]).unwrap();
        let head = SignedHead { checkpoint: Bytes::new(vec![1]).unwrap(), record, inclusion: TreeProof::default() };
        let proof = AccountProof { head, account: bytes(), handle: Some(bytes()) };
        ProvenAccount { log: person.log.clone(), proof }
    }

    fn judged(home: &mut Home, person: &Person, source: Source) -> Out<Belief> {
        let proven = unproven(person);
        home.step(|ctx| believe(ctx, Asked::Account(&person.id()), &proven, source).unwrap())
    }

    fn alarms(out: &Out<Belief>) -> usize {
        out.events().iter().filter(|event| matches!(event, Event::Alarm(_))).count()
    }

    #[test]
    fn nobody_is_judged_before_a_policy_is_pinned() {
        let (mut home, bob) = (Home::of("alice"), Person::of("bob", 10));
        assert!(matches!(judged(&mut home, &bob, Source::Server).value, Belief::Later(_)));
        home.pin(&Directory::new());
        assert!(matches!(judged(&mut home, &bob, Source::Server).value, Belief::Untrusted(_)));
    }

    #[test]
    fn a_proof_that_proves_nothing_stores_nothing_and_is_an_alarm_from_the_server_only() {
        let (mut home, bob) = (Home::of("alice"), Person::of("bob", 10));
        home.pin(&Directory::new());
        // Anybody can put anything into a letter.
        let from_a_member = judged(&mut home, &bob, Source::Member);
        assert!(matches!(from_a_member.value, Belief::Untrusted(_)));
        assert_eq!(alarms(&from_a_member), 0);
        assert_eq!(alarms(&judged(&mut home, &bob, Source::Server)), 1);
        let stored = home
            .step(|ctx| (ctx.txn.has::<Contact>(&bob.id()).unwrap(), ctx.txn.has::<ProvenAccount>(&bob.id()).unwrap()));
        assert_eq!(stored.value, (false, false));
    }

    #[test]
    fn a_member_without_a_proof_is_not_believed() {
        let (mut home, bob) = (Home::of("alice"), Person::of("bob", 10));
        home.pin(&Directory::new());
        let proven = unproven(&bob);
        assert!(home.step(|ctx| refusal_of(believe_member(ctx, &proven)).unwrap()).value.is_err());
    }

    #[test]
    fn a_contact_whose_proof_is_complete_gets_their_handle_and_one_whose_is_not_does_not() {
        for (handle, connected) in [(true, true), (true, false), (false, true)] {
            let (mut home, bob) = (Home::of("alice"), Person::of("bob", 10));
            let out = home.step(|ctx| {
                let (root, time) = (stonechat_wire::TreeHash([1; 32]), stonechat_wire::Timestamp(1));
                let checked = Some(Checked { length: 1, size: 5, root, time, handle, connected });
                ctx.txn.store(&bob.id(), &Contact { checked, ..Contact::new(bob.log.clone()) });
                settle_contact(ctx, &bob.id()).unwrap();
                (account_of(&ctx.txn, &bob.handle()).unwrap(), ctx.mail.proven.clone())
            });
            let complete = handle && connected;
            assert_eq!(out.value.0, complete.then_some(bob.id()));
            assert_eq!(out.value.1.len(), usize::from(complete));
        }
    }

    #[test]
    fn of_two_claims_to_a_handle_the_later_heads_counts_and_is_a_loud_alarm() {
        let claim_with = |size| {
            let mut home = Home::of("alice");
            let (old, new) = (home.meet("bob", 10), Person::of("bob", 20));
            let out = home.step(|ctx| {
                let (root, time) = (stonechat_wire::TreeHash([1; 32]), stonechat_wire::Timestamp(1));
                let checked = |size| Some(Checked { length: 1, size, root, time, handle: true, connected: true });
                ctx.txn.store(&old.id(), &Contact { checked: checked(5), ..Contact::new(old.log.clone()) });
                let contact = Contact { checked: checked(size), ..Contact::new(new.log.clone()) };
                ctx.txn.store(&new.id(), &contact);
                claim(ctx, &new.handle(), new.id(), &contact).unwrap();
                (successor_of(&ctx.txn, &new.handle()).unwrap(), ctx.mail.notices.len())
            });
            let alarms = out.events().iter().filter(|event| matches!(event, Event::Alarm(_))).count();
            // Whom the person knew stays under the handle until they accept the other.
            let kept = home.step(|ctx| account_of(&ctx.txn, &old.handle()).unwrap()).value == Some(old.id());
            (out.value.0 == Some(new.id()), out.value.1, alarms, kept)
        };
        assert_eq!(claim_with(9), (true, 1, 1, true));
        assert_eq!(claim_with(4), (false, 0, 0, true), "an old letter moves nothing");
    }
}
