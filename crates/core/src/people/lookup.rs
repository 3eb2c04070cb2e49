//! Look-ups: whose a handle is, and how long somebody's log is. Asked on the connection that names nobody.
//!
//! Owns who waits for a look-up. Nothing here is in the vault: what is still to be looked up is derived from it.

use std::collections::{BTreeMap, BTreeSet};

use stonechat_directory::proof::Asked;
use stonechat_wire::{AccountId, ErrorCode, Failure, Handle, ProvenAccount, Request, Timestamp};

use super::accounts::{Claim, Contact, known};
use super::alarms::{Raised, raise};
use super::belief::{Belief, Source, believe};
use super::{People, Question};
use crate::api::{AlarmKind, Command, CommandError, CommandId, Distrust, Doubt, Event, Finding, Link, Refusal};
use crate::error::{Answer, CoreError};
use crate::step::Ctx;
use crate::store::Read as _;

/// A command that waits for handles to be looked up. It is in memory only: nothing happened yet.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub id: CommandId,
    pub command: Command,
}

/// What is being looked up, and for whom.
#[derive(Default)]
pub(super) struct LookUps {
    /// Handles that are being looked up, and for which commands.
    waiting: Vec<(Handle, Waiting)>,
    /// Handles whose look-up is repeated: when, and how often it was.
    again: BTreeMap<Handle, (Timestamp, u32)>,
    /// Accounts whose log is longer by their own word, how often each was asked for, and when again.
    asked_after: BTreeSet<AccountId>,
    tries: BTreeMap<AccountId, u32>,
    not_before: BTreeMap<AccountId, Timestamp>,
}

impl People {
    /// Looks somebody up for a command, which goes on once that is settled.
    pub(crate) fn look_up(&mut self, ctx: &mut Ctx<'_>, handle: Handle, waiting: Waiting) -> Answer<()> {
        if !ctx.links.is_ready(Link::Anonymous) {
            return Err(CommandError::Offline.into());
        }
        let asked = self.look_ups.waiting.iter().any(|(other, _)| *other == handle);
        self.look_ups.waiting.push((handle.clone(), waiting));
        if !asked {
            self.questions.ask(
                ctx,
                Link::Anonymous,
                Request::LookUpHandle { handle: handle.clone() },
                Question::LookUp { handle },
            );
        }
        Ok(())
    }

    /// Asks the server whose the handles are that accounts claim in their logs. Until then nobody is shown under them with a
    /// closed lock.
    pub(super) fn check_handles(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        if !ctx.links.is_ready(Link::Anonymous) {
            return Ok(());
        }
        for ((_, handle), _) in ctx.txn.list::<Claim>(CLAIMS_AT_ONCE)? {
            let later = self.look_ups.again.get(&handle).map(|(at, _)| *at).filter(|at| *at > ctx.now);
            if let Some(at) = later {
                ctx.wake(at, "a handle is looked up again");
            } else if !self.questions.has(|q| matches!(q, Question::LookUp { handle: h } if *h == handle)) {
                self.questions.ask(
                    ctx,
                    Link::Anonymous,
                    Request::LookUpHandle { handle: handle.clone() },
                    Question::LookUp { handle },
                );
            }
        }
        Ok(())
    }
}

impl People {
    /// The server answered a look-up of a handle.
    pub(super) fn looked_up(
        &mut self,
        ctx: &mut Ctx<'_>,
        handle: &Handle,
        found: &ProvenAccount,
    ) -> Result<(), CoreError> {
        let trouble = match believe(ctx, Asked::Handle(handle), found, Source::Server)? {
            // When its head is one with the others, `settle_contact` goes on; otherwise once it is.
            Belief::Known(state) => {
                let claimed = Some(state.id());
                return settle_claims(ctx, handle, claimed);
            }
            Belief::Later(why) => return self.look_up_later(ctx, handle, why),
            Belief::Untrusted(why) => why,
        };
        settle_claims(ctx, handle, None)?;
        for waiting in self.take_waiting(handle) {
            ctx.finish(waiting.id, Err(CommandError::Untrusted(handle.clone(), trouble)));
        }
        Ok(())
    }

    /// Whose a handle is can be told later. Commands wait, but not for ever.
    pub(crate) fn look_up_later(&mut self, ctx: &mut Ctx<'_>, handle: &Handle, why: Distrust) -> Result<(), CoreError> {
        let (at, tries) = self.look_ups.again.entry(handle.clone()).or_insert((ctx.now, 0));
        *tries += 1;
        *at = ctx.now.plus_secs(backoff_secs(*tries));
        let (again, tries) = (*at, *tries);
        ctx.wake(again, "a handle is looked up again");
        if tries >= LOOK_UP_TRIES {
            for waiting in self.take_waiting(handle) {
                ctx.finish(waiting.id, Err(CommandError::Directory(why)));
            }
        }
        Ok(())
    }

