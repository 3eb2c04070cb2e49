//! An operator who lies to the terminal client. All programs are the real ones: `stonechatd`, a second one that goes on from a
//! copy of its disk with its keys, its witnesses, `stonechat`, and `stonechat audit` that judges the evidence. What an operator
//! changes in a server's answers, a front changes that stands before it.
//!
//! In each case there is an alarm, and no closed lock. `directory.rs` tells the same lies to many more clients in one process.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[path = "support/clock.rs"]
mod clock;
#[path = "support/front.rs"]
mod front;
mod support;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use stonechat_core::keys::{DeviceSecrets, recovery_entropy, recovery_signing_key};
use stonechat_wire::{
    ClientFrame, DeviceId, Handle, Hello, LogBody, LogEntry, PROTOCOL_VERSION, Reply, Request, ServerFrame, Signer,
    Timestamp, decode, encode,
};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;

use clock::Clock;
use front::{Front, Lie};
use support::{Home, Server, eventually, introduce, programs::program};

/// Alice, who is lied to, and Carol, who is not; they have written to each other.
struct Friends {
    alice: Home,
    carol: Home,
}

impl Friends {
    fn meet(server: &Server, front: &Front) -> Self {
        let (alice, carol) = (Home::sign_up("@alice", front.address()), Home::sign_up("@carol", server.address()));
        acquaint(&alice, &carol);
        Self { alice, carol }
    }
}

/// One writes, the other accepts and answers; then both locks are closed.
fn acquaint(one: &Home, other: &Home) {
    introduce(one, other, "hello");
    other.ok(&["send", &one.handle, "hello back"]);
    eventually("the answer arrives", || one.transcript(&other.handle).len() == 2);
    for (home, with) in [(one, other), (other, one)] {
        eventually("the lock is closed", || lock(home, &with.handle).as_deref() == Some("closed"));
    }
}

/// The lock of a conversation, if there is one.
fn lock(home: &Home, with: &str) -> Option<String> {
    let all = home.ok(&["conversations"]);
    let found = all.iter().find(|conversation| conversation["title"] == with)?;
    Some(found["lock"].as_str().unwrap().to_owned())
}

#[track_caller]
fn no_lock_is_closed(home: &Home) {
    let all = home.ok(&["conversations"]);
    assert!(all.iter().all(|conversation| conversation["lock"] == "open"), "{all:?}");
}

/// Comes back, each time a minute later on the home's own clock, until it has an alarm of a kind.
#[track_caller]
fn alarmed(home: &mut Home, clock: &Clock, kind: &str) -> Value {
    for minute in 0..60 {
        home.env = clock.ahead(minute * 60);
        // With a server that lies it may complain; that is not what is asked.
        let _ = home.run(&["sync"]);
        if let Some(alarm) = home.ok(&["alarms"]).into_iter().find(|alarm| alarm["kind"] == kind) {
            return alarm;
        }
    }
    panic!("{}: no alarm of kind {kind}, but {:?}", home.handle, home.ok(&["alarms"]));
}

/// What `stonechat audit` says of an alarm's evidence.
fn judged(home: &Home, alarm: &Value) -> String {
    let file = alarm["evidence"].as_str().unwrap_or_else(|| panic!("no evidence: {alarm}"));
    home.ok(&["audit", "--evidence", file])[0]["verdict"].as_str().unwrap().to_owned()
}

/// The evidence convicts the directory, or asks it for what it cannot answer. Which, depends on the sizes that were seen.
#[track_caller]
fn stands_up(home: &Home, alarm: &Value) {
    let verdict = judged(home, alarm);
    assert!(["proven", "unanswered"].contains(&verdict.as_str()), "{verdict}");
}

/// Another server with the same keys, which goes on from what the first one has now.
fn fork(server: &mut Server) -> Server {
    let mut other = Server::start();
    server.kill();
    other.kill();
    copy(&server.data(), &other.data());
    server.run();
    other.run();
    other
}

