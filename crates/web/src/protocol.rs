//! The messages between page and worker: requests with their replies, and events.
//!
//! What a person sees and asks is `stonechat-api`'s, and nothing of it is said again here. This adds what only a browser has: tabs, its
//! storage, settings, signing up and out. Texts travel as codes; the page has the words for them ([`crate::words`]).
//!
//! A page sends [`Ask`]s and gets [`Tell`]s: one [`Tell::Reply`] for each ask, and [`Tell::Event`]s unasked. An event that is missed costs
//! nothing but time: what it is about can be asked for.

use std::fmt;

use serde::{Deserialize, Serialize};
use stonechat_api::{
    Alarm, Command, CommandError, ContactRequest, Conversation, Found, Me, Message, Outcome, OwnDevice, Page, Place,
    Refusal, Safety, Target, Text, Why,
};
use stonechat_wire::{ConversationId, Handle};

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
        /// Who.
        handle: Handle,
    },
    /// What a person can do once they have an account: [`Reply::Outcome`]. Sending also forgets the conversation's draft.
    Run(Command),
    /// How the connections are: [`Reply::Connection`].
    Connection,
    /// The recovery words, while they were not confirmed: [`Reply::Words`]; after that [`Fault::WordsForgotten`].
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
    /// The conversation that a target names: [`Reply::Opened`]; `None` with a person to whom nothing was written yet.
    Open {
        /// Which.
        to: Target,
    },
    /// [`Reply::Requests`], the latest first.
    Requests,
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
        /// Who.
        with: Handle,
    },
    /// The devices of this account: [`Reply::Devices`].
    Devices,
    /// [`Reply::Alarms`]: what is not dismissed first, then the latest.
    Alarms,
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
            | Self::Run(_)
            | Self::WordsWrittenDown
            | Self::SaveDraft { .. }
            | Self::SaveSettings { .. }
            | Self::SignOut => false,
        }
    }
}

// --- what the worker answers ---

/// What a page gets for an [`Ask`].
#[expect(clippy::large_enum_variant, reason = "it lives as long as it takes to draw it")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// What came of a command.
    Outcome(Outcome),
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
    Outcome => Outcome,
    Start => Start,
    Connection => Connection,
    Words => RecoveryWords,
    Me => Me,
    Conversations => Vec<Conversation>,
    Conversation => Option<Conversation>,
    Page => Page,
    Found => Found,
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
        unfinished: Option<Handle>,
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
#[cfg_attr(
    not(target_arch = "wasm32"),
    expect(clippy::large_enum_variant, reason = "it lives as long as it takes to draw it")
)]
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
        /// What was refused.
        what: Refusal,
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
        /// Why no waiting helps, where it does not: a person must change something.
        lasting: Option<Lasting>,
    },
    /// The client has stopped: the page must be reloaded.
    Stopped {
        /// Why, where it is known.
        why: Option<Fault>,
    },
}

/// Why waiting for a connection does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lasting {
    /// What answers is not a Stonechat server.
    NotStonechat,
    /// The server speaks another version of the protocol.
    Version,
    /// There is no secure connection to it.
    Insecure,
}

// --- faults ---

/// Why something could not be done. What stands in `detail` is for whoever looks for the cause: what a system said, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The client says no.
    Command(CommandError),
    /// It takes too long. It may still happen.
    TimedOut,
    /// The tab that was doing it has been closed. It may have happened.
    TabClosed,
    /// The server did not confirm the account; sign up with the same handle once more.
    Unconfirmed,
    /// Somebody is signed up here.
    AlreadySignedUp {
        /// Who.
        handle: Handle,
    },
    /// The recovery words were confirmed, and are not kept here any more.
    WordsForgotten,
    /// This browser gives no private storage: a private window, a frame, or one that is too old.
    NoStorage,
    /// The browser's storage for this site is full.
    StorageFull,
    /// What is stored cannot be read, or its key is gone.
    StorageBroken {
        /// What the browser said.
        detail: String,
    },
    /// A newer version of this app wrote what is stored.
    StorageNewer,
    /// This browser, or the way in which the page was opened, lacks something that is needed.
    Unsupported {
        /// What.
        detail: String,
    },
    /// Another tab has the client and does not answer: it may be of an older version.
    OtherTab,
    /// Something else is not finished, or too much waits.
    Busy,
    /// The client has stopped; reload the page.
    Stopped,
    /// A fault of this software.
    Bug {
        /// Where.
        detail: String,
    },
}

impl From<CommandError> for Fault {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

/// Messages in one [`Page`].
pub const PAGE_MESSAGES_MAX: u32 = 200;
/// Messages that one search gives.
pub const FOUND_MAX: u32 = 100;

#[cfg(test)]
mod tests;
