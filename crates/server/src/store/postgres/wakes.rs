//! Wake-ups between servers over one store.
//!
//! After a commit, a server tells the others what changed: 8 bytes that stand for each key ([`hint`]), over
//! PostgreSQL's LISTEN and NOTIFY. Hints may be lost, late or false. So each server also asks the store
//! every few seconds for the last number of every key that somebody watches here: a lost hint costs delay, never an entry.
//!
//! Never in the transaction of an append: NOTIFY takes a lock of the whole database in its commit.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rand_core::{OsRng, RngCore as _};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::connect::{Database, SESSION, within};
use super::lane::ANSWER_TIMEOUT;
use super::{Inner, KEYS_AT_ONCE, column, lane_of, number_at};
use crate::store::watch::{Hub, hint};
use crate::store::{Key, StoreError};

/// Where lanes leave hints for the other servers.
#[derive(Clone)]
pub(super) struct Outbox(Sender<Vec<u64>>);

impl Outbox {
    /// Tells the others that these changed, sooner or later or not at all.
    pub(super) fn tell(&self, keys: &[Key]) {
        if !keys.is_empty() {
            // Full when nothing takes hints: then the others ask.
            let _ = self.0.try_send(keys.iter().map(hint).collect());
        }
    }
}

/// Tasks that end with the store.
#[derive(Default)]
pub(super) struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Tasks {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push(tokio::spawn(task).abort_handle());
    }
}

/// Starts to send and to listen, through the first database.
pub(super) fn start(hub: &Hub, database: &Arc<Database>) -> (Outbox, Tasks) {
    let (outbox, queue) = channel(HINTS_WAITING_MAX);
    let sender = OsRng.next_u64();
    let mut tasks = Tasks::default();
    tasks.spawn(notify(Arc::clone(database), queue, sender));
    tasks.spawn(listen(Arc::clone(database), hub.clone(), sender));
    (Outbox(outbox), tasks)
}

/// Starts to ask.
pub(super) fn ask(tasks: &mut Tasks, store: Weak<Inner>) {
    tasks.spawn(async move {
        let mut known = HashMap::new();
        let mut ticks = interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(store) = store.upgrade() else { return };
            if let Err(error) = ask_once(&store, &mut known).await {
                tracing::debug!(%error, "cannot ask what is new; asking again");
            }
        }
    });
}

/// Wakes the watchers of keys whose last number is another than at the last time, or that were not asked about before.
async fn ask_once(store: &Inner, known: &mut HashMap<Key, Option<i64>>) -> Result<(), StoreError> {
    let watched = store.hub.watched();
    known.retain(|key, _| watched.contains(key));
    for (number, database) in store.databases.iter().enumerate() {
        let here = |key: &&Key| store.lanes[usize::from(lane_of(key))] == number;
        let keys: Vec<Key> = watched.iter().filter(here).cloned().collect();
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let asked: Arc<[Key]> = keys.into();
            let rows = database.readers.ask(|reader| {
                let asked = Arc::clone(&asked);
                Box::pin(async move {
                    let keys: Vec<&[u8]> = asked.iter().map(Key::as_bytes).collect();
                    reader.connection.client.query(&reader.statements.heads, &[&keys]).await
                })
            });
            let mut changed = Vec::new();
            for row in &rows.await? {
                let place = number_at(row, 0)?.checked_sub(1).and_then(|place| usize::try_from(place).ok());
                let Some(key) = place.and_then(|place| keys.get(place)) else { continue };
                let last: Option<i64> = column(row, 1)?;
                if known.insert(key.clone(), last) != Some(last) {
                    changed.push(key);
                }
            }
            store.hub.wake(changed);
        }
    }
    Ok(())
}

/// What waits, gathered for a moment.
async fn gather(queue: &mut Receiver<Vec<u64>>) -> Option<BTreeSet<u64>> {
    let mut hints: BTreeSet<u64> = queue.recv().await?.into_iter().collect();
    sleep(GATHER).await;
    while let Ok(more) = queue.try_recv() {
        hints.extend(more);
    }
    Some(hints)
}

async fn notify(database: Arc<Database>, mut queue: Receiver<Vec<u64>>, sender: u64) {
    let mut open = None;
    while let Some(hints) = gather(&mut queue).await {
        let hints: Vec<u64> = hints.into_iter().collect();
        for hints in hints.chunks(HINTS_IN_NOTIFICATION_MAX) {
            if open.is_none() {
                open = within(ANSWER_TIMEOUT, database.connect(SESSION)).await.ok();
            }
            let Some(connection) = &open else { break };
            let payload = std::iter::once(&sender).chain(hints).map(|n| format!("{n:016x}")).collect::<String>();
            // The channel carries the number of the table: stores in one database do not wake each other.
            let sql = "SELECT pg_notify('stonechat_' || 'head'::regclass::oid, $1)";
            if within(ANSWER_TIMEOUT, connection.client.execute(sql, &[&payload])).await.is_err() {
                open = None;
            }
        }
    }
}

async fn listen(database: Arc<Database>, hub: Hub, sender: u64) {
    loop {
        let (notes, mut noted) = channel(NOTIFICATIONS_WAITING_MAX);
        let listening = async {
            let connection = database.connect_noting(SESSION, Some(notes)).await?;
            let channel = "SELECT 'stonechat_' || 'head'::regclass::oid";
            let channel: String = connection.client.query_one(channel, &[]).await?.try_get(0)?;
            connection.client.batch_execute(&format!("LISTEN {channel}")).await?;
            Ok::<_, tokio_postgres::Error>(connection)
        };
        if let Ok(_connection) = within(ANSWER_TIMEOUT, listening).await {
            while let Some(note) = noted.recv().await {
                let numbers = note.as_bytes().chunks(16).map_while(|digits| {
                    std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok())
                });
                hear(&hub, sender, numbers);
            }
        }
        sleep(LISTEN_AGAIN).await;
    }
}

/// Acts on a message: who sent it, and hints. What it sent itself has woken its watchers already.
fn hear(hub: &Hub, own: u64, mut numbers: impl Iterator<Item = u64>) {
    if numbers.next().is_some_and(|sender| sender != own) {
        hub.wake_hinted(numbers);
    }
}

/// How often the store is asked.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How long hints wait for more.
const GATHER: Duration = Duration::from_millis(5);
const LISTEN_AGAIN: Duration = Duration::from_millis(500);
/// Transactions whose hints wait to be sent.
const HINTS_WAITING_MAX: usize = 4_096;
const NOTIFICATIONS_WAITING_MAX: usize = 1_024;
/// A notification has at most 8,000 bytes.
const HINTS_IN_NOTIFICATION_MAX: usize = 400;
