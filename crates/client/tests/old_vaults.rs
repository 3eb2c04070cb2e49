//! Vaults that older programs wrote open in this one, with everything in them.
//!
//! Each folder below `tests/vaults` is a home as a program of its time left it: `vault.db`, and `vault.key` with the key in it. They
//! are never written again; the tests open copies. How they were made is in `tests/vaults/README.md`.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[expect(dead_code, reason = "shared with the other tests, which use the rest")]
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use stonechat_client::{
    AlarmKind, Body, Client, Conversation, ConversationId, Draft, Finding, Hold, KeyChoice, Role, Status, Target,
};
use support::{Server, eventually, handle, person, texts, to};
use tempfile::TempDir;

/// A copy of a stored home.
fn copy_of(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["vault.db", "vault.key"] {
        std::fs::copy(vaults().join(name).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

fn vaults() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vaults")
}

fn called<'a>(conversations: &'a [Conversation], title: &str) -> &'a Conversation {
    conversations.iter().find(|one| one.title == title).unwrap_or_else(|| panic!("no {title} in {conversations:?}"))
}

/// What the person has in it, whichever program wrote it. The server is not there.
async fn has_everything(home: &Path) {
    let client = Client::builder().home(home).open().await.unwrap();
    let me = client.me().await.unwrap();
    assert_eq!((me.handle, me.registered), (handle("@alice"), true));
    assert_eq!(client.recovery_phrase().await.unwrap().unwrap().danger_words().split(' ').count(), 24);

    let conversations = client.conversations().await.unwrap();
    let titles: Vec<_> = conversations.iter().map(|one| (one.title.to_string(), one.is_group, one.active)).collect();
    let mut titles: Vec<_> = titles.iter().map(|(title, group, active)| (title.as_str(), *group, *active)).collect();
    titles.sort_unstable();
    let expected = [("@bob", false, true), ("Choir", true, false), ("Rowing", true, true), ("Sunday", true, true)];
    assert_eq!(titles, expected);

    // Direct messages, the last one not sent.
    let bob = called(&conversations, "@bob");
    assert_eq!(texts(&client, "@bob").await, ["hello Bob", "hello Alice", "how are you?", "not sent yet"]);
    let messages = client.messages(bob.id, None, 10).await.unwrap();
    let statuses: Vec<_> = messages.iter().map(|message| message.status).collect();
    assert_eq!(statuses, [Status::Delivered, Status::Received, Status::Delivered, Status::Queued]);
    assert!(bob.compared && bob.unread == 0);

    // A group with roles, something unread, a draft.
    let sunday = called(&conversations, "Sunday");
    let mut roles: Vec<_> = sunday.members.iter().map(|one| (one.handle.to_string(), one.role)).collect();
    roles.sort();
    let expected = [("@alice", Role::Owner), ("@bob", Role::Admin), ("@carol", Role::Member)];
    assert_eq!(roles, expected.map(|(who, role)| (who.to_owned(), role)));
    assert_eq!(texts(&client, "Sunday").await, ["ten o'clock at the mill?", "I bring bread"]);
    assert_eq!(sunday.unread, 1);
    let draft = Draft { conversation: sunday.id, text: "and I the".into() };
    assert_eq!(client.drafts().await.unwrap(), [draft]);
    assert_eq!(client.note("settings").await.unwrap().as_deref(), Some(br#"{"theme":"Dark"}"#.as_slice()));

    // What holds conversations up: one that she is leaving, one that she left.
    let hold = |title: &str| called(&conversations, title).hold.clone();
    assert_eq!((hold("Rowing"), hold("Choir")), (Some(Hold::Leaving), Some(Hold::Left)));

    let requests = client.requests().await.unwrap();
    let requests: Vec<_> = requests.iter().map(|one| (one.handle.to_string(), one.is_group)).collect();
    assert_eq!(requests, [("@dave".to_owned(), false)]);

    let alarms = client.alarms().await.unwrap();
    let [alarm] = &alarms[..] else { panic!("{alarms:?}") };
    assert_eq!((alarm.kind, &alarm.finding, alarm.dismissed), (AlarmKind::Policy, &Finding::OtherPolicy, false));
    assert_eq!(client.devices().await.unwrap().len(), 1);
    client.shutdown().await;
}

#[tokio::test]
async fn a_vault_of_version_1_opens_with_everything_in_it() {
    let home = copy_of("v1");
    has_everything(home.path()).await;
    // And again, as what it is now.
    has_everything(home.path()).await;
}

/// Makes the home that is stored for the version of this program: `cargo test -p stonechat-client --test old_vaults -- --ignored`
/// with `STONECHAT_OLD_VAULT` as the folder to make.
#[tokio::test]
#[ignore = "makes a stored vault; it is run once a version"]
async fn make_the_vault_of_this_version() {
    let home = PathBuf::from(std::env::var_os("STONECHAT_OLD_VAULT").expect("where to"));
    std::fs::create_dir(&home).unwrap();
    let mut server = Server::start().await;
    let bob = person(&server, "@bob").await.client;
    let carol = person(&server, "@carol").await.client;
    let dave = person(&server, "@dave").await.client;
    let patience = Duration::from_secs(30);
    let (alice, _) =
        Client::sign_up_keeping_phrase(&home, KeyChoice::Auto, handle("@alice"), &server.url).await.unwrap();

    alice.send(to("@bob"), "hello Bob").await.unwrap();
    eventually("bob is asked", || async { bob.requests().await.unwrap().pop() }).await;
    bob.accept(handle("@alice")).await.unwrap();
    bob.sync(patience).await.unwrap();
    bob.send(to("@alice"), "hello Alice").await.unwrap();
    eventually("alice reads it", || async { (texts(&alice, "@bob").await.len() == 2).then_some(()) }).await;
    alice.send(to("@bob"), "how are you?").await.unwrap();
    let safety = alice.safety_number(&handle("@bob")).await.unwrap();
    alice.verify(&handle("@bob"), safety.digits).await.unwrap();

    let group = async |name: &str| -> ConversationId {
        let members = vec![handle("@bob"), handle("@carol")];
        let id = alice.create_group(name, members).await.unwrap();
        alice.sync(patience).await.unwrap();
        let is_in = async |client: &Client| client.conversation(id).await.unwrap().is_some().then_some(());
        // Bob knows her. Carol does after the first.
        if name == "Sunday" {
            eventually("carol is asked", || async { carol.requests().await.unwrap().pop() }).await;
            carol.accept(handle("@alice")).await.unwrap();
        }
        eventually("bob is in", || is_in(&bob)).await;
        eventually("carol is in", || is_in(&carol)).await;
        id
    };
    let sunday = group("Sunday").await;
    alice.set_role(sunday, handle("@bob"), Role::Admin).await.unwrap();
    alice.sync(patience).await.unwrap();
    alice.send(Target::Conversation(sunday), "ten o'clock at the mill?").await.unwrap();
    eventually("carol reads it", || async { (texts(&carol, "Sunday").await.len() == 1).then_some(()) }).await;
    carol.send(Target::Conversation(sunday), "I bring bread").await.unwrap();
    eventually("alice reads it", || async { (texts(&alice, "Sunday").await.len() == 2).then_some(()) }).await;
    let choir = group("Choir").await;
    alice.set_role(choir, handle("@bob"), Role::Owner).await.unwrap();
    alice.sync(patience).await.unwrap();
    alice.leave(choir).await.unwrap();
    eventually("she has left", || async { alice.conversation(choir).await.unwrap().filter(|choir| !choir.active) })
        .await;
    let rowing = group("Rowing").await;
    dave.send(to("@alice"), "do you remember me?").await.unwrap();
    eventually("alice is asked", || async { alice.requests().await.unwrap().pop() }).await;

    alice.mark_read(alice.find(&to("@bob")).await.unwrap().unwrap()).await.unwrap();
    alice.save_draft(sunday, "and I the").await.unwrap();
    alice.save_note("settings", br#"{"theme":"Dark"}"#.to_vec()).await.unwrap();
    alice.sync(patience).await.unwrap();
    let delivered = async || {
        let id = alice.find(&to("@bob")).await.unwrap().unwrap();
        let messages = alice.messages(id, None, 10).await.unwrap();
        let waits = |body: &Body, status| matches!(body, Body::Text(_)) && status == Status::Sent;
        (!messages.iter().any(|one| waits(&one.body, one.status))).then_some(())
    };
    eventually("bob's app has said what it has", delivered).await;

    // The server comes back with a witness that nobody pinned, and goes for good.
    server.kill();
    server.restart_with_a_witness().await;
    eventually("the alarm", || async { alice.alarms().await.unwrap().pop() }).await;
    server.kill();
    eventually("alice is offline", || std::future::ready((!alice.status().is_ready()).then_some(()))).await;
    alice.enqueue(to("@bob"), "not sent yet").await.unwrap();
    alice.leave(rowing).await.unwrap();
    alice.shutdown().await;
    std::fs::remove_file(home.join("lock")).unwrap();
}
