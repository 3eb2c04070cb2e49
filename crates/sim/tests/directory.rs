//! A directory that lies, against real clients: in each case the alarm is raised, `stonechat audit` finds that its evidence
//! stands up, and no lock is closed.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[path = "support/programs.rs"]
mod programs;

use std::process::Command as Process;

use ed25519_dalek::SigningKey;
use stonechat_core::vault::MemoryVault;
use stonechat_core::{
    Alarm, AlarmKind, Command, CommandError, CommandId, Conversation, Event, Lock, Outcome, Target, query, sign_up,
    trust,
};
use stonechat_sim::world::World;
use stonechat_wire::{AccountId, DeviceId, DeviceKeys, Handle, LogEntry};

/// One person after another signs up, and everybody settles.
fn people(world: &mut World, names: &[&str]) -> Vec<usize> {
    let people = names.iter().map(|name| world.join(name)).collect();
    world.run_ms(8_000);
    people
}

fn send(world: &mut World, from: usize, to: &str, text: &str) -> CommandId {
    let to = Target::Person(Handle::parse(to).unwrap());
    world.command(from, Command::Send { to, text: text.into() })
}

/// Two people who have written to each other.
fn acquainted(world: &mut World, one: usize, other: usize) {
    let (a, b) = (world.clients[one].handle.clone(), world.clients[other].handle.clone());
    send(world, one, b.as_str(), "hello");
    world.run_ms(5_000);
    world.command(other, Command::Accept { from: a.clone() });
    world.run_ms(5_000);
    send(world, other, a.as_str(), "hello back");
    world.run_ms(5_000);
    assert_eq!(locks(world, one), [Lock::Closed], "before anything happens: {:?}", alarms(world, one));
    assert_eq!(locks(world, other), [Lock::Closed]);
}

fn conversations(world: &World, who: usize) -> Vec<Conversation> {
    query::conversations(&world.clients[who].vault).unwrap()
}

fn locks(world: &World, who: usize) -> Vec<Lock> {
    conversations(world, who).into_iter().map(|conversation| conversation.lock).collect()
}

fn no_lock_is_closed(world: &World, who: usize) {
    assert!(!locks(world, who).contains(&Lock::Closed), "{:?}", locks(world, who));
}

fn alarms(world: &World, who: usize) -> Vec<Alarm> {
    trust::alarms(&world.clients[who].vault).unwrap()
}

/// The alarm of a kind, which was also told as an event.
fn alarm(world: &World, who: usize, kind: AlarmKind) -> Alarm {
    let all = alarms(world, who);
    let found = all.iter().find(|alarm| alarm.kind == kind);
    let found =
        found.unwrap_or_else(|| panic!("no alarm of {kind:?}, but {all:?}\n{:?}", world.clients[who].events)).clone();
    let told = world.clients[who].events.iter().any(|event| matches!(event, Event::Alarm(told) if told.id == found.id));
    assert!(told, "an alarm is told");
    found
}

