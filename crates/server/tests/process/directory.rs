//! The directory as a process: look-ups with proof, witnesses that follow, restarts, and a server that forks.
#![expect(clippy::unwrap_used, reason = "a test harness: a surprise ends the test")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stonechat_directory::{Asked, DirectoryPolicy, Evidence, Head, Verdict, VerifiedAccount, VerifierKey};
use stonechat_wire::{Handle, Reply, Request};
use tempfile::TempDir;

use crate::harness::{Client, Server, http_get};
use crate::programs::program;

struct Witness {
    child: Child,
    dir: TempDir,
}

impl Witness {
    fn key(dir: &Path) -> VerifierKey {
        let output = Command::new(program("stonechat-witness")).args(["--key", "--data"]).arg(dir).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    fn start(dir: TempDir, server: &Server) -> Self {
        let mut child = Command::new(program("stonechat-witness"))
            .args(["--directory", &format!("http://{}", server.address), "--data"])
            .arg(dir.path())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::options().create(true).append(true).open(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim().parse::<VerifierKey>().unwrap(), Self::key(dir.path()));
        Self { child, dir }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // Gone already, where the test waited for its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn handle(name: &str) -> Handle {
    Handle::parse(name).unwrap()
}

async fn policy(client: &mut Client) -> DirectoryPolicy {
    let Ok(Reply::DirectoryPolicy(json)) = client.ask(Request::GetDirectoryPolicy).await else { panic!() };
    DirectoryPolicy::from_json(&json).unwrap()
}

/// Looks somebody up as a client does: again, while witnesses are missing.
async fn look_up(client: &mut Client, policy: &DirectoryPolicy, name: &str) -> VerifiedAccount {
    let (handle, begin) = (handle(name), Instant::now());
    loop {
        let reply = client.ask(Request::LookUpHandle { handle: handle.clone() }).await;
        if let Ok(Reply::Account(found)) = &reply
            && let Ok(account) = VerifiedAccount::verify(policy, Asked::Handle(&handle), &found.log, &found.proof)
        {
            return account;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{reply:?}");
    }
}

#[tokio::test]
async fn a_new_account_is_found_with_proof_at_once() {
    let server = Server::start();
    let (_device, person) = server.sign_up("alice").await;
    let mut anonymous = server.client().await;
    let policy = policy(&mut anonymous).await;
    let begin = Instant::now();
    let reply = anonymous.ask(Request::LookUpHandle { handle: handle("alice") }).await;
    let Ok(Reply::Account(found)) = reply else { panic!("{reply:?}") };
    let account = VerifiedAccount::verify(&policy, Asked::Handle(&handle("alice")), &found.log, &found.proof).unwrap();
    assert_eq!(account.state.id(), person.account);
    assert!(begin.elapsed() < Duration::from_secs(2));
    let checkpoint = http_get(server.address, "/directory/checkpoint").await;
    assert!(checkpoint.contains(policy.origin()) && checkpoint.contains("— "), "{checkpoint}");
    assert!(http_get(server.address, "/directory/policy").await.contains(&policy.log().to_string()));
    for missing in ["tile/0/001", "tile/0/000.p/200", "tile/9/000", "tile/x/000", "audit/99", "nothing"] {
        let answer = http_get(server.address, &format!("/directory/{missing}")).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{missing}: {answer}");
    }
}

#[tokio::test]
async fn witnesses_follow_through_a_crash_and_convict_a_server_that_forks() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let keys: Vec<String> = dirs.iter().map(|dir| format!("\"{}\"", Witness::key(dir.path()))).collect();
    let config = format!("[directory]\nwitnesses = [{}]\nthreshold = 2\n", keys.join(", "));
    let server = Server::start_with(&config);
    let witnesses = dirs.map(|dir| Witness::start(dir, &server));
    let (_device, _) = server.sign_up("alice").await;
    let mut anonymous = server.client().await;
    let policy = policy(&mut anonymous).await;
    let before = look_up(&mut anonymous, &policy, "alice").await;

    // Killed in the middle of things, and back. The witnesses wait, at an address of which they cannot know: new ones.
    let seed = std::fs::read(server.data().join("directory-key")).unwrap();
    server.signal("-KILL");
    let server = Server::start_in(server.ended(false).await, &config);
    let witnesses = witnesses.map(|mut witness| {
        let dir = std::mem::replace(&mut witness.dir, tempfile::tempdir().unwrap());
        drop(witness);
        Witness::start(dir, &server)
    });
    let (_device, _) = server.sign_up("bob").await;
    let mut anonymous = server.client().await;
    let after = look_up(&mut anonymous, &policy, "bob").await;
    let ask = Request::GetConsistency { from: before.head.size(), to: after.head.size() };
    let Ok(Reply::Consistency(proof)) = anonymous.ask(ask).await else { panic!() };
    assert_eq!(after.head.verify_same_log(&before.head.seen(), &proof), Ok(()));

    // The same keys over an empty store: a directory that forgot everybody.
    let forked = tempfile::tempdir().unwrap();
    std::fs::create_dir(forked.path().join("data")).unwrap();
    std::fs::write(forked.path().join("data/directory-key"), seed).unwrap();
    let forked = Server::start_in(forked, &config);
    let mut anonymous = forked.client().await;
    while {
        let Ok(Reply::Head(head)) = anonymous.ask(Request::GetHead).await else { panic!() };
        Head::verify_unwitnessed(&policy, &head).unwrap().size() < after.head.size()
    } {
        forked.sign_up(&format!("m{}", rand_core::RngCore::next_u32(&mut rand_core::OsRng) % 10_000)).await;
    }
    let [mut witness, _other] = witnesses;
    let dir = std::mem::replace(&mut witness.dir, tempfile::tempdir().unwrap());
    drop(witness);
    let mut witness = Witness::start(dir, &forked);
    let ended = witness.child.wait().unwrap();
    let log = std::fs::read_to_string(witness.dir.path().join("log")).unwrap();
    assert!(!ended.success() && log.contains("THE DIRECTORY IS INCONSISTENT"), "{log}");
    let evidence = std::fs::read_dir(witness.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("evidence-")))
        .unwrap();
    let verdict = Evidence::from_json(&std::fs::read(evidence).unwrap()).unwrap().judge().unwrap();
    assert!(!matches!(verdict, Verdict::Harmless(_)), "{verdict:?}");
}
