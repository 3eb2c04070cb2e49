//! What the SDK tells unasked: events, and how the connections are.

use stonechat_core::api::{Alarm, Link, Message, Refusal};
use stonechat_wire::ConversationId;

use crate::transport::ConnectError;
use crate::vault::VaultProblem;

/// News. What it is about can be read from the [`crate::Client`] at any time: an event that is missed costs nothing but time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message is new, or its status changed.
    Message(Message),
    /// A conversation is new, or its members, name, notice or unread count changed.
    Conversation(ConversationId),
    /// A request arrived or went.
    Requests,
    /// A connection came or went.
    Connection(ConnectionStatus),
    /// A peer or the server did something that honest software does not do, or that cannot be followed.
    Refused {
        /// Where, if it was in a conversation.
        conversation: Option<ConversationId>,
        /// What was refused.
        what: Refusal,
    },
    /// The directory, or somebody with this account's keys, did what must not be. Its evidence, if there is any, is in the
    /// home; [`crate::Client::evidence_file`] says where.
    Alarm(Alarm),
    /// This listener was too slow: so many events are gone. Read again what you show.
    Missed(u64),
}

/// One of the two connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// Whether it can be used: open and, for the device's own, logged in.
    pub ready: bool,
    /// Why it is not, when that is known. `None` while the first attempt runs.
    pub trouble: Option<ConnectError>,
}

/// Both connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// Logged in as this device: requests and log-in.
    pub device: LinkStatus,
    /// Nobody in particular: conversations.
    pub anonymous: LinkStatus,
    /// What the core or the vault had to say when it last gave up a connection.
    pub note: Option<Note>,
    /// The engine has stopped for good: the vault keeps failing. Open the client again.
    pub stopped: bool,
}

/// What was the matter when a connection was last given up by this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The server, or somebody, did something that was refused.
    Refused(Refusal),
    /// The vault failed.
    Vault(VaultProblem),
    /// A fault of this software, or a vault that cannot be read; for whoever looks for the cause.
    Fault(String),
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(what) => what.fmt(f),
            Self::Vault(problem) => problem.fmt(f),
            Self::Fault(what) => f.write_str(what),
        }
    }
}

impl ConnectionStatus {
    /// Whether everything can be done.
    pub fn is_ready(&self) -> bool {
        self.device.ready && self.anonymous.ready
    }

    /// Why not everything can be done, in words. `None` when it can.
    pub fn why(&self) -> Option<String> {
        if self.is_ready() {
            return None;
        }
        let links = [&self.device, &self.anonymous];
        let trouble = links.into_iter().filter(|link| !link.ready).find_map(|link| link.trouble.as_ref());
        Some(match (trouble, &self.note) {
            (_, Some(note)) if self.stopped => note.to_string(),
            (Some(trouble), _) => trouble.to_string(),
            (None, Some(note)) => note.to_string(),
            (None, None) => "the connection is being opened".into(),
        })
    }

    /// The trouble that no waiting ends, if there is one.
    pub(crate) fn lasting(&self) -> Option<&ConnectError> {
        [&self.device, &self.anonymous]
            .into_iter()
            .filter_map(|link| link.trouble.as_ref())
            .find(|error| error.is_lasting())
    }

    pub(crate) fn link_mut(&mut self, link: Link) -> &mut LinkStatus {
        match link {
            Link::Device => &mut self.device,
            Link::Anonymous => &mut self.anonymous,
        }
    }

    pub(crate) fn set_ready(&mut self, link: Link, ready: bool) {
        let status = self.link_mut(link);
        status.ready = ready;
        if ready {
            status.trouble = None;
        }
        if self.is_ready() {
            self.note = None;
        }
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.note = Some(note);
    }

    pub(crate) fn failed(&mut self, note: Note, stopped: bool) {
        self.device.ready = false;
        self.anonymous.ready = false;
        self.note = Some(note);
        self.stopped = stopped;
    }
}

impl LinkStatus {
    pub(crate) fn down(&mut self, why: Option<ConnectError>) {
        self.ready = false;
        self.trouble = why;
    }
}
