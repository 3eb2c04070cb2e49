//! Reading what was said: pages, search, drafts and notes, from a vault that a real conversation filled.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[expect(dead_code, reason = "shared with the other tests, which use the rest")]
mod support;

use std::time::Duration;

use stonechat_client::{
    Body, Client, ClientError, CommandError, ConversationId, Draft, Invalid, KeyChoice, Message, MessageKey, Page,
    Place, Target,
};
use support::{Person, Server, eventually, handle, person, texts, to};

const COUNT: usize = 25;

/// `@alice` wrote "number 0" to "number 24" to `@bob`, who has them all.
async fn written(server: &Server) -> (Person, Person, ConversationId) {
    let (alice, bob) = (person(server, "@alice").await, person(server, "@bob").await);
    let id = alice.client.send(to("@bob"), "number 0").await.unwrap().conversation;
    eventually("bob is asked", || async { bob.client.requests().await.unwrap().pop() }).await;
    bob.client.accept(handle("@alice")).await.unwrap();
    for number in 1..COUNT {
        alice.client.enqueue(Target::Conversation(id), format!("number {number}")).await.unwrap();
    }
    alice.client.sync(Duration::from_secs(30)).await.unwrap();
    eventually("bob has all", || async { (texts(&bob.client, "@alice").await.len() == COUNT).then_some(()) }).await;
    (alice, bob, id)
}

fn numbers(messages: &[Message]) -> Vec<usize> {
    let number = |message: &Message| match &message.body {
        Body::Text(text) => text.rsplit(' ').next().unwrap().parse().unwrap(),
        other => panic!("{other:?}"),
    };
    messages.iter().map(number).collect()
}

async fn page(client: &Client, id: ConversationId, at: Place, limit: usize) -> (Vec<usize>, u64, u64) {
    let Page { messages, older, newer } = client.page(id, at, limit).await.unwrap();
    (numbers(&messages), older, newer)
}

#[tokio::test]
async fn pages_join_without_gap_or_overlap_in_both_directions() {
    let server = Server::start().await;
    let (_alice, bob, id) = written(&server).await;
    let bob = &bob.client;
    assert_eq!(page(bob, id, Place::Latest, 10).await, ((15..25).collect(), 15, 0));
    let all = bob.page(id, Place::Latest, 200).await.unwrap().messages;
    let name = |number: usize| all[number].key();
    assert_eq!(page(bob, id, Place::Before(name(15)), 10).await, ((5..15).collect(), 5, 10));
    assert_eq!(page(bob, id, Place::Before(name(5)), 10).await, ((0..5).collect(), 0, 20));
    assert_eq!(page(bob, id, Place::Before(name(0)), 10).await, (vec![], 0, 0));
    assert_eq!(page(bob, id, Place::After(name(4)), 10).await, ((5..15).collect(), 5, 10));
    assert_eq!(page(bob, id, Place::After(name(24)), 10).await, (vec![], 0, 0));
    assert_eq!(page(bob, id, Place::Around(name(12)), 6).await, ((9..15).collect(), 9, 10));
    assert_eq!(page(bob, id, Place::Around(name(0)), 6).await, ((0..3).collect(), 0, 22));
    // A message that is not there, a conversation that is not there, a limit that is none.
    let nobody = MessageKey { id: stonechat_client::MessageId([0; 16]), ..all[0].key() };
    assert_eq!(page(bob, id, Place::Before(nobody), 3).await, ((22..25).collect(), 22, 0));
    assert_eq!(page(bob, ConversationId([0; 32]), Place::Latest, 3).await, (vec![], 0, 0));
    assert_eq!(page(bob, id, Place::Latest, 0).await.0, [24]);
}