    /// Looks up again what could not be answered.
    pub(super) fn repeat_look_ups(&mut self, ctx: &mut Ctx<'_>) {
        if !ctx.links.is_ready(Link::Anonymous) {
            return;
        }
        let waiting: Vec<_> = self.look_ups.again.iter().map(|(handle, (at, _))| (handle.clone(), *at)).collect();
        for (handle, at) in waiting {
            if at > ctx.now {
                ctx.wake(at, "a handle is looked up again");
            } else if self.look_ups.waiting.iter().any(|(other, _)| *other == handle)
                && !self.questions.has(|q| matches!(q, Question::LookUp { handle: h } if *h == handle))
            {
                let request = Request::LookUpHandle { handle: handle.clone() };
                self.questions.ask(ctx, Link::Anonymous, request, Question::LookUp { handle });
            }
        }
    }
}

impl People {
    pub(super) fn look_up_failed(
        &mut self,
        ctx: &mut Ctx<'_>,
        handle: &Handle,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        match failure.code {
            ErrorCode::NotFound => settle_claims(ctx, handle, None)?,
            // About to be published, or the directory is slow.
            ErrorCode::Unpublished | ErrorCode::Unavailable | ErrorCode::Slow => {
                return self.look_up_later(ctx, handle, Distrust::Server(failure.code));
            }
            _ => {}
        }
        for waiting in self.take_waiting(handle) {
            let error = match failure.code {
                ErrorCode::NotFound => CommandError::UnknownHandle(handle.clone()),
                _ => CommandError::refused(failure),
            };
            ctx.finish(waiting.id, Err(error));
        }
        Ok(())
    }

    pub(crate) fn take_waiting(&mut self, handle: &Handle) -> Vec<Waiting> {
        let (mine, rest) =
            std::mem::take(&mut self.look_ups.waiting).into_iter().partition(|(other, _)| other == handle);
        self.look_ups.waiting = rest;
        mine.into_iter().map(|(_, waiting)| waiting).collect()
    }
}

impl People {
    /// Asks for the account of somebody who says that their log is longer than what is known here.
    pub(super) fn ask_accounts(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        for account in self.look_ups.asked_after.clone() {
            if self.questions.has(|q| matches!(q, Question::GetAccount { account: a } if *a == account)) {
                continue;
            }
            match self.look_ups.not_before.get(&account) {
                Some(at) if *at > ctx.now => ctx.wake(*at, "an account is asked for again"),
                _ => self.questions.ask(
                    ctx,
                    Link::Anonymous,
                    Request::GetAccount { account },
                    Question::GetAccount { account },
                ),
            }
        }
        Ok(())
    }

    pub(super) fn account_answered(
        &mut self,
        ctx: &mut Ctx<'_>,
        account: AccountId,
        found: &ProvenAccount,
    ) -> Result<(), CoreError> {
        let belief = believe(ctx, Asked::Account(&account), found, Source::Server)?;
        let still = ctx.txn.load::<Contact>(&account)?.is_some_and(|contact| contact.told.is_some());
        match belief {
            Belief::Known(_) if !still => {
                self.look_ups.asked_after.remove(&account);
                self.look_ups.not_before.remove(&account);
                Ok(())
            }
            Belief::Untrusted(_) => {
                self.look_ups.asked_after.remove(&account);
                Ok(())
            }
            Belief::Known(state) => {
                let tries = self.ask_later(ctx, account);
                if tries == TOLD_TRIES
                    && let Some(mut contact) = ctx.txn.load::<Contact>(&account)?
                {
                    let finding = Finding::KeptBack { who: state.handle().clone() };
                    contact.doubt = Some(Doubt::KeptBack);
                    ctx.txn.store(&account, &contact);
                    raise(ctx, Raised::new(AlarmKind::Unpublished, &account.0, finding, None).about(account));
                    ctx.mail.changed.insert(account);
                }
                Ok(())
            }
            Belief::Later(_) => {
                self.ask_later(ctx, account);
                Ok(())
            }
        }
    }

    pub(super) fn account_refused(&mut self, ctx: &mut Ctx<'_>, account: AccountId) {
        self.ask_later(ctx, account);
    }

    fn ask_later(&mut self, ctx: &mut Ctx<'_>, account: AccountId) -> u32 {
        let tries = self.look_ups.tries.entry(account).or_default();
        *tries += 1;
        let tries = *tries;
        self.look_ups.not_before.insert(account, ctx.now.plus_secs(backoff_secs(tries)));
        tries
    }

