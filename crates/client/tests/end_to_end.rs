//! The SDK against the real server: people sign up, talk, go offline, come back; servers are killed.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[expect(dead_code, reason = "shared with the other tests, which use the rest")]
mod support;

use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
use stonechat_client::{
    Client, ClientError, CommandError, ConversationId, HomeError, KeyChoice, KeyError, Lock, OpenError, SEND_TIMEOUT,
    ServerUrl, SignUpError, Target, Timestamp,
};
use stonechat_wire::{HelloReply, ServerFrame, encode};
use support::{Echo, Server, eventually, handle, person, person_at, texts, to};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

const PATIENCE: Duration = Duration::from_secs(30);

/// Two people with an accepted conversation in which `alice` wrote "hello".
async fn acquainted(server: &Server) -> (support::Person, support::Person, ConversationId) {
    let (alice, bob) = (person(server, "@alice").await, person(server, "@bob").await);
    let sent = alice.client.send(to("@bob"), "hello").await.unwrap();
    let asked = eventually("bob is asked", || async { bob.client.requests().await.unwrap().pop() }).await;
    assert_eq!(asked.handle, handle("@alice"));
    bob.client.accept(handle("@alice")).await.unwrap();
    eventually("bob reads", || async { (texts(&bob.client, "@alice").await == ["hello"]).then_some(()) }).await;
    (alice, bob, sent.conversation)
}

#[tokio::test]
async fn two_people_talk_and_see_each_other_verified() {
    let server = Server::start().await;
    let (alice, bob, _) = acquainted(&server).await;
    bob.client.send(to("@alice"), "hello yourself").await.unwrap();
    eventually("alice reads", || async {
        (texts(&alice.client, "@bob").await == ["hello", "hello yourself"]).then_some(())
    })
    .await;
    let [conversation] = &alice.client.conversations().await.unwrap()[..] else { panic!("one conversation") };
    assert_eq!((&*conversation.title, &conversation.lock), ("@bob", &Lock::Closed));
    alice.client.sync(PATIENCE).await.unwrap();
    alice.client.mark_read(conversation.id).await.unwrap();
    assert_eq!(alice.client.conversation(conversation.id).await.unwrap().unwrap().unread, 0);
}

#[tokio::test]
async fn whoever_signs_up_and_leaves_at_once_can_be_written_to() {
    let server = Server::start().await;
    let alice = person(&server, "@alice").await;
    // No sync, no waiting: signing up has left on the server what others need.
    let home = tempfile::tempdir().unwrap();
    let (bob, _) = Client::sign_up(home.path(), KeyChoice::Auto, handle("@bob"), &server.url).await.unwrap();
    bob.shutdown().await;
    alice.client.send(to("@bob"), "hello").await.unwrap();
}

