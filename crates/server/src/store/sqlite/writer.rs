//! The writer's thread, which commits whatever waits as one transaction, and the checkpointer's, which moves what was
//! committed from the write-ahead log (WAL) into the database file.
//!
//! A checkpoint that runs beside the writer never catches up with it, so the WAL would grow as long as the load lasts.
//! Therefore the checkpointer does the bulk, and then asks the writer to do the rest and start the WAL again. Under load
//! the WAL stays below [`WAL_BYTES_MAX`] and what is written during one round of the checkpointer.
//!
//! The WAL still has what was deleted from the database file. It is cut to nothing within [`CUT_EVERY`] of a deletion, or,
//! while a backup runs, after its end.

use std::mem;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::store_error;
use super::tables::{Tables, number};
use crate::store::StoreError;
use crate::store::watch::Hub;

/// What the writer is sent.
pub(super) enum Message {
    Change(Box<dyn Change>),
    Checkpoint(Restart, SyncSender<Result<(), StoreError>>),
    CheckpointFor(oneshot::Sender<Result<(), StoreError>>),
}

/// How the WAL starts again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    /// From its beginning, over what is there: cheaper, because the file keeps its length.
    Rewind,
    /// With an empty file.
    Cut,
}

/// A change that waits for its transaction.
pub(super) trait Change: Send {
    /// How many bytes it is about to write, roughly.
    fn bytes(&self) -> usize;
    /// Makes the change. Called again when the transaction failed.
    fn apply(&mut self, tables: &mut Tables) -> rusqlite::Result<()>;
    /// Tells the caller.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

/// A change made by a closure, and its caller.
pub(super) struct Pending<F, T> {
    pub(super) apply: F,
    pub(super) output: Option<T>,
    pub(super) reply: oneshot::Sender<Result<T, StoreError>>,
    pub(super) bytes: usize,
    /// Its share of the queue.
    pub(super) permit: OwnedSemaphorePermit,
}

impl<F, T> Change for Pending<F, T>
where
    F: FnMut(&mut Tables) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn apply(&mut self, tables: &mut Tables) -> rusqlite::Result<()> {
        self.output = Some((self.apply)(tables)?);
        Ok(())
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { output, reply, permit, .. } = *self;
        drop(permit);
        // A caller that stopped waiting does not want to know.
        let _ = reply.send(committed.and_then(|()| output.ok_or(StoreError::Closed)));
    }
}

/// Runs the writer until every sender is gone and the queue is empty.
pub(super) fn write(mut tables: Tables, messages: &Receiver<Message>, hub: &Hub, pressure: &Pressure) {
    let mut batch = Vec::with_capacity(BATCH_CHANGES_MAX);
    while let Ok(first) = messages.recv() {
        let mut next = Some(first);
        let mut bytes = 0;
        let checkpoint = loop {
            match next {
                Some(Message::Change(change)) => {
                    bytes += change.bytes();
                    batch.push(change);
                }
                other => break other,
            }
            let full = batch.len() >= BATCH_CHANGES_MAX || bytes >= BATCH_BYTES_MAX;
            next = if full { None } else { messages.try_recv().ok() };
        };
        if !batch.is_empty() {
            commit(&mut tables, &mut batch, hub, pressure);
        }
        match checkpoint {
            Some(Message::Checkpoint(restart, reply)) => drop(reply.send(restart_wal(tables.db(), restart))),
            Some(Message::CheckpointFor(reply)) => drop(reply.send(restart_wal(tables.db(), Restart::Cut))),
            Some(Message::Change(_)) | None => {}
        }
    }
}

/// Commits the batch as one transaction, or, when that fails, each change as its own: one that finds no room does not take
/// those along that would make room.
fn commit(tables: &mut Tables, batch: &mut Vec<Box<dyn Change>>, hub: &Hub, pressure: &Pressure) {
    match attempt(tables, batch, hub, pressure) {
        Ok(()) => batch.drain(..).for_each(|change| change.finish(Ok(()))),
        Err(error) if batch.len() == 1 => {
            batch.drain(..).for_each(|change| change.finish(Err(store_error(&error))));
        }
        Err(_) => {
            for mut change in batch.drain(..) {
                let result = attempt(tables, std::slice::from_mut(&mut change), hub, pressure);
                change.finish(result.map_err(|error| store_error(&error)));
            }
        }
    }
}

fn attempt(
    tables: &mut Tables,
    changes: &mut [Box<dyn Change>],
    hub: &Hub,
    pressure: &Pressure,
) -> rusqlite::Result<()> {
    let result = try_attempt(tables, changes, hub, pressure);
    if result.is_err() {
        tables.roll_back();
    }
    result
}

fn try_attempt(
    tables: &mut Tables,
    changes: &mut [Box<dyn Change>],
    hub: &Hub,
    pressure: &Pressure,
) -> rusqlite::Result<()> {
    tables.begin()?;
    for change in &mut *changes {
        change.apply(tables)?;
    }
    let (appended, deleted) = tables.commit()?;
    // Before the callers are told: an acknowledged append has woken its watchers.
    hub.wake(appended);
    let bytes = changes.iter().map(|change| change.bytes() + PAGES_BYTES_PER_CHANGE).sum();
    pressure.add(bytes, deleted);
    Ok(())
}

