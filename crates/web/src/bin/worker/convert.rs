//! The client's words in the protocol's, and back.

use std::str::FromStr;

use stonechat_client::{
    self as client, ClientError, CommandError, ConnectionStatus, Handle, HomeError, KeyError, OpenError, SignUpError,
    VaultProblem,
};
use stonechat_web::protocol::{
    AccountId, Body, Connection, ContactRequest, Conversation, ConversationId, Fault, FaultCode, Me, Member, Message,
    MessageId, MessageKey, Role, Status, Target, Text,
};

use crate::trust;

// --- from a page ---

/// A handle as people type it: with or without `@`, a phone's capital letter included.
pub(crate) fn handle(text: &str) -> Result<Handle, Fault> {
    let typed = text.trim().to_lowercase();
    Handle::parse(&typed).map_err(|error| Fault {
        code: FaultCode::BadHandle,
        text: format!("{typed:?} is no handle: {error}."),
        who: None,
    })
}

pub(crate) fn handles(texts: &[String]) -> Result<Vec<Handle>, Fault> {
    texts.iter().map(|text| handle(text)).collect()
}

pub(crate) fn conversation_id(id: &ConversationId) -> Result<client::ConversationId, Fault> {
    parse(&id.0)
}

pub(crate) fn target(target: &Target) -> Result<client::Target, Fault> {
    Ok(match target {
        Target::Person(text) => client::Target::Person(handle(text)?),
        Target::Conversation(id) => client::Target::Conversation(conversation_id(id)?),
    })
}

pub(crate) fn name(key: &MessageKey) -> Result<client::MessageName, Fault> {
    Ok((parse(&key.sender.0)?, parse(&key.id.0)?))
}

pub(crate) fn role(role: Role) -> client::Role {
    match role {
        Role::Member => client::Role::Member,
        Role::Admin => client::Role::Admin,
        Role::Owner => client::Role::Owner,
    }
}

pub(crate) fn parse<T: FromStr>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(|_| Fault::new(FaultCode::Bug, "The page named something that cannot be: reload it."))
}

// --- to a page ---

pub(crate) fn me(me: &client::Me) -> Me {
    Me {
        account: AccountId(me.account.to_string()),
        handle: me.handle.to_string(),
        device: me.device.to_string(),
        server: me.server.clone(),
    }
}

pub(crate) fn conversation(from: client::Conversation, me: &client::AccountId, draft: Option<String>) -> Conversation {
    let other = from.members.iter().find(|member| !from.is_group && member.account != *me);
    let mine = from.members.iter().find(|member| member.account == *me);
    Conversation {
        id: ConversationId(from.id.to_string()),
        is_group: from.is_group,
        peer: other.map(|member| AccountId(member.account.to_string())),
        role: mine.map_or(Role::Member, |member| role_of(member.role)),
        members: from.members.iter().map(|one| member(one, me)).collect(),
        unread: from.unread,
        last: from.last.map(|last| message(last, me)),
        lock: trust::lock(from.lock),
        compared: from.compared,
        notice: from.notice,
        active: from.active,
        title: from.title.into(),
        draft: draft.map(Text),
    }
}

fn member(from: &client::Member, me: &client::AccountId) -> Member {
    Member {
        account: AccountId(from.account.to_string()),
        handle: from.handle.to_string(),
        role: role_of(from.role),
        devices: u32::try_from(from.devices).unwrap_or(u32::MAX),
        is_me: from.account == *me,
        compared: from.compared,
    }
}

pub(crate) fn message(from: client::Message, me: &client::AccountId) -> Message {
    Message {
        key: key(from.sender, from.id),
        conversation: ConversationId(from.conversation.to_string()),
        sender_handle: from.sender_handle.to_string(),
        is_mine: from.sender == *me,
        sent_at_ms: from.sent_at.0,
        body: match from.body {
            client::Body::Text(text) => Body::Text(Text(text)),
            client::Body::Notice(notice) => Body::Notice(trust::notice(notice)),
            client::Body::ContactCard { .. } | client::Body::Receipt { .. } | client::Body::Unknown { .. } => {
                Body::Newer
            }
        },
        status: match from.status {
            client::Status::Queued => Status::Queued,
            client::Status::Sent => Status::Sent,
            client::Status::Received => Status::Received,
            client::Status::Failed => Status::Failed,
            client::Status::Delivered => Status::Delivered,
        },
    }
}

pub(crate) fn key(sender: client::AccountId, id: client::MessageId) -> MessageKey {
    MessageKey { sender: AccountId(sender.to_string()), id: MessageId(id.to_string()) }
}

pub(crate) fn request(from: &client::ContactRequest) -> ContactRequest {
    ContactRequest {
        account: AccountId(from.from.to_string()),
        handle: from.handle.to_string(),
        conversation: ConversationId(from.conversation.to_string()),
        is_group: from.is_group,
        at_ms: from.at.0,
        started_over: from.started_over,
    }
}

pub(crate) fn connection(status: &ConnectionStatus) -> Connection {
    let is_lasting = [&status.device, &status.anonymous]
        .iter()
        .filter_map(|link| link.trouble.as_ref())
        .any(client::ConnectError::is_lasting);
    let is_opening = status.notice.is_none() && status.device.trouble.is_none() && status.anonymous.trouble.is_none();
    match status.why() {
        None => Connection::Ready,
        Some(text) if status.stopped => Connection::Stopped { text: sentence(&text) },
        Some(_) if is_opening => Connection::Opening,
        Some(text) => Connection::Offline { text: sentence(&text), is_lasting },
    }
}

