//! What *delivered* says: a device of the other person holds the message, in direct messages, once they accepted.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use stonechat_core::api::{Body, Hold};
use stonechat_core::{Command, Event, Status, Target, query};
use stonechat_sim::world::World;
use stonechat_wire::{ConversationId, Handle};

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

fn handle(name: &str) -> Handle {
    Handle::parse(name).unwrap()
}

fn people(seed: u64) -> World {
    let mut world = World::new(seed);
    for name in ["alice", "bob", "carol"] {
        world.join(name);
    }
    world.run_ms(5_000);
    world
}

fn write(world: &mut World, who: usize, to: &str, text: &str) {
    world.command(who, Command::Send { to: Target::Person(handle(to)), text: text.into() });
}

fn accept(world: &mut World, who: usize, from: &str) {
    world.command(who, Command::Accept { from: handle(from) });
    world.run_ms(10_000);
}

fn only(world: &World, who: usize) -> ConversationId {
    let all = query::conversations(&world.clients[who].vault).unwrap();
    assert_eq!(all.len(), 1);
    all[0].id
}

/// How many entries the server has of a conversation.
fn entries(world: &World, id: &ConversationId) -> usize {
    let logs = world.store().danger_dump();
    logs.iter().filter(|(key, _)| key.as_bytes().ends_with(&id.0)).map(|(_, entries)| entries.len()).sum()
}

/// What somebody's own messages are at.
fn own(world: &World, who: usize) -> Vec<Status> {
    let messages = world.transcript(who, &only(world, who));
    messages.into_iter().filter(|one| one.sender_handle == world.clients[who].handle).map(|one| one.status).collect()
}

/// Alice and Bob, who wrote to each other.
fn friends(seed: u64) -> World {
    let mut world = people(seed);
    write(&mut world, ALICE, "@bob", "hello");
    world.run_ms(10_000);
    accept(&mut world, BOB, "@alice");
    world
}

#[test]
fn a_message_is_delivered_once_the_other_has_accepted_and_read_it() {
    let mut world = people(1);
    write(&mut world, ALICE, "@bob", "hello");
    world.run_ms(60_000);
    assert_eq!(own(&world, ALICE), [Status::Sent], "not before it is accepted");
    accept(&mut world, BOB, "@alice");
    assert_eq!(own(&world, ALICE), [Status::Delivered]);
    let news = world.clients[ALICE].events.iter();
    assert!(news.clone().any(|event| matches!(event, Event::Message(message) if message.status == Status::Delivered)));
    // Nobody sees a receipt: no row, nothing unread, no preview.
    let of_bob = query::conversation(&world.clients[BOB].vault, &only(&world, BOB)).unwrap().unwrap();
    assert_eq!((of_bob.unread, world.transcript(BOB, &of_bob.id).len()), (1, 1));
    let of_alice = query::conversation(&world.clients[ALICE].vault, &only(&world, ALICE)).unwrap().unwrap();
    assert_eq!(of_alice.unread, 0);
    assert!(matches!(of_alice.last.unwrap().body, Body::Text(text) if &*text == "hello"));
}

#[test]
fn many_messages_get_one_receipt_and_a_receipt_gets_none() {
    let mut world = friends(2);
    let id = only(&world, ALICE);
    let before = entries(&world, &id);
    world.offline(BOB, 30_000);
    for number in 0..20 {
        write(&mut world, ALICE, "@bob", &format!("number {number}"));
    }
    world.run_ms(20_000);
    assert_eq!(own(&world, ALICE)[1..], [Status::Sent; 20]);
    world.run_ms(120_000);
    assert_eq!(own(&world, ALICE), [Status::Delivered; 21]);
    assert_eq!(entries(&world, &id), before + 21, "20 messages and one receipt");
}

#[test]
fn what_was_said_before_a_change_of_keys_is_delivered_by_a_receipt_after_it() {
    let mut world = friends(3);
    let conversation = only(&world, ALICE);
    world.offline(BOB, 60_000);
    write(&mut world, ALICE, "@bob", "before");
    world.run_ms(5_000);
    world.command(ALICE, Command::Refresh { conversation });
    world.run_ms(10_000);
    write(&mut world, ALICE, "@bob", "after");
    world.run_ms(200_000);
    assert_eq!(own(&world, ALICE), [Status::Delivered; 3]);
}

#[test]
fn messages_in_a_group_stay_sent() {
    let mut world = people(4);
    world.command(ALICE, Command::CreateGroup { name: "team".into(), members: vec![handle("@bob"), handle("@carol")] });
    world.run_ms(10_000);
    for who in [BOB, CAROL] {
        accept(&mut world, who, "@alice");
    }
    let id = only(&world, ALICE);
    world.command(ALICE, Command::Send { to: Target::Conversation(id), text: "hello all".into() });
    world.run_ms(10_000);
    world.command(BOB, Command::Send { to: Target::Conversation(id), text: "hello".into() });
    world.run_ms(60_000);
    assert_eq!(own(&world, ALICE), [Status::Sent]);
}

#[test]
fn a_first_message_to_somebody_who_is_not_ready_yet_waits_until_they_are() {
    let mut world = World::new(6);
    world.join("alice");
    world.run_ms(5_000);
    world.join("bob");
    while !query::me(&world.clients[BOB].vault).unwrap().is_some_and(|me| me.registered) {
        world.run_ms(1);
    }
    // The server knows Bob, and has no key package of his yet.
    world.offline(BOB, 120_000);
    write(&mut world, ALICE, "@bob", "are you there?");
    world.run_ms(60_000);
    assert_eq!(own(&world, ALICE), [Status::Queued]);
    let waiting = query::conversation(&world.clients[ALICE].vault, &only(&world, ALICE)).unwrap().unwrap();
    assert!(matches!(waiting.hold, Some(Hold::NotReady { who: Some(_), waits: true })), "{:?}", waiting.hold);
    world.run_ms(400_000);
    assert_eq!(own(&world, ALICE), [Status::Sent]);
    accept(&mut world, BOB, "@alice");
    assert_eq!(own(&world, ALICE), [Status::Delivered]);
    let arrived = query::conversation(&world.clients[ALICE].vault, &only(&world, ALICE)).unwrap().unwrap();
    assert_eq!(arrived.hold, None);
}

#[test]
fn a_device_that_dies_at_any_step_still_sends_its_receipt() {
    let mut world = friends(5);
    world.faults.crash_per_mille = 200;
    for number in 0..10 {
        write(&mut world, ALICE, "@bob", &format!("number {number}"));
        world.run_ms(3_000);
    }
    world.faults.crash_per_mille = 0;
    world.run_ms(120_000);
    let own = own(&world, ALICE);
    assert_eq!(own, vec![Status::Delivered; own.len()]);
}
