//! [`Client`]: what a program calls. It holds no state of its own: it asks the engine and waits, with a bound.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use stonechat_core::VaultError;
use stonechat_core::api::{
    Command, CommandError, ContactRequest, Conversation, Draft, Hold, Me, Message, MessageId, Outcome, Role, Status,
    Target, Text,
};
use stonechat_core::query::{self, Found};
use stonechat_wire::{AccountId, ConversationId, Handle, HandleError, InviteCode};
use tokio::sync::{Mutex, broadcast, oneshot};

use crate::engine::{self, Answer, Ended, Request};
use crate::error::ClientError;
use crate::home::Home;
use crate::keys::KeySource;
use crate::open::Builder;
use crate::rt::{Instant, sleep, timeout, timeout_at};
use crate::status::{ConnectionStatus, Event};
use crate::vault::SqliteVault;

/// How long [`Client::send`] waits for the server to have the message.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long everything else waits that needs the server.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// An account on this machine. Clones share it.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    engine: engine::Handle,
    /// Gives the home back when the engine has ended; taken by the first to stop it.
    ended: Mutex<Option<Ended>>,
    home: PathBuf,
    key_source: KeySource,
    timeouts: Timeouts,
}

/// How long callers wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// [`SEND_TIMEOUT`] or what stands for it.
    pub send: Duration,
    /// [`COMMAND_TIMEOUT`] or what stands for it.
    pub command: Duration,
}

/// A message that the server has, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The conversation that the message is in.
    pub conversation: ConversationId,
    /// The message's id.
    pub message: MessageId,
}

