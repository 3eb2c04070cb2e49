//! The simulated world: one server, some clients, a network that delays and breaks, a clock that jumps from event to event.
//!
//! Everything that runs is real: cores, vault steps, server services, wire encoding. Everything around them is made from one
//! seed, so that a run can be repeated. A client's disk is what its steps committed; a crash loses the rest.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use futures_util::FutureExt as _;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use sha2::{Digest as _, Sha256};
use stonechat_core::vault::MemoryVault;
use stonechat_core::{Command, CommandError, CommandId, Core, Effect, Event, Input, Link, Outcome, query, sign_up};
use stonechat_server::services::{Services, Session};
use stonechat_server::store::MemoryLog;
use stonechat_wire::{
    ClientFrame, ConversationId, ErrorCode, Failure, Handle, Hello, HelloReply, PROTOCOL_VERSION, Reply, Request,
    ServerFrame, Timestamp, decode, encode,
};

use crate::craft::{Breach, Crafter};
use crate::directory::{self, Shadow, Swap, Witnesses};
use crate::hostile::Tamper;

/// How soon a client dials again, before the network's own delay.
const RECONNECT_MS: u64 = 400;
/// Runs start in the hundred days after this moment, each at its own: no real clock is asked.
const START: Timestamp = Timestamp(1_760_000_000_000);
const START_SPREAD_MS: u64 = 100 * 24 * 3_600 * 1_000;

/// Of requests that a client's core knows nothing of.
const BREACH_ID: u32 = 1 << 30;

/// How long the directory collects changes before it publishes them.
const PUBLISH_MS: u64 = 300;
/// How often it publishes without changes.
const HEARTBEAT_MS: u64 = 3_600_000;

/// What the network and the machines do to the clients.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Chance in 1,000 that a frame breaks its connection instead of arriving.
    pub break_per_mille: u64,
    /// Chance in 1,000 that a client crashes after it committed a step and before it acts.
    pub crash_per_mille: u64,
    /// The longest delay of a frame, in milliseconds.
    pub delay_ms_max: u64,
}

impl Faults {
    /// A network and machines that only delay.
    pub const NONE: Self = Self { break_per_mille: 0, crash_per_mille: 0, delay_ms_max: 40 };
}

/// One client: its disk, its running core, its connections.
pub struct Client {
    /// Without the sign.
    pub handle: Handle,
    /// What survives a crash.
    pub vault: MemoryVault,
    core: Core,
    links: BTreeMap<Link, Connection>,
    /// Kept from the network until this moment.
    pub offline_until: Timestamp,
    /// Every event, in order.
    pub events: Vec<Event>,
    /// How commands ended.
    pub finished: BTreeMap<CommandId, Result<Outcome, CommandError>>,
    /// What its steps commit between crashes, counted.
    pub steps: u64,
    /// Conversations that it was out of at some moment.
    pub left: BTreeSet<ConversationId>,
    /// When its core wants to look again.
    wakes: BTreeSet<Timestamp>,
    /// What it does to its own frames, if it is hostile.
    pub tamper: Option<Tamper>,
    /// What it breaks the rules with, if it is hostile.
    crafter: Crafter,
    /// How the server answered its breaches.
    pub breaches: Vec<Result<Reply, Failure>>,
}

struct Connection {
    number: u64,
    session: Option<Session>,
    /// Frames arrive in the order they were sent.
    to_server_at: Timestamp,
    to_client_at: Timestamp,
}

enum Happening {
    Connect { client: usize, link: Link },
    ToServer { client: usize, link: Link, connection: u64, bytes: Vec<u8> },
    ToClient { client: usize, link: Link, connection: u64, bytes: Vec<u8> },
    Broken { client: usize, link: Link, connection: u64 },
    Wake { client: usize },
    Publish,
    Heartbeat,
}