#[tokio::test]
async fn a_search_finds_the_latest_first_and_says_when_there_is_more() {
    let server = Server::start().await;
    let (alice, bob, id) = written(&server).await;
    let found = bob.client.search("NUMBER 2", 3).await.unwrap();
    // 2 and 20 to 24 have it.
    assert_eq!((numbers(&found.messages), found.more), (vec![24, 23, 22], true));
    let found = bob.client.search("2 number", 6).await.unwrap();
    assert_eq!((numbers(&found.messages), found.more), (vec![24, 23, 22, 21, 20, 12], true));
    assert_eq!(found.conversations, []);
    let found = alice.client.search("number 7", 100).await.unwrap();
    assert_eq!((numbers(&found.messages), found.more), (vec![17, 7], false));
    assert_eq!(bob.client.search("ALI", 10).await.unwrap().conversations, [id]);
    assert!(bob.client.search("number nothing", 10).await.unwrap().messages.is_empty());
    assert!(bob.client.search(" \n ", 10).await.unwrap().messages.is_empty());
}

#[tokio::test]
async fn drafts_and_notes_are_there_when_the_home_is_opened_again() {
    let server = Server::start().await;
    let (alice, _bob, id) = written(&server).await;
    let other = ConversationId([7; 32]);
    alice.client.save_draft(id, "half a th").await.unwrap();
    alice.client.save_draft(id, "half a thought").await.unwrap();
    alice.client.save_draft(other, "gone").await.unwrap();
    alice.client.save_draft(other, "").await.unwrap();
    alice.client.save_note("settings", b"dark".to_vec()).await.unwrap();
    let alice = alice.reopened().await;
    assert_eq!(alice.client.drafts().await.unwrap(), [Draft { conversation: id, text: "half a thought".into() }]);
    assert_eq!(alice.client.note("settings").await.unwrap().as_deref(), Some(b"dark".as_slice()));
    assert_eq!(alice.client.note("colour").await.unwrap(), None);
    let long = alice.client.save_draft(id, "x".repeat(stonechat_client::TEXT_BYTES_MAX + 1)).await;
    assert!(matches!(long, Err(ClientError::Command(CommandError::Invalid(Invalid::DraftTooLong { .. })))), "{long:?}");
}

#[tokio::test]
async fn the_vault_keeps_the_recovery_words_until_it_is_told_to_forget_them() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let signed_up =
        Client::sign_up_keeping_phrase(dir.path(), KeyChoice::Auto, handle("@alice"), &server.url).await.unwrap();
    let (client, phrase) = signed_up;
    client.shutdown().await;
    let client = Client::builder().home(dir.path()).open().await.unwrap();
    let kept = client.recovery_phrase().await.unwrap().unwrap();
    assert_eq!(kept.danger_words(), phrase.danger_words());
    client.forget_recovery_phrase().await.unwrap();
    assert!(client.recovery_phrase().await.unwrap().is_none());
    client.shutdown().await;
    let client = Client::builder().home(dir.path()).open().await.unwrap();
    assert!(client.recovery_phrase().await.unwrap().is_none());
}

#[tokio::test]
async fn erasing_leaves_nothing_of_a_home_open_or_closed() {
    let server = Server::start().await;
    let parent = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(parent.path()).unwrap().count();
    let (open, closed) = (parent.path().join("open"), parent.path().join("closed"));
    let (client, _) = Client::sign_up(&open, KeyChoice::Auto, handle("@alice"), &server.url).await.unwrap();
    assert_eq!(files(), 1);
    // In use: nothing is touched.
    assert!(Client::danger_erase_home(&open).await.is_err());
    assert!(open.join("vault.db").exists());
    client.danger_erase().await.unwrap();
    assert!(!open.join("vault.db").exists() && !open.join("vault.key").exists());
    let (client, _) = Client::sign_up(&closed, KeyChoice::Auto, handle("@bob"), &server.url).await.unwrap();
    client.shutdown().await;
    Client::danger_erase_home(&closed).await.unwrap();
    assert!(!closed.join("vault.db").exists() && !closed.join("vault.key").exists());
}
