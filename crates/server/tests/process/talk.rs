//! People who talk, and a server that is stopped or killed under them.

use stonechat_wire::{Admission, Bytes, ErrorCode, Lane, List, Push, Reply, Request, Seq};

use crate::harness::{Server, person};

#[tokio::test]
async fn entries_reach_a_follower_on_another_connection_in_order() {
    let server = Server::start();
    let (mut writer, mut reader) = (server.client().await, server.client().await);
    let chat = server.chat(&mut writer).await;
    assert!(reader.follow(chat.follow(&chat.first, 0)).await.entries.is_empty());
    for n in 0..20_u8 {
        assert_eq!(writer.append(chat.say(&chat.first, &[n])).await, Seq(u64::from(n) + 2));
    }
    let (commit, second) = chat.commit(&chat.first, 22, b"commit");
    writer.append(commit).await;
    writer.append(chat.say(&second, b"not for the first epoch")).await;
    let mut seen = Vec::new();
    while seen.len() < 21 {
        let Push::Entries { conversation, page, .. } = reader.push().await else { panic!() };
        assert_eq!(conversation, chat.id);
        seen.extend(page.entries.iter().map(|entry| entry.seq.0));
    }
    assert_eq!(seen, (2..23).collect::<Vec<_>>());
    let page = reader.follow(chat.follow(&second, 22)).await;
    assert_eq!(page.entries.iter().map(|entry| entry.seq.0).collect::<Vec<_>>(), [23]);
}

#[tokio::test]
async fn pipelined_appends_keep_their_order() {
    let server = Server::start();
    let mut writer = server.client().await;
    let chat = server.chat(&mut writer).await;
    let mut ids = Vec::new();
    for n in 0..300_u16 {
        ids.push(writer.send(chat.say(&chat.first, &n.to_be_bytes())).await);
    }
    let mut seqs = std::collections::BTreeMap::new();
    for _ in &ids {
        let (id, result) = writer.answer().await;
        let Ok(Reply::Appended { seq, .. }) = result else { panic!("{result:?}") };
        seqs.insert(id, seq.0);
    }
    assert_eq!(seqs.into_values().collect::<Vec<_>>(), (2..302).collect::<Vec<_>>());
}

#[tokio::test]
async fn writers_on_many_connections_share_one_log_without_loss() {
    let server = Server::start();
    let mut first = server.client().await;
    let chat = std::sync::Arc::new(server.chat(&mut first).await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8_u8 {
        let (mut client, chat) = (server.client().await, std::sync::Arc::clone(&chat));
        tasks.spawn(async move {
            let mut seqs = Vec::new();
            for m in 0..25_u8 {
                seqs.push(client.append(chat.say(&chat.first, &[n, m])).await.0);
            }
            seqs
        });
    }
    let mut seqs = tasks.join_all().await.concat();
    seqs.sort_unstable();
    assert_eq!(seqs, (2..202).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_envelope_reaches_a_device_live_and_after_it_was_away() {
    let server = Server::start();
    let (mut alice, person) = server.sign_up("alice").await;
    let (mut other, _) = server.sign_up("other").await;
    let mut stranger = server.client().await;
    let sealed = || Bytes::new(vec![7; 500]).unwrap();
    let (account, device) = (person.account, person.device);
    let admission = Admission::Token(other.token().await);
    stranger.ask(Request::PostEnvelope { account, device, admission, sealed: sealed() }).await.unwrap();
    let Push::Envelopes(envelopes) = alice.push().await else { panic!() };
    assert_eq!((envelopes[0].lane, envelopes[0].seq, &envelopes[0].sealed), (Lane::Strangers, Seq(1), &sealed()));
    drop(alice);
    let mut back = server.client().await;
    let reply = back.ask(person.login(&back.hello.nonce.clone(), &server.address.to_string())).await;
    assert!(matches!(reply, Ok(Reply::Authenticated { envelopes: 1, .. })), "{reply:?}");
    let Push::Envelopes(again) = back.push().await else { panic!() };
    assert_eq!(again, envelopes);
    back.ask(Request::AckInbox { lane: Lane::Strangers, upto: Seq(1) }).await.unwrap();
}

#[tokio::test]
async fn a_login_made_for_another_host_is_refused() {
    let server = Server::start_with("public_host = \"chat.example.org\"\n");
    let alice = person("alice");
    let mut client = server.client().await;
    client.ask(Request::CreateAccount { genesis: alice.genesis.clone(), invite: None }).await.unwrap();
    let nonce = client.hello.nonce;
    let refused = client.ask(alice.login(&nonce, &server.address.to_string())).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotAuthenticated);
    assert!(client.ask(alice.login(&nonce, "chat.example.org")).await.is_ok());
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_sigterm() {
    let server = Server::start();
    let mut writer = server.client().await;
    let chat = server.chat(&mut writer).await;
    for n in 0..200_u16 {
        writer.send(chat.say(&chat.first, &n.to_be_bytes())).await;
    }
    server.signal("-TERM");
    let mut acknowledged = Vec::new();
    while let Some(frame) = writer.socket.receive().await {
        match frame {
            stonechat_wire::ServerFrame::Reply(_, Reply::Appended { seq, .. }) => acknowledged.push(seq.0),
            stonechat_wire::ServerFrame::Closing(failure) => assert_eq!(failure.code, ErrorCode::Unavailable),
            other => panic!("{other:?}"),
        }
    }
    let dir = server.ended(true).await;
    read_back(dir, &chat, &acknowledged).await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_kill_9() {
    let server = Server::start();
    let mut writer = server.client().await;
    let chat = server.chat(&mut writer).await;
    for n in 0..100_u16 {
        writer.send(chat.say(&chat.first, &n.to_be_bytes())).await;
    }
    let mut acknowledged = Vec::new();
    while acknowledged.len() < 30 {
        let (_, Ok(Reply::Appended { seq, .. })) = writer.answer().await else { panic!() };
        acknowledged.push(seq.0);
    }
    server.signal("-KILL");
    let dir = server.ended(false).await;
    read_back(dir, &chat, &acknowledged).await;
}

async fn read_back(dir: tempfile::TempDir, chat: &crate::harness::Chat, acknowledged: &[u64]) {
    let server = Server::start_in(dir, "");
    let mut reader = server.client().await;
    let page = reader.follow(chat.follow(&chat.first, 0)).await;
    let stored: Vec<u64> = page.entries.iter().map(|entry| entry.seq.0).collect();
    assert!(acknowledged.iter().all(|seq| stored.contains(seq)), "{acknowledged:?} {stored:?}");
    let next = stored.last().map_or(2, |last| last + 1);
    assert_eq!(reader.append(chat.say(&chat.first, b"and on")).await, Seq(next));
}

#[tokio::test]
async fn key_packages_are_published_and_taken_once() {
    let server = Server::start();
    let (mut alice, person) = server.sign_up("alice").await;
    let packages = List::new(vec![Bytes::new(vec![1; 900]).unwrap()]).unwrap();
    let publish = Request::PublishKeyPackages { packages, last_resort: Some(Bytes::new(vec![2; 900]).unwrap()) };
    assert_eq!(alice.ask(publish).await, Ok(Reply::KeyPackageCount(1)));
    let mut anonymous = server.client().await;
    for expected in [1, 2, 2] {
        let token = alice.token().await;
        let reply = anonymous.ask(Request::TakeKeyPackages { account: person.account, token }).await;
        let Ok(Reply::KeyPackages(taken)) = reply else { panic!("{reply:?}") };
        assert_eq!((taken[0].device, taken[0].package[0]), (person.device, expected));
    }
}
