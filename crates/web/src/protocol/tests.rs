use std::fmt::Debug;

use serde::de::DeserializeOwned;
use stonechat_api::{
    AlarmId, AlarmKind, Body, Check, Finding, Hold, Lock, Member, MessageId, MessageKey, Notice, Problem, Role, Status,
    samples,
};
use stonechat_wire::{AccountId, DeviceId, Timestamp};

use super::*;

fn account() -> AccountId {
    AccountId([0xa1; 32])
}

fn conversation_id() -> ConversationId {
    ConversationId([0xc2; 32])
}

fn bob() -> Handle {
    Handle::parse("bob").unwrap()
}

fn key() -> MessageKey {
    MessageKey { sender: account(), id: MessageId([3; 16]) }
}

fn message() -> Message {
    Message {
        id: key().id,
        conversation: conversation_id(),
        sender: account(),
        sender_handle: bob(),
        sent_at: Timestamp(1_790_000_000_123),
        body: Body::Text(SECRET.into()),
        status: Status::Received,
    }
}

fn conversation() -> Conversation {
    let member =
        Member { account: account(), handle: bob(), role: Role::Owner, devices: 2, is_me: false, compared: true };
    Conversation {
        id: conversation_id(),
        title: SECRET.into(),
        is_group: true,
        peer: None,
        members: vec![member],
        role: Role::Admin,
        unread: 3,
        last: Some(message()),
        lock: Lock::Open(not_proven()),
        hold: Some(Hold::Leaving),
        active: true,
        draft: Some(SECRET.into()),
        compared: false,
    }
}

fn not_proven() -> Problem {
    Problem::NotProven { who: bob() }
}

fn me() -> Me {
    Me {
        account: account(),
        handle: Handle::parse("alice").unwrap(),
        device: device(),
        server: "https://chat.example.org".into(),
        registered: true,
    }
}

fn device() -> DeviceId {
    DeviceId([0xd4; 16])
}

fn alarm() -> Alarm {
    Alarm {
        id: AlarmId([0x0a; 16]),
        kind: AlarmKind::Device,
        finding: Finding::DeviceAdded { device: device() },
        at: Timestamp(1_790_000_000_123),
        device: Some(device()),
        evidence: Some("{}".into()),
        dismissed: false,
    }
}

fn requests() -> Vec<Request> {
    let group = conversation_id();
    let commands = [
        Command::Send { to: Target::Person(bob()), text: SECRET.into() },
        Command::Send { to: Target::Conversation(group), text: SECRET.into() },
        Command::Accept { from: bob() },
        Command::Decline { from: bob() },
        Command::CreateGroup { name: SECRET.into(), members: vec![bob()] },
        Command::AddMembers { group, members: vec![bob(), Handle::parse("carol").unwrap()] },
        Command::RemoveMember { group, member: bob() },
        Command::Leave { group },
        Command::Rename { group, name: SECRET.into() },
        Command::SetRole { group, member: bob(), role: Role::Admin },
        Command::MarkRead { conversation: group },
        Command::Verify { handle: bob(), shown: "12345".repeat(12) },
        Command::RevokeDevice { device: device() },
        Command::DismissAlarm { alarm: alarm().id },
    ];
    let own = [
        Request::Start,
        Request::SignUp { handle: bob() },
        Request::Connection,
        Request::RecoveryWords,
        Request::WordsWrittenDown,
        Request::Me,
        Request::Conversations,
        Request::Conversation { id: group },
        Request::Messages { conversation: group, at: Place::Latest, limit: 50 },
        Request::Messages { conversation: group, at: Place::Before(key()), limit: 50 },
        Request::Messages { conversation: group, at: Place::After(key()), limit: 50 },
        Request::Messages { conversation: group, at: Place::Around(key()), limit: 50 },
        Request::Search { text: SECRET.into(), limit: 20 },
        Request::Open { to: Target::Person(bob()) },
        Request::Requests,
        Request::SaveDraft { conversation: group, text: SECRET.into() },
        Request::Why { conversation: group },
        Request::Safety { with: bob() },
        Request::Devices,
        Request::Alarms,
        Request::Settings,
        Request::SaveSettings { settings: Settings { language: Some("de".into()), theme: Theme::Dark } },
        Request::Storage,
        Request::SignOut,
    ];
    commands.into_iter().map(Request::Run).chain(own).collect()
}