impl Client {
    /// Opens an existing home: `Client::builder().home(path).open().await`.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(
        engine: engine::Handle,
        ended: Ended,
        home: PathBuf,
        key_source: KeySource,
        timeouts: Timeouts,
    ) -> Self {
        let ended = Mutex::new(Some(ended));
        #[cfg_attr(
            target_arch = "wasm32",
            expect(clippy::arc_with_non_send_sync, reason = "natively it goes to other threads; here there are none")
        )]
        Self { shared: Arc::new(Shared { engine, ended, home, key_source, timeouts }) }
    }

    /// Where this account lives.
    pub fn home(&self) -> &Path {
        &self.shared.home
    }

    /// Where the vault's key is.
    pub fn key_source(&self) -> KeySource {
        self.shared.key_source
    }

    /// How the connections are, now.
    pub fn status(&self) -> ConnectionStatus {
        self.shared.engine.status.borrow().clone()
    }

    /// What happens from now on. A listener that falls more than 1,024 events behind gets [`Event::Missed`] and goes on.
    pub fn events(&self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        let receiver = self.shared.engine.events.resubscribe();
        Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
                Err(broadcast::error::RecvError::Lagged(missed)) => Some((Event::Missed(missed), receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        }))
    }

    /// Waits until both connections can be used.
    ///
    /// # Errors
    /// [`ClientError::Offline`] after `patience`, or sooner when waiting cannot help (a wrong server, a wrong version).
    pub async fn connected(&self, patience: Duration) -> Result<(), ClientError> {
        let mut status = self.shared.engine.status.clone();
        let ready = status.wait_for(|status| status.is_ready() || status.stopped || status.lasting().is_some());
        let now = match timeout(patience, ready).await {
            Ok(Ok(now)) => now.clone(),
            Ok(Err(_)) => return Err(self.stopped()),
            Err(_) => self.status(),
        };
        match now.why() {
            None => Ok(()),
            Some(why) if now.stopped => Err(ClientError::Stopped { why }),
            Some(why) => Err(ClientError::Offline { why }),
        }
    }

    // --- reading: from the vault, without the network ---

    /// This account and device.
    ///
    /// # Errors
    /// When the vault cannot be read; so for every method of this kind.
    pub async fn me(&self) -> Result<Me, ClientError> {
        self.query(|vault| query::me(vault)).await?.ok_or(ClientError::Command(CommandError::NoAccount))
    }

    /// All conversations, the latest first.
    ///
    /// # Errors
    /// As for [`Client::me`].
    pub async fn conversations(&self) -> Result<Vec<Conversation>, ClientError> {
        let mut all = self.query(|vault| query::conversations(vault)).await?;
        for Draft { conversation, text } in self.drafts().await? {
            if let Some(one) = all.iter_mut().find(|one| one.id == conversation) {
                one.draft = Some(text);
            }
        }
        Ok(all)
    }

    /// One conversation.
    ///
    /// # Errors
    /// As for [`Client::me`].
    pub async fn conversation(&self, id: ConversationId) -> Result<Option<Conversation>, ClientError> {
        let Some(mut found) = self.query(move |vault| query::conversation(vault, &id)).await? else { return Ok(None) };
        found.draft = self.drafts().await?.into_iter().find(|draft| draft.conversation == id).map(|draft| draft.text);
        Ok(Some(found))
    }

    /// The last `limit` messages of a conversation, or the last before the message `before`; oldest first.
    ///
    /// # Errors
    /// As for [`Client::me`].
    pub async fn messages(
        &self,
        conversation: ConversationId,
        before: Option<(AccountId, MessageId)>,
        limit: usize,
    ) -> Result<Vec<Message>, ClientError> {
        self.query(move |vault| query::messages(vault, &conversation, before, limit)).await
    }

    /// What a person means by `@handle`, by a group's name, or by the first 8 or more digits of a conversation's id.
    ///
    /// # Errors
    /// [`ClientError::NoTarget`], [`ClientError::Ambiguous`], and as for [`Client::me`].
    pub async fn target(&self, text: &str) -> Result<Target, ClientError> {
        if text.starts_with('@') {
            let no_handle =
                |error: HandleError| ClientError::NoTarget { text: text.to_owned(), why: error.to_string() };
            return Handle::parse(text).map(Target::Person).map_err(no_handle);
        }
        let wanted = text.to_owned();
        match self.query(move |vault| query::find(vault, &wanted)).await? {
            Found::One(id) => Ok(Target::Conversation(id)),
            Found::Several(found) => Err(ClientError::Ambiguous { text: text.to_owned(), found }),
            Found::Nothing => Err(ClientError::NoTarget {
                text: text.to_owned(),
                why: "no group has that name and no conversation that id; people are written with @".into(),
            }),
        }
    }

    /// The conversation that a target names, if there is one yet.
    ///
    /// # Errors
    /// As for [`Client::me`].
    pub async fn find(&self, target: &Target) -> Result<Option<ConversationId>, ClientError> {
        let text = match target {
            Target::Person(handle) => handle.to_string(),
            Target::Conversation(id) => id.to_string(),
        };
        Ok(match self.query(move |vault| query::find(vault, &text)).await? {
            Found::One(id) => Some(id),
            Found::Several(_) | Found::Nothing => None,
        })
    }

    /// Those who want to write to this account, or to have it in a group.
    ///
    /// # Errors
    /// As for [`Client::me`].
    pub async fn requests(&self) -> Result<Vec<ContactRequest>, ClientError> {
        self.query(|vault| query::requests(vault)).await
    }

    /// Anything that a person can ask for, as a value: for a shell that passes on what it is told. Each has a method of its own too.
    ///
    /// # Errors
    /// As for [`Client::accept`].
    pub async fn run(&self, command: Command) -> Result<Outcome, ClientError> {
        self.command(command, self.shared.timeouts.command).await
    }

    // --- writing: saved at once, done with the server in the background; `sync` waits for that ---

    /// Sends a text; returns when the server has it on its disk, with the invitations of those who need one to read it. The
    /// message is saved first, so that it is sent even if this process ends.
    ///
    /// # Errors
    /// [`ClientError::Saved`] when that takes longer than [`SEND_TIMEOUT`], or when no connection can be had for two seconds: it
    /// says what the message waits for.
    pub async fn send(&self, to: Target, text: impl Into<Text>) -> Result<Sent, ClientError> {
        let deadline = Instant::now() + self.shared.timeouts.send;
        let (sent, settled) = self.queue(to, text.into()).await?;
        let Sent { conversation, message } = sent;
        let settled = tokio::select! {
            biased;
            settled = settled => Some(settled),
            () = sleep(deadline.saturating_duration_since(Instant::now())) => None,
            () = self.offline() => None,
        };
        match settled {
            Some(Ok(Status::Failed)) => {
                let why = self.hold(conversation).await;
                Err(ClientError::NotSent { conversation, message, why })
            }
            Some(Ok(_)) => {
                // Who is written to for the first time gets a letter as well. It is saved: if it takes long, it goes later.
                let _ = self.command(Command::PostLetters, deadline.saturating_duration_since(Instant::now())).await;
                Ok(sent)
            }
            Some(Err(_)) => {
                Err(ClientError::Saved { conversation, message, until: "this home is opened again".into() })
            }
            None => {
                let until = match (self.status().why(), self.hold(conversation).await) {
                    (Some(why), _) => format!("there is a connection ({why})"),
                    (None, Some(hold)) => format!("the conversation is ready ({hold})"),
                    (None, None) => "the server has answered".into(),
                };
                Err(ClientError::Saved { conversation, message, until })
            }
        }
    }

    /// Saves a text for sending and returns at once; [`Event::Message`] tells when it is sent.
    ///
    /// # Errors
    /// When the target is unknown, the text empty or too long, or the vault cannot be written.
    pub async fn enqueue(&self, to: Target, text: impl Into<Text>) -> Result<Sent, ClientError> {
        Ok(self.queue(to, text.into()).await?.0)
    }

    /// Waits until every conversation is up to date and nothing waits to be sent.
    ///
    /// # Errors
    /// [`ClientError::Offline`] without a connection, [`ClientError::TimedOut`] after `patience`.
    pub async fn sync(&self, patience: Duration) -> Result<(), ClientError> {
        let deadline = Instant::now() + patience;
        self.connected(patience).await?;
        self.command(Command::Sync, deadline.saturating_duration_since(Instant::now())).await.map(drop)
    }

    /// Accepts somebody's request; returns the conversation.
    ///
    /// # Errors
    /// As the core says, or when there is no connection in time; so for all of the following.
    pub async fn accept(&self, from: Handle) -> Result<Option<ConversationId>, ClientError> {
        Ok(match self.command(Command::Accept { from }, self.shared.timeouts.command).await? {
            Outcome::Conversation(id) => Some(id),
            Outcome::Done | Outcome::Queued { .. } => None,
        })
    }

    /// Declines somebody's request. Nobody is told.
    ///
    /// # Errors
    /// As for [`Client::accept`].
    pub async fn decline(&self, from: Handle) -> Result<(), ClientError> {
        self.command(Command::Decline { from }, self.shared.timeouts.command).await.map(drop)
    }

    /// Makes a group.
    ///
    /// # Errors
    /// As for [`Client::accept`].
    pub async fn create_group(
        &self,
        name: impl Into<Text>,
        members: Vec<Handle>,
    ) -> Result<ConversationId, ClientError> {
        let command = Command::CreateGroup { name: name.into(), members };
        match self.command(command, self.shared.timeouts.command).await? {
            Outcome::Conversation(id) => Ok(id),
            Outcome::Done | Outcome::Queued { .. } => Err(ClientError::Command(CommandError::UnknownConversation)),
        }
    }

    /// Adds people to a group.
    ///
    /// # Errors
    /// As for [`Client::accept`].
    pub async fn add_members(&self, group: ConversationId, members: Vec<Handle>) -> Result<(), ClientError> {
        self.change(Command::AddMembers { group, members }).await
    }

    /// Removes somebody from a group.
    ///
    /// # Errors
    /// As for [`Client::accept`].
    pub async fn remove_member(&self, group: ConversationId, member: Handle) -> Result<(), ClientError> {
        self.change(Command::RemoveMember { group, member }).await
    }

    /// Leaves a group.
    ///
    /// # Errors
    /// As for [`Client::accept`].
    pub async fn leave(&self, group: ConversationId) -> Result<(), ClientError> {
        self.change(Command::Leave { group }).await
    }

    /// Renames a group.
    ///
    /// # Errors
    /// As for [`Client::accept`].
    pub async fn rename(&self, group: ConversationId, name: impl Into<Text>) -> Result<(), ClientError> {
        self.change(Command::Rename { group, name: name.into() }).await
    }

    /// Changes somebody's role in a group.
    ///
    /// # Errors
    /// As for [`Client::accept`].
    pub async fn set_role(&self, group: ConversationId, member: Handle, role: Role) -> Result<(), ClientError> {
        self.change(Command::SetRole { group, member, role }).await
    }

    /// Replaces this device's keys in a conversation: whoever copied them reads nothing that is written after.
    ///
    /// # Errors
    /// As for [`Client::accept`].
    pub async fn refresh(&self, conversation: ConversationId) -> Result<(), ClientError> {
        self.change(Command::Refresh { conversation }).await
    }

    /// Sets a conversation's unread count to zero. Needs no connection.
    ///
    /// # Errors
    /// As for [`Client::me`].
    pub async fn mark_read(&self, conversation: ConversationId) -> Result<(), ClientError> {
        self.command(Command::MarkRead { conversation }, self.shared.timeouts.command).await.map(drop)
    }

    /// Sends what is queued as far as that is quick, closes the connections and the vault, and frees the home: another process
    /// may open it when this returns. Within a few seconds. Clones of this client are of no use afterwards.
    pub async fn shutdown(self) {
        self.stop().await;
    }

    pub(crate) async fn stop(&self) -> Option<Home> {
        // A full queue or a stopped engine: then it ends by itself.
        let _ = timeout(STOP_TIMEOUT, self.shared.engine.requests.send(Request::Stop)).await;
        let ended = self.shared.ended.lock().await.take()?;
        timeout(STOP_TIMEOUT, ended.home()).await.ok()?
    }

    pub(crate) async fn register(&self, invite: Option<InviteCode>) -> Result<(), ClientError> {
        // The same account again is no error: a connection that is lost on the way costs only time.
        self.command(Command::Register { invite }, self.shared.timeouts.command).await.map(drop)
    }

    async fn queue(&self, to: Target, text: Text) -> Result<(Sent, oneshot::Receiver<Status>), ClientError> {
        match self.ask(Command::Send { to, text }, self.shared.timeouts.send).await? {
            Answer { outcome: Outcome::Queued { conversation, message }, settled: Some(settled) } => {
                Ok((Sent { conversation, message }, settled))
            }
            _ => Err(ClientError::Command(CommandError::UnknownConversation)),
        }
    }

    /// Waits until no connection to conversations could be had for [`OFFLINE_AFTER`].
    async fn offline(&self) {
        let mut status = self.shared.engine.status.clone();
        while status.wait_for(|now| !now.anonymous.ready && now.anonymous.trouble.is_some()).await.is_ok() {
            if timeout(OFFLINE_AFTER, status.wait_for(|now| now.anonymous.ready)).await.is_err() {
                return;
            }
        }
        // The engine has ended, and tells that itself.
        std::future::pending::<()>().await;
    }

    async fn change(&self, command: Command) -> Result<(), ClientError> {
        self.command(command, self.shared.timeouts.command).await.map(drop)
    }

    pub(crate) fn patience(&self) -> Duration {
        self.shared.timeouts.command
    }

    pub(crate) async fn command(&self, command: Command, patience: Duration) -> Result<Outcome, ClientError> {
        Ok(self.ask(command, patience).await?.outcome)
    }

    /// A command. When it turns out to need the server, waits for the connection and asks again.
    async fn ask(&self, command: Command, patience: Duration) -> Result<Answer, ClientError> {
        let deadline = Instant::now() + patience;
        loop {
            let (reply, answer) = oneshot::channel();
            let request = Request::Command { command: command.clone(), reply };
            let asked = async {
                self.shared.engine.requests.send(request).await.map_err(|_| self.stopped())?;
                answer.await.map_err(|_| self.stopped())?.map_err(ClientError::from)
            };
            match timeout_at(deadline, asked).await {
                Ok(Err(ClientError::Command(CommandError::Offline))) => {}
                Ok(result) => return result,
                Err(_) => return Err(ClientError::TimedOut { secs: patience.as_secs(), why: self.status().why() }),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.connected(left.min(self.shared.timeouts.send)).await?;
            // The connection may come and go: this loop must not spin.
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Runs on the engine's thread, between two steps.
    pub(crate) async fn job<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut SqliteVault) -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        let (reply, answer) = oneshot::channel();
        let job = Request::Job(Box::new(move |vault| {
            // The caller may have stopped waiting.
            let _ = reply.send(job(vault));
        }));
        let asked = async {
            self.shared.engine.requests.send(job).await.map_err(|_| self.stopped())?;
            answer.await.map_err(|_| self.stopped())
        };
        let late = ClientError::TimedOut { secs: COMMAND_TIMEOUT.as_secs(), why: None };
        timeout(COMMAND_TIMEOUT, asked).await.unwrap_or(Err(late))
    }

    pub(crate) async fn query<T: Send + 'static>(
        &self,
        look: impl FnOnce(&SqliteVault) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, ClientError> {
        Ok(self.job(move |vault| look(vault)).await??)
    }

    async fn hold(&self, conversation: ConversationId) -> Option<Hold> {
        self.conversation(conversation).await.ok()??.hold
    }

    fn stopped(&self) -> ClientError {
        let status = self.status();
        let note = status.note.filter(|_| status.stopped);
        let why = note.map_or_else(|| "it was shut down".into(), |note| note.to_string());
        ClientError::Stopped { why }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("home", &self.shared.home).finish_non_exhaustive()
    }
}

/// A server that starts again, or a network that changes, is back by then.
const OFFLINE_AFTER: Duration = Duration::from_secs(2);
/// Between two attempts at a command whose connection was lost.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// For the engine to take its leave.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
