//! A member who breaks the rules of a conversation with commits that MLS accepts: nobody follows, everybody says why, and the
//! conversation goes on.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use ed25519_dalek::{Signer as _, SigningKey};
use stonechat_core::mls::{self, LeafIdentity, Mls};
use stonechat_core::vault::{MemoryVault, Txn};
use stonechat_core::{Command, Event, Outcome, Role, Target, query};
use stonechat_sim::craft::{BREACHES, Breach, Face};
use stonechat_sim::world::World;
use stonechat_wire::limits::INBOX_KEY_BYTES;
use stonechat_wire::{
    AccountId, AuthChallenge, Bytes, ConversationId, DeviceId, DeviceKeys, Handle, List, LogBody, LogEntry, Request,
    Signer,
};

const ALICE: usize = 0;
const MALLORY: usize = 1;
const CAROL: usize = 2;

fn handle(name: &str) -> Handle {
    Handle::parse(name).unwrap()
}

fn accept_all(world: &mut World) {
    for who in 0..world.clients.len() {
        for request in query::requests(&world.clients[who].vault).unwrap() {
            world.command(who, Command::Accept { from: request.handle });
        }
    }
}

/// Alice owns a group with Mallory and Carol, who are members.
fn group(seed: u64) -> (World, ConversationId) {
    let mut world = World::new(seed);
    for name in ["alice", "mallory", "carol"] {
        world.join(name);
    }
    world.run_ms(5_000);
    let members = vec![handle("mallory"), handle("carol")];
    let made = world.command(ALICE, Command::CreateGroup { name: "team".into(), members });
    for _ in 0..20 {
        world.run_ms(2_000);
        accept_all(&mut world);
    }
    let Some(Ok(Outcome::Conversation(id))) = world.clients[ALICE].finished.get(&made) else { panic!("no group") };
    let id = *id;
    world.run_ms(20_000);
    (world, id)
}

/// What somebody shows of a conversation: its title, and who is in it as what.
fn shown(world: &World, who: usize, id: &ConversationId) -> (String, Vec<(String, Role)>) {
    let conversation = query::conversation(&world.clients[who].vault, id).unwrap().unwrap();
    assert!(conversation.active);
    let mut members: Vec<_> = conversation.members.iter().map(|m| (m.handle.to_string(), m.role)).collect();
    members.sort();
    (conversation.title.0, members)
}

fn told(world: &World, who: usize, id: &ConversationId, words: &str) -> bool {
    world.clients[who].events.iter().any(
        |event| matches!(event, Event::Refused { conversation: Some(of), what } if of == id && what.to_string().contains(words)),
    )
}

/// For whoever reads a failure.
fn all_told(world: &World) -> String {
    let mut lines = Vec::new();
    for client in &world.clients {
        let refused = client.events.iter().filter_map(|event| match event {
            Event::Refused { what, .. } => Some(format!("{}: {what}", client.handle)),
            _ => None,
        });
        lines.extend(refused);
        let conversations = query::conversations(&client.vault).unwrap_or_default();
        lines.extend(
            conversations.iter().map(|c| format!("{}: {:?} {} {:?}", client.handle, c.title, c.active, c.hold)),
        );
    }
    lines.join("\n")
}

fn texts(world: &World, who: usize, id: &ConversationId) -> Vec<String> {
    let messages = world.transcript(who, id).into_iter();
    messages.map(|message| format!("{}: {:?}", message.sender_handle, message.body)).collect()
}

fn say(world: &mut World, who: usize, id: ConversationId, text: &str) {
    world.command(who, Command::Send { to: Target::Conversation(id), text: text.into() });
}

#[test]
fn a_group_follows_no_breach_says_why_and_goes_on() {
    for (seed, breach) in (0..).zip(BREACHES) {
        let (mut world, id) = group(seed);
        let before = shown(&world, ALICE, &id);
        assert_eq!(before.1.len(), 3, "{breach:?}: everybody is in");
        assert_eq!(before, shown(&world, CAROL, &id));
        say(&mut world, CAROL, id, "before");
        world.run_ms(5_000);

        if breach == Breach::Stale {
            // The first call only makes the commit that is shown again once the group has moved on.
            assert!(!world.breach(MALLORY, id, breach));
            world.command(ALICE, Command::Refresh { conversation: id });
            world.run_ms(10_000);
        }
        assert!(world.breach(MALLORY, id, breach), "{breach:?} cannot be made");
        world.run_ms(1_000);
        assert!(matches!(world.clients[MALLORY].breaches[..], [Ok(_)]), "{breach:?}: the server cannot tell");
        say(&mut world, ALICE, id, "meanwhile");
        world.run_ms(200_000);
        say(&mut world, CAROL, id, "after");
        world.run_ms(60_000);

        for who in [ALICE, CAROL] {
            assert!(told(&world, who, &id, breach.refusal()), "{breach:?}: {:?}", world.clients[who].events);
            assert_eq!(shown(&world, who, &id), before, "{breach:?} was followed");
            assert_eq!(texts(&world, who, &id).len(), 3, "{breach:?}: {:?}", texts(&world, who, &id));
        }
        assert_eq!(texts(&world, ALICE, &id), texts(&world, CAROL, &id), "{breach:?}");
    }
}