struct Scheduled {
    at: Timestamp,
    order: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The heap gives the greatest: the earliest is that.
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// All of it.
pub struct World {
    /// The clock.
    pub now: Timestamp,
    /// Everything random.
    pub rng: ChaCha20Rng,
    /// The clients.
    pub clients: Vec<Client>,
    /// What goes wrong at present.
    pub faults: Faults,
    /// What the server does to what it sends, if it is hostile.
    pub hostile_server: Option<Tamper>,
    /// Who confirms what the directory publishes.
    pub witnesses: Witnesses,
    /// Another directory with the same keys.
    pub shadow: Option<Shadow>,
    /// Whether the directory publishes.
    pub publishing: bool,
    /// It answers nobody.
    pub directory_down: bool,
    /// What the server changes in its answers about accounts, and for whom.
    pub hostile_directory: Option<(usize, Swap)>,
    services: Services<MemoryLog>,
    queue: BinaryHeap<Scheduled>,
    order: u64,
    connections: u64,
    commands: u64,
    frames: Sha256,
}

impl World {
    /// A server and nobody else.
    ///
    /// # Panics
    /// When the token key cannot be made, which is a bug.
    pub fn new(seed: u64) -> Self {
        Self::make(seed, false)
    }

    /// The same with a second directory, which mirrors the first until somebody says otherwise.
    ///
    /// # Panics
    /// As for [`World::new`].
    pub fn with_shadow(seed: u64) -> Self {
        Self::make(seed, true)
    }

    fn make(seed: u64, lying: bool) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (mut token_seed, mut directory_seed) = ([0; 32], [0; 32]);
        rng.fill_bytes(&mut token_seed);
        rng.fill_bytes(&mut directory_seed);
        let witnesses = Witnesses::new(&mut rng);
        let now = START.plus_millis(rng.next_u64() % START_SPREAD_MS);
        let make = || directory::services(&token_seed, &directory_seed, &witnesses);
        let shadow = lying.then(|| Shadow { services: make(), mirrored: true, victim: None });
        let services = make();
        let mut world = Self {
            now,
            rng,
            clients: Vec::new(),
            faults: Faults::NONE,
            hostile_server: None,
            witnesses,
            shadow,
            publishing: true,
            directory_down: false,
            hostile_directory: None,
            services,
            queue: BinaryHeap::new(),
            order: 0,
            connections: 0,
            commands: 0,
            frames: Sha256::new(),
        };
        world.schedule(0, Happening::Heartbeat);
        world
    }

    /// A hash over every frame that was put on the network: when, between whom, its bytes. Two runs that agree in it are the
    /// same run.
    pub fn digest(&self) -> [u8; 32] {
        self.frames.clone().finalize().into()
    }

    fn note_frame(&mut self, client: usize, link: Link, to_server: bool, bytes: &[u8]) {
        let head = [self.now.0, client as u64, u64::from(link == Link::Device), to_server.into(), bytes.len() as u64];
        for number in head {
            self.frames.update(number.to_be_bytes());
        }
        self.frames.update(bytes);
    }

    /// The server's store, as an adversary would see it.
    pub fn store(&self) -> &MemoryLog {
        self.services.store()
    }

