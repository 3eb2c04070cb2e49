//! Several servers over one store, each with caches of its own: seeded histories against a model. Requests go to any server,
//! answers are lost and requests sent again elsewhere, servers start again with nothing in memory.

use std::collections::BTreeMap;

use stonechat_wire::{ErrorCode, Failure, Reply, Request, Seq};

use super::Session;
use super::testing::{Chat, Epoch, World, world};

struct Servers {
    servers: Vec<World>,
    sessions: Vec<Session>,
    random: u64,
}

impl Servers {
    fn new(count: usize, seed: u64) -> Self {
        let first = world();
        let mut servers: Vec<World> = (1..count).map(|_| first.beside()).collect();
        servers.push(first);
        let sessions = servers.iter().map(World::session).collect();
        Self { servers, sessions, random: seed }
    }

    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64, Steele et al. 2014.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % bound
    }

    fn ask(&mut self, at: usize, request: Request) -> Result<Seq, Failure> {
        match self.servers[at].ask(&mut self.sessions[at], request)? {
            Reply::Appended { seq, .. } => Ok(seq),
            other => panic!("{other:?}"),
        }
    }

    /// A server starts again: it knows only what the store has.
    fn restart(&mut self, at: usize) {
        self.servers[at] = self.servers[at].beside();
        self.sessions[at] = self.servers[at].session();
    }
}

/// A request that names nothing but its fields, so that it can be sent twice.
fn again(request: &Request) -> Request {
    stonechat_wire::decode(&stonechat_wire::encode(request)).expect("what was encoded")
}

fn history(seed: u64) {
    let mut servers = Servers::new(3, seed);
    let chat: Chat = servers.servers[0].chat(&mut servers.servers[0].session());
    let mut epoch: Epoch = chat.first;
    let mut before: Option<Epoch> = None;
    let mut log: BTreeMap<Seq, Vec<u8>> = BTreeMap::new();
    let mut last = 1;
    for step in 0..60_u32 {
        let (at, elsewhere) = (servers.below(3), servers.below(3));
        let blob = [&seed.to_be_bytes()[..], &step.to_be_bytes()].concat();
        match servers.below(8) {
            0 => servers.restart(at),
            // Two members commit at two servers: the first ends the epoch for both.
            1 => {
                let (mine, next) = chat.commit(&epoch, last + 1, &blob, None);
                let (theirs, _) = chat.commit(&epoch, last + 1, b"too late", None);
                assert_eq!(servers.ask(at, mine), Ok(Seq(last + 1)), "{seed}:{step}");
                let lost = servers.ask(elsewhere, theirs).expect_err("two winners");
                assert_eq!(lost.code, ErrorCode::EpochOver, "{seed}:{step}");
                last += 1;
                log.insert(Seq(last), blob);
                before = Some(std::mem::replace(&mut epoch, next));
            }
            2 => {
                if let Some(over) = &before {
                    let late = servers.ask(at, chat.say(over, &blob)).expect_err("over");
                    assert_eq!(late.code, ErrorCode::EpochOver, "{seed}:{step}");
                }
            }
            // The answer is lost, and the request sent again to another server.
            3 => {
                let request = chat.say(&epoch, &blob);
                let first = servers.ask(at, again(&request));
                assert_eq!(servers.ask(elsewhere, request), first, "{seed}:{step}");
                last += 1;
                log.insert(first.expect("made"), blob);
            }
            _ => {
                last += 1;
                assert_eq!(servers.ask(at, chat.say(&epoch, &blob)), Ok(Seq(last)), "{seed}:{step}: no false refusal");
                log.insert(Seq(last), blob);
            }
        }
    }
    let Servers { servers, .. } = servers;
    for server in &servers {
        let stored = server.records(&chat);
        assert_eq!(stored, log, "{seed}: every acknowledged entry is there once");
    }
}

#[test]
fn servers_over_one_store_answer_as_one() {
    (0..30).for_each(history);
}

#[test]
fn the_rate_of_commits_holds_over_all_servers() {
    let mut servers = Servers::new(2, 0);
    let chat = servers.servers[0].chat(&mut servers.servers[0].session());
    let (mut epoch, mut made) = (chat.first, 0_u64);
    let refused = loop {
        let (commit, next) = chat.commit(&epoch, made + 2, &made.to_be_bytes(), None);
        match servers.ask(made as usize % 2, commit) {
            Ok(_) => made += 1,
            Err(failure) => break failure,
        }
        epoch = next;
    };
    assert_eq!((made, refused.code), (120, ErrorCode::Slow));
}

#[test]
fn only_servers_with_the_same_keys_share_a_store() {
    use futures_util::FutureExt as _;
    let one = world();
    let shares = |world: &World| {
        world.services.shares_keys(world.now.get()).now_or_never().expect("a store in memory never waits")
    };
    assert_eq!([shares(&one), shares(&one), shares(&one.beside())], [Ok(true), Ok(true), Ok(true)]);
    assert_eq!(shares(&one.beside_with(&[9; 32])), Ok(false));
}
