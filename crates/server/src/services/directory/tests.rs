//! The directory as clients, witnesses and auditors see it; and what is left of it after a crash between any two writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ed25519_dalek::SigningKey;
use futures_util::FutureExt as _;
use stonechat_directory::head::HEARTBEAT_SECS;
use stonechat_directory::note::KeyKind;
use stonechat_directory::{
    Asked, Audit, DirectoryPolicy, Head, SignedNote, Source, VerifiedAccount, VerifiedHistory, VerifierKey, tlog,
};
use stonechat_wire::limits::INBOX_KEY_BYTES;
use stonechat_wire::{AccountState, DeviceId, DeviceKeys, LogBody, Request, Signer};

use super::*;
use crate::directory::{DirectoryKeys, DirectorySettings};
use crate::services::testing::{Person, World, person, world};
use crate::services::{Settings, TokenKey};
use crate::store::{Entry, Key, MemoryLog, Size, Watcher};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a store in memory never waits")
}

fn services<S: KeyedLog>(store: S, node: &str, witnesses: &[&VerifierKey]) -> Services<S> {
    let witnesses: Vec<VerifierKey> = witnesses.iter().copied().cloned().collect();
    let threshold = u32::try_from(witnesses.len()).unwrap();
    let directory = DirectorySettings { origin: None, witnesses, threshold, node: node.to_owned() };
    let settings = Settings { directory, ..Settings::default() };
    Services::new(store, TokenKey::from_seed(&[7; 32]), DirectoryKeys::from_seed(&[8; 32]), settings).unwrap()
}

fn add_device(to: &Person, log: &AccountLog, n: u8) -> LogEntry {
    let secret = SigningKey::from_bytes(&[n; 32]);
    let keys =
        DeviceKeys { id: DeviceId([n; 16]), signature: secret.verifying_key().to_bytes(), inbox: [n; INBOX_KEY_BYTES] };
    let (by, new) = (Signer::Device(to.device), Signer::Device(keys.id));
    let previous = log.0.last().unwrap().hash();
    LogEntry::sign(&LogBody::AddDevice { previous, device: keys, at: NOW }, &[(by, &to.secret), (new, &secret)])
}

fn proven(world: &World, asked: Asked<'_>) -> VerifiedAccount {
    let request = match asked {
        Asked::Handle(handle) => Request::LookUpHandle { handle: handle.clone() },
        Asked::Account(account) => Request::GetAccount { account: *account },
    };
    let Ok(Reply::Account(found)) = world.ask(&mut world.session(), request) else { panic!() };
    VerifiedAccount::verify(world.services.directory().policy(), asked, &found.log, &found.proof).unwrap()
}

/// A directory as its HTTP routes serve it.
struct Served<'a, S: KeyedLog>(&'a Directory<S>);

impl<S: KeyedLog> Source for Served<'_, S> {
    type Error = String;
    fn get(&mut self, path: &str, _: usize) -> Result<Vec<u8>, String> {
        let found = if let Some(epoch) = path.strip_prefix("audit/") {
            ready(self.0.audit_proof(epoch.parse().unwrap()))
        } else {
            let (level, rest) = path.strip_prefix("tile/").unwrap().split_once('/').unwrap();
            let (index, width) = tlog::parse_tile_path(rest).unwrap();
            ready(self.0.tile(level.parse().ok(), index, width))
        };
        found.unwrap().ok_or_else(|| path.to_owned())
    }
}

/// Verifies a directory's whole history from outside.
fn audit<S: KeyedLog>(audit: &mut Audit, directory: &Directory<S>) {
    let note = SignedNote::parse(directory.checkpoint().unwrap().as_bytes()).unwrap();
    audit.advance(&mut Served(directory), &note, |_, _| ()).unwrap_or_else(|stop| panic!("{stop:?}"));
}

