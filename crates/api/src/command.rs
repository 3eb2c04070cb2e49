//! What a person can ask for, and how that ends.
//!
//! A command names people and conversations as the person does. Its end is a value: what came of it, or a code with fields that
//! [`crate::words`] puts into words.

use serde::{Deserialize, Serialize};
use stonechat_wire::{ConversationId, DeviceId, ErrorCode, Failure, Handle, InviteCode};

use crate::id::{AlarmId, MessageId};
use crate::reasons::Distrust;
use crate::text::Text;
use crate::view::Role;

/// Names one command; chosen by the shell, unique while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandId(pub u64);

/// Whom or what a command is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// The direct messages with this person. Opened when there are none yet.
    Person(Handle),
    /// A conversation by id.
    Conversation(ConversationId),
}

/// What a person can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Registers the account that sign-up prepared. Finishes when the server has it.
    Register {
        /// Where sign-up is closed: an invitation.
        invite: Option<InviteCode>,
    },
    /// Sends a text. Finishes at once with [`Outcome::Queued`]; [`crate::Event::Message`] tells how it goes on.
    Send {
        /// To whom.
        to: Target,
        /// 1 to [`crate::TEXT_BYTES_MAX`] bytes.
        text: Text,
    },
    /// Takes everything that waits up: finishes when each conversation is up to date and nothing waits to be sent, or with
    /// [`CommandError::Offline`].
    Sync,
    /// Finishes when every letter that waits was tried, so that who was invited can read what was sent; or with
    /// [`CommandError::Offline`].
    PostLetters,
    /// Makes a group.
    CreateGroup {
        /// 1 to [`crate::GROUP_NAME_BYTES_MAX`] bytes.
        name: Text,
        /// Who else is in it.
        members: Vec<Handle>,
    },
    /// Adds people to a group. Owner and admins only.
    AddMembers {
        /// Which.
        group: ConversationId,
        /// Whom.
        members: Vec<Handle>,
    },
    /// Removes somebody from a group. The owner removes anybody, admins remove members.
    RemoveMember {
        /// Which.
        group: ConversationId,
        /// Whom.
        member: Handle,
    },
    /// Leaves a group.
    Leave {
        /// Which.
        group: ConversationId,
    },
    /// Gives a group another name. Owner and admins only.
    Rename {
        /// Which.
        group: ConversationId,
        /// As for [`Command::CreateGroup`].
        name: Text,
    },
    /// Changes somebody's role. Owner only; giving ownership away makes the giver an admin.
    SetRole {
        /// Which.
        group: ConversationId,
        /// Whose.
        member: Handle,
        /// To what.
        role: Role,
    },
    /// Accepts a request: joins its conversation and accepts this person's further ones.
    Accept {
        /// Who asked.
        from: Handle,
    },
    /// Declines a request. Nobody is told.
    Decline {
        /// Who asked.
        from: Handle,
    },
    /// Sets a conversation's unread count to zero.
    MarkRead {
        /// Which.
        conversation: ConversationId,
    },
    /// Replaces this device's keys in a conversation: recovery after a compromise (post-compromise security).
    Refresh {
        /// Which.
        conversation: ConversationId,
    },
    /// Takes a device out of this account's log: from then on it is nobody's, and everybody removes it from their
    /// conversations. Finishes when the server has it; the directory shows it a moment later.
    RevokeDevice {
        /// Which. Never this device itself.
        device: DeviceId,
    },
    /// Compares what the other person reads out or shows with the safety number of both accounts, and remembers that it
    /// matched. Finishes with [`CommandError::Mismatch`] when it does not.
    Verify {
        /// Who.
        handle: Handle,
        /// 60 digits, with or without spaces, or the text of a scanned code.
        shown: String,
    },
    /// Learns who somebody is, with proof, without writing to them.
    LookUp {
        /// Who.
        handle: Handle,
    },
    /// The person has seen an alarm and done what they wanted about it. It does not close a lock.
    DismissAlarm {
        /// Which.
        alarm: AlarmId,
    },
}