#[test]
fn direct_messages_stay_between_two_whatever_one_of_them_tries() {
    for (seed, breach) in (100..).zip([
        Breach::Impersonate,
        Breach::NoEvidence,
        Breach::ForgedEvidence,
        Breach::BorrowedEvidence,
        Breach::ChangeKind,
    ]) {
        let mut world = World::new(seed);
        for name in ["alice", "mallory"] {
            world.join(name);
        }
        world.run_ms(5_000);
        world.command(ALICE, Command::Send { to: Target::Person(handle("mallory")), text: "hello".into() });
        for _ in 0..20 {
            world.run_ms(2_000);
            accept_all(&mut world);
        }
        let id = query::conversations(&world.clients[ALICE].vault).unwrap()[0].id;
        let before = shown(&world, ALICE, &id);
        assert_eq!(before.1.len(), 2);
        assert!(world.breach(MALLORY, id, breach), "{breach:?} cannot be made");
        world.run_ms(200_000);
        assert!(told(&world, ALICE, &id, breach.refusal()), "{breach:?}: {:?}", world.clients[ALICE].events);
        assert_eq!(shown(&world, ALICE, &id), before, "{breach:?} was followed");
    }
}

/// Somebody with two account logs, each signed by their own keys, is brought in by an admin: with the one that the directory
/// has, everybody follows; with the other one nobody does. So nobody divides a group by showing two faces.
#[test]
fn two_account_logs_of_one_person_divide_no_group() {
    let (mut world, team) = group(200);
    world.command(ALICE, Command::SetRole { group: team, member: handle("mallory"), role: Role::Admin });
    let side = world.command(MALLORY, Command::CreateGroup { name: "side".into(), members: vec![handle("carol")] });
    for _ in 0..10 {
        world.run_ms(5_000);
        accept_all(&mut world);
    }
    let Some(Ok(Outcome::Conversation(side))) = world.clients[MALLORY].finished.get(&side).cloned() else { panic!() };
    let names = |world: &World, who, id| -> Vec<String> {
        shown(world, who, id).1.into_iter().map(|(handle, _)| handle).collect()
    };

    assert!(world.breach(MALLORY, side, Breach::TwoFaced(Face::Published)));
    world.run_ms(5_000);
    let mut with_ghost = names(&world, CAROL, &side);
    assert_eq!(with_ghost.len(), 3, "{}", all_told(&world));
    with_ghost.retain(|name| name.starts_with("@ghost"));
    let [ghost] = &with_ghost[..] else { panic!("{}", all_told(&world)) };

    assert!(world.breach(MALLORY, team, Breach::TwoFaced(Face::Hidden)));
    world.run_ms(200_000);
    for who in [ALICE, CAROL] {
        assert_eq!(names(&world, who, &team), ["@alice", "@carol", "@mallory"], "{}", all_told(&world));
        assert!(told(&world, who, &team, Breach::TwoFaced(Face::Hidden).refusal()), "{:?}", world.clients[who].events);
    }

    assert!(world.breach(MALLORY, team, Breach::TwoFaced(Face::Published)));
    world.run_ms(200_000);
    for who in [ALICE, CAROL] {
        assert_eq!(names(&world, who, &team), ["@alice", "@carol", ghost.as_str(), "@mallory"], "{}", all_told(&world));
    }
}

/// The server cannot tell an inbox key from noise; whoever writes to one must not stop for it.
#[test]
fn an_inbox_key_that_is_none_is_refused_in_words_and_stops_nobody() {
    let mut world = World::new(300);
    for name in ["alice", "carol"] {
        world.join(name);
    }
    world.run_ms(5_000);
    let (device, signing) = (DeviceId([7; 16]), SigningKey::from_bytes(&[7; 32]));
    let recovery = SigningKey::from_bytes(&[8; 32]);
    let keys = DeviceKeys { id: device, signature: signing.verifying_key().to_bytes(), inbox: [0xff; INBOX_KEY_BYTES] };
    let recovery_key = recovery.verifying_key().to_bytes();
    let body = LogBody::Genesis { handle: handle("mallory"), device: keys, recovery: recovery_key, at: world.now };
    let genesis = LogEntry::sign(&body, &[(Signer::Device(device), &signing), (Signer::Recovery, &recovery)]);
    let account = AccountId(genesis.hash());
    let (mut session, hello) = world.dial();
    world.ask(&mut session, Request::CreateAccount { genesis, invite: None }).unwrap();
    let challenge = AuthChallenge { host: "sim", nonce: hello.nonce, account, device }.signed_bytes();
    let signature = signing.sign(&challenge).to_bytes();
    world.ask(&mut session, Request::Authenticate { account, device, signature }).unwrap();
    let (vault, leaf) = (MemoryVault::default(), LeafIdentity { account, device });
    let mut txn = Txn::new(&vault);
    let mls = Mls::new(&mut txn, &mut world.rng);
    let signer = mls::Signer::from_seed(&[7; 32]);
    let package = mls::generate_key_package(&mls, &signer, leaf, world.now.0, 1_000_000, true).unwrap();
    let last_resort = Some(Bytes::new(package).unwrap());
    world.ask(&mut session, Request::PublishKeyPackages { packages: List::default(), last_resort }).unwrap();
    world.publish();

    world.command(0, Command::Send { to: Target::Person(handle("mallory")), text: "hello".into() });
    world.run_ms(60_000);
    assert!(all_told(&world).contains("@mallory cannot be invited or helped"), "{}", all_told(&world));
    world.command(0, Command::Send { to: Target::Person(handle("carol")), text: "hello".into() });
    world.run_ms(60_000);
    assert_eq!(query::requests(&world.clients[1].vault).unwrap().len(), 1, "Alice goes on");
}
