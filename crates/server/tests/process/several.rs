//! Several servers over one PostgreSQL: real processes, a real database, clients that move.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use rand_core::{OsRng, RngCore as _};
use stonechat_wire::message::Page;
use stonechat_wire::{ErrorCode, Push, Reply, Request, Seq, Token};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::harness::{Chat, Client, Server, stonechatd};
use crate::support::{Postgres, postgres};

const KEYS: [&str; 2] = ["token-key", "directory-key"];

fn config(database: &Postgres, node: &str) -> String {
    let url = &database.url;
    format!(
        "tokens_per_day = 100\n[store]\nkind = \"postgres\"\n[[store.databases]]\nurl = \"{url}\"\n\
         [directory]\nnode = \"{node}\"\n"
    )
}

fn first(database: &Postgres) -> Server {
    Server::start_with(&config(database, "first"))
}

/// One more server, with the keys of another.
fn beside(other: &Server, database: &Postgres, node: &str) -> Server {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("data")).expect("a folder");
    for key in KEYS {
        fs::copy(other.data().join(key), dir.path().join("data").join(key)).expect("a key");
    }
    Server::start_in(dir, &config(database, node))
}

fn blobs(page: &Page) -> Vec<Vec<u8>> {
    page.entries.iter().map(|entry| entry.blob.to_vec()).collect()
}

