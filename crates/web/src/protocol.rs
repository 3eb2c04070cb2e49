//! The messages between page and worker: requests with their replies, and events.
//!
//! Everything a page shows comes from here, ready to be drawn: times are milliseconds since 1970, ids are lower-case hex, texts of
//! the client are English. Where a page may want words of its own, in another language, there is a code beside them
//! ([`FaultCode`], [`Connection`]). What people wrote is a [`Text`], which no log and no panic ever shows.
//!
//! A page sends [`Ask`]s and gets [`Tell`]s: one [`Tell::Reply`] for each ask, and [`Tell::Event`]s unasked. An event that is missed costs
//! nothing but time: what it is about can be asked for.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

mod trust;

pub use trust::{Alarm, AlarmKind, Check, CheckKind, Doubt, EvidenceFile, Notice, NoticeKind, OwnDevice, Safety, Why};

// --- frames ---

/// From a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Chosen by the page, unique while it lives; comes back in the reply.
    pub id: u64,
    /// What.
    pub request: Request,
}

/// From the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tell {
    /// The answer to an [`Ask`].
    Reply {
        /// To which.
        id: u64,
        /// What became of it.
        result: Result<Reply, Fault>,
    },
    /// News.
    Event(Event),
}

/// A frame as the text that is posted.
pub fn to_text<T: Serialize>(frame: &T) -> String {
    serde_json::to_string(frame).expect("every type here has string keys and no fallible serialiser")
}

/// A frame from the text that was posted; `None` when it is none of this version.
pub fn from_text<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    serde_json::from_str(text).ok()
}

// --- what a page asks ---