/// Replaces a folder by another one. The operator's socket is no file to copy.
fn copy(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).unwrap();
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// What a thief of the recovery words does: a device more in the account's log.
fn add_device(server: SocketAddr, victim: &Home) -> String {
    let id = DeviceId([0xd7; 16]);
    let secrets = DeviceSecrets::from_seeds([7; 32], [8; 32]);
    let words = victim.signed_up["recovery_phrase"].as_str().unwrap();
    let recovery = recovery_signing_key(&recovery_entropy(words).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{server}/v1/ws")).await.unwrap();
        socket.send(Message::binary(encode(&Hello { version: PROTOCOL_VERSION }))).await.unwrap();
        socket.next().await.unwrap().unwrap();
        let mut ask = async |request: Request| {
            socket.send(Message::binary(encode(&ClientFrame { id: 1, request }))).await.unwrap();
            let answer = socket.next().await.unwrap().unwrap().into_data();
            let ServerFrame::Reply(1, reply) = decode(&answer).unwrap() else { panic!("{answer:?}") };
            reply
        };
        let handle = Handle::parse(&victim.handle).unwrap();
        let Reply::Account(found) = ask(Request::LookUpHandle { handle }).await else { panic!() };
        let (genesis, last) = (found.log.0.first().unwrap(), found.log.0.last().unwrap());
        let device = secrets.device_keys(id);
        let body = LogBody::AddDevice { previous: last.hash(), device, at: Timestamp(1_700_000_000_000) };
        let account = stonechat_wire::AccountId(genesis.hash());
        let entry =
            LogEntry::sign(&body, &[(Signer::Recovery, &recovery), (Signer::Device(id), &secrets.signing_key())]);
        assert_eq!(ask(Request::ExtendAccount { account, entry }).await, Reply::Done);
    });
    id.to_string()
}

#[test]
fn a_swapped_device_key_is_not_believed() {
    let server = Server::start();
    let (front, clock) = (Front::start(server.address()), Clock::build());
    let Friends { mut alice, .. } = Friends::meet(&server, &front);
    let bob = Home::sign_up("@bob", server.address());
    front.tells(Lie::DeviceKey);
    let complaint = alice.run(&["send", "@bob", "for Bob only"]).unwrap_err();
    assert!(complaint.contains("untrusted"), "{complaint}");
    alarmed(&mut alice, &clock, "proof");
    no_lock_is_closed(&alice);
    assert_eq!((lock(&alice, "@bob"), bob.ok(&["requests"])), (None, vec![]), "nothing was sent");
}

#[test]
fn a_ghost_device_is_an_alarm_and_is_revoked() {
    let server = Server::start();
    let (front, clock) = (Front::start(server.address()), Clock::build());
    let Friends { mut alice, carol } = Friends::meet(&server, &front);
    let ghost = add_device(server.address(), &alice);
    let alarm = alarmed(&mut alice, &clock, "device");
    assert_eq!(alarm["device"], Value::from(ghost.as_str()));
    no_lock_is_closed(&alice);
    alice.ok(&["device", "revoke", &ghost]);
    alice.ok(&["alarms", "--dismiss", alarm["id"].as_str().unwrap()]);
    alice.ok(&["send", "@carol", "that was not me"]);
    eventually("the lock is closed again", || {
        alice.ok(&["sync"]);
        lock(&alice, "@carol").as_deref() == Some("closed")
    });
    eventually("Carol reads it", || carol.transcript("@alice").iter().any(|line| line.2 == "that was not me"));
    assert_eq!(carol.ok(&["alarms"]), Vec::<Value>::new());
}

#[test]
fn a_hidden_revocation_is_noticed_by_whoever_revoked() {
    let server = Server::start();
    let (front, clock) = (Front::start(server.address()), Clock::build());
    let Friends { mut alice, .. } = Friends::meet(&server, &front);
    let ghost = add_device(server.address(), &alice);
    let alarm = alarmed(&mut alice, &clock, "device");
    alice.ok(&["alarms", "--dismiss", alarm["id"].as_str().unwrap()]);
    front.tells(Lie::Forgets);
    alice.ok(&["device", "revoke", &ghost]);
    let alarm = alarmed(&mut alice, &clock, "unpublished");
    assert_eq!(judged(&alice, &alarm), "unanswered");
    no_lock_is_closed(&alice);
}

#[test]
fn a_log_that_is_rolled_back_is_proven() {
    let mut server = Server::start();
    let (front, clock) = (Front::start(server.address()), Clock::build());
    let Friends { mut alice, .. } = Friends::meet(&server, &front);
    let before = fork(&mut server);
    add_device(server.address(), &alice);
    alarmed(&mut alice, &clock, "device");
    for other in ["@dave", "@erin", "@frank"] {
        Home::sign_up(other, before.address());
    }
    front.leads_to(before.address());
    let alarm = alarmed(&mut alice, &clock, "taken-back");
    assert_eq!(judged(&alice, &alarm), "proven");
    no_lock_is_closed(&alice);
}