/// The next entries that are pushed.
async fn pushed(client: &mut Client) -> Vec<Vec<u8>> {
    match client.push().await {
        Push::Entries { page, .. } => blobs(&page),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_one_server_acknowledges_another_pushes_at_once() {
    let database = postgres(None);
    let one = first(&database);
    let two = beside(&one, &database, "second");
    let (mut writer, mut reader) = (one.client().await, two.client().await);
    let chat = one.chat(&mut writer).await;
    assert!(blobs(&reader.follow(chat.follow(&chat.first, 0)).await).is_empty());
    let begun = Instant::now();
    for n in 0..10_u8 {
        writer.append(chat.say(&chat.first, &[n])).await;
        assert_eq!(pushed(&mut reader).await, [vec![n]]);
    }
    // Without wake-ups each would wait for the servers' next question to the store.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_lost_wake_up_costs_seconds_and_no_message() {
    let database = postgres(None);
    let one = first(&database);
    let two = beside(&one, &database, "second");
    let (mut writer, mut reader) = (one.client().await, two.client().await);
    let chat = one.chat(&mut writer).await;
    reader.follow(chat.follow(&chat.first, 0)).await;
    let (operator, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let deaf = tokio::spawn(async move {
        // Nobody listens for longer than it takes to be told.
        let listeners = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                         WHERE query LIKE 'LISTEN stonechat_' || 'head'::regclass::oid";
        loop {
            operator.query_one(listeners, &[]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    for n in 0..2_u8 {
        writer.append(chat.say(&chat.first, &[n])).await;
        let pushed = timeout(Duration::from_secs(10), pushed(&mut reader)).await.expect("within ten seconds");
        assert_eq!(pushed, [vec![n]]);
    }
    deaf.abort();
}

#[tokio::test]
async fn an_epoch_is_live_or_over_at_all_servers_at_once() {
    let database = postgres(None);
    let one = first(&database);
    let two = beside(&one, &database, "second");
    let (mut here, mut there) = (one.client().await, two.client().await);
    let chat = one.chat(&mut here).await;
    let mut epoch = chat.first;
    let mut seq = 1;
    for n in 0..6_u8 {
        // Both servers know the epoch, and then one of them ends it.
        for client in [&mut here, &mut there] {
            seq += 1;
            assert_eq!(client.append(chat.say(&epoch, &[n, seq])).await, Seq(u64::from(seq)));
        }
        seq += 1;
        let (commit, next) = chat.commit(&epoch, u64::from(seq), &[n]);
        assert_eq!(here.append(commit).await, Seq(u64::from(seq)));
        let late = there.ask(chat.say(&epoch, b"late")).await.unwrap_err();
        assert_eq!(late.code, ErrorCode::EpochOver);
        seq += 1;
        assert_eq!(there.append(chat.say(&next, b"at once")).await, Seq(u64::from(seq)), "no false refusal");
        epoch = next;
        std::mem::swap(&mut here, &mut there);
    }
}

/// Two servers are given two commits on one epoch at the same moment.
#[tokio::test]
async fn of_two_commits_at_two_servers_one_wins() {
    let database = postgres(None);
    let one = first(&database);
    let two = beside(&one, &database, "second");
    let (mut here, mut there) = (one.client().await, two.client().await);
    let chat = one.chat(&mut here).await;
    let mut epoch = chat.first;
    let mut seq = 1;
    for n in 0..20_u8 {
        seq += 1;
        let (mine, next) = chat.commit(&epoch, seq, &[n, 1]);
        let (theirs, other) = chat.commit(&epoch, seq, &[n, 2]);
        let (won, lost) = tokio::join!(here.ask(mine), there.ask(theirs));
        let winners = [(won, next), (lost, other)].into_iter().filter_map(|(result, next)| match result {
            Ok(Reply::Appended { seq: at, .. }) => {
                assert_eq!(at, Seq(seq));
                Some(next)
            }
            Err(failure) if failure.code == ErrorCode::EpochOver => None,
            other => panic!("{other:?}"),
        });
        let winners: Vec<_> = winners.collect();
        assert_eq!(winners.len(), 1);
        epoch = winners[0];
    }
}

#[tokio::test]
async fn a_token_is_spent_and_an_allowance_drawn_once_over_all_servers() {
    let database = postgres(None);
    let one = first(&database);
    let two = beside(&one, &database, "second");
    let (mut device, _) = one.sign_up(&format!("a{}", OsRng.next_u32())).await;
    let token = device.token().await;
    let copy = || Token { nonce: token.nonce, output: token.output };
    let (mut here, mut there) = (one.client().await, two.client().await);
    let create =
        |chat: &Chat| Request::CreateConversation { conversation: chat.id, first: chat.first.caps(), token: copy() };
    let (chat, other) = (Chat::new(), Chat::new());
    let (first, second) = tokio::join!(here.ask(create(&chat)), there.ask(create(&other)));
    let refused = [&first, &second].into_iter().filter_map(|result| result.as_ref().err());
    assert_eq!(refused.map(|failure| failure.code).collect::<Vec<_>>(), [ErrorCode::InvalidToken]);

    // One account, a device connection to each server.
    let (mut device, person) = one.sign_up(&format!("b{}", OsRng.next_u32())).await;
    let mut elsewhere = two.client().await;
    let login = person.login(&elsewhere.hello.nonce, &two.address.to_string());
    elsewhere.ask(login).await.unwrap();
    let mut drawn = 0;
    for n in 0..110 {
        let device = if n % 2 == 0 { &mut device } else { &mut elsewhere };
        match device.draw(1).await {
            Ok(_) => drawn += 1,
            Err(failure) => assert_eq!(failure.code, ErrorCode::Quota),
        }
    }
    assert_eq!(drawn, 100);
}

#[tokio::test]
async fn a_server_with_other_keys_does_not_start() {
    let database = postgres(None);
    let _one = first(&database);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    fs::write(&file, config(&database, "second")).unwrap();
    let mut command = stonechatd();
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&file).arg("--data").arg(dir.path());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("Copy token-key and directory-key"), "{said}");
}

/// A writer that moves on when its server leaves, and sends again what was not answered.
struct Mover {
    chat: Chat,
    client: Client,
    at: usize,
}

impl Mover {
    async fn say(&mut self, servers: &[Server], bytes: &[u8]) -> Seq {
        loop {
            if let Some(Ok(Reply::Appended { seq, .. })) =
                self.client.try_ask(self.chat.say(&self.chat.first, bytes)).await
            {
                return seq;
            }
            self.at = (self.at + 1) % servers.len();
            self.client = servers[self.at].client().await;
        }
    }
}

/// A new server takes the place of each, one after the other, while people write.
#[tokio::test]
async fn servers_are_replaced_one_by_one_without_a_lost_or_doubled_message() {
    let database = postgres(None);
    let mut servers = vec![first(&database)];
    servers.push(beside(&servers[0], &database, "second"));
    let mut movers = Vec::new();
    for at in [0, 1, 0, 1] {
        let mut client = servers[at].client().await;
        let chat = servers[at].chat(&mut client).await;
        movers.push(Mover { chat, client, at });
    }
    let mut said = vec![BTreeSet::new(); movers.len()];
    for round in 0..2_u8 {
        for (writer, mover) in movers.iter_mut().enumerate() {
            for n in 0..10_u8 {
                let bytes = vec![round, n];
                mover.say(&servers, &bytes).await;
                said[writer].insert(bytes);
            }
        }
        // While they are idle and while they ask: the last request of each is under way.
        let leaving = servers.remove(0);
        let next = beside(&servers[0], &database, &format!("next {round}"));
        leaving.signal("-TERM");
        servers.push(next);
        movers.iter_mut().for_each(|mover| mover.at = 0);
        for (writer, mover) in movers.iter_mut().enumerate() {
            let bytes = vec![round, 99];
            mover.say(&servers, &bytes).await;
            said[writer].insert(bytes);
        }
        let _folder: TempDir = leaving.ended(true).await;
    }
    for (mover, said) in movers.iter().zip(said) {
        let mut reader = servers[0].client().await;
        let stored = blobs(&reader.follow(mover.chat.follow(&mover.chat.first, 0)).await);
        assert_eq!(stored.len(), said.len(), "nothing twice");
        assert_eq!(stored.into_iter().collect::<BTreeSet<_>>(), said, "nothing lost");
    }
}