/// What a page can ask for. Reading never needs the network. Beside each stands the reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// How things are: [`Reply::Start`]. Also told by [`Event::Start`] whenever it changes.
    Start,
    /// Makes an account on the server that served the page: [`Reply::Words`], once the server has it. Cut off in between, the same
    /// again goes on where it stopped.
    SignUp {
        /// With or without `@`.
        handle: String,
    },
    /// How the connections are: [`Reply::Connection`].
    Connection,
    /// The recovery words, while they were not confirmed: [`Reply::Words`]; after that [`FaultCode::NotAllowed`].
    RecoveryWords,
    /// The person wrote the recovery words down: they are forgotten here. [`Reply::Done`].
    WordsWrittenDown,
    /// [`Reply::Me`].
    Me,
    /// [`Reply::Conversations`], the latest first.
    Conversations,
    /// [`Reply::Conversation`].
    Conversation {
        /// Which.
        id: ConversationId,
    },
    /// Part of a conversation's messages: [`Reply::Page`].
    Messages {
        /// Whose.
        conversation: ConversationId,
        /// Where in it.
        at: Place,
        /// How many, at most [`PAGE_MESSAGES_MAX`].
        limit: u32,
    },
    /// Looks for words in all messages and in the names of conversations: [`Reply::Found`], the latest first.
    Search {
        /// Upper and lower case are the same. Several words must all be there.
        text: Text,
        /// How many messages, at most [`FOUND_MAX`].
        limit: u32,
    },
    /// Saves a text for sending: [`Reply::Sent`] when it is saved; [`Event::Message`] tells when the server has it. Also forgets the
    /// conversation's draft.
    Send {
        /// To whom.
        to: Target,
        /// At most [`TEXT_BYTES_MAX`] bytes.
        text: Text,
    },
    /// The conversation that a target names: [`Reply::Opened`]; `None` with a person to whom nothing was written yet.
    Open {
        /// Which.
        to: Target,
    },
    /// [`Reply::Requests`], the latest first.
    Requests,
    /// Accepts somebody's request: [`Reply::Opened`].
    Accept {
        /// Whose.
        from: String,
    },
    /// Declines somebody's request; nobody is told. [`Reply::Done`].
    Decline {
        /// Whose.
        from: String,
    },
    /// Makes a group: [`Reply::Opened`].
    CreateGroup {
        /// At most [`GROUP_NAME_BYTES_MAX`] bytes.
        name: Text,
        /// Handles.
        members: Vec<String>,
    },
    /// Owner and admins. [`Reply::Done`].
    AddMembers {
        /// Which.
        group: ConversationId,
        /// Handles.
        members: Vec<String>,
    },
    /// The owner removes anybody, admins remove members. [`Reply::Done`].
    RemoveMember {
        /// Which.
        group: ConversationId,
        /// Their handle.
        member: String,
    },
    /// [`Reply::Done`].
    Leave {
        /// Which.
        group: ConversationId,
    },
    /// Owner and admins. [`Reply::Done`].
    Rename {
        /// Which.
        group: ConversationId,
        /// At most [`GROUP_NAME_BYTES_MAX`] bytes.
        name: Text,
    },
    /// Owner only; giving ownership away makes the giver an admin. [`Reply::Done`].
    SetRole {
        /// Which.
        group: ConversationId,
        /// Their handle.
        member: String,
        /// To what.
        role: Role,
    },
    /// Sets the unread count to zero. [`Reply::Done`].
    MarkRead {
        /// Which.
        conversation: ConversationId,
    },
    /// Keeps what was typed and not sent; empty forgets it. [`Reply::Done`].
    SaveDraft {
        /// Where.
        conversation: ConversationId,
        /// What.
        text: Text,
    },
    /// Why a conversation's lock is closed or open: [`Reply::Why`].
    Why {
        /// Which.
        conversation: ConversationId,
    },
    /// The safety number with somebody: [`Reply::Safety`]. Needs the network where nobody here knows them.
    Safety {
        /// Their handle.
        with: String,
    },
    /// Compares what somebody reads out or shows with the safety number, and remembers that it matched. [`Reply::Done`], or
    /// [`FaultCode::Mismatch`].
    Verify {
        /// Their handle.
        with: String,
        /// 60 digits, with or without spaces, or the text of their QR code.
        shown: String,
    },
    /// The devices of this account: [`Reply::Devices`].
    Devices,
    /// Takes a device out of this account for good. [`Reply::Done`].
    RevokeDevice {
        /// Which; never this one.
        device: DeviceId,
    },
    /// [`Reply::Alarms`]: what is not dismissed first, then the latest.
    Alarms,
    /// The person has settled what an alarm is about. [`Reply::Done`], and [`Event::Alarms`] to all tabs.
    DismissAlarm {
        /// Which.
        alarm: AlarmId,
    },
    /// [`Reply::Settings`].
    Settings,
    /// [`Reply::Done`]; other tabs hear of it by [`Event::Settings`].
    SaveSettings {
        /// All of them.
        settings: Settings,
    },
    /// What the browser says of this place: [`Reply::Storage`].
    Storage,
    /// Deletes everything that is kept here: account, keys, messages. Cannot be undone. [`Reply::Done`], and
    /// [`Start::NoAccount`] to all tabs.
    SignOut,
}

impl Request {
    /// Whether it only reads: asking it twice is as good as once.
    pub const fn is_reading(&self) -> bool {
        match self {
            Self::Start
            | Self::Connection
            | Self::RecoveryWords
            | Self::Me
            | Self::Conversations
            | Self::Conversation { .. }
            | Self::Messages { .. }
            | Self::Search { .. }
            | Self::Open { .. }
            | Self::Requests
            | Self::Why { .. }
            | Self::Safety { .. }
            | Self::Devices
            | Self::Alarms
            | Self::Settings
            | Self::Storage => true,
            Self::SignUp { .. }
            | Self::WordsWrittenDown
            | Self::Send { .. }
            | Self::Accept { .. }
            | Self::Decline { .. }
            | Self::CreateGroup { .. }
            | Self::AddMembers { .. }
            | Self::RemoveMember { .. }
            | Self::Leave { .. }
            | Self::Rename { .. }
            | Self::SetRole { .. }
            | Self::MarkRead { .. }
            | Self::SaveDraft { .. }
            | Self::Verify { .. }
            | Self::RevokeDevice { .. }
            | Self::DismissAlarm { .. }
            | Self::SaveSettings { .. }
            | Self::SignOut => false,
        }
    }
}

/// Which part of a conversation's messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The last ones.
    Latest,
    /// Those just before this one.
    Before(MessageKey),
    /// Those just after this one.
    After(MessageKey),
    /// This one in their middle.
    Around(MessageKey),
}