    /// Contacts whose proof is missing, as in vaults from before there was a directory, are looked up.
    pub(super) fn check_old_contacts(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        for (id, contact) in ctx.txn.list::<Contact>(usize::MAX)? {
            if contact.checked.is_none() && id != ctx.me.account() {
                if let Some(state) = known(ctx, &id)? {
                    ctx.txn.store(&(id, state.handle().clone()), &Claim {});
                }
            } else if contact.told.is_some() {
                self.look_ups.asked_after.insert(id);
            }
        }
        Ok(())
    }
}

impl People {
    /// What belief brought up since the last time. Returns the commands that need wait no longer.
    pub(crate) fn take_mail(&mut self, ctx: &mut Ctx<'_>) -> Vec<Waiting> {
        if std::mem::take(&mut ctx.mail.own_longer) {
            self.monitor.look_soon();
        }
        for account in std::mem::take(&mut ctx.mail.longer) {
            self.look_ups.asked_after.insert(account);
            self.look_ups.tries.remove(&account);
            self.look_ups.not_before.remove(&account);
        }
        if std::mem::take(&mut ctx.mail.forked) {
            for (handle, waiting) in std::mem::take(&mut self.look_ups.waiting) {
                ctx.finish(waiting.id, Err(CommandError::Untrusted(handle, Distrust::Forked)));
            }
        }
        let mut settled = Vec::new();
        for handle in std::mem::take(&mut ctx.mail.proven) {
            self.look_ups.again.remove(&handle);
            settled.extend(self.take_waiting(&handle));
        }
        settled
    }

    /// Whether nobody's handle is still to be looked up. What is repeated later is not waited for.
    pub(super) fn look_ups_settled(&self, ctx: &Ctx<'_>) -> Result<bool, CoreError> {
        Ok(ctx.txn.count_up_to::<Claim>(1)? == 0 || !self.look_ups.again.is_empty())
    }

    /// Commands cannot go on without the connection.
    pub(super) fn look_ups_lost(&mut self, ctx: &mut Ctx<'_>) {
        for (_, waiting) in std::mem::take(&mut self.look_ups.waiting) {
            ctx.finish(waiting.id, Err(CommandError::Offline));
        }
    }
}

/// The server said whose a handle is, or that it is nobody's: every other account that claims it is alarming.
pub(crate) fn settle_claims(ctx: &mut Ctx<'_>, handle: &Handle, owner: Option<AccountId>) -> Result<(), CoreError> {
    for (key, _) in ctx.txn.list::<Claim>(usize::MAX)? {
        let (account, claimed) = &key;
        if claimed != handle {
            continue;
        }
        if owner != Some(*account)
            && let Some(mut contact) = ctx.txn.load::<Contact>(account)?
        {
            contact.doubt = Some(Doubt::HandleDenied);
            ctx.txn.store(account, &contact);
            ctx.refused(None, Refusal::Handle { who: handle.clone() });
        }
        ctx.txn.remove::<Claim>(&key);
    }
    ctx.event(Event::Requests);
    Ok(())
}

/// Seconds until the next try: 1, 2, 4, … and at most ten minutes.
pub(super) fn backoff_secs(tries: u32) -> u64 {
    (1 << tries.saturating_sub(1).min(10)).min(600)
}

/// Claims that are looked up at one time.
const CLAIMS_AT_ONCE: usize = 16;

/// Look-ups of a handle before who waits for it is told that the directory has no good answer.
pub(super) const LOOK_UP_TRIES: u32 = 5;

