//! Messages as they are stored: in reading order, each once.
//!
//! Nothing here knows how a message came or goes.

use minicbor::{Decode, Encode};
use stonechat_wire::{AccountId, ConversationId, Handle, Seq, Timestamp};

use crate::api::{Event, Message, Status};
use crate::content::{Body, MessageId, Notice};
use crate::error::CoreError;
use crate::log::rows::{Info, Progress, conversation_ids};
use crate::people::accounts::handle_of;
use crate::step::Ctx;
use crate::store::{Read, Record, Table, VaultError, damaged};

/// One message in reading order, in [`Table::Message`].
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct MessageRecord {
    #[n(0)]
    pub id: MessageId,
    #[n(1)]
    pub conversation: ConversationId,
    #[n(2)]
    pub sender: AccountId,
    #[n(3)]
    pub sent_at: Timestamp,
    /// A [`crate::content::Body`], encoded.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub body: Vec<u8>,
    #[n(5)]
    pub status: Status,
}

impl Record for MessageRecord {
    const TABLE: Table = Table::Message;
    /// A [`message_key`].
    type Key = Vec<u8>;
    fn key(key: &Vec<u8>) -> Vec<u8> {
        key.clone()
    }
}

/// The messages of a group are kept under its id, direct messages under the other person's: two conversations that were
/// opened at once read as one.
pub(crate) fn thread(id: &ConversationId, info: &Info) -> [u8; 32] {
    info.peer.map_or(id.0, |peer| peer.0)
}

/// Reading order: the server's clock, then the number in the log, then the id. A message that was not sent yet sorts last.
pub(crate) fn message_key(thread: &[u8; 32], time: Timestamp, seq: Seq, id: &MessageId) -> Vec<u8> {
    [thread.as_slice(), &time.0.to_be_bytes(), &seq.0.to_be_bytes(), &id.0].concat()
}

/// The number in the log that a [`message_key`] has.
pub(crate) fn seq_of(key: &[u8]) -> Result<Seq, VaultError> {
    let bytes = key.get(40..48).and_then(|bytes| bytes.try_into().ok()).ok_or_else(damaged)?;
    Ok(Seq(u64::from_be_bytes(bytes)))
}

fn index_key(thread: &[u8; 32], sender: &AccountId, id: &MessageId) -> Vec<u8> {
    [thread.as_slice(), &sender.0, &id.0].concat()
}

/// Where a message is, by who wrote it.
pub(crate) fn place_of<R: Read + ?Sized>(
    reader: &R,
    thread: &[u8; 32],
    sender: &AccountId,
    id: &MessageId,
) -> Result<Option<Vec<u8>>, VaultError> {
    reader.value(Table::MessageIndex, &index_key(thread, sender, id))
}

pub(crate) fn message<R: Read + ?Sized>(reader: &R, record: &MessageRecord) -> Result<Option<Message>, VaultError> {
    handle_of(reader, &record.sender)?.map(|handle| message_of(record, handle)).transpose()
}

pub(crate) fn message_of(record: &MessageRecord, sender_handle: Handle) -> Result<Message, VaultError> {
    let Ok(body) = Body::decode(&record.body) else {
        return Err(VaultError { detail: "a message does not decode".into() });
    };
    Ok(Message {
        id: record.id,
        conversation: record.conversation,
        sender: record.sender,
        sender_handle,
        sent_at: record.sent_at,
        body: body.shown(),
        status: record.status,
    })
}

/// Stores a message where it reads; one that is there already stays as it is.
pub(super) fn store_message(
    ctx: &mut Ctx<'_>,
    info: &Info,
    record: &MessageRecord,
    time: Timestamp,
    seq: Seq,
) -> Result<bool, CoreError> {
    let thread = thread(&record.conversation, info);
    if place_of(&ctx.txn, &thread, &record.sender, &record.id)?.is_some() {
        return Ok(false);
    }
    put(ctx, &thread, message_key(&thread, time, seq, &record.id), record)?;
    Ok(true)
}