/// Whom or what is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A person's handle, with or without `@`.
    Person(String),
    /// A conversation.
    Conversation(ConversationId),
}

// --- what the worker answers ---

/// What a page gets for an [`Ask`].
#[cfg_attr(
    not(target_arch = "wasm32"),
    expect(clippy::large_enum_variant, reason = "it lives as long as it takes to draw it")
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// How things are.
    Start(Start),
    /// How the connections are.
    Connection(Connection),
    /// The recovery words.
    Words(RecoveryWords),
    /// This account.
    Me(Me),
    /// All conversations.
    Conversations(Vec<Conversation>),
    /// One of them, if it is there.
    Conversation(Option<Conversation>),
    /// Messages.
    Page(Page),
    /// What a search found.
    Found(Found),
    /// A message was saved.
    Sent(Sent),
    /// Which conversation.
    Opened(Option<ConversationId>),
    /// Those who want to write.
    Requests(Vec<ContactRequest>),
    /// Why a lock is what it is.
    Why(Why),
    /// What two people compare.
    Safety(Safety),
    /// This account's devices.
    Devices(Vec<OwnDevice>),
    /// Everything alarming that was found.
    Alarms(Vec<Alarm>),
    /// The settings.
    Settings(Settings),
    /// The browser's storage.
    Storage(Storage),
}

/// A reply's content, for a caller that knows what it asked for.
pub trait FromReply: Sized {
    /// `None` when the reply is of another kind.
    fn from_reply(reply: Reply) -> Option<Self>;
}

impl FromReply for () {
    fn from_reply(reply: Reply) -> Option<Self> {
        matches!(reply, Reply::Done).then_some(())
    }
}

macro_rules! from_reply {
    ($($variant:ident => $content:ty),+ $(,)?) => {$(
        impl FromReply for $content {
            fn from_reply(reply: Reply) -> Option<Self> {
                match reply {
                    Reply::$variant(content) => Some(content),
                    _ => None,
                }
            }
        }
    )+};
}

from_reply! {
    Start => Start,
    Connection => Connection,
    Words => RecoveryWords,
    Me => Me,
    Conversations => Vec<Conversation>,
    Conversation => Option<Conversation>,
    Page => Page,
    Found => Found,
    Sent => Sent,
    Opened => Option<ConversationId>,
    Requests => Vec<ContactRequest>,
    Why => Why,
    Safety => Safety,
    Devices => Vec<OwnDevice>,
    Alarms => Vec<Alarm>,
    Settings => Settings,
    Storage => Storage,
}

/// How things are with this browser's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// The vault is being opened. Another start follows.
    Opening,
    /// Nobody signed up here.
    NoAccount {
        /// A sign-up of this handle was begun and never confirmed by the server: sign up with it once more.
        unfinished: Option<String>,
    },
    /// Somebody is.
    Account {
        /// Who.
        me: Me,
        /// The recovery words were never confirmed: show them ([`Request::RecoveryWords`]) before anything else.
        words_pending: bool,
    },
    /// Nothing can be done here; the fault says why and what helps.
    Broken(Fault),
}

/// The 24 recovery words, in order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecoveryWords(pub Vec<String>);

impl fmt::Debug for RecoveryWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryWords(..)")
    }
}

/// This account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// Which; also what its picture is drawn from.
    pub account: AccountId,
    /// With `@`.
    pub handle: String,
    /// This device.
    pub device: String,
    /// The server's address.
    pub server: String,
}

/// One conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Which.
    pub id: ConversationId,
    /// The other person's handle with `@`, or the group's name.
    pub title: Text,
    /// Whether it is a group.
    pub is_group: bool,
    /// In direct messages: the other person, once known.
    pub peer: Option<AccountId>,
    /// Who is in it, this account included.
    pub members: Vec<Member>,
    /// This account's role in it.
    pub role: Role,
    /// Messages that were not read.
    pub unread: u64,
    /// The last message, for a preview.
    pub last: Option<Message>,
    /// Derived from verified state, never from a flag.
    pub lock: Lock,
    /// What holds it up, in words; `None` when all is well.
    pub notice: Option<String>,
    /// Whether this account is still in it.
    pub active: bool,
    /// What was typed and not sent.
    pub draft: Option<Text>,
    /// Whether safety numbers were compared with everybody else in it.
    pub compared: bool,
}

