//! What goes into the core and what comes out: the vocabulary that the SDK, the terminal and the simulation share.
//!
//! Long because it is one vocabulary, mostly documents.

use std::fmt;

use stonechat_wire::{AccountId, ClientFrame, ConversationId, DeviceId, Handle, HelloReply, ServerFrame, Timestamp};

use crate::content::{Body, MessageId};
use crate::store::vault::Change;

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
    /// Finishes when every letter that waits was tried, so that who was invited can read what was sent; or with
    /// [`CommandError::Offline`].
    PostLetters,
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

/// Names an alarm: the same finding has the same id, however often it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlarmId(pub [u8; 16]);

impl std::fmt::Display for AlarmId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::str::FromStr for AlarmId {
    type Err = stonechat_wire::DecodeError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| stonechat_wire::DecodeError::Malformed)?;
        Ok(Self(bytes))
    }
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum AlarmKind {
    /// This account's log has a device that this device did not add.
    #[n(0)]
    Device,
    /// This account's log says something else that this device did not write: a revocation, another recovery key.
    #[n(1)]
    Log,
    /// The directory names another log for an account than the account's own.
    #[n(2)]
    OtherLog,
    /// The directory took back what it had said about an account.
    #[n(3)]
    TakenBack,
    /// What this account said is not published.
    #[n(4)]
    Unpublished,
    /// A handle went from one account to another.
    #[n(5)]
    HandleMoved,
    /// The directory showed different people different logs, or cannot show that it did not.
    #[n(6)]
    Fork,
    /// The directory shows an old state.
    #[n(7)]
    Stale,
    /// The server gives out another policy than the one that was pinned.
    #[n(8)]
    Policy,
    /// What the directory said is not signed, or does not prove what it should.
    #[n(9)]
    Proof,
    /// The directory shows no state that enough witnesses confirm.
    #[n(10)]
    Unwitnessed,
}

impl AlarmKind {
    /// A word for file names and programs; never changes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Log => "log",
            Self::OtherLog => "other-log",
            Self::TakenBack => "taken-back",
            Self::Unpublished => "unpublished",
            Self::HandleMoved => "handle-moved",
            Self::Fork => "fork",
            Self::Stale => "stale",
            Self::Policy => "policy",
            Self::Proof => "proof",
            Self::Unwitnessed => "unwitnessed",
        }
    }
}

/// Something that an honest directory, or an honest owner of this account's keys, does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Which.
    pub id: AlarmId,
    /// What about.
    pub kind: AlarmKind,
    /// What happened, what it means, what to do.
    pub what: String,
    /// When it was first found.
    pub at: Timestamp,
    /// The device that may be revoked, if it is about one.
    pub device: Option<DeviceId>,
    /// What anybody can check with `stonechat audit --evidence FILE`, as JSON, where there is such a thing.
    pub evidence: Option<String>,
    /// The person has seen it.
    pub dismissed: bool,
}

/// One device of this account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnDevice {
    /// Which.
    pub id: DeviceId,
    /// When it was added, by the clock of the device that added it.
    pub added_at: Timestamp,
    /// Whether it is this one.
    pub this: bool,
    /// Whether an alarm about it stands.
    pub alarm: Option<AlarmId>,
}

/// One link of the chain between "these keys" and "this person". As text, a sentence in English.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub what: CheckKind,
    /// Whether it holds.
    pub holds: bool,
}

/// What is checked. `who` is a member's handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// The directory's keys are pinned.
    Pinned {
        /// The directory's name; empty when nothing is pinned.
        origin: String,
        /// How many witnesses must have cosigned a head.
        threshold: u32,
        /// How many there are.
        witnesses: u32,
    },
    /// All heads that were seen are of one log.
    OneLog {
        /// Its size.
        records: u64,
    },
    /// There was no alarm: holds never.
    NoAlarm {
        /// Of which kind.
        kind: AlarmKind,
        /// What it says, in English.
        text: String,
    },
    /// The account log of a member verifies: holds never, for else it has a name.
    Member,
    /// Every entry of a member's account log is signed by their own keys.
    Log {
        /// Whose.
        who: Handle,
        /// How many there are.
        entries: u64,
    },
    /// The directory proved that this is their whole log.
    Proven {
        /// Whose.
        who: Handle,
        /// The size of the directory's log when it did.
        records: u64,
    },
    /// That state of the directory is of one log with the others.
    Connected {
        /// Whose.
        who: Handle,
    },
    /// The directory proved that the handle is that account's.
    Handle {
        /// Which.
        who: Handle,
    },
    /// Their devices in here are in their account log.
    Devices {
        /// Whose.
        who: Handle,
        /// How many are in here.
        count: u64,
    },
    /// Nothing speaks against them: holds never.
    NoDoubt {
        /// Against whom.
        who: Handle,
        /// What.
        doubt: Doubt,
    },
    /// This account's own devices in here are in its account log.
    OwnDevices,
}

