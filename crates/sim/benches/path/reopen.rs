//! Reopening a home whose vault holds 100,000 messages, and reading the last 50.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand_core::{OsRng, RngCore as _};
use rusqlite::{Connection, params};
use stonechat_client::{ConversationId, Target};

use crate::Bench;
use crate::people::{befriend, open, person};
use crate::server::Server;
use crate::table::{line, median, time, times, title};

const SENT: usize = 60;
const MESSAGES: usize = 100_000;
const SHOWN: usize = 50;
const RUNS: usize = 9;

pub(crate) async fn run(bench: &Bench) -> Result<()> {
    title(&format!("Reopening a home with {MESSAGES} messages, median of {RUNS}"));
    let dir = bench.folder()?;
    let server = Server::start(dir.path())?;
    let (alice, bob) =
        (person("alice", &server.url()?, dir.path()).await?, person("bob", &server.url()?, dir.path()).await?);
    let conversation = befriend(&alice, &bob).await?;
    for n in 0..SENT {
        alice.client.send(Target::Conversation(conversation), format!("message {n}")).await?;
    }
    alice.client.shutdown().await;
    bob.client.shutdown().await;
    // Reopening needs no server.
    server.stop()?;

    let few = reopen(&alice.home, conversation).await?;
    multiply(&alice.home)?;
    let many = reopen(&alice.home, conversation).await?;
    line(&format!("floor: the same home with {SENT} messages"), &time(few), "");
    line(
        &format!("opened, and the last {SHOWN} read"),
        &time(many),
        &format!("{} the floor (aim: under 50 ms)", times(many, few)),
    );
    let client = open(&alice.home).await?;
    let all = client.messages(conversation, None, usize::MAX).await?.len();
    client.shutdown().await;
    ensure!(all >= MESSAGES, "the vault holds {all} messages");
    Ok(())
}

async fn reopen(home: &Path, conversation: ConversationId) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let started = Instant::now();
        let client = open(home).await?;
        let messages = client.messages(conversation, None, SHOWN).await?;
        times.push(started.elapsed());
        ensure!(messages.len() == SHOWN, "{} messages", messages.len());
        client.shutdown().await;
    }
    Ok(median(&mut times))
}

/// Copies one message's rows under new ids and earlier times until there are as many as wanted: sending as many would take
/// minutes. The records are those of `stonechat-core`'s `talk/messages.rs`, so that the client reads them as its own.
fn multiply(home: &Path) -> Result<()> {
    let key: serde_json::Value = serde_json::from_slice(&std::fs::read(home.join("vault.key"))?)?;
    let key = key["key"].as_str().context("the key is not in the file")?;
    let mut db = Connection::open(home.join("vault.db"))?;
    db.execute_batch(&format!("PRAGMA key = \"x'{key}'\""))?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let last = "SELECT k, v FROM t5_message ORDER BY k DESC LIMIT 1";
    let (place, record): (Vec<u8>, Vec<u8>) = db.query_row(last, [], row)?;
    let index = "SELECT k, v FROM t6_message_index WHERE v = ?1";
    let (name, _): (Vec<u8>, Vec<u8>) = db.query_row(index, [&place], row)?;
    // Thread, time, number, id; thread, sender, id. The record has its id in it.
    let id = place[48..].to_vec();
    let at = record.windows(id.len()).position(|window| window == id).context("a record without its id")?;
    let time = u64::from_be_bytes(place[32..40].try_into()?);
    let all = db.transaction()?;
    {
        let mut put = all.prepare("INSERT INTO t5_message (k, v) VALUES (?1, ?2)")?;
        let mut put_index = all.prepare("INSERT INTO t6_message_index (k, v) VALUES (?1, ?2)")?;
        for n in 0..MESSAGES as u64 {
            let (mut place, mut record, mut name, mut new) = (place.clone(), record.clone(), name.clone(), id.clone());
            OsRng.fill_bytes(&mut new);
            // Before all others: the true messages stay the last.
            place[32..40].copy_from_slice(&(time - 1_000_000 - n).to_be_bytes());
            place[48..].copy_from_slice(&new);
            record[at..at + id.len()].copy_from_slice(&new);
            name[64..].copy_from_slice(&new);
            put.execute(params![place, record])?;
            put_index.execute(params![name, place])?;
        }
    }
    all.commit()?;
    Ok(())
}