/// Whether what a person sees about a conversation is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lock {
    /// Everybody's devices are checked.
    Closed,
    /// Something does not add up: the first check that fails.
    Open(Box<Check>),
}

/// Somebody in a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub account: AccountId,
    /// With `@`.
    pub handle: String,
    /// Their role; everybody is [`Role::Member`] in direct messages.
    pub role: Role,
    /// How many of their devices.
    pub devices: u32,
    /// Whether that is this account.
    pub is_me: bool,
    /// Whether safety numbers were compared with them.
    pub compared: bool,
}

/// What somebody may do in a group. Each may also do what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Writes.
    Member,
    /// Also adds, removes members and renames.
    Admin,
    /// Also removes admins and gives roles. One a group.
    Owner,
}

/// Part of a conversation's messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// How many there are before the first of these.
    pub older: u64,
    /// How many there are after the last of these.
    pub newer: u64,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Which.
    pub key: MessageKey,
    /// Where.
    pub conversation: ConversationId,
    /// Who wrote it, with `@`.
    pub sender_handle: String,
    /// Whether this account did.
    pub is_mine: bool,
    /// The sender's clock.
    pub sent_at_ms: u64,
    /// What it says.
    pub body: Body,
    /// What it is at.
    pub status: Status,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Plain text, never markup.
    Text(Text),
    /// Nobody's words: what this device noticed.
    Notice(Notice),
    /// Something that a newer app made.
    Newer,
}

/// What a message is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Saved here, on its way.
    Queued,
    /// The server has it.
    Sent,
    /// Somebody else's.
    Received,
    /// It will not be sent.
    Failed,
    /// The other person's app has it. In direct messages only.
    Delivered,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Conversations whose name or members' handles match, the latest first.
    pub conversations: Vec<ConversationId>,
    /// Messages whose text matches, the latest first.
    pub messages: Vec<Message>,
    /// Whether there are more messages that match.
    pub more: bool,
}

/// A message that was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Where.
    pub conversation: ConversationId,
    /// Which.
    pub key: MessageKey,
}

/// Somebody who wants to write to this account. Nothing of theirs was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactRequest {
    /// Who.
    pub account: AccountId,
    /// With `@`.
    pub handle: String,
    /// What they want this account in.
    pub conversation: ConversationId,
    /// Whether that is a group.
    pub is_group: bool,
    /// When it arrived.
    pub at_ms: u64,
    /// Another account is known under this handle: they started over, or somebody else has it now.
    pub started_over: bool,
}

/// What a person chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// A language's tag such as `de`; `None` for the browser's.
    pub language: Option<String>,
    /// Light or dark.
    pub theme: Theme,
}

/// Light or dark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Theme {
    /// As the system has it.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

/// What the browser says of the place where everything is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Whether the browser promised not to clear it by itself.
    pub persisted: bool,
    /// Bytes in use, when it says so.
    pub used_bytes: Option<u64>,
    /// Bytes that may be used, when it says so.
    pub quota_bytes: Option<u64>,
}

// --- what the worker tells unasked ---

/// News.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// How things are has changed, or this page now hears another worker: ask again for everything that is shown.
    Start(Start),
    /// A message is new, or its status changed.
    Message(Message),
    /// A conversation is new, or anything about it changed. As it is now.
    Conversation(Conversation),
    /// Direct messages that both sides had opened at once have become one: what was shown under `old` is shown under `new`.
    Replaced {
        /// Not to be shown any more.
        old: ConversationId,
        /// Shown instead.
        new: ConversationId,
    },
    /// The requests have changed. As they are now.
    Requests(Vec<ContactRequest>),
    /// An alarm was raised or dismissed. All of them, as they are now.
    Alarms(Vec<Alarm>),
    /// A connection came or went.
    Connection(Connection),
    /// A peer or the server did something that honest software does not do, and it was refused.
    Refused {
        /// Where, if it was in a conversation.
        conversation: Option<ConversationId>,
        /// What was refused and what that means.
        text: String,
    },
    /// The settings were changed, in this or another tab.
    Settings(Settings),
    /// Whether this tab runs the client ([`TabRole::Leads`]) or follows another.
    Tab(TabRole),
    /// Some events are gone: ask again for everything that is shown.
    Missed,
}

