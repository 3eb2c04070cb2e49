//! What people say to each other: messages that came, messages that go, and what became of them.
//!
//! Owns the messages in reading order, and of a conversation's record only what is unread and what is receipted. Never
//! touches a log, a key or a connection: what it sends goes through [`crate::log::outbox`], what it gets is mail.

pub(crate) mod messages;
pub(crate) mod receipts;
pub(crate) mod send;

mod receive;

use crate::api::Status;
use crate::error::CoreError;
use crate::step::{Ctx, News};

/// What the logs and what is believed of people have for conversations.
pub(crate) fn take_mail(ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
    for news in std::mem::take(&mut ctx.mail.messages) {
        match news {
            News::Came(came) => receive::receive(ctx, came)?,
            News::Sent { conversation, id, time, seq } => {
                messages::set_status(ctx, conversation, &id, Status::Sent, Some((time, seq)))?;
            }
            News::Failed { conversation, id } => {
                messages::set_status(ctx, conversation, &id, Status::Failed, None)?;
            }
            News::Introduce(conversation) => send::hand_out_contact(ctx, conversation)?,
        }
    }
    for (account, notice) in std::mem::take(&mut ctx.mail.notices) {
        messages::note(ctx, &account, &notice)?;
    }
    Ok(())
}
