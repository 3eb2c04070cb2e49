//! The one thread that owns the core and the vault; everybody else sends it messages. (In a browser: one task of the worker.)
//!
//! For each input: the core takes a step, its changes are committed in one transaction, then its effects are performed. A
//! thread of its own, because a step computes (post-quantum keys) and a commit waits for the disk, and neither may hold up
//! the caller's tasks. Its queues are bounded: a caller waits its turn, a socket is not read while the engine is busy, and
//! whoever listens too slowly to the events is told how many it missed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use rand_core::OsRng;
use stonechat_core::api::{Command, CommandError, CommandId, Effect, Input, Link, Outcome, Status, Step};
use stonechat_core::content::MessageId;
use stonechat_core::{Core, CoreError, api};
use stonechat_wire::{ClientFrame, Timestamp};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use web_time::{SystemTime, UNIX_EPOCH};

use crate::home::Home;
use crate::rt::{self, Pace, Tasks};
use crate::status::{ConnectionStatus, Event, Note};
use crate::transport::{self, LinkEvent, ServerUrl};
use crate::vault::{SqliteVault, VaultProblem};

/// Work on the vault between two steps.
pub(crate) type Job = Box<dyn FnOnce(&mut SqliteVault) + Send>;

/// What callers ask of the engine.
pub(crate) enum Request {
    /// A command for the core.
    Command {
        /// The command that ended.
        command: Command,
        /// How it ended.
        reply: Reply,
    },
    /// A look at the vault.
    Job(Job),
    /// The end. Answered by the thread's return.
    Stop,
}

/// How a command ended well.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What the core says.
    pub outcome: Outcome,
    /// For a message: what becomes of it.
    pub settled: Option<oneshot::Receiver<Status>>,
}

/// Where a command's end is told.
pub(crate) type Reply = oneshot::Sender<Result<Answer, Failed>>;

/// Why a command has no outcome of the core's.
#[derive(Debug, Clone)]
pub(crate) enum Failed {
    /// The core said no.
    Command(CommandError),
    /// The vault could not be written.
    Vault(VaultProblem),
    /// The vault could not be read, or the core found a fault of its own.
    Core(CoreError),
    /// Too many commands wait already.
    Busy,
}

/// The way to a running engine.
pub(crate) struct Handle {
    /// Commands and jobs.
    pub requests: mpsc::Sender<Request>,
    /// News, from when it is subscribed to again. A receiver, so that it ends with the engine.
    pub events: broadcast::Receiver<Event>,
    /// The connections.
    pub status: watch::Receiver<ConnectionStatus>,
}

/// Starts the thread. It gives the home back when it ends: after [`Request::Stop`], when the [`Handle`] is gone, or when the
/// vault keeps failing.
///
/// # Errors
/// When the vault cannot be read or the system gives no thread.
pub(crate) fn start(vault: SqliteVault, home: Home, server: ServerUrl) -> Result<(Handle, Ended), CoreError> {
    let core = Core::open(&vault)?;
    let (requests, request_queue) = mpsc::channel(REQUESTS_MAX);
    let (event_sender, events) = broadcast::channel(EVENTS_MAX);
    let (status_sender, status) = watch::channel(ConnectionStatus::default());
    let (done, ended) = oneshot::channel();
    let engine = Engine {
        vault,
        home: home.dir().to_owned(),
        core,
        rng: OsRng,
        links: [None, None],
        pending: BTreeMap::new(),
        watched: BTreeMap::new(),
        last_command: 0,
        wakes: BTreeSet::new(),
        failures: 0,
        events: event_sender,
        status: status_sender,
    };
    let close = move |vault: SqliteVault| {
        if let Err(problem) = vault.close() {
            tracing::warn!(%problem, "the vault was not closed tidily; nothing is lost");
        }
        // Nobody may wait for it.
        let _ = done.send(home);
    };
    let thread = rt::run_apart(move || engine.run(request_queue, server), close)
        .map_err(|error| CoreError::Bug(format!("no thread for the engine: {error}")))?;
    Ok((Handle { requests, events, status }, Ended { home: ended, thread }))
}

/// The engine's end, for whoever stops it.
pub(crate) struct Ended {
    home: oneshot::Receiver<Home>,
    thread: rt::Apart,
}

impl Ended {
    /// Waits until the vault is closed and the thread is gone: what a thread leaves to be freed when it ends must not
    /// meet the cryptography library's own clean-up when the process exits.
    pub(crate) async fn home(self) -> Option<Home> {
        let home = self.home.await.ok();
        // It has nothing left to do: this takes no time.
        self.thread.join().await;
        home
    }
}

