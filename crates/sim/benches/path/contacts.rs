//! Starting with 500 contacts: the home opened and the list there, every lock derived again; then in step with the server.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stonechat_client::{Lock, Target};

use crate::Bench;
use crate::people::{PATIENCE, Person, open, person};
use crate::server::Server;
use crate::table::{line, median, time, times, title};

const CONTACTS: usize = 500;
const RUNS: usize = 9;

pub(crate) async fn run(bench: &Bench) -> Result<()> {
    title(&format!("Starting with {CONTACTS} contacts and a conversation with each, median of {RUNS}"));
    let dir = bench.folder()?;
    let server = Server::start(dir.path())?;
    let url = server.url()?;
    let (many, few) = (person("many", &url, dir.path()).await?, person("few", &url, dir.path()).await?);
    for n in 0..CONTACTS {
        let contact = person(&format!("contact{n}"), &url, dir.path()).await?;
        contact.client.shutdown().await;
        many.client.send(Target::Person(contact.handle.clone()), "hello").await?;
        if n == 0 {
            few.client.send(Target::Person(contact.handle), "hello").await?;
        }
    }
    let (few, many) = (start(few, 1).await?, start(many, CONTACTS).await?);
    line("floor: with one contact, the list is there", &time(few.0), "");
    line("with all, the list is there", &time(many.0), &format!("{} the floor", times(many.0, few.0)));
    line("floor: with one contact, in step with the server", &time(few.1), "");
    line("with all, in step with the server", &time(many.1), &format!("{} the floor", times(many.1, few.1)));
    Ok(())
}

/// From nothing to the list, and to being in step.
async fn start(person: Person, contacts: usize) -> Result<(Duration, Duration)> {
    person.client.sync(PATIENCE).await?;
    person.client.shutdown().await;
    let (mut lists, mut syncs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (list, sync) = started(&person.home, contacts).await?;
        lists.push(list);
        syncs.push(sync);
    }
    Ok((median(&mut lists), median(&mut syncs)))
}

async fn started(home: &Path, contacts: usize) -> Result<(Duration, Duration)> {
    let begin = Instant::now();
    let client = open(home).await?;
    let conversations = client.conversations().await?;
    let list = begin.elapsed();
    let closed = conversations.iter().filter(|conversation| conversation.lock == Lock::Closed).count();
    ensure!(closed == contacts, "{closed} closed locks");
    client.sync(PATIENCE).await?;
    let sync = begin.elapsed();
    client.shutdown().await;
    Ok((list, sync))
}