    /// Chance of `per_mille` in 1,000.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.rng.next_u64() % 1_000 < per_mille
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.next_u64() % (bound.max(1) as u64)).unwrap_or(0)
    }

    /// Adds a client that signs up under a handle.
    ///
    /// # Panics
    /// When signing up fails, which is a bug.
    pub fn join(&mut self, handle: &str) -> usize {
        let handle = Handle::parse(handle).expect("the scenario's handles are valid");
        let mut vault = MemoryVault::default();
        let made = sign_up(&vault, &mut self.rng, self.now, handle.clone(), "sim".into()).expect("a fresh vault");
        vault.commit(made.changes);
        let core = Core::open(&vault).expect("a memory vault is readable");
        self.clients.push(Client {
            handle,
            vault,
            core,
            links: BTreeMap::new(),
            offline_until: Timestamp(0),
            events: Vec::new(),
            finished: BTreeMap::new(),
            steps: 0,
            left: BTreeSet::new(),
            wakes: BTreeSet::new(),
            tamper: None,
            crafter: Crafter::default(),
            breaches: Vec::new(),
        });
        let client = self.clients.len() - 1;
        for link in [Link::Device, Link::Anonymous] {
            self.schedule(1, Happening::Connect { client, link });
        }
        client
    }

    fn schedule(&mut self, delay_ms: u64, what: Happening) {
        self.schedule_at(self.now.plus_millis(delay_ms), what);
    }

    fn schedule_at(&mut self, at: Timestamp, what: Happening) {
        self.order += 1;
        self.queue.push(Scheduled { at, order: self.order, what });
    }

    fn delay(&mut self) -> u64 {
        1 + self.rng.next_u64() % self.faults.delay_ms_max.max(1)
    }

    /// Gives a client a command.
    pub fn command(&mut self, client: usize, command: Command) -> CommandId {
        self.commands += 1;
        let id = CommandId(self.commands);
        self.input(client, Input::Command { id, command });
        id
    }

    /// Has a client post a commit that breaks a rule. Returns whether there is one to post, and a connection for it.
    pub fn breach(&mut self, client: usize, id: ConversationId, breach: Breach) -> bool {
        let Client { vault, crafter, links, .. } = &mut self.clients[client];
        if !links.contains_key(&Link::Anonymous) {
            return false;
        }
        let mut server = directory::Publisher {
            services: &self.services,
            witnesses: &self.witnesses,
            now: self.now,
            rng: ChaCha20Rng::seed_from_u64(self.rng.next_u64()),
        };
        let made = crafter.breach(vault, &mut server, &mut self.rng, self.now, id, breach);
        let Some(request) = made else { return false };
        self.send_to_server(client, Link::Anonymous, &ClientFrame { id: BREACH_ID, request });
        true
    }

    /// A connection of somebody who has no client of ours, and the server's greeting.
    ///
    /// # Panics
    /// When the server does not speak its own version, which is a bug.
    pub fn dial(&mut self) -> (Session, HelloReply) {
        let session = Session::new("sim".into(), &mut self.rng);
        let hello = Hello { version: PROTOCOL_VERSION };
        let greeting = self.services.greet(&session, self.now, &hello).expect("the server's own version");
        (session, greeting)
    }

    /// What the server answers on such a connection.
    ///
    /// # Panics
    /// When the store in memory makes it wait, which is a bug.
    pub fn ask(&mut self, session: &mut Session, request: Request) -> Result<Reply, Failure> {
        let answer = self.services.handle(session, self.now, &mut self.rng, request).now_or_never();
        answer.expect("the memory log completes at once")
    }

    /// Takes a client off the network for a while.
    pub fn offline(&mut self, client: usize, ms: u64) {
        self.clients[client].offline_until = self.now.plus_millis(ms);
        self.drop_links(client);
    }

    /// A client's process dies; it starts again at once from its disk.
    pub fn crash(&mut self, client: usize) {
        self.clients[client].links.clear();
        self.clients[client].wakes.clear();
        self.clients[client].core = Core::open(&self.clients[client].vault).expect("a memory vault is readable");
        for link in [Link::Device, Link::Anonymous] {
            let delay = RECONNECT_MS + self.delay();
            self.schedule(delay, Happening::Connect { client, link });
        }
    }

    /// The server's process dies and starts again: every connection is gone, everything acknowledged is there.
    pub fn restart_server(&mut self) {
        for client in 0..self.clients.len() {
            self.drop_links(client);
        }
    }

    fn drop_links(&mut self, client: usize) {
        let gone: Vec<_> = self.clients[client].links.iter().map(|(link, c)| (*link, c.number)).collect();
        for (link, connection) in gone {
            self.schedule(0, Happening::Broken { client, link, connection });
        }
    }

    /// Runs until nothing is left to happen or the clock reaches `until`.
    pub fn run_until(&mut self, until: Timestamp) {
        while self.queue.peek().is_some_and(|next| next.at <= until) {
            let Some(next) = self.queue.pop() else { break };
            self.now = self.now.max(next.at);
            self.happen(next.what);
        }
        self.now = self.now.max(until);
    }

    /// Runs for so long.
    pub fn run_ms(&mut self, ms: u64) {
        self.run_until(self.now.plus_millis(ms));
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Connect { client, link } => self.connect(client, link),
            Happening::ToServer { client, link, connection, bytes } => {
                if self.is_current(client, link, connection) {
                    self.serve(client, link, connection, &bytes);
                    self.push_to_everybody();
                }
            }
            Happening::ToClient { client, link, connection, bytes } => {
                if self.is_current(client, link, connection) {
                    match decode::<ServerFrame>(&bytes) {
                        Ok(ServerFrame::Hello(hello)) => {
                            self.input(client, Input::Connected { link, host: "sim".into(), hello });
                        }
                        Ok(frame) => self.input(client, Input::Frame { link, frame }),
                        Err(_) => self.schedule(0, Happening::Broken { client, link, connection }),
                    }
                }
            }
            Happening::Broken { client, link, connection } => {
                if self.is_current(client, link, connection) {
                    self.clients[client].links.remove(&link);
                    self.input(client, Input::Disconnected { link });
                    let delay = RECONNECT_MS + self.delay();
                    self.schedule(delay, Happening::Connect { client, link });
                }
            }
            Happening::Wake { client } => {
                // One tick for all that is due, as the shell of a real client has it.
                let later = self.clients[client].wakes.split_off(&self.now.plus_millis(1));
                if !std::mem::replace(&mut self.clients[client].wakes, later).is_empty() {
                    self.input(client, Input::Tick);
                }
            }
            Happening::Publish => self.publish(),
            Happening::Heartbeat => {
                self.publish();
                self.schedule(HEARTBEAT_MS, Happening::Heartbeat);
            }
        }
    }

    /// The directory publishes what has changed.
    ///
    /// # Panics
    /// When it cannot, which is a bug.
    pub fn publish(&mut self) {
        if !self.publishing {
            return;
        }
        let publish = |services: &Services<MemoryLog>, now| {
            let done = services.publish(now).now_or_never().expect("the memory log completes at once");
            done.expect("a memory log can be written");
        };
        publish(&self.services, self.now);
        if let Some(shadow) = &self.shadow {
            publish(&shadow.services, self.now);
        }
    }

    fn is_current(&self, client: usize, link: Link, connection: u64) -> bool {
        self.clients[client].links.get(&link).is_some_and(|c| c.number == connection)
    }

    fn connect(&mut self, client: usize, link: Link) {
        if self.clients[client].links.contains_key(&link) {
            return;
        }
        if self.now < self.clients[client].offline_until {
            let back = self.clients[client].offline_until.plus_millis(1);
            return self.schedule_at(back, Happening::Connect { client, link });
        }
        self.connections += 1;
        let connection = self.connections;
        let session = Session::new("sim".into(), &mut self.rng);
        let hello = match self.services.greet(&session, self.now, &Hello { version: PROTOCOL_VERSION }) {
            Ok(hello) => ServerFrame::Hello(hello),
            Err(failure) => ServerFrame::Closing(failure),
        };
        let state =
            Connection { number: connection, session: Some(session), to_server_at: self.now, to_client_at: self.now };
        self.clients[client].links.insert(link, state);
        self.send_to_client(client, link, &hello);
    }

    fn send_to_client(&mut self, client: usize, link: Link, frame: &ServerFrame) {
        let bytes = encode(frame);
        self.note_frame(client, link, false, &bytes);
        let delay = self.delay();
        let broken = self.chance(self.faults.break_per_mille);
        let Some(connection) = self.clients[client].links.get_mut(&link) else { return };
        let at = self.now.plus_millis(delay).max(connection.to_client_at);
        connection.to_client_at = at;
        let number = connection.number;
        let what = if broken {
            Happening::Broken { client, link, connection: number }
        } else {
            Happening::ToClient { client, link, connection: number, bytes }
        };
        self.schedule_at(at, what);
    }

    fn send_to_server(&mut self, client: usize, link: Link, frame: &ClientFrame) {
        let bytes = encode(frame);
        self.note_frame(client, link, true, &bytes);
        let delay = self.delay();
        let broken = self.chance(self.faults.break_per_mille);
        let Some(connection) = self.clients[client].links.get_mut(&link) else { return };
        let at = self.now.plus_millis(delay).max(connection.to_server_at);
        connection.to_server_at = at;
        let number = connection.number;
        let what = if broken {
            Happening::Broken { client, link, connection: number }
        } else {
            Happening::ToServer { client, link, connection: number, bytes }
        };
        self.schedule_at(at, what);
    }

    fn serve(&mut self, client: usize, link: Link, connection: u64, bytes: &[u8]) {
        let Ok(ClientFrame { id, request }) = decode::<ClientFrame>(bytes) else {
            return self.schedule(0, Happening::Broken { client, link, connection });
        };
        let Some(mut session) = self.clients[client].links.get_mut(&link).and_then(|c| c.session.take()) else {
            return;
        };
        let (shadowed, changes) =
            (self.shadow.as_ref().is_some_and(|s| s.answers(client, &request)), changes(&request));
        let asks_directory = directory::is_question(&request);
        if changes {
            self.mirror(&request);
            self.schedule(PUBLISH_MS, Happening::Publish);
        }
        let services = match &self.shadow {
            Some(shadow) if shadowed => &shadow.services,
            _ => &self.services,
        };
        let answer = services
            .handle(&mut session, self.now, &mut self.rng, request)
            .now_or_never()
            .expect("the memory log completes at once");
        if let Some(state) = self.clients[client].links.get_mut(&link) {
            state.session = Some(session);
        }
        if id == BREACH_ID {
            // Its client did not ask.
            return self.clients[client].breaches.push(answer);
        }
        let frame = match answer {
            Ok(_) | Err(_) if asks_directory && self.directory_down => {
                let failure = Failure { code: ErrorCode::Unavailable, retry_after_secs: None, detail: None };
                ServerFrame::Refused(id, failure)
            }
            Ok(reply) => ServerFrame::Reply(id, reply),
            Err(failure) => ServerFrame::Refused(id, failure),
        };
        self.deliver(client, link, frame);
    }

    fn mirror(&mut self, request: &Request) {
        let Some(shadow) = self.shadow.as_ref().filter(|shadow| shadow.mirrored) else { return };
        let copy = match request {
            Request::CreateAccount { genesis, invite } => {
                Request::CreateAccount { genesis: genesis.clone(), invite: *invite }
            }
            Request::ExtendAccount { account, entry } => {
                Request::ExtendAccount { account: *account, entry: entry.clone() }
            }
            _ => return,
        };
        let mut session = Session::new("sim".into(), &mut self.rng);
        let done = shadow.services.handle(&mut session, self.now, &mut self.rng, copy).now_or_never();
        // What the first one rejects, this one rejects too.
        drop(done.expect("the memory log completes at once"));
    }

    /// Adds an entry to an account log, as whoever has a key of the account can.
    ///
    /// # Panics
    /// When the server rejects it.
    pub fn extend_account(&mut self, account: stonechat_wire::AccountId, entry: stonechat_wire::LogEntry) {
        let request = Request::ExtendAccount { account, entry };
        self.mirror(&request);
        let mut session = Session::new("sim".into(), &mut self.rng);
        let done = self.services.handle(&mut session, self.now, &mut self.rng, request).now_or_never();
        done.expect("the memory log completes at once").expect("a valid entry");
        self.schedule(PUBLISH_MS, Happening::Publish);
    }

    fn push_to_everybody(&mut self) {
        for client in 0..self.clients.len() {
            for link in [Link::Device, Link::Anonymous] {
                let Some(mut session) = self.clients[client].links.get_mut(&link).and_then(|c| c.session.take()) else {
                    continue;
                };
                let pushes: Result<_, Failure> = self
                    .services
                    .pushes(&mut session, self.now)
                    .now_or_never()
                    .expect("the memory log completes at once");
                if let Some(state) = self.clients[client].links.get_mut(&link) {
                    state.session = Some(session);
                }
                for push in pushes.unwrap_or_default() {
                    self.deliver(client, link, ServerFrame::Push(push));
                }
            }
        }
    }

    /// Sends a frame of the server, through its tampering if it is hostile.
    fn deliver(&mut self, client: usize, link: Link, frame: ServerFrame) {
        let mut tamper = self.hostile_server.take();
        let frames = match &mut tamper {
            Some(tamper) => tamper.of_server(client, frame, &mut self.rng),
            None => vec![frame],
        };
        self.hostile_server = tamper;
        for frame in frames {
            let frame = self.witnesses.cosign(frame, self.now);
            let frame = match self.hostile_directory {
                Some((victim, swap)) if victim == client => swap.of(frame),
                _ => frame,
            };
            self.send_to_client(client, link, &frame);
        }
    }

    /// Feeds a client one input: step, commit, perhaps a crash, effects.
    ///
    /// # Panics
    /// When the core fails, which is a bug that the seed shows.
    pub fn input(&mut self, client: usize, input: Input) {
        let this = &mut self.clients[client];
        let kind = kind_of(&input);
        let step = match this.core.handle(&this.vault, &mut self.rng, self.now, input) {
            Ok(step) => step,
            Err(error) => panic!("{} failed at {kind} after {} steps: {error}", this.handle, this.steps),
        };
        this.vault.commit(step.changes);
        this.steps += 1;
        if self.chance(self.faults.crash_per_mille) {
            return self.crash(client);
        }
        for effect in step.effects {
            match effect {
                Effect::Send { link, frame } => {
                    let mut tamper = self.clients[client].tamper.take();
                    let frames = match &mut tamper {
                        Some(tamper) => tamper.of_member(frame, &mut self.rng),
                        None => vec![frame],
                    };
                    self.clients[client].tamper = tamper;
                    for frame in frames {
                        self.send_to_server(client, link, &frame);
                    }
                }
                Effect::Disconnect { link } => {
                    if let Some(connection) = self.clients[client].links.get(&link).map(|c| c.number) {
                        self.schedule(0, Happening::Broken { client, link, connection });
                    }
                }
                Effect::Event(event) => {
                    if let Event::Finished { command, result } = &event {
                        self.clients[client].finished.insert(*command, result.clone());
                    }
                    if let Event::Conversation(id) = &event {
                        self.note_membership(client, *id);
                    }
                    self.clients[client].events.push(event);
                }
            }
        }
        if let Some((at, _)) = step.wake_at {
            let at = at.max(self.now.plus_millis(1));
            if self.clients[client].wakes.insert(at) {
                self.schedule_at(at, Happening::Wake { client });
            }
        }
    }

    /// Remembers whether a client is out of a conversation.
    pub fn note_membership(&mut self, client: usize, id: ConversationId) {
        let this = &mut self.clients[client];
        if query::conversation(&this.vault, &id).is_ok_and(|c| c.is_some_and(|c| !c.active)) {
            this.left.insert(id);
        }
    }

    /// The transcript that a client shows of a conversation: sender and text, in order.
    ///
    /// # Panics
    /// When the vault cannot be read, which is a bug.
    pub fn transcript(&self, client: usize, id: &ConversationId) -> Vec<stonechat_core::Message> {
        query::messages(&self.clients[client].vault, id, None, usize::MAX).expect("a memory vault is readable")
    }
}

fn changes(request: &Request) -> bool {
    matches!(request, Request::CreateAccount { .. } | Request::ExtendAccount { .. })
}

/// For whoever reads a panic. Printing whole inputs would cost more than handling them.
fn kind_of(input: &Input) -> String {
    match input {
        Input::Connected { link, .. } => format!("the opening of {link:?}"),
        Input::Disconnected { link } => format!("the loss of {link:?}"),
        Input::Frame { link, frame } => match frame {
            ServerFrame::Reply(id, _) => format!("the answer to {id} on {link:?}"),
            ServerFrame::Refused(id, failure) => format!("the refusal of {id} on {link:?}: {failure}"),
            ServerFrame::Push(_) => format!("a push on {link:?}"),
            ServerFrame::Hello(_) | ServerFrame::Closing(_) => format!("a greeting or goodbye on {link:?}"),
        },
        Input::Command { command, .. } => format!("{command:?}"),
        Input::Tick => "a tick".to_owned(),
    }
}
