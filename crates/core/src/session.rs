//! This device at the server: registering the account, logging in.
//!
//! Owns who waits for the registration. Never touches a conversation.

use ed25519_dalek::Signer as _;
use stonechat_wire::{AuthChallenge, ErrorCode, Failure, InviteCode, Reply, Request};

use crate::api::{CommandError, CommandId, Event, Link, Outcome, Refusal};
use crate::error::CoreError;
use crate::identity::MeRecord;
use crate::links::Room;
use crate::step::{Ctx, Questions};
use crate::store::Read as _;

/// What is asked.
enum Question {
    CreateAccount,
    Authenticate,
}

/// What logging in brought: what the server keeps for this device.
pub(crate) struct LoggedIn {
    pub key_packages: u32,
    pub last_resort: bool,
    /// Envelopes that wait in the inbox and are about to be pushed.
    pub envelopes: u32,
}

/// What became of an answer.
pub(crate) enum Progress {
    /// It does not fit.
    Misfit,
    /// Something is still to come.
    Waiting,
    /// This device is logged in.
    LoggedIn(LoggedIn),
}

/// Logging in.
pub(crate) struct Session {
    questions: Questions<Question>,
    /// The registration that a person waits for.
    registering: Option<CommandId>,
    /// What this person shows where sign-up is closed, and whether the server was shown it.
    invite: Option<InviteCode>,
    invite_shown: bool,
    /// The server has the account, as it just said.
    pub registered: bool,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            questions: Questions::of(Room::Session),
            registering: None,
            invite: None,
            invite_shown: false,
            registered: false,
        }
    }
}

impl Session {
    /// Sends the account if the server may not have it, then logs in.
    pub(crate) fn log_in(&mut self, ctx: &mut Ctx<'_>) {
        if !ctx.links.is_open(Link::Device) {
            return;
        }
        let me = ctx.me;
        if !self.is_registered(ctx) {
            let request = Request::CreateAccount { genesis: me.record.genesis.clone(), invite: self.invite };
            self.invite_shown = self.invite.is_some();
            return self.questions.ask(ctx, Link::Device, request, Question::CreateAccount);
        }
        let (host, nonce) = ctx.links.challenge();
        let challenge = AuthChallenge { host, nonce, account: me.account(), device: me.record.device };
        let signature = me.signing.sign(&challenge.signed_bytes()).to_bytes();
        let request = Request::Authenticate { account: me.account(), device: me.record.device, signature };
        self.questions.ask(ctx, Link::Device, request, Question::Authenticate);
    }

    pub(crate) fn register(&mut self, ctx: &mut Ctx<'_>, command: CommandId, invite: Option<InviteCode>) {
        if self.is_registered(ctx) {
            return ctx.finish(command, Ok(Outcome::Done));
        }
        self.registering = Some(command);
        self.invite = invite.or(self.invite);
        if !self.questions.has(|question| matches!(question, Question::CreateAccount)) {
            self.log_in(ctx);
        }
    }

    pub(crate) fn answered(
        &mut self,
        ctx: &mut Ctx<'_>,
        link: Link,
        id: u32,
        reply: Reply,
    ) -> Result<Progress, CoreError> {
        match (self.questions.take(link, id), reply) {
            (Some(Question::CreateAccount), Reply::Done) => {
                let mut record: MeRecord = ctx.txn.need(&())?;
                record.registered = true;
                ctx.txn.store(&(), &record);
                self.registered = true;
                if let Some(command) = self.registering.take() {
                    ctx.finish(command, Ok(Outcome::Done));
                }
                self.log_in(ctx);
                Ok(Progress::Waiting)
            }
            (
                Some(Question::Authenticate),
                Reply::Authenticated { key_packages, last_resort, tokens: _, envelopes },
            ) => {
                ctx.links.logged_in();
                ctx.event(Event::Link { link: Link::Device, ready: true });
                Ok(Progress::LoggedIn(LoggedIn { key_packages, last_resort, envelopes }))
            }
            _ => Ok(Progress::Misfit),
        }
    }

    pub(crate) fn refused(&mut self, ctx: &mut Ctx<'_>, link: Link, id: u32, failure: &Failure) {
        match self.questions.take(link, id) {
            // Asked when the connection opened, before the person's command came with the invitation.
            Some(Question::CreateAccount)
                if failure.code == ErrorCode::InviteNeeded && self.invite.is_some() && !self.invite_shown =>
            {
                self.log_in(ctx);
            }
            Some(Question::CreateAccount) => {
                let error = match failure.code {
                    ErrorCode::HandleTaken => CommandError::HandleTaken(ctx.me.record.handle.clone()),
                    _ => CommandError::refused(failure),
                };
                if let Some(command) = self.registering.take() {
                    ctx.finish(command, Err(error));
                }
            }
            Some(Question::Authenticate) => {
                ctx.refused(None, Refusal::LogIn(failure.code));
                ctx.disconnect(Link::Device);
            }
            None => {}
        }
    }

    pub(crate) fn disconnected(&mut self, ctx: &mut Ctx<'_>, link: Link) {
        self.questions.lost(link);
        if link == Link::Device
            && let Some(command) = self.registering.take()
        {
            ctx.finish(command, Err(CommandError::Offline));
        }
    }

