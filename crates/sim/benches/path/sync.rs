//! Cold sync: a device that was away while 10,000 messages were written comes back and reads them all.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stonechat_client::{Body, ConversationId, Target};

use crate::Bench;
use crate::people::{PATIENCE, befriend, open, person};
use crate::proxy::Proxy;
use crate::server::Server;
use crate::table::{bytes, line, median, rate, time, times, title};
use crate::wire::{Wire, chats, pushed};

const MESSAGES: usize = 10_000;
/// What the floor's writer leaves unanswered at most.
const WINDOW: usize = 32;

pub(crate) async fn run(bench: &Bench) -> Result<()> {
    title(&format!("Cold sync of {MESSAGES} messages, {} runs", bench.runs));
    let dir = bench.folder()?;
    let server = Server::start(dir.path())?;
    let proxy = Proxy::start(server.address).await?;
    let alice = person("alice", &server.url()?, dir.path()).await?;
    let bob = person("bob", &proxy.url, dir.path()).await?;
    let conversation = befriend(&alice, &bob).await?;
    bob.client.shutdown().await;

    let started = Instant::now();
    for n in 0..MESSAGES {
        alice.client.enqueue(Target::Conversation(conversation), format!("message {n}")).await?;
    }
    alice.client.sync(PATIENCE).await?;
    let written = started.elapsed();
    alice.client.shutdown().await;

    let before = proxy.counted().1;
    let mut synced = Vec::new();
    for run in 0..bench.runs {
        // The same device, as it was: only the first run would be cold otherwise.
        let home = dir.path().join(format!("bob-{run}"));
        copy(&bob.home, &home)?;
        synced.push(sync(&home, conversation).await?);
    }
    let each = (proxy.counted().1 - before) / (MESSAGES * bench.runs) as u64;

    let address = server.address;
    let chat = chats(address, 1).await?[0];
    let mut wire = Wire::open(address).await?;
    for n in 0..MESSAGES + WINDOW {
        if n < MESSAGES {
            wire.send(chat.entry(n as u64, usize::try_from(each)?)?).await?;
        }
        if n >= WINDOW {
            wire.answer().await?;
        }
    }
    let mut floors = Vec::new();
    for _ in 0..bench.runs {
        let started = Instant::now();
        let mut wire = Wire::open(address).await?;
        let first = chat.follow(&mut wire).await?;
        pushed(&mut wire, MESSAGES - first).await?;
        floors.push(started.elapsed());
    }
    let (floor, synced) = (median(&mut floors), median(&mut synced));
    let per_second = |time: Duration| rate(MESSAGES as f64 / time.as_secs_f64());
    line("floor: as many raw entries of that size, read and not saved", &time(floor), &per_second(floor));
    let beside = format!("{}, {} the floor", per_second(synced), times(synced, floor));
    line("home opened to everything decrypted and saved", &time(synced), &beside);
    line("bytes down for each message", &bytes(each as f64), "");
    line("before: one client writes them, saved one by one", &time(written), &per_second(written));
    server.stop()
}

async fn sync(home: &Path, conversation: ConversationId) -> Result<Duration> {
    let started = Instant::now();
    let client = open(home).await?;
    client.sync(PATIENCE).await?;
    let took = started.elapsed();
    let messages = client.messages(conversation, None, 2 * MESSAGES).await?;
    let last = messages.last().map(|message| &message.body);
    ensure!(messages.len() == MESSAGES + 1, "{} messages arrived", messages.len());
    ensure!(last == Some(&Body::Text(format!("message {}", MESSAGES - 1).into())), "the last is {last:?}");
    client.shutdown().await;
    Ok(took)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir(to)?;
    for name in ["vault.db", "vault.key"] {
        std::fs::copy(from.join(name), to.join(name))?;
    }
    Ok(())
}