fn role_of(role: client::Role) -> Role {
    match role {
        client::Role::Member => Role::Member,
        client::Role::Admin => Role::Admin,
        client::Role::Owner => Role::Owner,
    }
}

// --- faults ---

pub(crate) fn client_fault(error: &ClientError) -> Fault {
    let code = match error {
        ClientError::Command(error) => return command_fault(error),
        ClientError::Vault(problem) => return vault_fault(problem),
        ClientError::NoTarget { .. } | ClientError::Ambiguous { .. } => FaultCode::UnknownConversation,
        ClientError::Offline { .. } => FaultCode::Offline,
        ClientError::Saved { .. } | ClientError::TimedOut { .. } => FaultCode::TimedOut,
        ClientError::NotSent { .. } => FaultCode::NotAllowed,
        ClientError::Unreadable(_) => FaultCode::StorageBroken,
        ClientError::Busy(_) => FaultCode::Busy,
        ClientError::Stopped { .. } => FaultCode::Stopped,
    };
    Fault::new(code, sentence(&error.to_string()))
}

pub(crate) fn open_fault(error: &OpenError) -> Fault {
    let code = match error {
        OpenError::Vault(problem) => return vault_fault(problem),
        OpenError::Home(HomeError::NoStorage { .. }) | OpenError::Key(KeyError::NoStorage { .. }) => {
            FaultCode::NoStorage
        }
        OpenError::Home(HomeError::InUse { .. }) => FaultCode::Busy,
        OpenError::Home(HomeError::Missing { .. }) | OpenError::NoAccount { .. } => FaultCode::NoAccount,
        OpenError::Key(KeyError::NoCrypto) => FaultCode::Unsupported,
        OpenError::Home(HomeError::Io { .. })
        | OpenError::Key(KeyError::Missing | KeyError::Malformed)
        | OpenError::Unreadable(_)
        | OpenError::Address(_) => FaultCode::StorageBroken,
    };
    Fault::new(code, sentence(&error.to_string()))
}

pub(crate) fn sign_up_fault(error: &SignUpError) -> Fault {
    let text = sentence(&error.to_string());
    match error {
        SignUpError::Open(error) => open_fault(error),
        SignUpError::Refused(error) => command_fault(error),
        SignUpError::AlreadySignedUp { handle, .. } => {
            let text = format!("This browser belongs to {handle} already; sign out first.");
            Fault { code: FaultCode::AlreadySignedUp, text, who: Some(handle.to_string()) }
        }
        SignUpError::Server(_) => Fault::new(FaultCode::Offline, text),
        SignUpError::Unconfirmed { why, .. } => {
            let text = format!(
                "The server did not confirm the account ({why}). Sign up with the same handle once more, and it goes on where \
                 it stopped."
            );
            Fault::new(FaultCode::Unconfirmed, text)
        }
    }
}

fn command_fault(error: &CommandError) -> Fault {
    let (code, who) = match error {
        CommandError::Offline => (FaultCode::Offline, None),
        CommandError::NoAccount => (FaultCode::NoAccount, None),
        CommandError::HandleTaken(handle) => (FaultCode::HandleTaken, Some(handle)),
        CommandError::UnknownHandle(handle) => (FaultCode::UnknownHandle, Some(handle)),
        CommandError::NotReady(handle) => (FaultCode::NotReady, Some(handle)),
        CommandError::Untrusted(handle, _) => (FaultCode::Untrusted, Some(handle)),
        CommandError::Yourself => (FaultCode::Yourself, None),
        CommandError::UnknownConversation => (FaultCode::UnknownConversation, None),
        CommandError::UnknownRequest(handle) => (FaultCode::UnknownRequest, Some(handle)),
        CommandError::NotAllowed(_) => (FaultCode::NotAllowed, None),
        CommandError::Invalid(_) => (FaultCode::Invalid, None),
        CommandError::Refused(_) => (FaultCode::Refused, None),
        CommandError::Directory(_) => (FaultCode::Directory, None),
        CommandError::StartedOver(handle) => (FaultCode::StartedOver, Some(handle)),
        CommandError::Mismatch(handle) => (FaultCode::Mismatch, Some(handle)),
        CommandError::UnknownDevice(_) => (FaultCode::UnknownDevice, None),
        CommandError::ThisDevice => (FaultCode::ThisDevice, None),
        CommandError::UnknownAlarm => (FaultCode::UnknownAlarm, None),
    };
    Fault { code, text: sentence(&error.to_string()), who: who.map(ToString::to_string) }
}

fn vault_fault(problem: &VaultProblem) -> Fault {
    let (code, text) = match problem {
        VaultProblem::Full { .. } => (
            FaultCode::StorageFull,
            "This browser's storage for this site is full. Nothing that was saved is lost.".to_owned(),
        ),
        VaultProblem::Newer { .. } => (
            FaultCode::StorageNewer,
            "A newer version of this app wrote what is stored here. Reload the page to get it.".to_owned(),
        ),
        VaultProblem::Corrupt { .. } => (
            FaultCode::StorageBroken,
            "What is stored in this browser is damaged and cannot be opened; it was left as it is.".to_owned(),
        ),
        VaultProblem::NotWritable { detail, .. } | VaultProblem::Io { detail, .. } => {
            (FaultCode::StorageBroken, format!("This browser's storage fails: {detail}."))
        }
    };
    Fault::new(code, text)
}

/// The client's texts are parts of sentences.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let mut sentence: String = letters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    sentence.extend(letters);
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}