/// Look-ups of somebody whose log is longer by their own word before that is an alarm.
const TOLD_TRIES: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Target;
    use crate::error::refusal_of;
    use crate::people::accounts::account_of;
    use crate::testing::{Home, Out, Person};

    fn waiting(id: u64, handle: &Handle) -> Waiting {
        let command = Command::Send { to: Target::Person(handle.clone()), text: "hi".into() };
        Waiting { id: CommandId(id), command }
    }

    fn look_up(home: &mut Home, people: &mut People, id: u64, handle: &Handle) -> Out<Result<(), CommandError>> {
        home.step(|ctx| refusal_of(people.look_up(ctx, handle.clone(), waiting(id, handle))).unwrap())
    }

    fn fail(home: &mut Home, people: &mut People, id: u32, code: ErrorCode) -> Out<()> {
        let failure = Failure { code, retry_after_secs: None, detail: None };
        home.step(|ctx| people.refused(ctx, Link::Anonymous, id, &failure).unwrap())
    }

    fn bob() -> Handle {
        Handle::parse("bob").unwrap()
    }

    #[test]
    fn nobody_is_looked_up_without_the_anonymous_connection() {
        let (mut home, mut people) = (Home::of("alice"), People::default());
        assert!(matches!(look_up(&mut home, &mut people, 1, &bob()).value, Err(CommandError::Offline)));
        home.connect(Link::Device);
        assert!(matches!(look_up(&mut home, &mut people, 1, &bob()).value, Err(CommandError::Offline)));
    }

    #[test]
    fn two_commands_share_a_look_up_and_both_hear_that_there_is_nobody() {
        let (mut home, mut people) = (Home::online("alice"), People::default());
        let first = look_up(&mut home, &mut people, 1, &bob());
        assert!(matches!(first.requests()[..], [Request::LookUpHandle { .. }]));
        assert!(look_up(&mut home, &mut people, 2, &bob()).requests().is_empty());
        let out = fail(&mut home, &mut people, 1, ErrorCode::NotFound);
        for id in [1, 2] {
            assert!(matches!(out.finished(id), Some(Err(CommandError::UnknownHandle(handle))) if handle == bob()));
        }
    }

    #[test]
    fn a_directory_that_is_slow_is_asked_again_but_not_for_ever() {
        let (mut home, mut people) = (Home::online("alice"), People::default());
        look_up(&mut home, &mut people, 1, &bob());
        for number in 1..LOOK_UP_TRIES {
            assert!(fail(&mut home, &mut people, number, ErrorCode::Unpublished).finished(1).is_none());
            // Each time a little later.
            assert!(home.step(|ctx| people.repeat_look_ups(ctx)).requests().is_empty());
            home.now = home.now.plus_secs(backoff_secs(number));
            assert_eq!(home.step(|ctx| people.repeat_look_ups(ctx)).requests().len(), 1);
        }
        let out = fail(&mut home, &mut people, LOOK_UP_TRIES, ErrorCode::Unpublished);
        assert!(matches!(out.finished(1), Some(Err(CommandError::Directory(_)))));
    }

    #[test]
    fn a_handle_that_is_proven_lets_its_commands_go_on_and_no_others() {
        let (mut home, mut people) = (Home::online("alice"), People::default());
        let carol = Handle::parse("carol").unwrap();
        look_up(&mut home, &mut people, 1, &bob());
        look_up(&mut home, &mut people, 2, &carol);
        let on = home.step(|ctx| {
            ctx.mail.proven.push(bob());
            people.take_mail(ctx).into_iter().map(|waiting| waiting.id).collect::<Vec<_>>()
        });
        assert_eq!(on.value, [CommandId(1)]);
    }

    #[test]
    fn a_fork_and_a_lost_connection_end_every_look_up() {
        let (mut home, mut people) = (Home::online("alice"), People::default());
        look_up(&mut home, &mut people, 1, &bob());
        let out = home.step(|ctx| {
            ctx.mail.forked = true;
            people.take_mail(ctx).len()
        });
        assert_eq!(out.value, 0);
        assert!(matches!(out.finished(1), Some(Err(CommandError::Untrusted(..)))));
        look_up(&mut home, &mut people, 2, &bob());
        let out = home.step(|ctx| people.disconnected(ctx, Link::Anonymous));
        assert!(matches!(out.finished(2), Some(Err(CommandError::Offline))));
    }

    #[test]
    fn of_those_who_claim_a_handle_only_its_owner_is_left_without_a_doubt() {
        let mut home = Home::of("alice");
        let (owner, other) = (Person::of("bob", 10), Person::of("bob", 20));
        for person in [&owner, &other] {
            home.step(|ctx| refusal_of(crate::people::accounts::learn(ctx, &person.log, None)).unwrap().unwrap());
        }
        let out = home.step(|ctx| settle_claims(ctx, &bob(), Some(owner.id())).unwrap());
        assert_eq!(out.refusals(), 1);
        let after = home.step(|ctx| {
            let doubt = |ctx: &Ctx<'_>, id| ctx.txn.load::<Contact>(&id).unwrap().unwrap().doubt;
            (doubt(ctx, owner.id()), doubt(ctx, other.id()), ctx.txn.count_up_to::<Claim>(9).unwrap())
        });
        assert_eq!(after.value, (None, Some(Doubt::HandleDenied), 0));
        assert_eq!(home.step(|ctx| account_of(&ctx.txn, &bob()).unwrap()).value, None);
    }

    #[test]
    fn the_wait_doubles_and_ends_at_ten_minutes() {
        assert_eq!([1, 2, 3, 4].map(backoff_secs), [1, 2, 4, 8]);
        assert_eq!((backoff_secs(0), backoff_secs(11), backoff_secs(u32::MAX)), (1, 600, 600));
    }
}