#[test]
fn an_account_comes_with_proof_once_it_is_published() {
    let world = world();
    let alice = person("alice");
    world.ask(&mut world.session(), Request::CreateAccount { genesis: alice.genesis.clone(), invite: None }).unwrap();
    let handle = Handle::parse("alice").unwrap();
    let look_up = || Request::LookUpHandle { handle: handle.clone() };
    assert_eq!(world.refused(&mut world.session(), look_up()), ErrorCode::Unpublished);
    assert_eq!(world.publish(), Publication::Published(2), "the empty directory, and alice's epoch");
    assert_eq!(world.publish(), Publication::Nothing);
    let found = proven(&world, Asked::Handle(&handle));
    assert_eq!((found.state.id(), found.log.version, found.handle.unwrap().version), (alice.account, 1, 1));
    assert_eq!(proven(&world, Asked::Account(&alice.account)).handle, None);
    let mut device = world.device(&person("bob"));
    world.publish();
    let Ok(Reply::Account(own)) = world.ask(&mut device, look_up()) else { panic!("a device may look handles up") };
    assert!(own.proof.handle.is_some());
}

#[test]
fn a_log_grows_by_valid_entries_only_and_is_shown_as_far_as_it_is_published() {
    let world = world();
    let alice = person("alice");
    let mut session = world.device(&alice);
    world.publish();
    let log = AccountLog(List::new(vec![alice.genesis.clone()]).unwrap());
    let entry = add_device(&alice, &log, 1);
    let extend = |entry: &LogEntry| Request::ExtendAccount { account: alice.account, entry: entry.clone() };
    let mut forged = entry.clone();
    forged.signatures = alice.genesis.signatures.clone();
    assert_eq!(world.refused(&mut session, extend(&forged)), ErrorCode::InvalidAccount);
    for _ in 0..2 {
        assert_eq!(world.ask(&mut session, extend(&entry)), Ok(Reply::Done), "the same again is no error");
    }
    assert_eq!(proven(&world, Asked::Account(&alice.account)).state.head().0, 1, "not published yet");
    world.publish();
    let found = proven(&world, Asked::Account(&alice.account));
    assert_eq!((found.state.head().0, found.log.version), (2, 2));
    assert_eq!(world.refused(&mut session, extend(&add_device(&alice, &log, 2))), ErrorCode::InvalidAccount);
    let mut other = world.device(&person("bob"));
    assert_eq!(world.refused(&mut other, extend(&entry)), ErrorCode::WrongConnection);
    assert_eq!(world.ask(&mut world.session(), extend(&entry)), Ok(Reply::Done), "a recovery key needs no log-in");
}

#[test]
fn a_revoked_device_leaves_nothing_behind() {
    let world = world();
    let alice = person("alice");
    let mut session = world.device(&alice);
    let packages = List::new(vec![Bytes::new(b"package".to_vec()).unwrap()]).unwrap();
    world.ask(&mut session, Request::PublishKeyPackages { packages, last_resort: None }).unwrap();
    let key = keys::key_packages(&alice.account, &alice.device);
    assert!(ready(world.services.store().last(&key, NOW)).unwrap().is_some());
    let body = LogBody::RevokeDevice { previous: alice.genesis.hash(), device: alice.device, at: NOW };
    let entry = LogEntry::sign(&body, &[(Signer::Device(alice.device), &alice.secret)]);
    world.ask(&mut session, Request::ExtendAccount { account: alice.account, entry }).unwrap();
    assert!(ready(world.services.store().last(&key, NOW)).unwrap().is_none());
    let refused = ready(world.services.pushes(&mut session, NOW)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotAuthenticated, "its open connection ends");
}

#[test]
fn a_device_that_stays_keeps_its_connection_when_the_log_grows() {
    let world = world();
    let alice = person("alice");
    let mut session = world.device(&alice);
    let entry = add_device(&alice, &AccountLog(List::new(vec![alice.genesis.clone()]).unwrap()), 1);
    world.ask(&mut session, Request::ExtendAccount { account: alice.account, entry }).unwrap();
    session.collect_wakes();
    assert!(session.has_work());
    assert_eq!(ready(world.services.pushes(&mut session, NOW)), Ok(Vec::new()));
    assert!(!session.has_work());
}

