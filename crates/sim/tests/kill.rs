//! Three people talk while their server and their own programs are killed with `kill -9`. What was acknowledged is read by
//! everybody, once and in one order; what was not is read by everybody or by nobody; nothing is read that nobody wrote.
//!
//! `STONECHAT_KILL_SEED` makes other choices, `STONECHAT_KILL_SECS` a longer run. The seed fixes who says what and when
//! somebody strikes, not what the machine is doing then.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[path = "support/friends.rs"]
mod friends;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::time::{Duration, Instant};

use friends::befriend;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use serde_json::Value;
use support::{Home, Server};

#[test]
fn what_is_acknowledged_is_read_once_by_everybody_whoever_is_killed() {
    let seed = number("STONECHAT_KILL_SEED", 1);
    let mut server = Server::start();
    let homes = ["@alice", "@bob", "@carol"].map(|handle| Home::sign_up(handle, server.address()));
    let group = befriend(homes.each_ref(), "hello", "Night shift");
    let [alice, bob, carol] = &homes;

    let end = Instant::now() + Duration::from_secs(number("STONECHAT_KILL_SECS", 20));
    let spoken = std::thread::scope(|scope| {
        let speakers = [(alice, Some("@bob")), (bob, Some("@alice")), (carol, None)].map(|(home, friend)| {
            let rng = ChaCha8Rng::seed_from_u64(seed ^ u64::from(home.handle.as_bytes()[1]) << 32);
            let targets: Vec<_> = [Some(group.as_str()), friend].into_iter().flatten().collect();
            scope.spawn(move || speak(home, &targets, rng, end))
        });
        strike(&mut server, ChaCha8Rng::seed_from_u64(seed), end);
        speakers.map(|speaker| speaker.join().unwrap())
    });

    let said = |target: &dyn Fn(&str) -> bool| -> BTreeMap<String, Said> {
        let lines = spoken.iter().flatten().filter(|(of, _, _)| target(of));
        lines.map(|(_, text, said)| (text.clone(), *said)).collect()
    };
    let mut direct = said(&|target| target.starts_with('@'));
    direct.insert("hello".into(), Said::Acknowledged);
    judge(seed, &[(alice, "@bob"), (bob, "@alice")], &direct);
    judge(seed, &homes.each_ref().map(|home| (home, group.as_str())), &said(&|target| !target.starts_with('@')));
}

/// What its speaker knows of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    /// `send` returned well: the server has it, or the home keeps it and sends it later.
    Acknowledged,
    /// `send` was killed, or complained.
    Perhaps,
}

/// Sends, reads and synchronises, and is killed now and then while it does. Where it said what, and what came of it.
fn speak(home: &Home, targets: &[&str], mut rng: ChaCha8Rng, end: Instant) -> Vec<(String, String, Said)> {
    let mut spoken = Vec::new();
    while Instant::now() < end {
        let target = targets[below(&mut rng, targets.len() as u64) as usize];
        let life = (below(&mut rng, 3) == 0).then(|| Duration::from_millis(below(&mut rng, LIFE_MILLIS_MAX)));
        match below(&mut rng, 5) {
            0 => drop(finish(home, &["read", target], life)),
            1 => drop(finish(home, &["sync"], life)),
            _ => {
                let text = format!("{} {}", home.handle, spoken.len());
                let said = match finish(home, &["send", target, &text], life) {
                    Some(answer) => {
                        assert!(answer["status"] == "sent" || answer["status"] == "queued", "{answer}");
                        Said::Acknowledged
                    }
                    None => Said::Perhaps,
                };
                spoken.push((target.to_owned(), text, said));
            }
        }
    }
    spoken
}

/// The last line that a command printed, if it ended well before its life did.
fn finish(home: &Home, args: &[&str], life: Option<Duration>) -> Option<Value> {
    let mut child = home.command(args).spawn().unwrap();
    if let Some(life) = life {
        kill_after(&mut child, life);
    }
    let output = child.wait_with_output().unwrap();
    let signal = output.status.signal();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        signal.is_none_or(|signal| signal == SIGKILL && life.is_some()),
        "{args:?} fell to {signal:?}: {complaint}"
    );
    let last = output.status.success().then(|| String::from_utf8(output.stdout).unwrap())?;
    Some(last.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap()))
}

fn kill_after(child: &mut Child, life: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < life {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
}

/// Kills the server and starts it again, until the end; then it runs.
fn strike(server: &mut Server, mut rng: ChaCha8Rng, end: Instant) {
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(300 + below(&mut rng, 2_500)));
        server.kill();
        std::thread::sleep(Duration::from_millis(below(&mut rng, 400)));
        server.run();
    }
}

/// Compares what everybody reads with what was said.
fn judge(seed: u64, readers: &[(&Home, &str)], said: &BTreeMap<String, Said>) {
    let acknowledged: BTreeSet<_> =
        said.iter().filter(|(_, said)| **said == Said::Acknowledged).map(|(text, _)| text.as_str()).collect();
    assert!(acknowledged.len() > 3, "seed {seed}: too little was said to learn from: {said:?}");
    let transcripts = settle(readers, &acknowledged);
    for (transcript, (home, target)) in transcripts.iter().zip(readers) {
        let who = format!("seed {seed}: {} in {target}", home.handle);
        let texts: BTreeSet<_> = transcript.iter().map(|line| line.2.as_str()).collect();
        let lost: Vec<_> = acknowledged.difference(&texts).collect();
        assert!(lost.is_empty(), "{who} does not read {lost:?}");
        assert_eq!(texts.len(), transcript.len(), "{who} reads something twice: {transcript:?}");
        for (sender, _, text) in transcript {
            assert!(said.contains_key(text), "{who} reads {text:?}, which nobody said there");
            assert!(text == "hello" || text.starts_with(&format!("{sender} ")), "{who} reads {text:?} by {sender}");
        }
        assert_eq!(*transcript, transcripts[0], "{who} reads otherwise than {}", readers[0].0.handle);
    }
    let cut_off = said.len() - acknowledged.len();
    eprintln!("seed {seed}: {} acknowledged, {cut_off} cut off, {} read", acknowledged.len(), transcripts[0].len());
}

/// What everybody reads when everybody has caught up, or when they had time enough to.
fn settle(readers: &[(&Home, &str)], acknowledged: &BTreeSet<&str>) -> Vec<Vec<(String, String, String)>> {
    let begin = Instant::now();
    let mut before = Vec::new();
    loop {
        readers.iter().for_each(|(home, _)| drop(home.run(&["sync"])));
        let now: Vec<_> = readers.iter().map(|(home, target)| home.transcript(target)).collect();
        let same = now.iter().all(|transcript| *transcript == now[0]);
        let whole = acknowledged.iter().all(|text| now[0].iter().any(|line| line.2 == **text));
        // Twice the same: nothing was under way.
        if (same && whole && now == before) || begin.elapsed() > SETTLING_MAX {
            return now;
        }
        before = now;
    }
}

fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    rng.next_u64() % bound
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

const SIGKILL: i32 = 9;
/// A killed command lives at most so long: from its first instruction to a while after it is done.
const LIFE_MILLIS_MAX: u64 = 600;
/// Long enough for everything that waits to go out and come in.
const SETTLING_MAX: Duration = Duration::from_secs(60);
