//! A lane: one connection, one transaction at a time, for a sixteenth of a database's keys.
//!
//! A lane commits whatever waits as one transaction, in one round trip. It holds the lane's lock meanwhile, which the same
//! lanes of other servers wait for: so changes of a key have one order, and no two transactions wait for each other's rows.
//!
//! **A commit that was not answered** may have been made or not. Each transaction leaves the number of its batch, so the lane
//! connects again, takes the lock, reads the number, and knows; a batch that has not arrived by then is refused when it does. What was not committed is done again; its callers notice a
//! pause. Only when the answers were lost with the connection although the commit was made are they told that nothing is known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, maybe_done};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::batch::{AppendArgs, Change, Step, What, integer, steps};
use super::connect::{Connection, Database, Failed, LANE_SESSION, SESSION, within};
use super::statements::Writing;
use super::wakes::Outbox;
use super::{corrupt, entry, number};
use crate::store::watch::Hub;
use crate::store::{Append, Key, Seq, StoreError};

pub(super) struct Lane {
    pub(super) database: Arc<Database>,
    /// Which of the database's lanes.
    pub(super) number: i32,
    /// Of this lane of this process, and no other's ever.
    pub(super) writer: Vec<u8>,
    pub(super) changes: UnboundedReceiver<Change>,
    pub(super) hub: Hub,
    /// For the other servers.
    pub(super) outbox: Outbox,
    pub(super) ready: Option<Ready>,
    /// How many transactions were begun.
    pub(super) batches: i64,
}

/// A connection that is set up.
pub(super) struct Ready {
    connection: Connection,
    statements: Writing,
    /// Begins a transaction and takes the lane's lock.
    begin: String,
}

/// A transaction whose commit was not answered.
struct Lost {
    batch: i64,
    /// What its statements answered, when all did.
    replies: Option<Vec<Reply>>,
}

/// What became of a transaction.
enum Outcome {
    Committed(Vec<Reply>),
    /// It was refused, and nothing of it was made.
    Refused(StoreError),
    /// It may have been made.
    Lost {
        cause: String,
    },
    /// It was made, and its answers are lost.
    Unanswered,
}

/// What a statement answered.
enum Reply {
    Rows(Vec<Row>),
    Count(u64),
}

impl Lane {
    /// Runs until every sender is gone and the queue is empty.
    pub(super) async fn run(mut self) {
        while let Some(first) = self.changes.recv().await {
            let mut bytes = first.bytes();
            let mut batch = vec![first];
            while batch.len() < BATCH_CHANGES_MAX && bytes < BATCH_BYTES_MAX {
                let Ok(change) = self.changes.try_recv() else { break };
                bytes += change.bytes();
                batch.push(change);
            }
            self.make(batch).await;
        }
    }

    /// Makes changes until each is made, refused or given up.
    async fn make(&mut self, batch: Vec<Change>) {
        // The next on top.
        let mut work = vec![(batch, true)];
        while let Some((batch, in_runs)) = work.pop() {
            let steps = steps(&batch, in_runs);
            match self.commit(&batch, &steps).await {
                Ok(replies) => {
                    // A run that did not hold whole may hold in part.
                    let again = self.finish(batch, &steps, replies);
                    if !again.is_empty() {
                        work.push((again, false));
                    }
                }
                // One that finds no room does not take those along that would make room.
                Err((
                    StoreError::DiskFull { .. } | StoreError::Corrupt { .. } | StoreError::Unavailable { .. },
                    true,
                )) if batch.len() > 1 => {
                    work.extend(batch.into_iter().rev().map(|change| (vec![change], false)));
                }
                Err((error, _)) => batch.into_iter().for_each(|change| change.fail(error.clone())),
            }
        }
    }

