//! Letters between devices: first contact, and the call for help of a device that cannot follow a conversation.
//!
//! Owns the letters on their way and the ids of those that were acted upon. Opens, verifies and seals; what a letter asks for is
//! decided by [`crate::log`].

pub(crate) mod inbox;
pub(crate) mod outbox;

use stonechat_wire::{Failure, Reply};

use crate::api::{CommandError, CommandId, Link, Refusal};
use crate::blobs::Blobs;
use crate::error::CoreError;
use crate::links::Room;
use crate::step::{Ctx, Questions};

/// What is asked.
enum Question {
    AckInbox,
    Post(outbox::LetterKey),
}

/// Letters.
pub(crate) struct Post {
    questions: Questions<Question>,
    /// Envelopes that the server announced at log-in and has not pushed.
    pub expected: u32,
    /// Letters came before the policy that they are judged by.
    too_early: bool,
    /// Commands that wait until every letter was tried.
    posting: Vec<CommandId>,
}

impl Default for Post {
    fn default() -> Self {
        Self { questions: Questions::of(Room::Post), expected: 0, too_early: false, posting: Vec::new() }
    }
}

impl Post {
    pub(crate) fn connected(&mut self, link: Link) {
        if link == Link::Device {
            self.expected = 0;
        }
    }

    pub(crate) fn disconnected(&mut self, ctx: &mut Ctx<'_>, link: Link) {
        self.questions.lost(link);
        for command in std::mem::take(&mut self.posting) {
            ctx.finish(command, Err(CommandError::Offline));
        }
    }

    /// Finishes once every letter that waits was tried.
    pub(crate) fn finish_when_posted(&mut self, command: CommandId) {
        self.posting.push(command);
    }

    /// Whether letters can be judged now.
    pub(crate) fn take_mail(&mut self, ctx: &mut Ctx<'_>) {
        if std::mem::take(&mut ctx.mail.policy_pinned) && std::mem::take(&mut self.too_early) {
            // They are pushed again after the next log-in, and now they can be judged.
            ctx.disconnect(Link::Device);
        }
    }

    /// Sends what waits.
    pub(crate) fn drive(&mut self, ctx: &mut Ctx<'_>, blobs: &mut Blobs) -> Result<(), CoreError> {
        self.send_letters(ctx, blobs)?;
        self.settle(ctx)
    }

    /// Returns whether the answer fits.
    pub(crate) fn answered(&mut self, ctx: &mut Ctx<'_>, link: Link, id: u32, reply: &Reply) -> bool {
        match (self.questions.take(link, id), reply) {
            (Some(Question::AckInbox), Reply::Done) => true,
            (Some(Question::Post(key)), Reply::Done) => {
                outbox::posted(ctx, &key);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        link: Link,
        id: u32,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        match self.questions.take(link, id) {
            Some(Question::Post(key)) => outbox::put_off(ctx, &key, failure),
            Some(Question::AckInbox) => {
                // They come again after the next log-in, and are recognised.
                ctx.refused(None, Refusal::InboxKept(failure.code));
                Ok(())
            }
            None => Ok(()),
        }
    }
}
