//! Backups of a server that is used, and what becomes of one that is put back.
#![expect(clippy::unwrap_used, reason = "a test harness: a surprise ends the test")]

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use stonechat_directory::note::KeyKind;
use stonechat_directory::{SignedNote, VerifierKey};
use stonechat_wire::{Handle, Reply, Request};
use tempfile::TempDir;

use crate::harness::{Chat, Client, Server, http_get, stonechatd};

fn back_up(server: &Server, to: &Path) -> Output {
    let config = server.dir.path().join("config.toml");
    stonechatd().args(["backup"]).arg(to).arg("--config").arg(config).arg("--data").arg(server.data()).output().unwrap()
}

fn restore(from: &Path, config: &Path, data: &Path, more: &[&str]) -> Output {
    let mut command = stonechatd();
    command.arg("restore").arg(from).arg("--config").arg(config).arg("--data").arg(data).args(more);
    command.output().unwrap()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn done(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

/// A witness that the test itself is: it cosigns whatever it is shown.
struct Cosigner(SigningKey);

impl Cosigner {
    const NAME: &str = "witness.test";

    fn new() -> Self {
        Self(SigningKey::from_bytes(&[3; 32]))
    }

    fn config(&self) -> String {
        let verifier = VerifierKey::new(Self::NAME, KeyKind::Witness, self.0.verifying_key().to_bytes()).unwrap();
        format!("[directory]\nwitnesses = [\"{verifier}\"]\nthreshold = 1\n")
    }

    /// The server's newest head with this witness's line, in a file.
    async fn cosign(&self, server: &Server, file: &Path) {
        let answer = http_get(server.address, "/directory/checkpoint").await;
        let note = answer.split_once("\r\n\r\n").unwrap().1;
        let mut note = SignedNote::parse(note.as_bytes()).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let line = note.cosign(Self::NAME, &self.0, now);
        note.add(line);
        std::fs::write(file, note.to_string()).unwrap();
    }
}

/// Signs somebody up and waits until the directory has them.
async fn published(server: &Server, handle: &str) -> Client {
    // The first record says only that there is a directory.
    while size(server).await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let records = size(server).await;
    let (client, _) = server.sign_up(handle).await;
    while size(server).await <= records {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client
}

async fn size(server: &Server) -> u64 {
    let answer = http_get(server.address, "/directory/checkpoint").await;
    answer.split_once("\r\n\r\n").and_then(|(_, note)| note.lines().nth(1)?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_busy_server_restores_to_a_prefix_of_what_was_acknowledged() {
    const WRITERS: usize = 4;
    const AT_ONCE: u64 = 64;
    let server = Arc::new(Server::start());
    let mut anonymous = server.client().await;
    let mut chats = Vec::new();
    for _ in 0..WRITERS {
        chats.push(server.chat(&mut anonymous).await);
    }
    let (stop, acked) = (Arc::new(AtomicBool::new(false)), Arc::new([const { AtomicU64::new(0) }; WRITERS]));
    let mut writers = Vec::new();
    for (number, chat) in chats.iter().enumerate() {
        let chat = Chat { id: chat.id, first: chat.first };
        let (server, stop, acked) = (Arc::clone(&server), Arc::clone(&stop), Arc::clone(&acked));
        writers.push(tokio::spawn(async move {
            let mut client = server.client().await;
            let mut sent = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..AT_ONCE {
                    client.send(chat.say(&chat.first, &sent.to_be_bytes())).await;
                    sent += 1;
                }
                for _ in 0..AT_ONCE {
                    assert!(matches!(client.answer().await.1, Ok(Reply::Appended { .. })));
                    acked[number].fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let counts = || acked.iter().map(|count| count.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let to = server.dir.path().join("backup");
    let before = counts();
    let made = {
        let (server, to) = (Arc::clone(&server), to.clone());
        tokio::task::spawn_blocking(move || back_up(&server, &to)).await.unwrap()
    };
    done(&made);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let after = counts();
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(
        before.iter().zip(&after).all(|(before, after)| after > before),
        "it went on meanwhile: {before:?} {after:?}"
    );
    for file in std::fs::read_dir(&to).unwrap() {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.unwrap().metadata().unwrap().permissions());
        assert_eq!(mode & 0o077, 0, "a backup is for its owner only");
    }

    let dir = tempfile::tempdir().unwrap();
    done(&restore(&to, &server.dir.path().join("config.toml"), &dir.path().join("data"), &["--offline"]));
    let restored = Server::start_in(dir, "");
    for (number, chat) in chats.iter().enumerate() {
        let mut client = restored.client().await;
        let mut found = 0_u64;
        let mut page = client.follow(chat.follow(&chat.first, 0)).await;
        loop {
            for entry in page.entries.iter() {
                // Entry 1 opened the conversation.
                if entry.seq.0 > 1 {
                    assert_eq!(entry.blob[..], found.to_be_bytes(), "no gap, and nothing twice");
                    found += 1;
                }
            }
            let Some(last) = page.entries.last() else { break };
            page = client.follow(chat.follow(&chat.first, last.seq.0)).await;
        }
        assert!(found >= before[number], "{found} of {} that were acknowledged before it began", before[number]);
    }
}

#[tokio::test]
async fn a_stale_backup_is_refused_and_nothing_is_restored() {
    let cosigner = Cosigner::new();
    let server = Server::start_with(&cosigner.config());
    let path = |name: &str| server.dir.path().join(name);
    let (config, head) = (path("config.toml"), path("head"));
    let _alice = published(&server, "alice").await;
    done(&back_up(&server, &path("old")));
    cosigner.cosign(&server, &head).await;
    let fresh = ["--witness", head.to_str().unwrap()];
    // The head that the backup ends with is no newer one.
    done(&restore(&path("old"), &config, &path("same"), &fresh));

    let _bob = published(&server, "bob").await;
    cosigner.cosign(&server, &head).await;
    let stale = refused(&restore(&path("old"), &config, &path("data2"), &fresh));
    assert!(stale.contains("too old") && stale.contains("witness.test") && is_empty(&path("data2")), "{stale}");
    done(&back_up(&server, &path("new")));
    done(&restore(&path("new"), &config, &path("data2"), &fresh));

    let nobody = refused(&restore(&path("new"), &config, &path("data3"), &[]));
    assert!(nobody.contains("0 of the 1 witnesses") && nobody.contains("--offline"), "{nobody}");
    let silent = refused(&restore(&path("new"), &config, &path("data3"), &["--witness", "http://127.0.0.1:9"]));
    assert!(silent.contains("127.0.0.1:9") && is_empty(&path("data3")), "{silent}");
    // A head that nobody of the policy cosigned proves nothing.
    let uncosigned = http_get(server.address, "/directory/checkpoint").await;
    std::fs::write(&head, uncosigned.split_once("\r\n\r\n").unwrap().1).unwrap();
    refused(&restore(&path("new"), &config, &path("data3"), &fresh));
    done(&restore(&path("new"), &config, &path("data3"), &["--offline"]));

    // Killed on the way, it leaves a folder that no server starts on.
    std::fs::write(path("data3").join("restoring"), b"").unwrap();
    let interrupted =
        crate::harness::fails(&["serve", "--data", path("data3").to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert!(interrupted.contains("interrupted") && interrupted.contains("restore again"), "{interrupted}");

    // Into a folder that is used: never.
    let used = refused(&restore(&path("new"), &config, &path("data3"), &["--offline"]));
    assert!(used.contains("not empty"), "{used}");
    refused(&restore(&path("new"), &config, &server.data(), &["--offline"]));
    assert!(refused(&back_up(&server, &path("new"))).contains("not empty"));
}

#[tokio::test]
async fn a_backup_that_is_not_what_its_manifest_says_is_refused() {
    let server = Server::start();
    let path = |name: &str| server.dir.path().join(name);
    let _alice = published(&server, "alice").await;
    done(&back_up(&server, &path("b")));
    let config = path("config.toml");
    let tried = |what: &str| {
        let said = refused(&restore(&path("b"), &config, &path("r"), &["--offline"]));
        assert!(is_empty(&path("r")), "after {what}");
        said
    };
    for name in ["store.db", "token-key", "directory-key"] {
        let file = path("b").join(name);
        let sound = std::fs::read(&file).unwrap();
        let mut flipped = sound.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for wrong in [flipped, sound[..sound.len() - 1].to_vec(), [&sound[..], b"x"].concat()] {
            std::fs::write(&file, wrong).unwrap();
            assert!(tried(name).contains("damaged"));
        }
        std::fs::remove_file(&file).unwrap();
        tried("a missing file");
        std::fs::write(&file, sound).unwrap();
    }
    let manifest = path("b").join("manifest.json");
    let sound = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, sound.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert!(tried("another format").contains("format is 2"));
    std::fs::write(&manifest, sound.replace("\"token-key\"", "\"../token-key\"")).unwrap();
    assert!(tried("a path").contains("no part of one"));
    std::fs::write(&manifest, sound.replace("\"size\": ", "\"size\": 1")).unwrap();
    assert!(tried("another directory").contains("does not stand where"));
    std::fs::remove_file(&manifest).unwrap();
    assert!(tried("no manifest").contains("no backup"));
}

/// By whatever way a folder was rolled back: a snapshot of a machine, a copy by hand.
#[tokio::test]
async fn a_directory_that_is_behind_what_a_witness_saw_is_not_published() {
    let cosigner = Cosigner::new();
    let dir = tempfile::tempdir().unwrap();
    let head = dir.path().join("head");
    let config = format!("{}witness_addresses = [{head:?}]\n", cosigner.config());
    let server = Server::start_in(dir, &config);
    let _alice = published(&server, "alice").await;
    server.signal("-TERM");
    let dir = server.ended(true).await;
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    };
    copy(&dir.path().join("data"), &dir.path().join("snapshot"));
    let server = Server::start_in(dir, &config);
    let _bob = published(&server, "bob").await;
    cosigner.cosign(&server, &head).await;
    server.signal("-TERM");
    let dir: TempDir = server.ended(true).await;
    std::fs::remove_dir_all(dir.path().join("data")).unwrap();
    std::fs::rename(dir.path().join("snapshot"), dir.path().join("data")).unwrap();

    let server = Server::start_in(dir, &config);
    let (mut alone, _) = server.sign_up("carol").await;
    let begin = Instant::now();
    while !server.log().contains("THE DIRECTORY IS BEHIND") {
        assert!(begin.elapsed() < Duration::from_secs(30), "{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Longer than a publication takes.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(http_get(server.address, "/directory/checkpoint").await.starts_with("HTTP/1.1 503"));
    let look_up = Request::LookUpHandle { handle: Handle::parse("alice").unwrap() };
    assert!(alone.ask(look_up).await.is_err(), "nothing of it is given out");
    // Conversations do not wait for the directory.
    let mut anonymous = server.client().await;
    let chat = server.chat(&mut anonymous).await;
    anonymous.append(chat.say(&chat.first, b"as ever")).await;
}