    fn is_registered(&self, ctx: &Ctx<'_>) -> bool {
        self.registered || ctx.me.record.registered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::testing::Home;

    fn home() -> Home {
        let mut home = Home::of("alice");
        home.connect(Link::Device);
        home
    }

    fn failure(code: ErrorCode) -> Failure {
        Failure { code, retry_after_secs: None, detail: None }
    }

    #[test]
    fn an_account_is_registered_before_it_logs_in() {
        let (mut home, mut session) = (home(), Session::default());
        let out = home.step(|ctx| session.register(ctx, CommandId(1), None));
        assert!(matches!(out.requests()[..], [Request::CreateAccount { .. }]));
        let out = home.step(|ctx| session.answered(ctx, Link::Device, 1, Reply::Done).unwrap());
        assert!(matches!(out.value, Progress::Waiting));
        assert!(matches!(out.requests()[..], [Request::Authenticate { .. }]));
        assert!(matches!(out.finished(1), Some(Ok(Outcome::Done))));
        assert!(session.registered && Identity::load(&home.vault).unwrap().unwrap().record.registered);
        let found = Reply::Authenticated { key_packages: 3, last_resort: true, tokens: 0, envelopes: 2 };
        let out = home.step(|ctx| session.answered(ctx, Link::Device, 2, found).unwrap());
        assert!(matches!(out.value, Progress::LoggedIn(LoggedIn { key_packages: 3, last_resort: true, envelopes: 2 })));
        assert!(home.links.is_ready(Link::Device));
        // Asked again, there is nothing to do.
        let out = home.step(|ctx| session.register(ctx, CommandId(2), None));
        assert!(out.requests().is_empty() && matches!(out.finished(2), Some(Ok(Outcome::Done))));
    }

    #[test]
    fn a_handle_that_is_taken_is_named() {
        let (mut home, mut session) = (home(), Session::default());
        home.step(|ctx| session.register(ctx, CommandId(1), None));
        let out = home.step(|ctx| session.refused(ctx, Link::Device, 1, &failure(ErrorCode::HandleTaken)));
        assert!(matches!(out.finished(1), Some(Err(CommandError::HandleTaken(handle))) if handle.as_str() == "alice"));
        assert!(!session.registered);
    }

    #[test]
    fn an_invitation_that_comes_after_the_first_refusal_is_shown() {
        let (mut home, mut session) = (home(), Session::default());
        home.step(|ctx| session.log_in(ctx));
        let code = InviteCode([7; 10]);
        let out = home.step(|ctx| session.register(ctx, CommandId(1), Some(code)));
        assert!(out.requests().is_empty(), "the account was asked for already");
        let out = home.step(|ctx| session.refused(ctx, Link::Device, 1, &failure(ErrorCode::InviteNeeded)));
        assert!(matches!(out.requests()[..], [Request::CreateAccount { invite: Some(shown), .. }] if *shown == code));
        assert!(out.finished(1).is_none());
        // Refused with it, that is the answer.
        let out = home.step(|ctx| session.refused(ctx, Link::Device, 2, &failure(ErrorCode::InviteNeeded)));
        assert!(
            out.requests().is_empty()
                && matches!(out.finished(1), Some(Err(CommandError::Refused { code: ErrorCode::InviteNeeded, .. })))
        );
    }

    #[test]
    fn who_waits_for_the_registration_hears_that_the_connection_is_gone() {
        let (mut home, mut session) = (home(), Session::default());
        home.step(|ctx| session.register(ctx, CommandId(1), None));
        let out = home.step(|ctx| session.disconnected(ctx, Link::Anonymous));
        assert!(out.finished(1).is_none());
        let out = home.step(|ctx| session.disconnected(ctx, Link::Device));
        assert!(matches!(out.finished(1), Some(Err(CommandError::Offline))));
    }

    #[test]
    fn an_answer_that_does_not_fit_is_noticed() {
        let (mut home, mut session) = (home(), Session::default());
        home.step(|ctx| session.log_in(ctx));
        let wrong = home.step(|ctx| session.answered(ctx, Link::Device, 1, Reply::KeyPackageCount(1)).unwrap());
        assert!(matches!(wrong.value, Progress::Misfit));
        let nothing = home.step(|ctx| session.answered(ctx, Link::Device, 1, Reply::Done).unwrap());
        assert!(matches!(nothing.value, Progress::Misfit));
    }

    #[test]
    fn a_log_in_that_is_refused_costs_the_connection() {
        let (mut home, mut session) = (home(), Session { registered: true, ..Session::default() });
        let out = home.step(|ctx| session.log_in(ctx));
        assert!(matches!(out.requests()[..], [Request::Authenticate { .. }]));
        let out = home.step(|ctx| session.refused(ctx, Link::Device, 1, &failure(ErrorCode::NotAuthenticated)));
        assert_eq!(out.refusals(), 1);
        assert!(
            out.effects.iter().any(|effect| matches!(effect, crate::api::Effect::Disconnect { link: Link::Device }))
        );
    }
}