/// What speaks against somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Doubt {
    /// Their account log contradicts the one that was seen first.
    #[n(0)]
    OtherThanFirst,
    /// The server says that the handle is not theirs.
    #[n(1)]
    HandleDenied,
    /// The directory took back what it had said about them.
    #[n(2)]
    TakenBack,
    /// Their handle belongs to another account now.
    #[n(3)]
    StartedOver,
    /// The directory keeps back what they say about their devices.
    #[n(4)]
    KeptBack,
    /// Their account log is another for them than for us.
    #[n(5)]
    OtherForThem,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.what, self.holds) {
            (CheckKind::Pinned { origin, threshold, witnesses }, true) => write!(
                f,
                "The directory's keys were pinned when this account was made: {origin}, with {threshold} of {witnesses} witnesses."
            ),
            (CheckKind::Pinned { .. }, false) => f.write_str("The directory's keys are not known here yet."),
            (CheckKind::OneLog { records }, true) => write!(
                f,
                "Every state of the directory that you and your contacts saw is of one log, now of {}.",
                count(*records, "record")
            ),
            (CheckKind::OneLog { .. }, false) => {
                f.write_str("The directory shows different people different states: nobody's keys can be checked.")
            }
            (CheckKind::NoAlarm { text, .. }, _) => f.write_str(text),
            (CheckKind::Member, _) => f.write_str("The account log of a member does not verify."),
            (CheckKind::Log { who, entries: 1 }, _) => {
                write!(f, "{who}: the one entry of their account log is signed by keys of theirs.")
            }
            (CheckKind::Log { who, entries }, _) => {
                write!(f, "{who}: each of the {entries} entries of their account log is signed by keys of theirs.")
            }
            (CheckKind::Proven { who, records }, true) => write!(
                f,
                "{who}: the directory proved that this is their whole log, in its state of {}.",
                count(*records, "record")
            ),
            (CheckKind::Proven { who, .. }, false) => {
                write!(f, "{who}: the directory has not proved yet that this is their account log.")
            }
            (CheckKind::Connected { who }, true) => {
                write!(f, "{who}: that state is of one log with those that you saw.")
            }
            (CheckKind::Connected { who }, false) => {
                write!(f, "{who}: the directory has not shown yet that their state is of one log with yours.")
            }
            (CheckKind::Handle { who }, true) => {
                write!(f, "{who}: the directory proved that the handle is this account's.")
            }
            (CheckKind::Handle { who }, false) => {
                write!(f, "That {who} is who they say has not been proved by the directory.")
            }
            (CheckKind::Devices { who, count: 1 }, true) => {
                write!(f, "{who}: one device of theirs is in here, and it is in their account log.")
            }
            (CheckKind::Devices { who, count }, true) => {
                write!(f, "{who}: {count} of their devices are in here, each in their account log.")
            }
            (CheckKind::Devices { who, .. }, false) => {
                write!(f, "{who} has a device in here that their account log does not have.")
            }
            (CheckKind::NoDoubt { who, doubt }, _) => write!(f, "{who}: {doubt}."),
            (CheckKind::OwnDevices, true) => f.write_str("Every device of yours in here is in your own account log."),
            (CheckKind::OwnDevices, false) => {
                f.write_str("A device in here passes for yours, and is not in your account log.")
            }
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherThanFirst => "their account log contradicts the one first seen",
            Self::HandleDenied => "the server says that this handle is not theirs",
            Self::TakenBack => "the directory took back what it had said about their account",
            Self::StartedOver => "their handle belongs to another account now; ask them by another way",
            Self::KeptBack => "the directory keeps back what they say about their own devices",
            Self::OtherForThem => "their account log is another for them than for you",
        })
    }
}

/// `1 record`, `2 records`.
fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Why a lock is closed or open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The lock.
    pub lock: Lock,
    /// Everything that was checked. The lock is closed when all of it holds.
    pub checks: Vec<Check>,
    /// Whose safety numbers were compared by hand. The lock does not need it.
    pub compared: Vec<Handle>,
}

/// What two people compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Safety {
    /// With whom.
    pub handle: Handle,
    /// 60 digits.
    pub digits: String,
    /// What the QR code on this side says.
    pub code: String,
    /// When it was compared last and matched.
    pub compared: Option<Timestamp>,
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
    /// The directory has no proof yet that satisfies the pinned policy.
    #[error("it cannot be checked yet who that is: {0}; nothing was sent, try again in a moment")]
    Directory(String),
    /// The handle belongs to another account than the one that is known under it.
    #[error(
        "{0} belongs to another account now than the one that you know: they started over, or somebody else has the \
         handle. Nothing was sent. Ask them by another way, then accept {0}"
    )]
    StartedOver(Handle),
    /// What was compared is not the safety number.
    #[error(
        "this is not the safety number that you share with {0}: one of you is not talking to the other. Do not write what \
         must stay between you, and tell them by another way"
    )]
    Mismatch(Handle),
    /// No such device in this account's log.
    #[error("this account has no device {0}; look at the list of devices")]
    UnknownDevice(DeviceId),
    /// A device does not revoke itself.
    #[error("that is this device; revoke it from another one")]
    ThisDevice,
    /// No such alarm.
    #[error("there is no such alarm")]
    UnknownAlarm,
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
    /// For everybody in it, the directory proved against a head that satisfies the pinned policy whose handle it is and what
    /// their account log says; every device in it is of that log; nothing that was seen since contradicts it.
    Closed,
    /// It does not: the first check that fails.
    Open(Check),
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
    /// Whether safety numbers were compared with everybody else in it.
    pub compared: bool,
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
    /// Whether safety numbers were compared with them.
    pub compared: bool,
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
    /// Another account is known under this handle: they started over, or somebody else has it now.
    pub started_over: bool,
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
    /// The directory, or somebody with this account's keys, did what must not be. Told once for each finding.
    Alarm(Alarm),
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
