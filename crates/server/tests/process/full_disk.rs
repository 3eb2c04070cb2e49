//! No room on the disk under a running server, or under the limit that its operator set.

use std::time::{Duration, Instant};

use stonechat_wire::{ErrorCode, Failure, Reply, Seq};

use crate::harness::{Chat, Client, Server, http_get};
use crate::small_disk::SmallDisk;

/// Appends until the server has no room, for at most so many entries. Returns what was acknowledged and the refusal.
async fn append_until_refused(writer: &mut Client, chat: &Chat) -> (Vec<u64>, Failure) {
    let mut acknowledged = Vec::new();
    for n in 0..4_000_u64 {
        match writer.ask(chat.say(&chat.first, &[n as u8; 8_000])).await {
            Ok(Reply::Appended { seq, .. }) => acknowledged.push(seq.0),
            Err(failure) => return (acknowledged, failure),
            Ok(other) => panic!("{other:?}"),
        }
    }
    panic!("the disk does not fill");
}

/// Every entry, on a connection of its own.
async fn stored(server: &Server, chat: &Chat) -> Vec<u64> {
    let mut reader = server.client().await;
    let mut entries = Vec::new();
    let mut page = reader.follow(chat.follow(&chat.first, 0)).await;
    loop {
        entries.extend(page.entries.iter().map(|entry| entry.seq.0));
        if !page.more {
            return entries;
        }
        let stonechat_wire::Push::Entries { page: next, .. } = reader.push().await else { panic!() };
        page = next;
    }
}

fn assert_clear(failure: &Failure) {
    assert_eq!(failure.code, ErrorCode::Unavailable);
    assert!(failure.retry_after_secs.is_some(), "{failure}");
    assert!(failure.to_string().contains("disk is full"), "{failure}");
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_new_serves_what_is_there_and_resumes() {
    let Some(disk) = SmallDisk::new(24 * 1024) else { return };
    let server = Server::start_on(&disk);
    let mut writer = server.client().await;
    let chat = server.chat(&mut writer).await;
    let mut acknowledged = Vec::new();
    for n in 0..100_u8 {
        acknowledged.push(writer.append(chat.say(&chat.first, &[n; 8_000])).await.0);
    }
    disk.fill();

    let (last, failure) = append_until_refused(&mut writer, &chat).await;
    assert_clear(&failure);
    acknowledged.extend(last);
    // It stays full: what is there is served, on this connection and on new ones, and the operator is told.
    assert_clear(&append_until_refused(&mut writer, &chat).await.1);
    let served = stored(&server, &chat).await;
    assert!(acknowledged.iter().all(|seq| served.contains(seq)), "{acknowledged:?} {served:?}");
    assert!(http_get(server.address, "/healthz").await.contains("cannot append"));
    assert!(server.log().contains("Free space"), "{}", server.log());

    disk.free();
    let resumed = append_when_there_is_room(&mut writer, &chat).await;
    acknowledged.push(resumed.0);
    assert!(http_get(server.address, "/healthz").await.contains("200 OK"));
    server.signal("-KILL");
    let dir = server.ended(false).await;
    let server = Server::start_again_on(&disk, dir);
    let kept = stored(&server, &chat).await;
    assert!(acknowledged.iter().all(|seq| kept.contains(seq)), "{acknowledged:?} {kept:?}");
    assert!(kept.is_sorted() && kept.len() <= acknowledged.len() + 1, "nothing that was refused is there");
}

/// The operator's own bound needs no disk of its own: this runs everywhere.
#[tokio::test]
async fn the_operators_limit_refuses_what_is_new_and_a_higher_one_resumes() {
    let server = Server::start_with("data_bytes_max = 1000000\n");
    let mut writer = server.client().await;
    let chat = server.chat(&mut writer).await;
    let (mut acknowledged, failure) = append_until_refused(&mut writer, &chat).await;
    assert_clear(&failure);
    assert_eq!(stored(&server, &chat).await, acknowledged);
    server.signal("-TERM");
    let server = Server::start_in(server.ended(true).await, "data_bytes_max = 2000000\n");
    assert_eq!(stored(&server, &chat).await, acknowledged);
    let mut writer = server.client().await;
    acknowledged.push(writer.append(chat.say(&chat.first, b"and on")).await.0);
    assert_eq!(stored(&server, &chat).await, acknowledged);
}

async fn append_when_there_is_room(writer: &mut Client, chat: &Chat) -> Seq {
    let began = Instant::now();
    loop {
        match writer.ask(chat.say(&chat.first, b"after")).await {
            Ok(Reply::Appended { seq, .. }) => return seq,
            Err(failure) => assert_clear(&failure),
            Ok(other) => panic!("{other:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(10), "there is room, and the server does not use it");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
