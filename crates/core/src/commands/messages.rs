//! What a person asks for about messages and conversations.

use stonechat_wire::{AccountId, ConversationId};

use super::{House, account_looked_up};
use crate::api::{CommandError, Event, NotAllowed, Outcome, Target, Text};
use crate::content::Body;
use crate::error::{Answer, CoreError};
use crate::log::join::{accept_requests, requests_of};
use crate::log::policy::GroupState;
use crate::log::rows::{Info, Intent, Phase, Progress, conversation_ids, direct};
use crate::people::accounts::accept;
use crate::step::Ctx;
use crate::store::Read as _;
use crate::talk;

pub(super) fn send(ctx: &mut Ctx<'_>, house: &mut House<'_>, to: &Target, text: Text) -> Answer<Outcome> {
    let id = match to {
        Target::Conversation(id) => *id,
        Target::Person(handle) => {
            let peer = account_looked_up(ctx, handle)?;
            direct_with(ctx, house, peer)?
        }
    };
    let Some(progress) = ctx.txn.load::<Progress>(&id)? else { return Err(CommandError::UnknownConversation.into()) };
    if progress.phase == Phase::Gone {
        return Err(CommandError::NotAllowed(NotAllowed::NotInConversation).into());
    }
    let message = talk::send::send(ctx, id, Body::Text(text.0))?;
    Ok(Outcome::Queued { conversation: id, message })
}

/// The direct messages with somebody: those that exist, those that they asked for, or new ones.
fn direct_with(ctx: &mut Ctx<'_>, house: &mut House<'_>, peer: AccountId) -> Result<ConversationId, CoreError> {
    if let Some(id) = direct(&ctx.txn, &peer)? {
        return Ok(id);
    }
    // To write to somebody is to accept them.
    if requests_of(ctx, peer)?.iter().any(|(_, request)| !request.is_group) {
        accept_requests(ctx, peer)?;
        house.log.drive_requests(ctx, house.blobs)?;
        if let Some(id) = direct(&ctx.txn, &peer)? {
            return Ok(id);
        }
    }
    accept(ctx, &peer)?;
    let me = ctx.me.account();
    let state = GroupState::direct(me, peer);
    house.log.found(ctx, &state, Some(peer), &[peer])
}

pub(super) fn refresh(ctx: &mut Ctx<'_>, id: ConversationId) -> Answer<Outcome> {
    let (Some(progress), Some(mut info)) = (ctx.txn.load::<Progress>(&id)?, ctx.txn.load::<Info>(&id)?) else {
        return Err(CommandError::UnknownConversation.into());
    };
    if progress.phase == Phase::Gone {
        return Err(CommandError::NotAllowed(NotAllowed::NotInConversation).into());
    }
    info.intents.push(Intent::Refresh);
    ctx.txn.store(&id, &info);
    ctx.dirty.insert(id);
    Ok(Outcome::Done)
}

pub(super) fn mark_read(ctx: &mut Ctx<'_>, id: ConversationId) -> Answer<Outcome> {
    let Some(info) = ctx.txn.load::<Info>(&id)? else { return Err(CommandError::UnknownConversation.into()) };
    // Direct messages that were opened from both sides are two logs and one thread.
    let ids = match info.peer {
        None => vec![id],
        Some(peer) => {
            let mut same = Vec::new();
            for other in conversation_ids(&ctx.txn)? {
                if ctx.txn.load::<Info>(&other)?.is_some_and(|info| info.peer == Some(peer)) {
                    same.push(other);
                }
            }
            same
        }
    };
    for id in ids {
        if let Some(mut progress) = ctx.txn.load::<Progress>(&id)?.filter(|progress| progress.unread > 0) {
            progress.unread = 0;
            ctx.txn.store(&id, &progress);
            ctx.event(Event::Conversation(id));
        }
    }
    Ok(Outcome::Done)
}