/// Moves the rest of the WAL and starts it again.
fn restart_wal(db: &Connection, restart: Restart) -> Result<(), StoreError> {
    let sql = match restart {
        Restart::Rewind => "PRAGMA wal_checkpoint(RESTART)",
        Restart::Cut => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    let busy: bool = db.query_row(sql, [], |row| row.get(0)).map_err(|error| store_error(&error))?;
    if busy { Err(StoreError::Unavailable { cause: "readers are busy".into() }) } else { Ok(()) }
}

/// What the writer tells the checkpointer.
#[derive(Default)]
pub(super) struct Pressure {
    state: Mutex<Written>,
    changed: Condvar,
}

/// What was written since the last round.
#[derive(Default)]
struct Written {
    bytes: usize,
    deleted: bool,
    closed: bool,
}

impl Pressure {
    fn add(&self, bytes: usize, deleted: bool) {
        let mut state = self.lock();
        let before = state.bytes;
        state.bytes = before.saturating_add(bytes);
        state.deleted |= deleted;
        // Twice a round at most: when there is something to do, and when there is much.
        if before == 0 || (before < ROUND_BYTES && state.bytes >= ROUND_BYTES) {
            self.changed.notify_one();
        }
    }

    /// Ends the checkpointer.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits until something was written, then until it is much or has waited for [`ROUND_EVERY`]. `None` when closed.
    /// `cut_in` is when to wake although nothing was written.
    fn next_round(&self, cut_in: Option<Duration>) -> Option<Written> {
        let state = self.lock();
        let idle = |state: &mut Written| state.bytes == 0 && !state.closed;
        let state = match cut_in {
            Some(wait) => self.changed.wait_timeout_while(state, wait, idle).unwrap_or_else(PoisonError::into_inner).0,
            None => self.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
        };
        let little = |state: &mut Written| state.bytes > 0 && state.bytes < ROUND_BYTES && !state.closed;
        let waited = self.changed.wait_timeout_while(state, ROUND_EVERY, little);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.closed { None } else { Some(mem::take(&mut *state)) }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the checkpointer until [`Pressure::close`].
pub(super) fn checkpoint(
    db: &Connection,
    writer: &Sender<Message>,
    pressure: &Arc<Pressure>,
    page_bytes: u64,
    is_backed_up: &dyn Fn() -> bool,
) {
    let mut last_cut = Instant::now();
    // The server before this one may have been killed before it could.
    let mut cut_due = true;
    loop {
        let cut_in = cut_due.then(|| CUT_EVERY.saturating_sub(last_cut.elapsed()).max(ROUND_EVERY));
        let Some(written) = pressure.next_round(cut_in) else { return };
        cut_due |= written.deleted;
        let wal_bytes = match bulk(db) {
            Ok(frames) => frames * page_bytes,
            Err(error) => {
                tracing::warn!(%error, "the store could not move its log into the database; trying again");
                continue;
            }
        };
        let restart = if cut_due && last_cut.elapsed() >= CUT_EVERY {
            Restart::Cut
        } else if wal_bytes >= WAL_BYTES_MAX {
            Restart::Rewind
        } else {
            continue;
        };
        // A backup holds a snapshot, and so the WAL: asking the writer now would make it wait in vain, and everybody with
        // it. The WAL grows meanwhile, up to a bound.
        if wal_bytes < WAL_BYTES_IN_BACKUP_MAX && is_backed_up() {
            continue;
        }
        let (reply, done) = sync_channel(1);
        if writer.send(Message::Checkpoint(restart, reply)).is_err() {
            return;
        }
        match done.recv() {
            Ok(Ok(())) if restart == Restart::Cut => {
                cut_due = false;
                last_cut = Instant::now();
            }
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the store's log could not start again; trying again"),
            Err(_) => return,
        }
    }
}

/// Moves what the WAL has, without holding the writer up. Repeated, because the writer goes on meanwhile: each time
/// leaves less to the writer. Returns how many frames the WAL has.
fn bulk(db: &Connection) -> rusqlite::Result<u64> {
    let mut frames = 0;
    for _ in 0..BULK_ROUNDS_MAX {
        let done: u64;
        (frames, done) =
            db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((number(row, 1)?, number(row, 2)?)))?;
        if frames - done.min(frames) < BULK_REST_FRAMES {
            break;
        }
    }
    Ok(frames)
}

/// Changes in one transaction.
const BATCH_CHANGES_MAX: usize = 1_024;
/// Bytes in one transaction, not counting the last change.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// What a change writes beside its own bytes: pages of the index, roughly.
const PAGES_BYTES_PER_CHANGE: usize = 4_096;
/// When a round of the checkpointer begins early.
const ROUND_BYTES: usize = 16 << 20;
const ROUND_EVERY: Duration = Duration::from_secs(1);
/// When the WAL starts again.
pub(super) const WAL_BYTES_MAX: u64 = 64 << 20;
/// When the WAL starts again although a backup is running, and the writer waits for it now and then.
const WAL_BYTES_IN_BACKUP_MAX: u64 = 8 << 30;
/// How long the WAL may hold what was deleted.
pub(super) const CUT_EVERY: Duration = Duration::from_secs(30);
const BULK_ROUNDS_MAX: usize = 3;
/// What is left to the writer: 4 MiB.
const BULK_REST_FRAMES: u64 = 1_024;
