//! What a person sees: messages, conversations, requests, themselves.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use stonechat_wire::{AccountId, ConversationId, DeviceId, ErrorCode, Handle, Timestamp};

use crate::id::MessageId;
use crate::reasons::ChangeFault;
use crate::text::Text;
use crate::trust::Lock;

/// What somebody may do in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
pub enum Role {
    /// Writes.
    #[n(0)]
    Member,
    /// Also adds, removes members and renames.
    #[n(1)]
    Admin,
    /// Also removes admins and gives roles. One a group.
    #[n(2)]
    Owner,
}

/// What a message is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
pub enum Status {
    /// In the vault, on its way.
    #[n(0)]
    Queued,
    /// The server has it, durably.
    #[n(1)]
    Sent,
    /// Somebody else's.
    #[n(2)]
    Received,
    /// It will not be sent: the conversation cannot be opened.
    #[n(3)]
    Failed,
    /// A device of the other person has it: their app said so, and showed that both hold the same log. In direct messages only.
    #[n(4)]
    Delivered,
}

/// One message as a person reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Random, made by the sender.
    pub id: MessageId,
    /// Where.
    pub conversation: ConversationId,
    /// Who wrote it.
    pub sender: AccountId,
    /// Their handle.
    pub sender_handle: Handle,
    /// The sender's clock.
    pub sent_at: Timestamp,
    /// What it says.
    pub body: Body,
    /// What it is at.
    pub status: Status,
}

impl Message {
    /// Names it.
    pub const fn key(&self) -> MessageKey {
        MessageKey { sender: self.sender, id: self.id }
    }

    /// Whether this account wrote it.
    pub const fn is_mine(&self) -> bool {
        !matches!(self.status, Status::Received)
    }
}

/// Names a message: its sender chose the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageKey {
    /// Who wrote it.
    pub sender: AccountId,
    /// What they called it.
    pub id: MessageId,
}

/// Which part of a conversation's messages. With a message that is not there: the last part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The last messages.
    Latest,
    /// Those just before this one.
    Before(MessageKey),
    /// Those just after this one.
    After(MessageKey),
    /// This one, with as many before it as after.
    Around(MessageKey),
}

/// Part of a conversation's messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// How many there are before the first of these.
    pub older: u64,
    /// How many there are after the last of these.
    pub newer: u64,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Conversations whose name, or one of whose members' handles, has all the words; the latest first.
    pub conversations: Vec<ConversationId>,
    /// Messages that have all the words, the latest first.
    pub messages: Vec<Message>,
    /// Whether there are more.
    pub more: bool,
}

/// What was typed and not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// Where.
    pub conversation: ConversationId,
    /// What.
    pub text: Text,
}

/// What holds a conversation up, or ended it. Stored with the conversation: a number never changes its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The server does not make it. Its messages fail.
    #[n(0)]
    NotMade(#[n(0)] Option<ErrorCode>),
    /// No device of somebody's is ready.
    #[n(1)]
    NotReady {
        /// Whose; `None` when nobody can say.
        #[n(0)]
        who: Option<Handle>,
        /// Whether what is written waits for them: in direct messages. A group goes on without them.
        #[n(1)]
        waits: bool,
    },
    /// This device lost the thread and has asked the others to add it again.
    #[n(2)]
    Rejoining,
    /// The server showed members different versions of it.
    #[n(3)]
    OtherLogs,
    /// A change that this account wanted could not be made.
    #[n(4)]
    Change(#[n(0)] ChangeFault),
    /// This account is leaving.
    #[n(5)]
    Leaving,
    /// This account left.
    #[n(6)]
    Left,
    /// This account was removed.
    #[n(7)]
    Removed,
    /// Something that an older version of the app found and put into words that this one does not know.
    #[n(8)]
    Unrecorded,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Plain text, never markup.
    Text(Text),
    /// Nobody's words: what this device noticed.
    Notice(Notice),
    /// Something that a newer app made.
    Newer {
        /// The number of its kind, for whoever asks which.
        kind: u32,
    },
}

/// What this device noticed about somebody in a conversation, in the place where it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub enum Notice {
    /// Their account log has a device more. Usual.
    #[n(0)]
    DeviceAdded(#[n(0)] Handle),
    /// They revoked a device. Usual.
    #[n(1)]
    DeviceRevoked(#[n(0)] Handle),
    /// Their handle belongs to another account now: they lost everything, or somebody else has it.
    #[n(2)]
    StartedOver(#[n(0)] Handle),
}

impl Notice {
    /// Whether it must not be overlooked.
    pub const fn is_loud(&self) -> bool {
        matches!(self, Self::StartedOver(_))
    }
}

/// One conversation in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its id. Of direct messages that were opened from both sides at once, the one that is written to.
    pub id: ConversationId,
    /// What it is called: the other person's handle, or the group's name.
    pub title: Text,
    /// Whether it is a group.
    pub is_group: bool,
    /// In direct messages: the other person.
    pub peer: Option<AccountId>,
    /// Who is in it, with their roles, this account included.
    pub members: Vec<Member>,
    /// This account's role in it.
    pub role: Role,
    /// Messages that were not read.
    pub unread: u64,
    /// The last message, for a preview.
    pub last: Option<Message>,
    /// Derived from verified state.
    pub lock: Lock,
    /// What holds it up, or ended it; `None` when all is well.
    pub hold: Option<Hold>,
    /// Whether this account is still in it.
    pub active: bool,
    /// Whether safety numbers were compared with everybody else in it.
    pub compared: bool,
    /// What was typed and not sent. The shell keeps it; the core knows none.
    pub draft: Option<Text>,
}

/// Somebody in a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub account: AccountId,
    /// Their handle.
    pub handle: Handle,
    /// Their role; everybody is [`Role::Member`] in direct messages.
    pub role: Role,
    /// How many of their devices.
    pub devices: u32,
    /// Whether that is this account.
    pub is_me: bool,
    /// Whether safety numbers were compared with them.
    pub compared: bool,
}

/// Somebody who wants to write to this account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactRequest {
    /// Who.
    pub from: AccountId,
    /// Their handle, as their verified log names it.
    pub handle: Handle,
    /// The conversation that they want this account in.
    pub conversation: ConversationId,
    /// Whether it is a group.
    pub is_group: bool,
    /// When it arrived.
    pub at: Timestamp,
    /// Another account is known under this handle: they started over, or somebody else has it now.
    pub started_over: bool,
}

/// This account and device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// The account.
    pub account: AccountId,
    /// Its handle.
    pub handle: Handle,
    /// This device.
    pub device: DeviceId,
    /// The server's address, as given at sign-up.
    pub server: String,
    /// Whether the server has the account.
    pub registered: bool,
}
