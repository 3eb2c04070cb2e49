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

#[cfg(test)]
mod tests {
    use stonechat_wire::{ConversationId, Seq, Timestamp};

    use super::*;
    use crate::content::MessageId;
    use crate::crypto::Secret;
    use crate::log::policy::GroupState;
    use crate::people::accounts::Contact;
    use crate::talk::messages::{place_of, thread};
    use crate::testing::{Home, NOW, Person};

    fn came(conversation: ConversationId, from: &Person, seq: u64, body: Body) -> Came {
        Came {
            conversation,
            sender: from.id(),
            seq: Seq(seq),
            time: NOW.plus_secs(seq),
            agreed: None,
            id: MessageId([u8::try_from(seq).unwrap(); 16]),
            sent_at: Timestamp(5),
            body,
        }
    }

    fn text(conversation: ConversationId, from: &Person, seq: u64) -> Came {
        came(conversation, from, seq, Body::Text("hi".into()))
    }

    fn progress(home: &mut Home, id: ConversationId) -> Progress {
        home.step(|ctx| ctx.txn.need::<Progress>(&id).unwrap()).value
    }

    #[test]
    fn a_message_is_stored_told_and_counted_once() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let told = |out: &crate::testing::Out<()>| {
            out.events().iter().filter(|event| matches!(event, Event::Message(_))).count()
        };
        assert_eq!(told(&home.step(|ctx| receive(ctx, text(id, &bob, 2)).unwrap())), 1);
        assert_eq!(told(&home.step(|ctx| receive(ctx, text(id, &bob, 2)).unwrap())), 0);
        let progress = progress(&mut home, id);
        assert_eq!((progress.unread, progress.receipt_due), (1, true));
    }

    #[test]
    fn a_message_in_a_group_is_counted_and_no_receipt_is_due() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse(9, &GroupState::group("g".into(), home.identity.account()), &[&bob]);
        home.step(|ctx| receive(ctx, text(id, &bob, 2)).unwrap());
        let progress = progress(&mut home, id);
        assert_eq!((progress.unread, progress.receipt_due), (1, false));
    }

    #[test]
    fn what_is_between_apps_is_neither_stored_nor_counted() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let card = Body::ContactCard { capability: Secret::from_bytes([5; 32]) };
        home.step(|ctx| {
            receive(ctx, came(id, &bob, 2, card)).unwrap();
            receive(ctx, came(id, &bob, 3, Body::Receipt { since: Seq(1) })).unwrap();
        });
        let kept = home.step(|ctx| {
            let info: Info = ctx.txn.need(&id).unwrap();
            let place = place_of(&ctx.txn, &thread(&id, &info), &bob.id(), &MessageId([3; 16])).unwrap();
            (place, ctx.txn.need::<Contact>(&bob.id()).unwrap().contact)
        });
        assert_eq!(kept.value, (None, Some(Secret::from_bytes([5; 32]))));
        assert_eq!(progress(&mut home, id).unread, 0);
    }

    #[test]
    fn a_message_of_another_device_of_this_account_is_not_unread() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let own = Came { sender: home.identity.account(), ..text(id, &bob, 2) };
        let out = home.step(|ctx| receive(ctx, own).unwrap());
        let sent = out.events().iter().any(|e| matches!(e, Event::Message(m) if m.status == Status::Sent));
        assert!(sent);
        assert_eq!(progress(&mut home, id).unread, 0);
    }
}