/// What `stonechat audit --evidence`, a program of its own, says of the evidence: `proven`, `unanswered` or `harmless`.
fn judged(alarm: &Alarm) -> String {
    let json = alarm.evidence.as_ref().unwrap_or_else(|| panic!("no evidence: {alarm:?}"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("evidence.json");
    std::fs::write(&file, json).unwrap();
    let mut audit = Process::new(programs::program("stonechat"));
    let output = audit.args(["--json", "audit", "--evidence"]).arg(&file).env("HOME", dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["verdict"].as_str().unwrap().to_owned()
}

fn stands_up(alarm: &Alarm) {
    let verdict = judged(alarm);
    assert!(verdict == "proven" || verdict == "unanswered", "{verdict}");
}

fn account(world: &World, who: usize) -> AccountId {
    query::me(&world.clients[who].vault).unwrap().unwrap().account
}

/// An account that somebody else makes under a handle: entry 0, and nothing on any server.
fn impostor(world: &mut World, handle: &str) -> LogEntry {
    let mut vault = MemoryVault::default();
    let handle = Handle::parse(handle).unwrap();
    let made = sign_up(&vault, &mut world.rng, world.now, handle, "sim".into()).unwrap();
    vault.commit(made.changes);
    stonechat_core::own_log(&vault).unwrap().unwrap().0[0].clone()
}

fn new_device(n: u8) -> (DeviceKeys, SigningKey) {
    let secrets = stonechat_core::keys::DeviceSecrets::from_seeds([n; 32], [n + 1; 32]);
    (secrets.device_keys(DeviceId([n; 16])), secrets.signing_key())
}

/// A device more for somebody, signed by the device that they have.
fn add_device(world: &mut World, who: usize, n: u8) -> DeviceId {
    let (keys, signing) = new_device(n);
    let id = keys.id;
    let (account, entry) =
        stonechat_core::add_device_entry(&world.clients[who].vault, world.now, keys, &signing).unwrap();
    world.extend_account(account, entry);
    world.run_ms(2_000);
    id
}

#[test]
fn honest_people_have_closed_locks_and_no_alarms() {
    let mut world = World::with_shadow(1);
    let all = people(&mut world, &["alice", "bob", "carol"]);
    acquainted(&mut world, all[0], all[1]);
    world.run_ms(3 * 24 * 3_600_000);
    send(&mut world, all[0], "bob", "days later");
    world.run_ms(10_000);
    for who in all {
        assert_eq!(alarms(&world, who), []);
        assert!(locks(&world, who).iter().all(|lock| *lock == Lock::Closed), "{:?}", locks(&world, who));
    }
}

#[test]
fn a_ghost_device_of_the_own_account_is_an_alarm_and_can_be_revoked() {
    let mut world = World::new(2);
    let all = people(&mut world, &["alice", "bob"]);
    acquainted(&mut world, all[0], all[1]);
    let ghost = add_device(&mut world, all[0], 7);
    // The next start finds it.
    world.crash(all[0]);
    world.run_ms(10_000);
    let found = alarm(&world, all[0], AlarmKind::Device);
    assert_eq!(found.device, Some(ghost));
    no_lock_is_closed(&world, all[0]);
    let revoke = world.command(all[0], Command::RevokeDevice { device: ghost });
    world.run_ms(10_000);
    assert_eq!(world.clients[all[0]].finished.get(&revoke), Some(&Ok(Outcome::Done)));
    let devices = trust::devices(&world.clients[all[0]].vault).unwrap();
    assert!(devices.len() == 1 && devices[0].this);
    world.command(all[0], Command::DismissAlarm { alarm: found.id });
    send(&mut world, all[0], "bob", "that was not me");
    world.run_ms(20_000);
    assert_eq!(locks(&world, all[0]), [Lock::Closed]);
    // Bob learned of it from what Alice tells in the conversation, and reads two quiet lines.
    assert_eq!(locks(&world, all[1]), [Lock::Closed], "{:?}", alarms(&world, all[1]));
}

#[test]
fn a_device_that_is_not_in_the_log_of_its_account_is_never_written_to() {
    // The server swaps a key in the log that it shows: the log no longer verifies.
    let mut world = World::new(3);
    let all = people(&mut world, &["alice", "bob"]);
    world.hostile_directory = Some((all[0], stonechat_sim::directory::Swap::DeviceKey));
    let command = send(&mut world, all[0], "bob", "secret");
    world.run_ms(60_000);
    let result = world.clients[all[0]].finished.get(&command);
    assert!(matches!(result, Some(Err(CommandError::Untrusted(..)))), "{result:?}");
    assert!(conversations(&world, all[0]).is_empty() && conversations(&world, all[1]).is_empty());
    alarm(&world, all[0], AlarmKind::Proof);
}

#[test]
fn a_forked_directory_for_one_victim_is_found_by_whoever_talks_across_it() {
    let mut world = World::with_shadow(4);
    let all = people(&mut world, &["alice", "carol"]);
    acquainted(&mut world, all[0], all[1]);
    // From here on Alice is shown another directory, in which Bob is somebody else.
    let planted = impostor(&mut world, "bob");
    let (now, shadow) = (world.now, world.shadow.as_mut().unwrap());
    (shadow.mirrored, shadow.victim) = (false, Some(all[0]));
    shadow.plant(now, &mut world.rng, planted).unwrap();
    world.join("bob");
    world.run_ms(5_000);
    world.publish();
    send(&mut world, all[0], "bob", "for Bob only");
    world.run_ms(5_000);
    send(&mut world, all[0], "carol", "how are you?");
    world.run_ms(120_000);
    let found = alarm(&world, all[1], AlarmKind::Fork);
    stands_up(&found);
    no_lock_is_closed(&world, all[1]);
    send(&mut world, all[1], "alice", "fine");
    world.run_ms(600_000);
    stands_up(&alarm(&world, all[0], AlarmKind::Fork));
    no_lock_is_closed(&world, all[0]);
}

#[test]
fn an_unpublished_head_is_found_by_whoever_asks_for_it() {
    let mut world = World::with_shadow(5);
    let all = people(&mut world, &["alice", "carol"]);
    acquainted(&mut world, all[0], all[1]);
    let planted: Vec<_> = ["x1", "x2", "x3"].iter().map(|name| impostor(&mut world, name)).collect();
    let shadow = world.shadow.as_mut().unwrap();
    (shadow.mirrored, shadow.victim) = (false, Some(all[0]));
    // The victim's directory runs ahead: its newest head was never published to anybody else.
    for entry in planted {
        let now = world.now;
        world.shadow.as_mut().unwrap().plant(now, &mut world.rng, entry).unwrap();
        world.publish();
        world.run_ms(1_000);
    }
    world.command(all[0], Command::LookUp { handle: Handle::parse("x1").unwrap() });
    world.run_ms(5_000);
    send(&mut world, all[0], "carol", "what do you see?");
    world.run_ms(600_000);
    stands_up(&alarm(&world, all[1], AlarmKind::Fork));
    no_lock_is_closed(&world, all[1]);
}

#[test]
fn a_hidden_revocation_is_noticed_by_whoever_revoked() {
    let mut world = World::new(6);
    let all = people(&mut world, &["alice", "bob"]);
    acquainted(&mut world, all[0], all[1]);
    let phone = add_device(&mut world, all[1], 9);
    world.crash(all[1]);
    world.run_ms(10_000);
    let added = alarm(&world, all[1], AlarmKind::Device);
    world.command(all[1], Command::DismissAlarm { alarm: added.id });
    world.publishing = false;
    let revoke = world.command(all[1], Command::RevokeDevice { device: phone });
    world.run_ms(600_000);
    assert_eq!(world.clients[all[1]].finished.get(&revoke), Some(&Ok(Outcome::Done)));
    stands_up(&alarm(&world, all[1], AlarmKind::Unpublished));
    no_lock_is_closed(&world, all[1]);
}

#[test]
fn a_log_that_is_rolled_back_is_proven() {
    let mut world = World::with_shadow(7);
    let all = people(&mut world, &["alice", "bob"]);
    acquainted(&mut world, all[0], all[1]);
    // The other directory does not take the entry.
    world.shadow.as_mut().unwrap().mirrored = false;
    add_device(&mut world, all[1], 9);
    world.crash(all[1]);
    world.run_ms(10_000);
    alarm(&world, all[1], AlarmKind::Device);
    // It goes on, without that entry.
    for name in ["x1", "x2"] {
        let entry = impostor(&mut world, name);
        let now = world.now;
        world.shadow.as_mut().unwrap().plant(now, &mut world.rng, entry).unwrap();
        world.publish();
        world.run_ms(1_000);
    }
    world.shadow.as_mut().unwrap().victim = Some(all[1]);
    world.crash(all[1]);
    world.run_ms(600_000);
    let found = alarm(&world, all[1], AlarmKind::TakenBack);
    assert_eq!(judged(&found), "proven");
    no_lock_is_closed(&world, all[1]);
}

#[test]
fn a_stale_head_reaches_nobody_new() {
    let mut world = World::new(8);
    let all = people(&mut world, &["alice", "bob"]);
    acquainted(&mut world, all[0], all[1]);
    world.publishing = false;
    let carol = world.join("carol");
    world.publish();
    world.run_ms(12 * 3_600_000);
    let command = world.command(all[0], Command::LookUp { handle: Handle::parse("alice2").unwrap() });
    world.run_ms(5_000);
    assert!(matches!(world.clients[all[0]].finished.get(&command), Some(Err(CommandError::UnknownHandle(_)))));
    world.crash(all[0]);
    world.run_ms(30_000);
    alarm(&world, all[0], AlarmKind::Stale);
    no_lock_is_closed(&world, all[0]);
    let _ = carol;
    // Who is acquainted still writes.
    send(&mut world, all[0], "bob", "still here");
    world.run_ms(10_000);
    let last = conversations(&world, all[1]).remove(0).last.unwrap();
    assert_eq!(last.body, stonechat_core::api::Body::Text("still here".into()));
}

#[test]
fn a_forged_cosignature_reaches_nobody_new() {
    let mut world = World::new(9);
    let all = people(&mut world, &["alice", "bob"]);
    world.witnesses.forged = true;
    let command = send(&mut world, all[0], "bob", "secret");
    world.run_ms(600_000);
    let result = world.clients[all[0]].finished.get(&command);
    assert!(matches!(result, Some(Err(CommandError::Directory(_)))), "{result:?}");
    assert!(conversations(&world, all[0]).is_empty() && conversations(&world, all[1]).is_empty());
    alarm(&world, all[0], AlarmKind::Unwitnessed);
}

#[test]
fn a_handle_that_is_given_to_another_account_is_noticed_by_its_owner() {
    let mut world = World::with_shadow(10);
    let all = people(&mut world, &["alice"]);
    // Bob signs up; in the other directory somebody else has his handle.
    let planted = impostor(&mut world, "bob");
    let (now, shadow) = (world.now, world.shadow.as_mut().unwrap());
    shadow.mirrored = false;
    shadow.plant(now, &mut world.rng, planted).unwrap();
    let bob = world.join("bob");
    world.run_ms(8_000);
    acquainted(&mut world, all[0], bob);
    world.shadow.as_mut().unwrap().victim = Some(bob);
    world.crash(bob);
    world.run_ms(600_000);
    stands_up(&alarm(&world, bob, AlarmKind::HandleMoved));
    no_lock_is_closed(&world, bob);
    assert_ne!(account(&world, bob), account(&world, all[0]));
}

#[test]
fn a_directory_that_is_down_delays_new_contacts_and_nobody_else() {
    let mut world = World::new(11);
    let all = people(&mut world, &["alice", "bob", "carol"]);
    acquainted(&mut world, all[0], all[1]);
    world.directory_down = true;
    send(&mut world, all[0], "bob", "still here");
    let new = send(&mut world, all[0], "carol", "hello");
    world.run_ms(8_000);
    let last = conversations(&world, all[1]).remove(0).last.unwrap();
    assert_eq!(last.body, stonechat_core::api::Body::Text("still here".into()));
    assert_eq!(locks(&world, all[0]), [Lock::Closed]);
    assert!(!world.clients[all[0]].finished.contains_key(&new), "it waits");
    world.directory_down = false;
    world.run_ms(60_000);
    assert!(matches!(world.clients[all[0]].finished.get(&new), Some(Ok(Outcome::Queued { .. }))));
    assert_eq!(alarms(&world, all[0]), []);
}

#[test]
fn compared_safety_numbers_are_remembered_and_a_wrong_one_is_not() {
    let mut world = World::new(12);
    let all = people(&mut world, &["alice", "bob"]);
    acquainted(&mut world, all[0], all[1]);
    let bob = world.clients[all[1]].handle.clone();
    let shown = trust::safety(&world.clients[all[1]].vault, &world.clients[all[0]].handle).unwrap().unwrap();
    let wrong = world.command(all[0], Command::Verify { handle: bob.clone(), shown: "0".repeat(60) });
    assert!(matches!(world.clients[all[0]].finished.get(&wrong), Some(Err(CommandError::Mismatch(_)))));
    assert!(!conversations(&world, all[0])[0].compared);
    for shown in [shown.digits, shown.code] {
        let right = world.command(all[0], Command::Verify { handle: bob.clone(), shown });
        assert_eq!(world.clients[all[0]].finished.get(&right), Some(&Ok(Outcome::Done)));
    }
    assert!(conversations(&world, all[0])[0].compared);
}