#[tokio::test]
async fn three_people_talk_in_a_group() {
    let server = Server::start().await;
    let (alice, bob, _) = acquainted(&server).await;
    let carol = person(&server, "@carol").await;
    let group = alice.client.create_group("the plan", vec![handle("@bob"), handle("@carol")]).await.unwrap();
    eventually("carol is asked", || async { carol.client.requests().await.unwrap().pop() }).await;
    carol.client.accept(handle("@alice")).await.unwrap();
    alice.client.send(Target::Conversation(group), "at noon").await.unwrap();
    for reader in [&bob, &carol] {
        eventually("everybody reads", || async {
            (texts(&reader.client, "the plan").await == ["at noon"]).then_some(())
        })
        .await;
    }
    let target = carol.client.target("the plan").await.unwrap();
    carol.client.send(target, "agreed").await.unwrap();
    eventually("bob reads carol", || async {
        (texts(&bob.client, "the plan").await == ["at noon", "agreed"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_written_while_the_server_is_killed_arrives_once_when_it_is_back() {
    let mut server = Server::start().await;
    let (alice, bob, conversation) = acquainted(&server).await;
    server.kill();
    let begin = Instant::now();
    let error = alice.client.send(Target::Conversation(conversation), "in the dark").await.unwrap_err();
    let ClientError::Saved { until, .. } = &error else { panic!("{error}") };
    assert!(begin.elapsed() < SEND_TIMEOUT / 2, "nobody waits for what cannot come: {:?}", begin.elapsed());
    assert!(until.contains("nothing answers") || until.contains("lost"), "{error}");
    // Another process takes over the home: what waits is in the vault.
    let alice = alice.reopened().await;
    alice.client.enqueue(Target::Conversation(conversation), "still dark").await.unwrap();
    server.restart().await;
    alice.client.sync(PATIENCE).await.unwrap();
    let all = ["hello", "in the dark", "still dark"];
    eventually("bob reads everything", || async { (texts(&bob.client, "@alice").await == all).then_some(()) }).await;
    bob.client.sync(PATIENCE).await.unwrap();
    assert_eq!(texts(&bob.client, "@alice").await, all);
    assert_eq!(texts(&alice.client, "@bob").await, all);
}

#[tokio::test]
async fn a_sign_up_that_fails_leaves_nothing_and_says_why() {
    let mut server = Server::start().await;
    let alice = person(&server, "@alice").await;
    let parent = tempfile::tempdir().unwrap();
    let home = parent.path().join("home");

    let taken = Client::sign_up(&home, KeyChoice::passphrase("x"), handle("@alice"), &server.url).await.unwrap_err();
    assert!(matches!(&taken, SignUpError::Refused(CommandError::HandleTaken(_))), "{taken}");
    assert!(!home.exists());

    server.kill();
    let down = Client::sign_up(&home, KeyChoice::Auto, handle("@dora"), &server.url).await.unwrap_err();
    assert!(down.to_string().contains("nothing answers"), "{down}");
    assert!(!home.exists());

    server.restart().await;
    let (dora, phrase) =
        Client::sign_up(&home, KeyChoice::passphrase("y"), handle("@dora"), &server.url).await.unwrap();
    assert_eq!(phrase.danger_words().split(' ').count(), 24);
    assert!(dora.me().await.unwrap().registered);
    dora.shutdown().await;
    let again = Client::sign_up(&home, KeyChoice::passphrase("y"), handle("@dora"), &server.url).await.unwrap_err();
    assert!(matches!(again, SignUpError::AlreadySignedUp { .. }), "{again}");
    drop(alice);
}

#[tokio::test]
async fn a_sign_up_that_is_cut_off_goes_on_with_the_same_account() {
    // A server that greets and then answers nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let url: ServerUrl = format!("http://{address}").parse().unwrap();
    let mute = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            // A client that shuts down may leave in the middle of it.
            let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await else { continue };
            let hello = HelloReply { nonce: [1; 32], now: Timestamp(1), token_key: [2; 32] };
            let _ = socket.send(Message::Binary(encode(&ServerFrame::Hello(hello)).into())).await;
            open.push(socket);
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let sign_up = || Client::sign_up(dir.path(), KeyChoice::Auto, handle("@erin"), &url);
    assert!(tokio::time::timeout(Duration::from_secs(4), sign_up()).await.is_err(), "nobody answered");
    let begun = Client::builder().home(dir.path()).open().await.unwrap();
    let before = begun.me().await.unwrap();
    assert!(!before.registered);
    begun.shutdown().await;

    mute.abort();
    assert!(mute.await.unwrap_err().is_cancelled());
    let _server = Server::start_at(&address).await;
    let (client, phrase) = sign_up().await.unwrap();
    let after = client.me().await.unwrap();
    assert!(after.registered && after.account == before.account);
    assert_eq!(phrase.danger_words().split(' ').count(), 24);
    client.shutdown().await;
    assert!(matches!(sign_up().await, Err(SignUpError::AlreadySignedUp { .. })));
}

#[tokio::test]
async fn a_home_opens_with_its_own_key_for_one_process_at_a_time() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let alice = person_at(&server, "@alice", dir, KeyChoice::passphrase("correct horse")).await;
    let open = |key| Client::builder().home(alice.dir.path()).key(key).open();

    let used = open(KeyChoice::passphrase("correct horse")).await.unwrap_err();
    assert!(matches!(used, OpenError::Home(HomeError::InUse { .. })), "{used}");
    alice.client.clone().shutdown().await;
    let wrong = open(KeyChoice::passphrase("wrong horse")).await.unwrap_err();
    assert!(matches!(wrong, OpenError::Key(KeyError::WrongPassphrase)), "{wrong}");
    let none = open(KeyChoice::Auto).await.unwrap_err();
    assert!(matches!(none, OpenError::Key(KeyError::PassphraseNeeded { .. })), "{none}");
    let client = open(KeyChoice::passphrase("correct horse")).await.unwrap();
    client.connected(PATIENCE).await.unwrap();
    client.shutdown().await;

    let vault = alice.dir.path().join("vault.db");
    let mut bytes = std::fs::read(&vault).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&vault, &bytes).unwrap();
    let corrupt = open(KeyChoice::passphrase("correct horse")).await.unwrap_err();
    assert!(corrupt.to_string().contains("backup"), "{corrupt}");
    assert_eq!(std::fs::read(&vault).unwrap(), bytes, "a damaged vault is left as it is");
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_in_words() {
    let server = Server::start().await;
    let alice = person(&server, "@alice").await;
    let send = |target: Target, text: String| alice.client.send(target, text);
    for (error, words) in [
        (send(to("@nobody"), "x".into()).await.unwrap_err(), "there is nobody called @nobody"),
        (send(to("@alice"), "x".into()).await.unwrap_err(), "your own handle"),
        (send(Target::Conversation(ConversationId([7; 32])), "x".into()).await.unwrap_err(), "no such conversation"),
    ] {
        assert!(error.to_string().contains(words), "{error}");
    }
    for text in [String::new(), "x".repeat(100 * 1024)] {
        let error = send(to("@nobody"), text).await.unwrap_err();
        assert!(matches!(error, ClientError::Command(CommandError::Invalid(_))), "{error}");
    }
    assert!(matches!(alice.client.target("no group").await, Err(ClientError::NoTarget { .. })));
    assert!(matches!(alice.client.target("@Not A Handle").await, Err(ClientError::NoTarget { .. })));
    let shared = alice.client.clone();
    alice.client.shutdown().await;
    assert!(matches!(shared.me().await, Err(ClientError::Stopped { .. })));
}

#[cfg(unix)]
#[tokio::test]
async fn the_echo_bot_answers_survives_its_server_and_leaves_when_asked() {
    let mut server = Server::start().await;
    let mut echo = Echo::start(&server).await;
    let alice = person(&server, "@alice").await;
    alice.client.send(to("@echo"), "one").await.unwrap();
    let answered = |expected: &'static [&'static str]| {
        let client = &alice.client;
        eventually("the echo answers", move || async move { (texts(client, "@echo").await == expected).then_some(()) })
    };
    answered(&["one", "echo: one"]).await;
    server.kill();
    server.restart().await;
    alice.client.connected(PATIENCE).await.unwrap();
    alice.client.send(to("@echo"), "two").await.unwrap();
    answered(&["one", "echo: one", "two", "echo: two"]).await;
    assert!(echo.terminate().await, "a clean exit");
}