#[test]
fn what_a_crash_kept_out_of_the_queue_is_published_after_the_next_look_up() {
    let world = world();
    let alice = person("alice");
    world.device(&alice);
    world.publish();
    let entry = add_device(&alice, &AccountLog(List::new(vec![alice.genesis.clone()]).unwrap()), 1);
    // As a crash between the log and the queue leaves it.
    let store = world.services.store();
    let key = keys::account(&alice.account);
    let appended = ready(store.append(&key, Expect::Last(Seq(1)), encode(&entry), None, NOW));
    assert!(matches!(appended, Ok(Append::Appended(_))));
    world.publish();
    assert_eq!(proven(&world, Asked::Account(&alice.account)).state.head().0, 1);
    world.publish();
    assert_eq!(proven(&world, Asked::Account(&alice.account)).state.head().0, 2);
}

#[test]
fn an_account_sees_its_own_history() {
    let world = world();
    let alice = person("alice");
    let mut session = world.device(&alice);
    world.publish();
    let mut entries = vec![alice.genesis.clone()];
    for n in 1..=5 {
        let entry = add_device(&alice, &AccountLog(List::new(entries.clone()).unwrap()), n);
        world.ask(&mut session, Request::ExtendAccount { account: alice.account, entry: entry.clone() }).unwrap();
        entries.push(entry);
        world.publish();
    }
    let policy = world.services.directory().policy();
    for (versions, seen) in [(3, vec![6, 5, 4]), (16, vec![6, 5, 4, 3, 2, 1])] {
        let Ok(Reply::History(history)) = world.ask(&mut session, Request::GetOwnHistory { versions }) else {
            panic!()
        };
        let handle = Handle::parse("alice").unwrap();
        let found = VerifiedHistory::verify(policy, &alice.account, &handle, versions, &history).unwrap();
        assert_eq!(found.log.iter().map(|version| version.value.length).collect::<Vec<_>>(), seen);
        assert_eq!((found.handle.len(), found.handle[0].value), (1, alice.account));
    }
    for versions in [0, 17] {
        assert_eq!(world.refused(&mut session, Request::GetOwnHistory { versions }), ErrorCode::Malformed);
    }
}

#[test]
fn every_head_continues_every_one_before_it() {
    let world = world();
    let policy = world.services.directory().policy().clone();
    let mut heads = Vec::new();
    for n in 0..12 {
        world.device(&person(&format!("p{n}")));
        world.publish();
        let Ok(Reply::Head(signed)) = world.ask(&mut world.session(), Request::GetHead) else { panic!() };
        heads.push(Head::verify(&policy, &signed).unwrap());
    }
    for (old, new) in heads.iter().flat_map(|old| heads.iter().map(move |new| (old, new))) {
        let ask = Request::GetConsistency { from: old.size(), to: new.size() };
        match world.ask(&mut world.session(), ask) {
            Ok(Reply::Consistency(proof)) => {
                assert_eq!(new.verify_same_log(&old.seen(), &proof), Ok(()));
            }
            other => assert!(old.size() > new.size(), "{other:?}"),
        }
    }
    for (from, to) in [(0, 3), (1, 1_000), (5, 4)] {
        assert_eq!(world.refused(&mut world.session(), Request::GetConsistency { from, to }), ErrorCode::NotFound);
    }
    let Ok(Reply::DirectoryPolicy(json)) = world.ask(&mut world.session(), Request::GetDirectoryPolicy) else {
        panic!()
    };
    assert_eq!(DirectoryPolicy::from_json(&json), Ok(policy));
}