#[test]
fn a_directory_that_is_forked_for_one_victim_is_found_by_whoever_talks_across_it() {
    let mut server = Server::start();
    let (front, clock) = (Front::start(server.address()), Clock::build());
    let Friends { mut alice, mut carol } = Friends::meet(&server, &front);
    let other = fork(&mut server);
    // In the other directory, Bob is somebody else.
    let (bob, impostor) = (Home::sign_up("@bob", server.address()), Home::sign_up("@bob", other.address()));
    front.leads_to(other.address());
    alice.ok(&["send", "@bob", "for Bob only"]);
    front.leads_to(server.address());
    alice.ok(&["send", "@carol", "how are you?"]);
    for home in [&mut carol, &mut alice] {
        let alarm = alarmed(home, &clock, "fork");
        stands_up(home, &alarm);
        no_lock_is_closed(home);
    }
    assert_ne!(bob.signed_up["account"], impostor.signed_up["account"]);
}

#[test]
fn a_head_that_was_never_published_is_found_by_whoever_hears_of_it() {
    let mut server = Server::start();
    let (front, clock) = (Front::start(server.address()), Clock::build());
    let Friends { alice, mut carol } = Friends::meet(&server, &front);
    let ahead = fork(&mut server);
    for other in ["@dave", "@erin", "@frank"] {
        Home::sign_up(other, ahead.address());
    }
    front.leads_to(ahead.address());
    alice.ok(&["send", "@frank", "hello"]);
    front.leads_to(server.address());
    alice.ok(&["send", "@carol", "what do you see?"]);
    let alarm = alarmed(&mut carol, &clock, "fork");
    stands_up(&carol, &alarm);
    no_lock_is_closed(&carol);
}

#[test]
fn a_handle_that_is_given_to_another_account_is_noticed_by_its_owner() {
    let mut server = Server::start();
    let clock = Clock::build();
    let before = fork(&mut server);
    Home::sign_up("@alice", before.address());
    let front = Front::start(server.address());
    let Friends { mut alice, .. } = Friends::meet(&server, &front);
    front.tells(Lie::Holder(before.address()));
    let alarm = alarmed(&mut alice, &clock, "handle-moved");
    stands_up(&alice, &alarm);
    no_lock_is_closed(&alice);
}

#[test]
fn a_stale_head_is_an_alarm_and_existing_conversations_go_on() {
    let clock = Clock::build();
    // For everybody but Alice it is still this morning.
    let morning = clock.ahead(-HALF_A_DAY_SECS);
    let server = Server::start_with("", morning.clone());
    let [mut alice, carol] =
        ["@alice", "@carol"].map(|handle| Home::sign_up_with(handle, server.address(), morning.clone()));
    acquaint(&alice, &carol);
    alarmed(&mut alice, &clock, "stale");
    no_lock_is_closed(&alice);
    alice.ok(&["send", "@carol", "still here"]);
    eventually("Carol reads it", || carol.transcript("@alice").iter().any(|line| line.2 == "still here"));
}

const HALF_A_DAY_SECS: i64 = 12 * 3_600;

#[test]
fn a_forged_cosignature_reaches_nobody_new() {
    let clock = Clock::build();
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let keys = folders.each_ref().map(|folder| {
        let output = witness("http://127.0.0.1", folder.path()).arg("--key").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    });
    let server = Server::start_with(&format!("[directory]\nwitnesses = {keys:?}\nthreshold = 2\n"), Vec::new());
    let _witnesses = folders.each_ref().map(|folder| Witness::start(&server, folder.path()));
    let front = Front::start(server.address());
    let Friends { mut alice, .. } = Friends::meet(&server, &front);
    let bob = Home::sign_up("@bob", server.address());
    front.tells(Lie::Cosignatures);
    // It waits for a head that can be believed, or says that there is none.
    let _ = alice.run(&["send", "@bob", "for Bob only"]);
    alarmed(&mut alice, &clock, "unwitnessed");
    no_lock_is_closed(&alice);
    assert_eq!((lock(&alice, "@bob"), bob.ok(&["requests"])), (None, vec![]), "nothing was sent");
}

/// A real witness of a server's directory; killed when dropped.
struct Witness(Child);

impl Witness {
    fn start(server: &Server, folder: &Path) -> Self {
        let directory = format!("http://{}", server.address());
        let mut child = witness(&directory, folder).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        Self(child)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn witness(directory: &str, folder: &Path) -> Command {
    let mut command = Command::new(program("stonechat-witness"));
    command.args(["--directory", directory, "--data"]).arg(folder);
    command
}
