//! Whom this client knows, and what it believes of them: account logs, proofs of the directory, alarms.
//!
//! Owns everything that is stored of accounts and of the directory, and what is asked about them. What is believed is decided
//! by functions over the vault alone ([`belief`], [`heads`]), so that a log may ask too; the look-ups and the monitoring are in
//! memory. Never sends a message and never changes a conversation.

pub(crate) mod accounts;
pub(crate) mod alarms;
pub(crate) mod belief;
pub(crate) mod heads;
pub(crate) mod sign_up;

mod devices;
mod lookup;
mod monitor;
mod pin;

use stonechat_directory::head::SeenHead;
use stonechat_wire::{AccountId, Failure, Handle, LogEntry, Reply, Request};

pub(crate) use lookup::Waiting;

use crate::api::{CommandError, CommandId, Link};
use crate::error::CoreError;
use crate::links::Room;
use crate::step::{Ctx, Questions};

/// What is asked.
enum Question {
    LookUp { handle: Handle },
    GetAccount { account: AccountId },
    Consistency { newest: SeenHead, head: SeenHead },
    Head,
    Policy,
    OwnLookUp,
    OwnHistory,
    ExtendAccount { command: CommandId, entry: LogEntry },
}

/// Look-ups and the monitoring of this account.
pub(crate) struct People {
    questions: Questions<Question>,
    look_ups: lookup::LookUps,
    monitor: monitor::Monitor,
}

impl Default for People {
    fn default() -> Self {
        Self {
            questions: Questions::of(Room::People),
            look_ups: lookup::LookUps::default(),
            monitor: monitor::Monitor::default(),
        }
    }
}

impl People {
    pub(crate) fn connected(&mut self, ctx: &mut Ctx<'_>, link: Link) -> Result<(), CoreError> {
        match link {
            Link::Anonymous => {
                self.questions.ask(ctx, link, Request::GetDirectoryPolicy, Question::Policy);
                self.check_old_contacts(ctx)
            }
            Link::Device => {
                self.monitor.connected(ctx.now);
                Ok(())
            }
        }
    }

    pub(crate) fn disconnected(&mut self, ctx: &mut Ctx<'_>, link: Link) {
        for question in self.questions.lost(link) {
            if let Question::ExtendAccount { command, .. } = question {
                ctx.finish(command, Err(CommandError::Offline));
            }
        }
        if link == Link::Anonymous {
            self.look_ups_lost(ctx);
        }
    }

    /// Asks for whatever is due.
    pub(crate) fn drive(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        self.check_handles(ctx)?;
        self.repeat_look_ups(ctx);
        self.ask_accounts(ctx)?;
        self.connect_heads(ctx)?;
        self.look_at_self(ctx)
    }

    /// Whether nothing is being looked up. A directory that does not answer is not waited for.
    pub(crate) fn is_settled(&self, ctx: &Ctx<'_>) -> Result<bool, CoreError> {
        // The look at this account, and what it brought up.
        let connecting = self.questions.has(|question| matches!(question, Question::Consistency { .. }));
        Ok(self.monitor.is_done() && !connecting && self.look_ups_settled(ctx)?)
    }

    /// Returns whether the answer fits.
    pub(crate) fn answered(&mut self, ctx: &mut Ctx<'_>, link: Link, id: u32, reply: Reply) -> Result<bool, CoreError> {
        match (self.questions.take(link, id), reply) {
            (Some(Question::LookUp { handle }), Reply::Account(found)) => self.looked_up(ctx, &handle, &found)?,
            (Some(Question::GetAccount { account }), Reply::Account(found)) => {
                self.account_answered(ctx, account, &found)?;
            }
            (Some(Question::Consistency { newest, head }), Reply::Consistency(proof)) => {
                self.consistency_answered(ctx, &newest, &head, &proof)?;
            }
            (Some(Question::Head), Reply::Head(head)) => heads::head_answered(ctx, &head)?,
            (Some(Question::Policy), Reply::DirectoryPolicy(json)) => pin::policy_answered(ctx, &json)?,
            (Some(Question::OwnLookUp), Reply::Account(found)) => self.own_looked_up(ctx, &found)?,
            (Some(Question::OwnHistory), Reply::History(history)) => self.own_history(ctx, &history)?,
            (Some(Question::ExtendAccount { command, entry }), Reply::Done) => {
                self.account_extended(ctx, command, entry)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        link: Link,
        id: u32,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        match self.questions.take(link, id) {
            Some(Question::LookUp { handle }) => self.look_up_failed(ctx, &handle, failure)?,
            Some(Question::GetAccount { account }) => self.account_refused(ctx, account),
            Some(Question::Consistency { newest, head }) => self.consistency_refused(ctx, &newest, &head, failure)?,
            Some(Question::OwnLookUp | Question::OwnHistory) => self.look_refused(ctx, failure)?,
            Some(Question::ExtendAccount { command, .. }) => {
                ctx.finish(command, Err(CommandError::refused(failure)));
            }
            // A server without a directory: nobody new can be checked, and that is said where it matters.
            Some(Question::Policy | Question::Head) | None => {}
        }
        Ok(())
    }
}