struct Engine {
    vault: SqliteVault,
    /// Where evidence goes.
    home: PathBuf,
    core: Core,
    rng: OsRng,
    /// Where frames go, by [`Link`]; `None` without a connection.
    links: [Option<mpsc::Sender<ClientFrame>>; 2],
    pending: BTreeMap<CommandId, Reply>,
    /// Messages that somebody waits for.
    watched: BTreeMap<MessageId, oneshot::Sender<Status>>,
    last_command: u64,
    wakes: BTreeSet<Timestamp>,
    /// Failures of the vault in a row.
    failures: u32,
    events: broadcast::Sender<Event>,
    status: watch::Sender<ConnectionStatus>,
}

impl Engine {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>, server: ServerUrl) -> SqliteVault {
        let (link_events, mut arrivals) = mpsc::channel(ARRIVALS_MAX);
        let mut links = Tasks::new();
        for link in [Link::Device, Link::Anonymous] {
            links.spawn(transport::run(link, server.clone(), link_events.clone()));
        }
        let mut pace = Pace::new();
        // What was left over from the last process.
        self.step(Input::Tick);
        while self.failures < FAILURES_MAX {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(Request::Command { command, reply }) => self.command(command, reply),
                    Some(Request::Job(job)) => job(&mut self.vault),
                    Some(Request::Stop) | None => break,
                },
                Some((link, event)) = arrivals.recv() => self.arrival(link, event),
                () = rt::sleep(self.until_wake()) => self.tick(),
            }
            pace.breathe().await;
        }
        // No step is taken from here on. What is queued for the server is sent, as far as that is quick.
        let mut open = self.links.iter().flatten().count();
        self.links = [None, None];
        let good_bye = async {
            while open > 0
                && let Some((_, event)) = arrivals.recv().await
            {
                open -= usize::from(matches!(event, LinkEvent::Down { was_up: true, .. }));
            }
        };
        // Whatever is not sent by then is sent by the next process.
        let _ = rt::timeout(LINGER, good_bye).await;
        arrivals.close();
        links.shutdown().await;
        if self.failures >= FAILURES_MAX {
            // Nothing can be done any more, and what is there can still be read.
            while let Some(request) = requests.recv().await {
                match request {
                    Request::Command { reply, .. } => drop(reply),
                    Request::Job(job) => job(&mut self.vault),
                    Request::Stop => break,
                }
            }
        }
        self.vault
    }

    fn command(&mut self, command: Command, reply: Reply) {
        // Callers that gave up need no answer.
        self.pending.retain(|_, reply| !reply.is_closed());
        self.watched.retain(|_, settled| !settled.is_closed());
        if self.pending.len() >= COMMANDS_MAX || self.watched.len() >= COMMANDS_MAX {
            answer(reply, Err(Failed::Busy));
            return;
        }
        self.last_command += 1;
        let id = CommandId(self.last_command);
        self.pending.insert(id, reply);
        self.step(Input::Command { id, command });
    }

    fn arrival(&mut self, link: Link, event: LinkEvent) {
        match event {
            LinkEvent::Connected { host, hello, outgoing } => {
                self.links[slot(link)] = Some(outgoing);
                self.step(Input::Connected { link, host, hello });
            }
            // After a disconnect that the core asked for, what was on its way is of no interest.
            LinkEvent::Frame(_) if self.links[slot(link)].is_none() => {}
            LinkEvent::Frame(frame) => self.step(Input::Frame { link, frame }),
            LinkEvent::Down { was_up, why } => {
                self.links[slot(link)] = None;
                if let Some(why) = &why {
                    tracing::debug!(?link, was_up, "link down: {}", why.kind());
                }
                self.change_status(|status| status.link_mut(link).down(why));
                if was_up {
                    self.step(Input::Disconnected { link });
                }
            }
        }
    }

    fn until_wake(&self) -> Duration {
        let wake = self.wakes.first().map_or(SLEEP_MAX, |at| Duration::from_millis(at.0.saturating_sub(now().0)));
        wake.min(SLEEP_MAX)
    }

    fn tick(&mut self) {
        let later = self.wakes.split_off(&Timestamp(now().0.saturating_add(1)));
        if !std::mem::replace(&mut self.wakes, later).is_empty() {
            self.step(Input::Tick);
        }
    }

    fn step(&mut self, input: Input) {
        let step = match self.core.handle(&self.vault, &mut self.rng, now(), input) {
            Ok(step) => step,
            Err(error) => {
                tracing::error!("the core stopped and is opened again");
                match Core::open(&self.vault) {
                    Ok(core) => self.core = core,
                    Err(_) => self.failures = FAILURES_MAX,
                }
                self.start_over(&Failed::Core(error));
                return;
            }
        };
        let Step { changes, effects, wake_at } = step;
        if !changes.is_empty() {
            if let Err(problem) = self.vault.commit(&changes) {
                self.core.abandon();
                self.start_over(&Failed::Vault(problem));
                return;
            }
            self.failures = 0;
        }
        self.wakes.extend(wake_at.map(|(at, _why)| at));
        while self.wakes.len() > WAKES_MAX {
            // The core names it again when an earlier one has come.
            self.wakes.pop_last();
        }
        for effect in effects {
            self.perform(effect);
        }
    }

    /// Nothing of the last step happened and the core remembers no connection: they are opened again, and whoever waits is told.
    fn start_over(&mut self, why: &Failed) {
        self.failures += 1;
        self.links = [None, None];
        for (_, reply) in std::mem::take(&mut self.pending) {
            answer(reply, Err(why.clone()));
        }
        let note = match why {
            Failed::Vault(problem) => Note::Vault(problem.clone()),
            other => Note::Fault(other.to_string()),
        };
        let last = self.failures >= FAILURES_MAX;
        self.change_status(|status| status.failed(note, last));
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { link, frame } => {
                let to = &mut self.links[slot(link)];
                // A full queue means that the server takes nothing: that connection is as good as lost.
                if to.as_ref().is_some_and(|to| to.try_send(frame).is_err()) {
                    *to = None;
                }
            }
            Effect::Disconnect { link } => self.links[slot(link)] = None,
            Effect::Event(event) => self.event(event),
        }
    }

    fn event(&mut self, event: api::Event) {
        let news = match event {
            api::Event::Finished { command, result } => {
                let Some(reply) = self.pending.remove(&command) else { return };
                let settled = match &result {
                    Ok(Outcome::Queued { message, .. }) => {
                        let (tell, settled) = oneshot::channel();
                        self.watched.insert(*message, tell);
                        Some(settled)
                    }
                    _ => None,
                };
                answer(reply, result.map(|outcome| Answer { outcome, settled }).map_err(Failed::Command));
                return;
            }
            api::Event::Message(message) => {
                if matches!(message.status, Status::Sent | Status::Delivered | Status::Failed)
                    && let Some(settled) = self.watched.remove(&message.id)
                {
                    // The sender may have stopped waiting.
                    let _ = settled.send(message.status);
                }
                Event::Message(message)
            }
            api::Event::Conversation(id) => Event::Conversation(id),
            api::Event::Requests => Event::Requests,
            api::Event::Link { link, ready } => {
                self.change_status(|status| status.set_ready(link, ready));
                return;
            }
            api::Event::Refused { conversation, what } => {
                if conversation.is_none() {
                    let note = Note::Refused(what.clone());
                    self.change_status(|status| status.note(note));
                }
                Event::Refused { conversation, what }
            }
            api::Event::Alarm(alarm) => {
                // The vault has it too: what cannot be written now is written when somebody asks for it.
                if let Err(error) = crate::directory::keep_evidence(&self.home, &alarm) {
                    tracing::warn!(%error, "the evidence of an alarm could not be written");
                }
                Event::Alarm(alarm)
            }
        };
        // Without listeners, news is nobody's.
        let _ = self.events.send(news);
    }

    fn change_status(&self, change: impl FnOnce(&mut ConnectionStatus)) {
        let changed = self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
        if changed {
            let status = self.status.borrow().clone();
            let _ = self.events.send(Event::Connection(status));
        }
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(error) => error.fmt(f),
            Self::Vault(problem) => problem.fmt(f),
            Self::Core(error) => error.fmt(f),
            Self::Busy => write!(f, "{COMMANDS_MAX} commands wait already; let some of them finish first"),
        }
    }
}

fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    // The caller may have stopped waiting.
    let _ = reply.send(value);
}

fn slot(link: Link) -> usize {
    match link {
        Link::Device => 0,
        Link::Anonymous => 1,
    }
}

/// The wall clock; the epoch's start if it is set to before that.
pub(crate) fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// Callers that wait for their turn.
const REQUESTS_MAX: usize = 64;
/// Commands that wait for their end, and messages that are waited for.
const COMMANDS_MAX: usize = 1_024;
/// Frames that arrived and are not handled.
const ARRIVALS_MAX: usize = 256;
/// Events that a listener may be behind.
const EVENTS_MAX: usize = 1_024;
/// Moments that the core asked to be called at.
const WAKES_MAX: usize = 64;
/// After so many failures of the vault in a row the engine stops.
const FAILURES_MAX: u32 = 10;
/// The clock is looked at this often, whatever was asked: it may be set, or the machine may have slept.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// For the last frames and the good-byes.
const LINGER: Duration = Duration::from_secs(2);