#[test]
fn a_directory_in_which_nothing_changes_says_so_now_and_then() {
    let world = world();
    assert_eq!(world.publish(), Publication::Published(1));
    world.later(HEARTBEAT_SECS - 1);
    assert_eq!(world.publish(), Publication::Nothing);
    world.later(1);
    assert_eq!(world.publish(), Publication::Published(2));
    audit(&mut Audit::new(world.services.directory().policy().clone()), world.services.directory());
}

#[test]
fn only_a_witness_of_the_policy_cosigns_and_only_the_newest_head() {
    let key = SigningKey::from_bytes(&[3; 32]);
    let witness = VerifierKey::new("witness.test", KeyKind::Witness, key.verifying_key().to_bytes()).unwrap();
    let services = services(MemoryLog::new(), "main", &[&witness]);
    ready(services.publish(NOW)).unwrap();
    let directory = services.directory();
    let note = || SignedNote::parse(directory.checkpoint().unwrap().as_bytes()).unwrap();
    let signed = |key: &SigningKey| {
        let mut note = note();
        note.add(note.cosign("witness.test", key, 1_700_000_000));
        note.to_string().into_bytes()
    };
    let forged = signed(&SigningKey::from_bytes(&[4; 32]));
    assert!(ready(directory.cosign(&forged, NOW)).is_err() && !directory.is_cosigned());
    let good = signed(&key);
    ready(directory.cosign(&good, NOW)).unwrap();
    assert!(directory.is_cosigned());
    // A restart keeps it; a new head needs a new one.
    let again = self::services(services.store().clone(), "main", &[&witness]);
    ready(again.publish(NOW)).unwrap();
    assert!(again.directory().is_cosigned());
    ready(again.publish(NOW.plus_secs(HEARTBEAT_SECS))).unwrap();
    assert!(!again.directory().is_cosigned());
    assert!(ready(again.directory().cosign(&good, NOW)).is_err());
}

#[test]
fn a_second_server_stands_by_and_takes_over() {
    let store = MemoryLog::new();
    let (a, b) = (services(store.clone(), "a", &[]), services(store, "b", &[]));
    let alice = person("alice");
    ready(a.create_account(NOW, alice.genesis.clone(), None)).unwrap();
    assert_eq!(ready(a.publish(NOW)).unwrap(), Publication::Published(2));
    assert_eq!(ready(b.publish(NOW)).unwrap(), Publication::StandingBy);
    ready(b.get_account(NOW, &alice.account)).unwrap();
    ready(b.create_account(NOW, person("bob").genesis, None)).unwrap();
    // a is gone without a word, then with one.
    let later = NOW.plus_secs(11);
    assert_eq!(ready(b.publish(later)).unwrap(), Publication::Published(3));
    assert_eq!(ready(a.publish(later)).unwrap(), Publication::StandingBy);
    ready(b.directory().retire(later)).unwrap();
    ready(a.create_account(later, person("carol").genesis, None)).unwrap();
    assert_eq!(ready(a.publish(later)).unwrap(), Publication::Published(4));
    audit(&mut Audit::new(a.directory().policy().clone()), a.directory());
}

#[test]
fn two_servers_that_both_believe_to_publish_write_one_history() {
    let store = MemoryLog::new();
    // One name for both: each takes the other's lease for its own.
    let (a, b) = (services(store.clone(), "main", &[]), services(store, "main", &[]));
    let mut refused = 0;
    for n in 0..20_u64 {
        let one = if n % 3 == 0 { &a } else { &b };
        ready(one.create_account(NOW, person(&format!("p{n}")).genesis, None)).unwrap();
        refused += u64::from(ready(one.publish(NOW)).is_err());
    }
    assert!(refused > 0, "the one that had lost its place was not told");
    ready(a.publish(NOW)).unwrap();
    audit(&mut Audit::new(a.directory().policy().clone()), a.directory());
    for n in 0..20 {
        let handle = Handle::parse(&format!("p{n}")).unwrap();
        assert!(ready(a.look_up_handle(NOW, &handle)).is_ok(), "{handle}");
    }
}

