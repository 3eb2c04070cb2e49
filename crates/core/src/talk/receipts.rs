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

#[cfg(test)]
mod tests {
    use stonechat_wire::Timestamp;

    use super::*;
    use crate::log::rows::Outgoing;
    use crate::talk::messages::set_status;
    use crate::testing::{Home, NOW, Person};

    /// A text of this account that the log has at a place.
    fn sent(home: &mut Home, id: ConversationId, seq: u64) -> MessageId {
        home.step(|ctx| {
            let message = send(ctx, id, Body::Text("hi".into())).unwrap();
            let number = ctx.txn.need::<Progress>(&id).unwrap().next_out - 1;
            ctx.txn.remove::<Outgoing>(&(id, number));
            set_status(ctx, id, &message, Status::Sent, Some((NOW.plus_secs(seq), Seq(seq)))).unwrap();
            message
        })
        .value
    }

    fn hear(home: &mut Home, id: ConversationId, from: &Person, since: u64, upto: u64) -> Vec<MessageId> {
        let said = Came {
            conversation: id,
            sender: from.id(),
            seq: Seq(99),
            time: NOW.plus_secs(99),
            agreed: Some((Seq(since), Seq(upto))),
            id: MessageId([99; 16]),
            sent_at: Timestamp(1),
            body: Body::Receipt { since: Seq(since) },
        };
        let out = home.step(|ctx| crate::talk::receive::receive(ctx, said).unwrap());
        let delivered = |event: &&Event| match event {
            Event::Message(message) if message.status == Status::Delivered => Some(message.id),
            _ => None,
        };
        out.events().iter().filter_map(delivered).collect()
    }

    #[test]
    fn what_the_other_holds_is_delivered_and_the_rest_is_not() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let messages: Vec<_> = (2..6).map(|seq| sent(&mut home, id, seq)).collect();
        assert_eq!(hear(&mut home, id, &bob, 3, 4), [messages[2]], "after the third place and up to the fourth");
        assert_eq!(hear(&mut home, id, &bob, 3, 4), [], "only once");
        assert_eq!(hear(&mut home, id, &bob, 3, 5), [messages[3]], "from where it ended");
        assert_eq!(hear(&mut home, id, &bob, 1, 5), [messages[1], messages[0]], "what was left out before");
    }

    #[test]
    fn what_the_log_has_not_shown_yet_is_not_delivered() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        // Acknowledged, and still in the outbox.
        let message = home.step(|ctx| {
            let message = send(ctx, id, Body::Text("hi".into())).unwrap();
            set_status(ctx, id, &message, Status::Sent, Some((NOW.plus_secs(2), Seq(2)))).unwrap();
            message
        });
        assert_eq!(hear(&mut home, id, &bob, 1, 9), []);
        let _ = message;
    }

    #[test]
    fn one_receipt_answers_everything_and_none_is_sent_unasked() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let waiting = |home: &mut Home| home.step(|ctx| outgoing(&ctx.txn, &id, 9).unwrap().len()).value;
        let try_answer = |home: &mut Home| {
            home.step(|ctx| {
                let progress = ctx.txn.need(&id).unwrap();
                answer(ctx, id, progress).unwrap().receipt_due
            })
            .value
        };
        assert!(!try_answer(&mut home));
        assert_eq!(waiting(&mut home), 0);
        let due = |home: &mut Home| {
            home.step(|ctx| {
                let mut progress: Progress = ctx.txn.need(&id).unwrap();
                progress.receipt_due = true;
                ctx.txn.store(&id, &progress);
            });
        };
        due(&mut home);
        assert!(!try_answer(&mut home));
        assert_eq!(waiting(&mut home), 1);
        // The first is still on its way: the next waits for it.
        due(&mut home);
        assert!(try_answer(&mut home));
        assert_eq!(waiting(&mut home), 1);
    }
}
