//! Conversations and messages for tests.

use stonechat_client::{
    AccountId, Body, ContactRequest, Conversation, ConversationId, DeviceId, Handle, Lock, Me, Member, Message,
    MessageId, Role, Status, Timestamp,
};

/// 2023-11-14 22:13:20 UTC.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

pub(crate) fn handle(name: &str) -> Handle {
    Handle::parse(name).expect("a handle of a test")
}

pub(crate) fn account(name: &str) -> AccountId {
    let mut id = [0; 32];
    id[..name.len()].copy_from_slice(name.as_bytes());
    AccountId(id)
}

pub(crate) fn conversation_id(n: u8) -> ConversationId {
    ConversationId([n; 32])
}

pub(crate) fn alice() -> Me {
    Me {
        account: account("alice"),
        handle: handle("alice"),
        device: DeviceId([1; 16]),
        server: "http://localhost:1".into(),
        registered: true,
    }
}

pub(crate) fn message(conversation: u8, id: u8, from: &str, text: &str) -> Message {
    Message {
        id: MessageId([id; 16]),
        conversation: conversation_id(conversation),
        sender: account(from),
        sender_handle: handle(from),
        sent_at: Timestamp(START_MS + u64::from(id) * 60_000),
        body: Body::Text(text.into()),
        status: if from == "alice" { Status::Sent } else { Status::Received },
    }
}

pub(crate) fn member(name: &str, role: Role) -> Member {
    Member { account: account(name), handle: handle(name), role, devices: 1, is_me: name == "alice", compared: false }
}

pub(crate) fn dm(n: u8, with: &str, unread: u64) -> Conversation {
    Conversation {
        id: conversation_id(n),
        title: format!("@{with}").into(),
        is_group: false,
        members: vec![member("alice", Role::Member), member(with, Role::Member)],
        unread,
        last: None,
        lock: Lock::Closed,
        hold: None,
        peer: Some(account(with)),
        role: Role::Member,
        draft: None,
        active: true,
        compared: false,
    }
}

pub(crate) fn group(n: u8, name: &str) -> Conversation {
    Conversation {
        title: name.into(),
        is_group: true,
        peer: None,
        role: Role::Owner,
        members: vec![member("alice", Role::Owner), member("bob", Role::Admin), member("carol", Role::Member)],
        ..dm(n, "x", 0)
    }
}

pub(crate) fn request(from: &str) -> ContactRequest {
    ContactRequest {
        from: account(from),
        handle: handle(from),
        conversation: conversation_id(99),
        is_group: false,
        at: Timestamp(START_MS),
        started_over: false,
    }
}