    /// Makes a transaction, through connections that break, for as long as [`PATIENCE`]. An error says whether nothing of it
    /// was made.
    async fn commit(&mut self, batch: &[Change], steps: &[Step]) -> Result<Vec<Reply>, (StoreError, bool)> {
        let begun = Instant::now();
        let (mut lost, mut pause, mut told) = (None, RETRY_MIN, false);
        loop {
            match self.attempt(batch, steps, &mut lost).await {
                Outcome::Committed(replies) => return Ok(replies),
                Outcome::Refused(error) => return Err((error, true)),
                Outcome::Unanswered => {
                    let cause = "the connection broke; the change was made".to_owned();
                    return Err((StoreError::Unavailable { cause }, false));
                }
                Outcome::Lost { cause } => {
                    self.ready = None;
                    if begun.elapsed() >= PATIENCE {
                        return Err((StoreError::Unavailable { cause }, false));
                    }
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(lane = self.number, database = %self.database.name(), cause, "lost PostgreSQL; connecting again");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    async fn attempt(&mut self, batch: &[Change], steps: &[Step], lost: &mut Option<Lost>) -> Outcome {
        let lost_now = |failed: Failed| match failed {
            Failed::Connection(cause) => Outcome::Lost { cause },
            Failed::Refused(error) => Outcome::Refused(error),
        };
        if self.ready.is_none() {
            match within(ANSWER_TIMEOUT, open(&self.database, self.number)).await {
                Ok(ready) => self.ready = Some(ready),
                // Also when it refuses: a server that recovers says so in many ways.
                Err(failed) => return Outcome::Lost { cause: failed.to_string() },
            }
        }
        let Some(ready) = &self.ready else { return Outcome::Lost { cause: "not connected".to_owned() } };
        if let Some(before) = lost.take() {
            match within(ANSWER_TIMEOUT, settle(ready, &self.writer, before.batch)).await {
                Ok(last) if ready.connection.was_warned() => {
                    let cause = format!("a wait for the standbys was cancelled at batch {last}");
                    *lost = Some(before);
                    return Outcome::Lost { cause };
                }
                Ok(last) if last == before.batch => {
                    return before.replies.map_or(Outcome::Unanswered, Outcome::Committed);
                }
                // Rolled back, or lost with a primary that had not told its standbys: done again below.
                Ok(_) => {}
                Err(failed) => {
                    *lost = Some(before);
                    return Outcome::Lost { cause: failed.to_string() };
                }
            }
        }
        self.batches += 1;
        let transaction = transact(ready, &self.writer, self.batches, batch, steps);
        let (replies, committed) = match tokio::time::timeout(ANSWER_TIMEOUT, transaction).await {
            Ok(done) => done,
            Err(_) => {
                let cause = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
                (Err(Failed::Connection(cause.clone())), Err(cause))
            }
        };
        match (replies, committed) {
            (Ok(replies), Ok(())) if !ready.connection.was_warned() => Outcome::Committed(replies),
            (Ok(replies), committed) => {
                *lost = Some(Lost { batch: self.batches, replies: Some(replies) });
                let cause = committed.err();
                Outcome::Lost { cause: cause.unwrap_or_else(|| "the wait for the standbys was cancelled".to_owned()) }
            }
            // A statement was refused, so the commit rolled back, whatever it answered.
            (Err(failed @ Failed::Refused(_)), _) => lost_now(failed),
            (Err(failed), _) => {
                *lost = Some(Lost { batch: self.batches, replies: None });
                lost_now(failed)
            }
        }
    }

    /// Tells the callers. Returns those whose run has to be taken apart.
    fn finish(&self, batch: Vec<Change>, steps: &[Step], replies: Vec<Reply>) -> Vec<Change> {
        let mut batch: Vec<Option<Change>> = batch.into_iter().map(Some).collect();
        let mut again = Vec::new();
        let mut made = Vec::new();
        let mut told: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        for (step, reply) in steps.iter().zip(replies) {
            match step {
                Step::One(place) => {
                    if let Some(change) = batch[*place].take() {
                        told.push(Box::new(move || answer(change, reply)));
                    }
                }
                Step::Appends(runs) => {
                    let results = results_of(runs.len(), reply);
                    for (run, result) in runs.iter().zip(results) {
                        let changes = run.changes.iter().filter_map(|place| batch[*place].take().map(|c| (*place, c)));
                        let changes: Vec<_> = changes.collect();
                        if changes.len() > 1 && matches!(result, Ok((_, false))) {
                            again.extend(changes);
                            continue;
                        }
                        for (nth, (_, change)) in changes.into_iter().enumerate() {
                            if matches!(result, Ok((_, true))) {
                                made.push(change.key.clone());
                            }
                            let result = result.clone();
                            told.push(Box::new(move || answer_append(change, nth as u64, result)));
                        }
                    }
                }
            }
        }
        // Before the callers are told: an acknowledged append has woken its watchers.
        self.hub.wake(&made);
        self.outbox.tell(&made);
        told.into_iter().for_each(|tell| tell());
        again.sort_by_key(|(place, _)| *place);
        again.into_iter().map(|(_, change)| change).collect()
    }
}

/// Connects and prepares.
async fn open(database: &Database, number: i32) -> Result<Ready, Error> {
    let connection = database.connect(&format!("{SESSION}{LANE_SESSION}")).await?;
    let statements = Writing::prepare(&connection.client).await?;
    // The table's own number keeps the locks of two stores in one database apart.
    let table = connection.client.query_one("SELECT 'head'::regclass::oid", &[]).await?;
    let table = table.try_get::<_, u32>(0)?.cast_signed();
    let begin = format!("BEGIN; SELECT pg_advisory_xact_lock({table}, {number})");
    Ok(Ready { connection, statements, begin })
}

/// Gives a batch up unless it is committed. The last batch of this lane that was, and is now where a commit has to be.
async fn settle(ready: &Ready, writer: &[u8], batch: i64) -> Result<i64, Error> {
    let client = &ready.connection.client;
    client.batch_execute(&ready.begin).await?;
    let last = client.query_one(&ready.statements.settle, &[&writer, &batch]).await?.try_get(0)?;
    client.batch_execute("COMMIT").await?;
    Ok(last)
}

/// One transaction in one round trip: everything is sent before anything is answered. Returns what the statements answered,
/// and what the commit did: after an error the commit answers that it rolled back, as if that were success.
async fn transact(
    ready: &Ready,
    writer: &[u8],
    batch_number: i64,
    batch: &[Change],
    steps: &[Step],
) -> (Result<Vec<Reply>, Failed>, Result<(), String>) {
    let (client, statements) = (&ready.connection.client, &ready.statements);
    let count = async |done: Result<(), Error>| done.map(|()| Reply::Count(0));
    let mut sent: Vec<BoxFuture<'_, Result<Reply, Error>>> = Vec::with_capacity(steps.len() + 3);
    sent.push(Box::pin(async { count(client.batch_execute(&ready.begin).await).await }));
    sent.push(Box::pin(
        async move { client.query(&statements.mark, &[&writer, &batch_number]).await.map(Reply::Rows) },
    ));
    for step in steps {
        sent.push(match step {
            Step::Appends(runs) => {
                let args = AppendArgs::new(batch, runs);
                Box::pin(async move {
                    let args: [&(dyn ToSql + Sync); 8] = [
                        &args.keys,
                        &args.expects,
                        &args.counts,
                        &args.nows,
                        &args.entry_keys,
                        &args.entry_places,
                        &args.entry_expiries,
                        &args.entry_bytes,
                    ];
                    client.query(&statements.append, &args).await.map(Reply::Rows)
                })
            }
            Step::One(place) => Box::pin(one(ready, &batch[*place])),
        });
    }
    sent.push(Box::pin(async { count(client.batch_execute("COMMIT").await).await }));

    let mut replies = pipelined(sent).await.into_iter();
    let commit = replies.next_back();
    let mut answered = Vec::with_capacity(steps.len());
    for (place, reply) in replies.enumerate() {
        match reply {
            Ok(_) if place < 2 => {}
            Ok(reply) => answered.push(reply),
            // The first says why; those behind it, that there was a first.
            Err(error) => return (Err(error.into()), Ok(())),
        }
    }
    let commit = match commit {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(Failed::from(error).to_string()),
        None => Err("nothing was sent".to_owned()),
    };
    (Ok(answered), commit)
}

/// A change that is no append.
async fn one(ready: &Ready, change: &Change) -> Result<Reply, Error> {
    let (client, statements) = (&ready.connection.client, &ready.statements);
    let key = change.key.as_bytes();
    match &change.what {
        What::TakeFirst { now, .. } => {
            client.query(&statements.take_first, &[&key, &integer(now.0)]).await.map(Reply::Rows)
        }
        What::Touch { seq, expires_at, .. } => {
            let args: [&(dyn ToSql + Sync); 3] = [&key, &integer(seq.0), &integer(expires_at.0)];
            client.execute(&statements.touch, &args).await.map(Reply::Count)
        }
        What::Trim { upto, .. } => client.execute(&statements.trim, &[&key, &integer(upto.0)]).await.map(Reply::Count),
        What::Remove { .. } => client.execute(&statements.remove, &[&key]).await.map(Reply::Count),
        What::Expire { seqs, now, .. } => {
            client.query(&statements.expire, &[&key, seqs, &integer(now.0)]).await.map(Reply::Rows)
        }
        What::Append { .. } => Ok(Reply::Count(0)),
    }
}

/// Polls each once, in order, which sends it; then takes their answers, which come in the same order.
async fn pipelined<T>(sent: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut sent: Vec<_> = sent.into_iter().map(|future| Box::pin(maybe_done(future))).collect();
    std::future::poll_fn(|cx| {
        for future in &mut sent {
            let _sent = future.as_mut().poll(cx);
        }
        std::task::Poll::Ready(())
    })
    .await;
    let mut answers = Vec::with_capacity(sent.len());
    for mut future in sent {
        future.as_mut().await;
        answers.extend(future.as_mut().take_output());
    }
    answers
}

/// For each run, the last number before it and whether it was made.
fn results_of(runs: usize, reply: Reply) -> Vec<Result<(u64, bool), StoreError>> {
    let missing = || Err(corrupt(&"an append was not answered"));
    let mut results = vec![missing(); runs];
    let Reply::Rows(rows) = reply else { return results };
    for row in rows {
        let read = || -> Result<(usize, u64, bool), StoreError> {
            let run = row.try_get::<_, i64>(0).map_err(|error| corrupt(&error))?;
            let last = row.try_get::<_, Option<i64>>(1).map_err(|error| corrupt(&error))?;
            let made = row.try_get::<_, bool>(2).map_err(|error| corrupt(&error))?;
            Ok((usize::try_from(run - 1).unwrap_or(usize::MAX), number(last.unwrap_or(0))?, made))
        };
        match read() {
            Ok((run, last, made)) => {
                if let Some(result) = results.get_mut(run) {
                    *result = Ok((last, made));
                }
            }
            Err(error) => return vec![Err(error); runs],
        }
    }
    results
}

fn answer_append(change: Change, nth: u64, result: Result<(u64, bool), StoreError>) {
    let What::Append { expect, reply, .. } = change.what else { return };
    let result = result.and_then(|(last, made)| match (made, expect) {
        (true, _) => Ok(Append::Appended(Seq(last + 1 + nth))),
        (false, crate::store::Expect::Any) => {
            Err(StoreError::Unavailable { cause: "another program writes to these tables".to_owned() })
        }
        // Numbers start at 1: 0 stands for a key that does not live.
        (false, _) => Ok(Append::Conflict { last: (last > 0).then_some(Seq(last)) }),
    });
    let _ = reply.send(result);
}

fn answer(change: Change, reply: Reply) {
    let first = |rows: &[Row]| rows.first().map(|row| entry(row, 0)).transpose();
    match (change.what, reply) {
        (What::TakeFirst { reply, .. }, Reply::Rows(rows)) => drop(reply.send(first(&rows))),
        (What::Expire { reply, .. }, Reply::Rows(rows)) => {
            let deleted = rows.first().map_or(Ok(0), |row| row.try_get(0).map_err(|error| corrupt(&error)));
            let _ = reply.send(deleted.and_then(number));
        }
        (What::Touch { reply, .. }, Reply::Count(changed)) => drop(reply.send(Ok(changed > 0))),
        (What::Trim { reply, .. } | What::Remove { reply, .. }, Reply::Count(_)) => drop(reply.send(Ok(()))),
        (what, _) => Change { key: Key::new(0, &[]), what, _permit: None }.fail(corrupt(&"an answer of another kind")),
    }
}

/// Changes in one transaction.
const BATCH_CHANGES_MAX: usize = 1_024;
/// Bytes in one transaction, not counting the last change.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How long a change waits for a database that is away before its caller hears of it: longer than a failover.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a server that says nothing is waited for. Its transaction goes on without us; the lane's lock tells when it ended.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
