use std::fmt::Debug;

use serde::de::DeserializeOwned;

use super::*;

fn account() -> AccountId {
    AccountId("a1".repeat(32))
}

fn conversation_id() -> ConversationId {
    ConversationId("c2".repeat(32))
}

fn key() -> MessageKey {
    MessageKey { sender: account(), id: MessageId("03".repeat(16)) }
}

fn message() -> Message {
    Message {
        key: key(),
        conversation: conversation_id(),
        sender_handle: "@bob".into(),
        is_mine: false,
        sent_at_ms: 1_790_000_000_123,
        body: Body::Text(SECRET.into()),
        status: Status::Received,
    }
}

fn conversation() -> Conversation {
    let member = Member {
        account: account(),
        handle: "@bob".into(),
        role: Role::Owner,
        devices: 2,
        is_me: false,
        compared: true,
    };
    Conversation {
        id: conversation_id(),
        title: SECRET.into(),
        is_group: true,
        peer: None,
        members: vec![member],
        role: Role::Admin,
        unread: 3,
        last: Some(message()),
        lock: Lock::Open(Box::new(not_proven())),
        notice: Some("Waiting.".into()),
        active: true,
        draft: Some(SECRET.into()),
        compared: false,
    }
}

fn not_proven() -> Check {
    Check { what: CheckKind::Proven { who: "@bob".into(), records: 7 }, holds: false }
}

fn me() -> Me {
    Me {
        account: account(),
        handle: "@alice".into(),
        device: "d4".repeat(16),
        server: "https://chat.example.org".into(),
    }
}

fn device() -> DeviceId {
    DeviceId("d4".repeat(16))
}

fn alarm() -> Alarm {
    Alarm {
        id: AlarmId("0a".repeat(16)),
        kind: AlarmKind::Device,
        text: "Your account has a device that this device did not add.".into(),
        at_ms: 1_790_000_000_123,
        device: Some(device()),
        evidence: Some(EvidenceFile { name: "device-0a.json".into(), json: "{}".into() }),
        dismissed: false,
    }
}

fn requests() -> Vec<Request> {
    let group = conversation_id;
    vec![
        Request::Start,
        Request::SignUp { handle: "alice".into() },
        Request::Connection,
        Request::RecoveryWords,
        Request::WordsWrittenDown,
        Request::Me,
        Request::Conversations,
        Request::Conversation { id: group() },
        Request::Messages { conversation: group(), at: Place::Latest, limit: 50 },
        Request::Messages { conversation: group(), at: Place::Before(key()), limit: 50 },
        Request::Messages { conversation: group(), at: Place::After(key()), limit: 50 },
        Request::Messages { conversation: group(), at: Place::Around(key()), limit: 50 },
        Request::Search { text: SECRET.into(), limit: 20 },
        Request::Send { to: Target::Person("@bob".into()), text: SECRET.into() },
        Request::Send { to: Target::Conversation(group()), text: SECRET.into() },
        Request::Open { to: Target::Person("bob".into()) },
        Request::Requests,
        Request::Accept { from: "@bob".into() },
        Request::Decline { from: "@bob".into() },
        Request::CreateGroup { name: SECRET.into(), members: vec!["@bob".into()] },
        Request::AddMembers { group: group(), members: vec!["@bob".into(), "@carol".into()] },
        Request::RemoveMember { group: group(), member: "@bob".into() },
        Request::Leave { group: group() },
        Request::Rename { group: group(), name: SECRET.into() },
        Request::SetRole { group: group(), member: "@bob".into(), role: Role::Admin },
        Request::MarkRead { conversation: group() },
        Request::SaveDraft { conversation: group(), text: SECRET.into() },
        Request::Why { conversation: group() },
        Request::Safety { with: "@bob".into() },
        Request::Verify { with: "@bob".into(), shown: "12345".repeat(12) },
        Request::Devices,
        Request::RevokeDevice { device: device() },
        Request::Alarms,
        Request::DismissAlarm { alarm: AlarmId("0a".repeat(16)) },
        Request::Settings,
        Request::SaveSettings { settings: Settings { language: Some("de".into()), theme: Theme::Dark } },
        Request::Storage,
        Request::SignOut,
    ]
}

fn tells() -> Vec<Tell> {
    let contact = ContactRequest {
        account: account(),
        handle: "@bob".into(),
        conversation: conversation_id(),
        is_group: false,
        at_ms: u64::MAX,
        started_over: true,
    };
    let why =
        Why { lock: Lock::Open(Box::new(not_proven())), checks: vec![not_proven()], compared: vec!["@carol".into()] };
    let safety = Safety {
        handle: "@bob".into(),
        digits: "12345".repeat(12),
        code: "STONECHAT:1:AA:BB".into(),
        compared_at_ms: Some(1),
    };
    let notice = Notice { kind: NoticeKind::StartedOver, who: "@bob".into() };
    let fault = Fault { code: FaultCode::HandleTaken, text: "@bob is taken.".into(), who: Some("@bob".into()) };
    let replies = vec![
        Ok(Reply::Done),
        Ok(Reply::Start(Start::Opening)),
        Ok(Reply::Start(Start::NoAccount { unfinished: Some("@alice".into()) })),
        Ok(Reply::Start(Start::Account { me: me(), words_pending: true })),
        Ok(Reply::Start(Start::Broken(Fault::new(FaultCode::NoStorage, "A private window.")))),
        Ok(Reply::Connection(Connection::Opening)),
        Ok(Reply::Words(RecoveryWords(vec![SECRET.into(); 24]))),
        Ok(Reply::Me(me())),
        Ok(Reply::Conversations(vec![conversation()])),
        Ok(Reply::Conversation(None)),
        Ok(Reply::Conversation(Some(conversation()))),
        Ok(Reply::Page(Page { messages: vec![message()], older: 9_999, newer: 0 })),
        Ok(Reply::Found(Found { conversations: vec![conversation_id()], messages: vec![message()], more: true })),
        Ok(Reply::Sent(Sent { conversation: conversation_id(), key: key() })),
        Ok(Reply::Opened(None)),
        Ok(Reply::Opened(Some(conversation_id()))),
        Ok(Reply::Requests(vec![contact.clone()])),
        Ok(Reply::Why(why)),
        Ok(Reply::Safety(safety)),
        Ok(Reply::Devices(vec![OwnDevice { id: device(), added_at_ms: 1, is_this: false, alarm: Some(alarm().id) }])),
        Ok(Reply::Alarms(vec![alarm()])),
        Ok(Reply::Settings(Settings::default())),
        Ok(Reply::Storage(Storage { persisted: true, used_bytes: Some(1), quota_bytes: None })),
        Err(fault),
    ];
    let events = vec![
        Event::Start(Start::Opening),
        Event::Message(message()),
        Event::Message(Message { body: Body::Notice(notice), ..message() }),
        Event::Alarms(vec![alarm(), Alarm { evidence: None, device: None, dismissed: true, ..alarm() }]),
        Event::Conversation(conversation()),
        Event::Replaced { old: conversation_id(), new: conversation_id() },
        Event::Requests(vec![contact]),
        Event::Connection(Connection::Ready),
        Event::Connection(Connection::Opening),
        Event::Connection(Connection::Offline { text: "Nothing answers.".into(), is_lasting: false }),
        Event::Connection(Connection::Stopped { text: "The disk is full.".into() }),
        Event::Refused { conversation: Some(conversation_id()), text: "A message.".into() },
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
