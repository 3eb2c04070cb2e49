//! A group of 100 devices through the whole path: 100 clients with the SDK, each with its vault, in this process.
//!
//! All of them share this machine's processors with the server, so that "everybody" is 99 clients' work one behind the other
//! and not what one of them waits for. The bytes are counted on their sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use stonechat_client::{ConversationId, Event, ServerUrl, Target};

use crate::Bench;
use crate::people::{PATIENCE, Person, accept, heard, person};
use crate::proxy::Proxy;
use crate::server::Server;
use crate::table::{bytes, line, time, times, title};
use crate::wire::{Wire, chats, pushed};

const DEVICES: usize = 100;
const SIGN_UPS_AT_ONCE: usize = 4;
/// The floor's entries are not longer.
const ENTRY_BYTES: u64 = 200_000;

pub(crate) async fn run(bench: &Bench) -> Result<()> {
    title(&format!("A group of {DEVICES} devices: {DEVICES} clients, one server, all on this machine"));
    let dir = bench.folder()?;
    let server = Server::start(dir.path())?;
    let (near, far) = (Proxy::start(server.address).await?, Proxy::start(server.address).await?);
    let owner = person("owner", &near.url, dir.path()).await?;
    let others = sign_up(&far.url, dir.path()).await?;
    let (last, first) = others.split_last().context("many")?;
    let mut group = Group { address: server.address, owner: &owner, near, far, news: Vec::new() };

    let handles = first.iter().map(|person| person.handle.clone()).collect();
    let id = group
        .measure("create, inviting 98", first, async || Ok(owner.client.create_group("a hundred", handles).await?))
        .await?;
    let added = vec![last.handle.clone()];
    let add = async || Ok(owner.client.add_members(id, added).await.map(|()| id)?);
    group.measure("add one more", std::slice::from_ref(last), add).await?;
    group.measure("send a message", &[], async || Ok(id)).await?;
    let refresh = async || Ok(owner.client.refresh(id).await.map(|()| id)?);
    group.measure("self-update, the first in this group", &[], refresh).await?;
    group.measure("self-update again", &[], refresh).await?;

    for person in others.into_iter().chain([owner]) {
        person.client.shutdown().await;
    }
    server.stop()
}

async fn sign_up(server: &ServerUrl, homes: &Path) -> Result<Vec<Person>> {
    let started = Instant::now();
    let people = stream::iter(1..DEVICES).map(async |n| person(&format!("member{n}"), server, homes).await);
    let people = people.buffered(SIGN_UPS_AT_ONCE).try_collect::<Vec<_>>().await?;
    let each = started.elapsed().div_f64(people.len() as f64);
    line(
        "sign up, each of 99",
        &time(each),
        &format!("{SIGN_UPS_AT_ONCE} at once; makes 50 key packages, draws 48 tokens"),
    );
    Ok(people)
}

struct Group<'a> {
    address: SocketAddr,
    owner: &'a Person,
    /// What the owner's connections go through.
    near: Proxy,
    /// Everybody else's.
    far: Proxy,
    /// What the others hear.
    news: Vec<Box<dyn Stream<Item = Event> + Unpin>>,
}

impl Group<'_> {
    /// The owner acts, those who were invited accept at once, the owner writes a message behind it, everybody reads that.
    async fn measure(
        &mut self,
        what: &str,
        invited: &[Person],
        act: impl AsyncFnOnce() -> Result<ConversationId>,
    ) -> Result<ConversationId> {
        let already = self.news.len();
        self.news.extend(invited.iter().map(|person| Box::new(person.client.events()) as _));
        let (near, far) = (self.near.counted(), self.far.counted());
        let begin = Instant::now();
        let acting = async {
            let id = act().await?;
            self.owner.client.sync(PATIENCE).await?;
            self.owner.client.send(Target::Conversation(id), what).await?;
            anyhow::Ok((id, begin.elapsed()))
        };
        let from = &self.owner.handle;
        let accepting = invited.iter().zip(&mut self.news[already..]);
        let accepting = try_join_all(accepting.map(|(person, news)| accept(&person.client, news, from)));
        let ((id, durable), _) = tokio::try_join!(acting, accepting).with_context(|| what.to_owned())?;
        try_join_all(self.news.iter_mut().map(|news| heard(news, what))).await.with_context(|| what.to_owned())?;
        let everybody = begin.elapsed();

        let members = self.news.len();
        let (up, down) = self.near.counted();
        let (up, down) = (up - near.0, down - near.1);
        let each = (self.far.counted().1 - far.1) / members as u64;
        let floor = raw(self.address, up, members).await?;
        line(what, &time(durable), "the server has it and a message behind it, on its disk");
        line("  everybody has read that message", &time(everybody), &format!("{} the floor", times(everybody, floor)));
        line("  floor: as many bytes from one to all through the server", &time(floor), "");
        line("  bytes, the author: up", &bytes(up as f64), &format!("and {} down", bytes(down as f64)));
        line("  bytes, each of the others: down", &bytes(each as f64), "");
        Ok(id)
    }
}

/// How long so many bytes take, as entries that nobody encrypts or decrypts, until raw followers have them all.
async fn raw(address: SocketAddr, bytes: u64, followers: usize) -> Result<Duration> {
    let chat = chats(address, 1).await?[0];
    let mut writer = Wire::open(address).await?;
    let entries = bytes.div_ceil(ENTRY_BYTES);
    let mut following = Vec::new();
    for _ in 0..followers {
        let mut wire = Wire::open(address).await?;
        chat.follow(&mut wire).await?;
        following.push(wire);
    }
    let begin = Instant::now();
    for n in 0..entries {
        writer.send(chat.entry(n, usize::try_from(bytes / entries)?)?).await?;
    }
    let entries = usize::try_from(entries)?;
    try_join_all(following.iter_mut().map(|wire| pushed(wire, entries))).await?;
    Ok(begin.elapsed())
}
