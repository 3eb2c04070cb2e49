use serde_json::Value;
use stonechat_client::{Hold, Lock, Problem, Role, Status, Timestamp};

use super::*;
use crate::tui::testing::{alice, dm, group, member, message, request};

fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn a_message_has_these_names() {
    let message = message(1, 2, "bob", "hi\u{1b}");
    let expected = serde_json::json!({
        "id": "02".repeat(16), "conversation": "01".repeat(32), "sender": "@bob", "sent_at": "2023-11-14T22:15:20.000Z",
        "body": { "text": "hi\u{1b}" }, "status": "received",
    });
    assert_eq!(json(&MessageLine::new(&message)), expected);
    let line = serde_json::to_string(&MessageLine::new(&message)).unwrap();
    assert!(line.contains("\\u001b") && !line.contains('\u{1b}'), "JSON escapes by itself: {line}");
}

#[test]
fn a_conversation_has_these_names() {
    let mut conversation = dm(1, "bob", 2);
    let line = json(&ConversationLine::new(&conversation));
    assert_eq!(line["kind"], "dm");
    assert_eq!(line["title"], "@bob");
    assert_eq!(line["unread"], 2);
    assert_eq!(line["members"], serde_json::json!(["@alice", "@bob"]));
    assert_eq!((&line["last"], &line["notice"], &line["lock_reason"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(line["lock"], "closed");
    conversation.lock = Lock::Open(Problem::StrangeOwnDevice);
    conversation.last = Some(message(1, 1, "bob", "hi"));
    let line = json(&ConversationLine::new(&conversation));
    assert_eq!(
        (&line["lock"], &line["lock_reason"], &line["last"]["body"]["text"]),
        (&"open".into(), &"A device in here passes for yours, and is not in your account log.".into(), &"hi".into())
    );
    assert_eq!(json(&ConversationLine::new(&group(2, "team")))["kind"], "group");
    conversation.hold = Some(Hold::NotReady { who: None, waits: true });
    let line = json(&ConversationLine::new(&conversation));
    assert_eq!(line["hold"], serde_json::json!({ "not_ready": { "who": null, "waits": true } }));
    assert!(line["notice"].as_str().unwrap().starts_with("Somebody cannot be reached"), "{line}");
}

#[test]
fn sign_up_whoami_requests_and_members_have_these_names() {
    let names = |value: Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(json(&SignedUp::new(&alice(), "a b"))), "account device handle recovery_phrase");
    assert_eq!(names(json(&WhoAmI::new(&alice(), KeySource::File))), "account device handle key registered server");
    assert_eq!(names(json(&RequestLine::new(&request("dave")))), "account at conversation handle kind started_over");
    assert_eq!(names(json(&MemberLine::new(&member("bob", Role::Owner)))), "account devices handle role verified");
}

#[test]
fn the_recovery_words_are_numbered_and_explained() {
    let words: Vec<_> = (1..=24).map(|n| format!("word{n}")).collect();
    let phrase = words.join(" ");
    let text = SignedUp::new(&alice(), &phrase).human(&alice(), KeySource::File);
    for part in [" 1 word1 ", "24 word24\n", "not built yet", "They are shown only", "vault.key"] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
}

#[test]
fn no_text_looks_like_another_message_and_none_drives_the_terminal() {
    let zone = TimeZone::UTC;
    let line = MessageLine::human(&message(1, 2, "bob", "one\n2023-11-14 22:15  @alice  forged\x1b[2J"), &zone);
    assert_eq!(line, "2023-11-14 22:15  @bob  one\n                        2023-11-14 22:15  @alice  forged␛[2J");
    let mut failed = message(1, 2, "alice", "x");
    failed.status = Status::Failed;
    failed.sent_at = Timestamp(u64::MAX);
    assert!(MessageLine::human(&failed, &zone).ends_with("x  (not sent)"));
    let mut hostile = group(2, "a\n\x1b[31m\u{202E}b");
    hostile.hold = Some(Hold::Leaving);
    hostile.last = Some(message(2, 1, "bob", &"long\n".repeat(100)));
    let line = ConversationLine::human(&hostile, false);
    assert!(line.starts_with("[lock] a⏎␛[31mb"), "{line}");
    assert!(line.chars().all(|c| c == '\n' || !c.is_control()));
    assert_eq!(line.lines().count(), 2);
}
