//! A message that goes: into the outbox and, when a person sees it, into the conversation.

use stonechat_wire::{ConversationId, Seq};

use super::messages::{MessageRecord, UNSENT, store_message};
use crate::api::{Event, Status};
use crate::content::{Body, Content, MessageId};
use crate::error::CoreError;
use crate::log::outbox::enqueue;
use crate::log::rows::Info;
use crate::step::Ctx;
use crate::store::Read as _;

/// Sends a message when the conversation's log can take it.
pub(crate) fn send(ctx: &mut Ctx<'_>, conversation: ConversationId, body: Body) -> Result<MessageId, CoreError> {
    let id = MessageId(ctx.random());
    let visible = body.is_for_people();
    let content = Content::new(id, ctx.now, body);
    let number = enqueue(ctx, conversation, id, content.encode(), visible)?;
    if visible {
        let info: Info = ctx.txn.need(&conversation)?;
        let record = MessageRecord {
            id,
            conversation,
            sender: ctx.me.account(),
            sent_at: ctx.now,
            body: content.body.encode(),
            status: Status::Queued,
        };
        store_message(ctx, &info, &record, UNSENT, Seq(number))?;
        ctx.event(Event::Conversation(conversation));
    }
    Ok(id)
}

/// Gives the members this account's contact capability, so that they reach its inbox.
pub(super) fn hand_out_contact(ctx: &mut Ctx<'_>, conversation: ConversationId) -> Result<(), CoreError> {
    let capability = ctx.me.record.contact.clone();
    send(ctx, conversation, Body::ContactCard { capability }).map(drop)
}
