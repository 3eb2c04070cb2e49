//! What goes into the core and what comes out: the vocabulary that the SDK, the terminal and the simulation share.

use stonechat_wire::{AccountId, ClientFrame, ConversationId, DeviceId, Handle, HelloReply, ServerFrame, Timestamp};

use crate::content::{Body, MessageId};
use crate::vault::Change;

/// Which of the two connections. They must not be linkable: the shell opens them independently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// Logged in as this device: inbox, key packages, tokens.
    Device,
    /// Nobody in particular: look-ups, conversations, envelopes.
    Anonymous,
}

/// Names one command; chosen by the shell, unique while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// One thing that happened to the core.
#[derive(Debug)]
pub enum Input {
    /// A connection is open and the server answered its `Hello`.
    Connected {
        /// Which.
        link: Link,
        /// The `host[:port]` that was dialled.
        host: String,
        /// The server's answer.
        hello: HelloReply,
    },
    /// A connection is gone. What was asked on it may or may not have happened.
    Disconnected {
        /// Which.
        link: Link,
    },
    /// A frame arrived.
    Frame {
        /// On which connection.
        link: Link,
        /// The frame.
        frame: ServerFrame,
    },
    /// A moment named by an earlier [`Step::wake_at`] has come, or the shell just wants to look.
    Tick,
    /// The person (or program) wants something.
    Command {
        /// Comes back in [`Event::Finished`].
        id: CommandId,
        /// What.
        command: Command,
    },
}

/// Whom or what a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The direct messages with this person. Opened when there are none yet.
    Person(Handle),
    /// A conversation by id.
    Conversation(ConversationId),
}

/// What a person can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Registers the account that [`crate::sign_up`] prepared. Finishes when the server has it.
    Register,
    /// Sends a text. Finishes at once with [`Outcome::Queued`]; [`Event::Message`] tells how it goes on.
    Send {
        /// To whom.
        to: Target,
        /// 1 to [`crate::limits::TEXT_BYTES_MAX`] bytes.
        text: String,
    },
    /// Takes everything that waits up: finishes when each conversation is up to date and nothing waits to be sent, or with
    /// [`CommandError::Offline`].
    Sync,
    /// Makes a group.
    CreateGroup {
        /// 1 to [`crate::limits::GROUP_NAME_BYTES_MAX`] bytes.
        name: String,
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
    /// Names a group anew. Owner and admins only.
    Rename {
        /// Which.
        group: ConversationId,
        /// As for [`Command::CreateGroup`].
        name: String,
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
}

/// What somebody may do in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
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

/// How a command ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Why a command cannot be done. The texts are for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It needs the server, and there is no connection.
    #[error("the server cannot be reached; this needs a connection")]
    Offline,
    /// No account in this vault.
    #[error("nobody is signed up here yet; run sign-up first")]
    NoAccount,
    /// Somebody else has the handle.
    #[error("{0} is taken; choose another handle")]
    HandleTaken(Handle),
    /// No account under that handle.
    #[error("there is nobody called {0} on this server; check the spelling")]
    UnknownHandle(Handle),
    /// The account has no device that could be added.
    #[error("{0} cannot be reached at the moment: no device of theirs is ready; try again later")]
    NotReady(Handle),
    /// The server's answer about this person does not verify.
    #[error("the server's record of {0} does not verify ({1}); nothing was sent, because it may not be them")]
    Untrusted(Handle, String),
    /// One writes to others.
    #[error("that is your own handle")]
    Yourself,
    /// No such conversation here.
    #[error("there is no such conversation")]
    UnknownConversation,
    /// No such request.
    #[error("there is no request from {0}")]
    UnknownRequest(Handle),
    /// Not a group, or not a member.
    #[error("{0}")]
    NotAllowed(String),
    /// The text or name is empty, too long, or there are too many members.
    #[error("{0}")]
    Invalid(String),
    /// The server refused.
    #[error("the server refused: {0}")]
    Refused(String),
}

/// What a message is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Whether what a person sees about another is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// The account log of everybody in it verifies from its first entry and only ever grew since first seen.
    Closed,
    /// It does not; the text says why.
    Open(String),
}

/// One conversation in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its id. Of direct messages that were opened from both sides at once, the one that is written to.
    pub id: ConversationId,
    /// What it is called: the other person's handle, or the group's name.
    pub title: String,
    /// Whether it is a group.
    pub is_group: bool,
    /// Who is in it, with their roles, this account included.
    pub members: Vec<Member>,
    /// Messages that were not read.
    pub unread: u64,
    /// The last message, for a preview.
    pub last: Option<Message>,
    /// Derived from verified state.
    pub lock: Lock,
    /// What holds it up, in words; `None` when all is well.
    pub notice: Option<String>,
    /// Whether this account is still in it.
    pub active: bool,
}

/// Somebody in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub account: AccountId,
    /// Their handle.
    pub handle: Handle,
    /// Their role; everybody is [`Role::Member`] in direct messages.
    pub role: Role,
    /// How many of their devices.
    pub devices: usize,
}

/// Somebody who wants to write to this account.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// This account and device.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Something worth telling the person or program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command ended.
    Finished {
        /// Which.
        command: CommandId,
        /// How.
        result: Result<Outcome, CommandError>,
    },
    /// A message is new, or its status changed.
    Message(Message),
    /// A conversation is new or its members, name, notice or unread count changed.
    Conversation(ConversationId),
    /// A request arrived or went.
    Requests,
    /// A connection is ready to use (logged in, where that applies), or no more.
    Link {
        /// Which.
        link: Link,
        /// Whether it is ready.
        ready: bool,
    },
    /// A peer or the server did something that honest software does not do; what was refused, in words. Never silent, never
    /// fatal.
    Refused {
        /// Where, if it was in a conversation.
        conversation: Option<ConversationId>,
        /// What was refused and what that means.
        what: String,
    },
}

/// Something for the shell to do after the step's changes are committed. Each is safe to repeat.
#[derive(Debug)]
pub enum Effect {
    /// Send a frame. When the connection is gone, drop it: the core asks again after [`Input::Connected`].
    Send {
        /// On which connection.
        link: Link,
        /// The frame.
        frame: ClientFrame,
    },
    /// End a connection that misbehaves, and reconnect with backoff.
    Disconnect {
        /// Which.
        link: Link,
    },
    /// Tell whoever listens.
    Event(Event),
}

/// The result of one input: commit `changes` in one transaction, then perform `effects` in order.
#[derive(Debug, Default)]
pub struct Step {
    /// For the vault, all or nothing.
    pub changes: Vec<Change>,
    /// Afterwards.
    pub effects: Vec<Effect>,
    /// Call again with [`Input::Tick`] at this moment, and why.
    pub wake_at: Option<(Timestamp, &'static str)>,
}