#[test]
fn a_crash_between_any_two_writes_is_repaired_at_the_start() {
    let people = [person("alice"), person("bob"), person("carol")];
    for writes in 0.. {
        let inner = MemoryLog::new();
        let crashing = Crashing { inner: inner.clone(), left: Arc::new(AtomicU64::new(writes)) };
        let first = services(crashing.clone(), "main", &[]);
        // What somebody outside saw before the crash.
        let (mut seen, mut acknowledged) = (Audit::new(first.directory().policy().clone()), Vec::new());
        let mut watch = |services: &Services<Crashing>| {
            if let Some(note) = services.directory().checkpoint() {
                let note = SignedNote::parse(note.as_bytes()).unwrap();
                seen.advance(&mut Served(services.directory()), &note, |_, _| ()).unwrap();
            }
        };
        for person in &people {
            if ready(first.create_account(NOW, person.genesis.clone(), None)).is_ok() {
                acknowledged.push(person.account);
            }
            let _crashed_or_not = ready(first.publish(NOW));
            watch(&first);
        }
        let crashed = crashing.left.load(Ordering::Relaxed) == 0;

        let second = services(inner, "main", &[]);
        ready(second.publish(NOW.plus_secs(1))).unwrap();
        audit(&mut seen, second.directory());
        for account in acknowledged {
            let Ok(Reply::Account(found)) = ready(second.get_account(NOW, &account)) else {
                panic!("an account that was acknowledged is not published after {writes} writes");
            };
            assert!(AccountState::verify(&found.log, Some(account)).is_ok());
        }
        // It also goes on.
        ready(second.create_account(NOW, person("dave").genesis, None)).unwrap();
        ready(second.publish(NOW.plus_secs(2))).unwrap();
        audit(&mut seen, second.directory());
        if !crashed {
            assert!(writes > 60, "{writes} writes are too few to have tried anything");
            return;
        }
    }
}

/// A store whose machine dies after so many writes.
#[derive(Clone)]
struct Crashing {
    inner: MemoryLog,
    left: Arc<AtomicU64>,
}

impl Crashing {
    fn write(&self) -> Result<(), StoreError> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(|_| ()).map_err(|_| StoreError::Unavailable { cause: "the machine is dead".to_owned() })
    }
}

impl KeyedLog for Crashing {
    async fn append(
        &self,
        key: &Key,
        expect: Expect,
        bytes: Vec<u8>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Append, StoreError> {
        self.write()?;
        self.inner.append(key, expect, bytes, expires_at, now).await
    }

    async fn read(
        &self,
        key: &Key,
        after: Seq,
        entries_max: usize,
        bytes_max: usize,
        now: Timestamp,
    ) -> Result<Vec<Entry>, StoreError> {
        self.inner.read(key, after, entries_max, bytes_max, now).await
    }

    async fn last(&self, key: &Key, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        self.inner.last(key, now).await
    }

    async fn last_many(&self, keys: &[Key], now: Timestamp) -> Result<Vec<Option<Entry>>, StoreError> {
        self.inner.last_many(keys, now).await
    }

    async fn take_first(&self, key: &Key, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        self.write()?;
        self.inner.take_first(key, now).await
    }

    async fn count(&self, key: &Key, now: Timestamp) -> Result<Size, StoreError> {
        self.inner.count(key, now).await
    }

    async fn touch(&self, key: &Key, seq: Seq, expires_at: Timestamp) -> Result<bool, StoreError> {
        self.write()?;
        self.inner.touch(key, seq, expires_at).await
    }

    async fn trim(&self, key: &Key, upto: Seq) -> Result<(), StoreError> {
        self.write()?;
        self.inner.trim(key, upto).await
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.write()?;
        self.inner.remove(key).await
    }

    async fn expire(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.inner.expire(now).await
    }

    fn watch(&self, keys: impl IntoIterator<Item = Key>) -> Watcher {
        self.inner.watch(keys)
    }
}
