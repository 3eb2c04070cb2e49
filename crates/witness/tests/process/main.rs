//! The program, killed and restarted, against a directory that is hostile.
#![expect(clippy::unwrap_used, reason = "a test harness: a surprise ends the test")]

mod directory;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use stonechat_directory::{Audit, Checkpoint, Evidence, Verdict};

use directory::{Directory, History, Served};

/// A witness that runs; killed when dropped.
struct Witness(Child);

impl Witness {
    fn start(directory: &Directory, data: &Path) -> Self {
        let log = File::options().create(true).append(true).open(data.with_extension("log")).unwrap();
        Self(program(data).args(["--directory", &directory.url()]).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// Waits for its end.
    fn ended(&mut self) -> ExitStatus {
        ended(|| self.0.try_wait().unwrap())
    }
}

fn ended(mut status: impl FnMut() -> Option<ExitStatus>) -> ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = status() {
            return status;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "it does not end");
        sleep(Duration::from_millis(10));
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // Gone already, where the test waited for its end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stonechat-witness"));
    command.arg("--data").arg(data);
    command
}

fn log(data: &Path) -> String {
    std::fs::read_to_string(data.with_extension("log")).unwrap()
}

fn evidence(data: &Path) -> Evidence {
    let files = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let file = files.into_iter().find(|path| path.to_string_lossy().contains("/evidence-")).expect("evidence");
    Evidence::from_json(&std::fs::read(file).unwrap()).unwrap()
}

fn is_of(history: &History, checkpoints: &[Checkpoint]) -> bool {
    checkpoints.iter().all(|told| history.root(told.size) == told.root)
}

#[test]
fn a_witness_killed_at_any_moment_never_cosigns_two_histories() {
    let (first, second) = (History::new(20, 1), History::new(20, 2));
    let (mut convicted, mut followed) = (0, 0);
    // Its requests begin with policy, checkpoint, records, cosignature; then checkpoint, records, cosignature.
    for (killed_at, delay_ms) in (1..=10).flat_map(|request| [(request, 0), (request, 2)]) {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let served = Served { history: first.clone(), size: 3, growing: true, ..Served::default() };
        let directory = Directory::start(served);
        let witness = Arc::new(Mutex::new(Witness::start(&directory, &data)));
        let (victim, its_data) = (Arc::clone(&witness), data.clone());
        directory.on_request(move |number, path| {
            if path == "cosignature" {
                let kept = Audit::from_json(&std::fs::read(its_data.join("verified.json")).unwrap()).unwrap();
                assert!(kept.size() >= 3, "a signature left before what it signs was kept");
            }
            if number == killed_at {
                sleep(Duration::from_millis(delay_ms));
                drop(victim.lock().unwrap().0.kill());
            }
        });
        // Not locked while we wait: the request that kills it locks.
        assert!(!ended(|| witness.lock().unwrap().0.try_wait().unwrap()).success());
        directory.on_request(|_, _| ());

        // All but the first record are others now. Where it remembers, it is shown as many as it verified.
        let kept = std::fs::read(data.join("verified.json")).ok().map(|json| Audit::from_json(&json).unwrap());
        let mut served = directory.served();
        served.history = second.clone();
        served.size = kept.as_ref().map_or(served.size, Audit::size);
        drop(served);
        let mut again = Witness::start(&directory, &data);
        let its_history = if kept.is_some() {
            assert_eq!(again.ended().code(), Some(3), "{}", log(&data));
            assert!(matches!(evidence(&data).judge(), Ok(Verdict::Proven(_))));
            convicted += 1;
            &first
        } else {
            directory.eventually("it follows what it sees first", |served| !served.cosigned.is_empty());
            followed += 1;
            &second
        };
        let cosigned = directory.served().cosigned.clone();
        assert!(is_of(its_history, &cosigned), "killed at request {killed_at}: {cosigned:?}");
    }
    assert!(convicted >= 10 && followed >= 4, "{convicted} convicted, {followed} followed");
}

#[test]
fn a_directory_that_lags_is_asked_again_and_one_that_withholds_is_convicted_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let directory = Directory::start(Served { history: History::new(600, 1), size: 300, ..Served::default() });
    let mut witness = Witness::start(&directory, &data);
    let cosigned = |size| move |served: &Served| served.cosigned.last().is_some_and(|told| told.size == size);
    directory.eventually("300 records are cosigned", cosigned(300));
    directory.served().size = 299;
    sleep(Duration::from_secs(1));
    directory.served().size = 500;
    directory.eventually("500 records are cosigned", cosigned(500));

    let mut served = directory.served();
    (served.size, served.garbage) = (501, Some(b"<html>an error of a proxy</html>".to_vec()));
    let before = served.cosigned.len();
    drop(served);
    assert_eq!(witness.ended().code(), Some(3), "{}", log(&data));
    assert!(log(&data).contains("THE DIRECTORY IS INCONSISTENT"), "{}", log(&data));
    assert!(matches!(evidence(&data).judge(), Ok(Verdict::Unanswered(_))));

    // Served in full now, and still a person has to look: it does not even ask.
    let mut served = directory.served();
    (served.garbage, served.requests) = (None, 0);
    drop(served);
    assert_eq!(Witness::start(&directory, &data).ended().code(), Some(3));
    let served = directory.served();
    assert_eq!((served.requests, served.cosigned.len()), (0, before));
}

#[test]
fn a_fork_that_grows_past_what_was_verified_is_convicted() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let directory = Directory::start(Served { history: History::new(20, 1), size: 5, ..Served::default() });
    let mut witness = Witness::start(&directory, &data);
    directory.eventually("5 records are cosigned", |served| !served.cosigned.is_empty());
    let mut served = directory.served();
    (served.history, served.size) = (History::new(20, 2), 9);
    drop(served);
    assert_eq!(witness.ended().code(), Some(3), "{}", log(&data));
    assert!(directory.served().cosigned.iter().all(|told| told.size == 5));
    assert_eq!(evidence(&data).sizes(), Some((5, 9)));
}

#[test]
fn a_directory_that_says_the_same_again_and_again_keeps_nobody_busy() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served { history: History::new(3, 1), size: 3, hasty: true, ..Served::default() };
    let directory = Directory::start(served);
    let _witness = Witness::start(&directory, &dir.path().join("data"));
    directory.eventually("3 records are cosigned", |served| !served.cosigned.is_empty());
    directory.served().requests = 0;
    sleep(Duration::from_secs(3));
    let requests = directory.served().requests;
    assert!((2..=8).contains(&requests), "a checkpoint and a cosignature a second: {requests}");
}

#[test]
fn two_witnesses_never_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let directory = Directory::start(Served { history: History::new(3, 1), size: 3, ..Served::default() });
    let _first = Witness::start(&directory, &data);
    directory.eventually("3 records are cosigned", |served| !served.cosigned.is_empty());
    let second = program(&data).args(["--directory", &directory.url()]).output().unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("another witness runs in"), "{said}");
    let key = |data: &Path| String::from_utf8(program(data).arg("--key").output().unwrap().stdout).unwrap();
    assert!(key(&data).starts_with("witness/") && key(&data) == key(&data), "its key is shown while it runs");
}