fn tells() -> Vec<Tell> {
    let contact = ContactRequest {
        from: account(),
        handle: bob(),
        conversation: conversation_id(),
        is_group: false,
        at: Timestamp(u64::MAX),
        started_over: true,
    };
    let why = Why { checks: vec![Check::OwnDevices], problems: vec![not_proven()], compared: vec![bob()] };
    let safety = Safety {
        handle: bob(),
        digits: "12345".repeat(12),
        code: "STONECHAT:1:AA:BB".into(),
        compared: Some(Timestamp(1)),
    };
    let device = OwnDevice { id: device(), added_at: Timestamp(1), this: false, alarm: Some(alarm().id) };
    let broken = Fault::StorageBroken { detail: "a page".into() };
    let mut replies = vec![
        Ok(Reply::Done),
        Ok(Reply::Outcome(Outcome::Queued { conversation: conversation_id(), message: key().id })),
        Ok(Reply::Start(Start::Opening)),
        Ok(Reply::Start(Start::NoAccount { unfinished: Some(bob()) })),
        Ok(Reply::Start(Start::Account { me: me(), words_pending: true })),
        Ok(Reply::Start(Start::Broken(broken.clone()))),
        Ok(Reply::Connection(Connection::Opening)),
        Ok(Reply::Words(RecoveryWords(vec![SECRET.into(); 24]))),
        Ok(Reply::Me(me())),
        Ok(Reply::Conversations(vec![conversation()])),
        Ok(Reply::Conversation(None)),
        Ok(Reply::Conversation(Some(conversation()))),
        Ok(Reply::Page(Page { messages: vec![message()], older: 9_999, newer: 0 })),
        Ok(Reply::Found(Found { conversations: vec![conversation_id()], messages: vec![message()], more: true })),
        Ok(Reply::Opened(None)),
        Ok(Reply::Opened(Some(conversation_id()))),
        Ok(Reply::Requests(vec![contact.clone()])),
        Ok(Reply::Why(why)),
        Ok(Reply::Safety(safety)),
        Ok(Reply::Devices(vec![device])),
        Ok(Reply::Alarms(vec![alarm()])),
        Ok(Reply::Settings(Settings::default())),
        Ok(Reply::Storage(Storage { persisted: true, used_bytes: Some(1), quota_bytes: None })),
        Err(broken.clone()),
    ];
    replies.extend(samples::errors().into_iter().map(|error| Err(error.into())));
    let events = vec![
        Event::Start(Start::Opening),
        Event::Message(message()),
        Event::Message(Message { body: Body::Notice(Notice::StartedOver(bob())), ..message() }),
        Event::Message(Message { body: Body::Newer { kind: 9 }, ..message() }),
        Event::Alarms(vec![alarm(), Alarm { evidence: None, device: None, dismissed: true, ..alarm() }]),
        Event::Conversation(conversation()),
        Event::Replaced { old: conversation_id(), new: conversation_id() },
        Event::Requests(vec![contact]),
        Event::Connection(Connection::Ready),
        Event::Connection(Connection::Opening),
        Event::Connection(Connection::Offline { lasting: Some(Lasting::Version) }),
        Event::Connection(Connection::Stopped { why: Some(broken) }),
        Event::Refused { conversation: Some(conversation_id()), what: Refusal::LeftOut },
        Event::Settings(Settings::default()),
        Event::Tab(TabRole::Follows),
        Event::Missed,
    ];
    let replies = replies.into_iter().zip(0..).map(|(result, id)| Tell::Reply { id, result });
    replies.chain(events.into_iter().map(Tell::Event)).collect()
}

fn same_again<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let text = to_text(value);
    assert_eq!(from_text::<T>(&text).as_ref(), Some(value), "{text}");
    assert!(!format!("{value:?}").contains(SECRET), "a log would show what somebody wrote: {value:?}");
}

#[test]
fn every_frame_survives_the_way_as_text_and_shows_nothing_in_a_log() {
    for (request, id) in requests().into_iter().zip(0..) {
        same_again(&Ask { id, request });
    }
    for tell in tells() {
        same_again(&tell);
    }
}

#[test]
fn what_is_no_frame_is_refused() {
    for text in
        ["", "{}", "null", r#"{"id":1}"#, r#"{"id":1,"request":"Everything"}"#, r#"{"id":-1,"request":"Start"}"#]
    {
        assert_eq!(from_text::<Ask>(text), None, "{text}");
    }
    assert_eq!(from_text::<Tell>(r#"{"Event":"Nothing"}"#), None);
}

#[test]
fn settings_of_an_older_version_are_read_with_defaults_for_the_rest() {
    assert_eq!(from_text("{}"), Some(Settings::default()));
    assert_eq!(from_text(r#"{"theme":"Dark","sound":true}"#), Some(Settings { language: None, theme: Theme::Dark }));
}

#[test]
fn a_reply_is_taken_only_as_what_it_is() {
    assert_eq!(<()>::from_reply(Reply::Done), Some(()));
    assert_eq!(<()>::from_reply(Reply::Opened(None)), None);
    assert_eq!(Option::<ConversationId>::from_reply(Reply::Opened(None)), Some(None));
    assert_eq!(Option::<Conversation>::from_reply(Reply::Opened(None)), None);
    assert_eq!(Vec::<Conversation>::from_reply(Reply::Requests(Vec::new())), None);
}

const SECRET: &str = "the stonechat sings at noon";