/// What a tab is among the tabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TabRole {
    /// The client runs in this tab.
    Leads,
    /// It runs in another; this one takes over when that one closes.
    Follows,
}

/// How the connections are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Connection {
    /// Everything can be done.
    Ready,
    /// The first attempt runs.
    Opening,
    /// No connection. What is written is saved and sent later.
    Offline {
        /// Why, in words.
        text: String,
        /// No waiting helps: a person must change something (another version, not a Stonechat server).
        is_lasting: bool,
    },
    /// The client has stopped: the page must be loaded anew.
    Stopped {
        /// Why, in words.
        text: String,
    },
}

// --- faults ---

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// For a page's own words.
    pub code: FaultCode,
    /// What happened, what it means, what to do; English.
    pub text: String,
    /// Whom it is about: a handle with `@`.
    pub who: Option<String>,
}

impl Fault {
    /// A fault that is about nobody.
    pub fn new(code: FaultCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), who: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

/// What kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultCode {
    /// It needs the server, and there is no connection. Nothing was done.
    Offline,
    /// It takes too long. It may still happen.
    TimedOut,
    /// The server did not confirm the account; sign up with the same handle once more.
    Unconfirmed,
    /// That is not a handle; `text` says why.
    BadHandle,
    /// Somebody else has the handle.
    HandleTaken,
    /// No account under that handle.
    UnknownHandle,
    /// None of their devices is ready.
    NotReady,
    /// The server's answer about them does not verify. Nothing was sent.
    Untrusted,
    /// One writes to others.
    Yourself,
    /// No such conversation.
    UnknownConversation,
    /// No such request.
    UnknownRequest,
    /// Not in this role, or not at this time.
    NotAllowed,
    /// Empty, too long or too many.
    Invalid,
    /// The server refused.
    Refused,
    /// The directory has no proof yet of who that is. Nothing was sent.
    Directory,
    /// The handle belongs to another account than the one that is known. Nothing was sent.
    StartedOver,
    /// What was compared is not the safety number.
    Mismatch,
    /// This account has no such device.
    UnknownDevice,
    /// A device does not revoke itself.
    ThisDevice,
    /// No such alarm.
    UnknownAlarm,
    /// Nobody is signed up here.
    NoAccount,
    /// Somebody is signed up here.
    AlreadySignedUp,
    /// This browser gives no private storage: a private window, a frame, or one that is too old.
    NoStorage,
    /// The browser's storage for this site is full.
    StorageFull,
    /// What is stored cannot be read, or its key is gone.
    StorageBroken,
    /// A newer version of this app wrote what is stored.
    StorageNewer,
    /// This browser lacks something that is needed; `text` says what.
    Unsupported,
    /// The client has stopped; load the page anew.
    Stopped,
    /// Too much at once.
    Busy,
    /// A fault of this software.
    Bug,
}

// --- small types ---

/// What people wrote. Shown on screens, never in logs: `Debug` tells its size.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text(pub String);

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} B)", self.0.len())
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl From<String> for $name {
            fn from(hex: String) -> Self {
                Self(hex)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let short: String = self.0.chars().take(8).collect();
                write!(f, concat!(stringify!($name), "({}…)"), short)
            }
        }
    )+};
}

ids! {
    /// A person's account. 64 hex digits.
    AccountId,
    /// A conversation. 64 hex digits.
    ConversationId,
    /// What a sender called a message. 32 hex digits.
    MessageId,
    /// A device. 32 hex digits.
    DeviceId,
    /// An alarm. 32 hex digits.
    AlarmId,
}

/// Names a message: its sender chose the id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageKey {
    /// Who wrote it.
    pub sender: AccountId,
    /// What they called it.
    pub id: MessageId,
}

/// Messages in one [`Page`].
pub const PAGE_MESSAGES_MAX: u32 = 200;
/// Messages that one search gives.
pub const FOUND_MAX: u32 = 100;
/// A message's text, in bytes of UTF-8; the client's own bound.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// A group's name, in bytes of UTF-8; the client's own bound.
pub const GROUP_NAME_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests;
