//! What the client tells unasked.
//!
//! What an event is about can be read at any time: one that is missed costs nothing but time.

use serde::{Deserialize, Serialize};
use stonechat_wire::ConversationId;

use crate::command::{CommandError, CommandId, Outcome};
use crate::reasons::Refusal;
use crate::trust::Alarm;
use crate::view::Message;

/// Which of the two connections. They must not be linkable: the shell opens them independently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Link {
    /// Logged in as this device: inbox, key packages, tokens.
    Device,
    /// Nobody in particular: look-ups, conversations, envelopes.
    Anonymous,
}

/// Something worth telling the person or program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A peer or the server did something that honest software does not do, or that cannot be followed. Never silent, never fatal.
    Refused {
        /// Where, if it was in a conversation.
        conversation: Option<ConversationId>,
        /// What was refused.
        what: Refusal,
    },
    /// The directory, or somebody with this account's keys, did what must not be. Told once for each finding.
    Alarm(Alarm),
}