impl Command {
    /// The people whom it names.
    pub fn handles(&self) -> &[Handle] {
        match self {
            Self::Send { to: Target::Person(handle), .. }
            | Self::RemoveMember { member: handle, .. }
            | Self::SetRole { member: handle, .. }
            | Self::Accept { from: handle }
            | Self::Verify { handle, .. }
            | Self::LookUp { handle }
            | Self::Decline { from: handle } => std::slice::from_ref(handle),
            Self::CreateGroup { members, .. } | Self::AddMembers { members, .. } => members,
            Self::Send { to: Target::Conversation(_), .. }
            | Self::Register { .. }
            | Self::Sync
            | Self::PostLetters
            | Self::Leave { .. }
            | Self::Rename { .. }
            | Self::MarkRead { .. }
            | Self::RevokeDevice { .. }
            | Self::DismissAlarm { .. }
            | Self::Refresh { .. } => &[],
        }
    }
}

/// How a command ended well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing more to say.
    Done,
    /// The message is in the vault and will be sent.
    Queued {
        /// Where.
        conversation: ConversationId,
        /// The message.
        message: MessageId,
    },
    /// The conversation that was made or joined.
    Conversation(ConversationId),
}

/// Why a command cannot be done. Its words are in [`crate::words`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandError {
    /// It needs the server, and there is no connection.
    Offline,
    /// No account in this vault.
    NoAccount,
    /// Somebody else has the handle.
    HandleTaken(Handle),
    /// No account under that handle.
    UnknownHandle(Handle),
    /// The account has no device that could be added.
    NotReady(Handle),
    /// The server's answer about this person does not verify. Nothing was sent.
    Untrusted(Handle, Distrust),
    /// One writes to others.
    Yourself,
    /// No such conversation here.
    UnknownConversation,
    /// No such request.
    UnknownRequest(Handle),
    /// Not in this place or not in this role.
    NotAllowed(NotAllowed),
    /// Empty, too long, too many, or not what it should be.
    Invalid(Invalid),
    /// The server refused.
    Refused {
        /// Why.
        code: ErrorCode,
        /// When it may go, if the server said so.
        retry_after_secs: Option<u32>,
    },
    /// Another device of this account changed its log at the same moment.
    Overtaken,
    /// The account's log takes no more entries.
    LogFull,
    /// The directory has no proof yet that satisfies the pinned policy. Nothing was sent.
    Directory(Distrust),
    /// The handle belongs to another account than the one that is known under it. Nothing was sent.
    StartedOver(Handle),
    /// What was compared is not the safety number.
    Mismatch(Handle),
    /// No such device in this account's log.
    UnknownDevice(DeviceId),
    /// A device does not revoke itself.
    ThisDevice,
    /// No such alarm.
    UnknownAlarm,
}

impl CommandError {
    /// The server refused.
    pub fn refused(failure: &Failure) -> Self {
        Self::Refused { code: failure.code, retry_after_secs: failure.retry_after_secs }
    }
}

/// What is not allowed, in this place or in this role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotAllowed {
    /// This account is no longer in the conversation.
    NotInConversation,
    /// This account is no longer in the group.
    NotInGroup,
    /// These are direct messages.
    NotAGroup,
    /// Only the owner can do this.
    OwnerOnly {
        /// In which group.
        group: Text,
    },
    /// Only the owner and admins can do this.
    AdminsOnly {
        /// In which group.
        group: Text,
    },
    /// They are not in it.
    NotAMember {
        /// Who.
        who: Handle,
        /// In which group.
        group: Text,
    },
    /// Only the owner can remove them.
    OwnerRemoves {
        /// Whom.
        who: Handle,
    },
    /// The owner gives ownership to somebody else, and does not lay it down.
    GiveOwnership,
}

/// What is wrong with what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invalid {
    /// A message of nothing.
    EmptyText,
    /// Over [`crate::TEXT_BYTES_MAX`].
    TextTooLong {
        /// How long it is.
        bytes: u64,
    },
    /// A draft over [`crate::TEXT_BYTES_MAX`].
    DraftTooLong {
        /// How long it is.
        bytes: u64,
    },
    /// A group without a name.
    NoGroupName,
    /// Over [`crate::GROUP_NAME_BYTES_MAX`].
    GroupNameTooLong {
        /// How long it is.
        bytes: u64,
    },
    /// Over [`crate::GROUP_MEMBERS_MAX`].
    TooManyMembers,
    /// Nobody to add.
    NoMembers,
    /// Neither a safety number nor the text of its code.
    SafetyNumber,
    /// Not a policy of a directory.
    Policy,
}
