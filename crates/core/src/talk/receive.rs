//! A message that came: stored where it reads, and counted.

use super::messages::{MessageRecord, store_message};
use super::receipts;
use crate::api::{Event, Status};
use crate::content::Body;
use crate::error::CoreError;
use crate::log::rows::{Info, Progress};
use crate::people::accounts::keep_contact_card;
use crate::step::{Came, Ctx};
use crate::store::Read as _;

/// Takes one message.
pub(super) fn receive(ctx: &mut Ctx<'_>, came: Came) -> Result<(), CoreError> {
    let id = came.conversation;
    let info: Info = ctx.txn.need(&id)?;
    let mut progress: Progress = ctx.txn.need(&id)?;
    let is_peer = info.peer == Some(came.sender);
    if is_peer && let Some((epoch, upto)) = came.agreed {
        let since = if let Body::Receipt { since } = came.body { since } else { epoch };
        receipts::delivered(ctx, &info, &mut progress, &came, (since, upto))?;
        ctx.txn.store(&id, &progress);
    }
    if let Body::ContactCard { capability } = came.body {
        return keep_contact_card(ctx, &came.sender, capability);
    }
    if !came.body.is_for_people() {
        return Ok(());
    }
    let own = ctx.me.account() == came.sender;
    let record = MessageRecord {
        id: came.id,
        conversation: id,
        sender: came.sender,
        sent_at: came.sent_at,
        body: came.body.encode(),
        status: if own { Status::Sent } else { Status::Received },
    };
    if store_message(ctx, &info, &record, came.time, came.seq)? && !own {
        progress.unread = progress.unread.saturating_add(1);
        progress.receipt_due |= is_peer;
        ctx.txn.store(&id, &progress);
    }
    ctx.event(Event::Conversation(id));
    Ok(())
}
