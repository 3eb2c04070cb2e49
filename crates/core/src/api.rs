//! What goes into the core and what comes out. What a person sees and asks is in `stonechat-api`; the rest is between the core
//! and its shell.

use stonechat_wire::{ClientFrame, HelloReply, ServerFrame, Timestamp};

pub use stonechat_api::*;

use crate::store::Change;

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
