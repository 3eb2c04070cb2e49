//! What is delivered: what the other person's device says it holds, and what this one says.

use stonechat_wire::{ConversationId, Seq};

use super::messages::{MessageRecord, message, message_key, seq_of, thread};
use super::send::send;
use crate::api::{Event, Status};
use crate::content::{Body, MessageId};
use crate::error::CoreError;
use crate::limits::{DELIVERED_MAX, IN_FLIGHT_MAX};
use crate::log::rows::{Info, Progress, outgoing};
use crate::step::{Came, Ctx};
use crate::store::{Order, Read as _, Record as _, Table};

/// The other person's device holds the entries after `since` and up to `upto`, as this device has them: what this account wrote
/// there is delivered.
pub(super) fn delivered(
    ctx: &mut Ctx<'_>,
    info: &Info,
    progress: &mut Progress,
    said: &Came,
    (since, upto): (Seq, Seq),
) -> Result<(), CoreError> {
    let id = said.conversation;
    // What was marked before is not looked at again.
    let low = match progress.delivered {
        Some((from, to)) if since >= from => since.max(to),
        _ => since,
    };
    if upto <= low {
        return Ok(());
    }
    progress.delivered = Some(match progress.delivered {
        Some((from, to)) if since <= to => (from.min(since), upto.max(to)),
        _ => (since, upto),
    });
    // The server acknowledged these and has not shown them: they may not be in the log.
    let unconfirmed: Vec<_> = outgoing(&ctx.txn, &id, IN_FLIGHT_MAX)?.into_iter().map(|(_, out)| out.id).collect();
    let thread = thread(&id, info);
    let mut end = message_key(&thread, said.time, said.seq, &MessageId([0; 16]));
    let mut left = DELIVERED_MAX;
    while left > 0 {
        let rows = ctx.txn.values(Table::Message, &thread, &end, Order::Descending, left.min(DELIVERED_STEP))?;
        let Some((first, _)) = rows.last() else { break };
        end.clone_from(first);
        left -= rows.len();
        for (key, value) in rows {
            let mut record = MessageRecord::from_bytes(&value)?;
            if record.conversation != id {
                continue;
            }
            let seq = seq_of(&key)?;
            if seq <= low {
                return Ok(());
            }
            if seq <= upto && record.status == Status::Sent && !unconfirmed.contains(&record.id) {
                record.status = Status::Delivered;
                ctx.txn.store(&key, &record);
                if let Some(message) = message(&ctx.txn, &record)? {
                    ctx.event(Event::Message(message));
                }
            }
        }
    }
    Ok(())
}

/// Says that what came is here, once for all that came since the last time: at most one receipt waits or is on its way.
/// Returns where the conversation stands then.
pub(crate) fn answer(ctx: &mut Ctx<'_>, id: ConversationId, mut progress: Progress) -> Result<Progress, CoreError> {
    if !progress.receipt_due {
        return Ok(progress);
    }
    let rows = outgoing(&ctx.txn, &id, IN_FLIGHT_MAX)?;
    // A long queue is sent first: what is sealed later says more.
    if rows.len() == IN_FLIGHT_MAX || rows.iter().any(|(_, out)| !out.visible) {
        return Ok(progress);
    }
    progress.receipt_due = false;
    let since = progress.since.unwrap_or(progress.epoch);
    ctx.txn.store(&id, &progress);
    send(ctx, id, Body::Receipt { since })?;
    Ok(ctx.txn.need(&id)?)
}

/// Rows that are read at once when messages are marked as delivered: mostly the last few.
const DELIVERED_STEP: usize = 32;