/// Moves a message of this account to its state, and to its place when the log gave it one.
pub(super) fn set_status(
    ctx: &mut Ctx<'_>,
    conversation: ConversationId,
    id: &MessageId,
    status: Status,
    place: Option<(Timestamp, Seq)>,
) -> Result<(), CoreError> {
    let info: Info = ctx.txn.need(&conversation)?;
    let thread = thread(&conversation, &info);
    let Some(old_key) = place_of(&ctx.txn, &thread, &ctx.me.account(), id)? else { return Ok(()) };
    let Some(mut record) = ctx.txn.load::<MessageRecord>(&old_key)? else { return Ok(()) };
    let key = place.map_or_else(|| old_key.clone(), |(time, seq)| message_key(&thread, time, seq, id));
    if record.status == status && key == old_key {
        return Ok(());
    }
    record.status = status;
    ctx.txn.remove::<MessageRecord>(&old_key);
    put(ctx, &thread, key, &record)
}

/// Writes a message and says so.
pub(super) fn put(ctx: &mut Ctx<'_>, thread: &[u8; 32], key: Vec<u8>, record: &MessageRecord) -> Result<(), CoreError> {
    ctx.txn.store(&key, record);
    ctx.txn.put(Table::MessageIndex, index_key(thread, &record.sender, &record.id), key);
    if let Some(message) = message(&ctx.txn, record)? {
        ctx.event(Event::Message(message));
    }
    Ok(())
}

/// Writes a line into every conversation that somebody is in.
pub(super) fn note(ctx: &mut Ctx<'_>, account: &AccountId, notice: &Notice) -> Result<(), CoreError> {
    for id in conversation_ids(&ctx.txn)? {
        let (Some(progress), Some(info)) = (ctx.txn.load::<Progress>(&id)?, ctx.txn.load::<Info>(&id)?) else {
            continue;
        };
        if !info.has_member(account) {
            continue;
        }
        let record = MessageRecord {
            id: MessageId(ctx.random()),
            conversation: id,
            sender: *account,
            sent_at: ctx.now,
            body: Body::Notice(notice.clone()).encode(),
            status: Status::Received,
        };
        store_message(ctx, &info, &record, progress.last_time.max(ctx.now), Seq(0))?;
        ctx.event(Event::Conversation(id));
    }
    Ok(())
}

/// A message that was not sent yet sorts after all that were.
pub(super) const UNSENT: Timestamp = Timestamp(u64::MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Order, prefix_end};
    use crate::talk::send::send;
    use crate::testing::{Home, NOW};

    #[test]
    fn a_message_moves_from_the_end_to_its_place_in_the_log() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let texts: Vec<_> = ["first", "second"]
            .map(|text| home.step(|ctx| send(ctx, id, Body::Text(text.into())).unwrap()).value)
            .to_vec();
        let order = |home: &mut Home| {
            home.step(|ctx| {
                let low = thread(&id, &ctx.txn.need(&id).unwrap());
                let rows = ctx.txn.values(Table::Message, &low, &prefix_end(&low), Order::Ascending, 9).unwrap();
                let read = |(_, value): &(Vec<u8>, Vec<u8>)| MessageRecord::from_bytes(value).unwrap();
                rows.iter().map(read).map(|record| (record.id, record.status)).collect::<Vec<_>>()
            })
            .value
        };
        assert_eq!(order(&mut home), [(texts[0], Status::Queued), (texts[1], Status::Queued)]);
        home.step(|ctx| set_status(ctx, id, &texts[1], Status::Sent, Some((NOW, Seq(2)))).unwrap());
        assert_eq!(order(&mut home), [(texts[1], Status::Sent), (texts[0], Status::Queued)]);
        home.step(|ctx| set_status(ctx, id, &texts[0], Status::Failed, None).unwrap());
        assert_eq!(order(&mut home), [(texts[1], Status::Sent), (texts[0], Status::Failed)]);
    }

    #[test]
    fn the_status_of_a_message_that_nobody_sent_changes_nothing() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let out = home.step(|ctx| set_status(ctx, id, &MessageId([1; 16]), Status::Sent, Some((NOW, Seq(2)))).unwrap());
        assert!(out.events().is_empty());
    }

    #[test]
    fn a_notice_stands_in_the_conversations_with_somebody_and_in_no_other() {
        let mut home = Home::of("alice");
        let (bob, carol) = (home.meet("bob", 10), home.meet("carol", 20));
        let (with_bob, _) = (home.converse_with(&bob), home.converse_with(&carol));
        let out = home.step(|ctx| note(ctx, &bob.id(), &Notice::DeviceAdded(bob.handle())).unwrap());
        let said: Vec<_> = out
            .events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Message(message) => Some((message.conversation, message.sender)),
                _ => None,
            })
            .collect();
        assert_eq!(said, [(with_bob, bob.id())]);
    }
}
