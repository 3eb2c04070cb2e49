//! Connections that read. A few, each with any number of queries in flight; broken ones are replaced, and what they were
//! asked is asked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::sleep;
use tokio_postgres::Error;

use super::connect::{Connection, Database, Failed, SESSION, within};
use super::lane::{ANSWER_TIMEOUT, PATIENCE};
use super::statements::Reading;
use crate::store::StoreError;

/// One of them.
pub(super) struct Reader {
    pub(super) connection: Connection,
    pub(super) statements: Reading,
}

pub(super) struct Readers {
    database: Arc<Database>,
    open: Vec<Mutex<Option<Arc<Reader>>>>,
    next: AtomicUsize,
    /// Bounds what waits.
    room: Semaphore,
}

impl Readers {
    pub(super) fn new(database: Arc<Database>) -> Self {
        let open = (0..READERS).map(|_| Mutex::new(None)).collect();
        Self { database, open, next: AtomicUsize::new(0), room: Semaphore::new(READS_WAITING_MAX) }
    }

    /// Asks until there is an answer, for as long as [`PATIENCE`]. Reads may be repeated.
    pub(super) async fn ask<T>(
        &self,
        query: impl for<'a> Fn(&'a Reader) -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, StoreError> {
        let _permit = self.room.acquire().await.map_err(|_| StoreError::Closed)?;
        let (begun, mut pause) = (Instant::now(), RETRY_MIN);
        loop {
            let failed = match self.reader().await {
                Ok(reader) => match within(ANSWER_TIMEOUT, query(&reader)).await {
                    Ok(answer) => return Ok(answer),
                    Err(Failed::Refused(error)) => return Err(error),
                    Err(failed) => {
                        self.give_up(&reader).await;
                        failed
                    }
                },
                Err(failed) => failed,
            };
            if begun.elapsed() >= PATIENCE {
                return Err(failed.into_error());
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// The next one's turn.
    async fn reader(&self) -> Result<Arc<Reader>, Failed> {
        let place = self.next.fetch_add(1, Ordering::Relaxed) % self.open.len();
        let mut slot = self.open[place].lock().await;
        if let Some(reader) = slot.as_ref().filter(|reader| !reader.connection.client.is_closed()) {
            return Ok(Arc::clone(reader));
        }
        let reader = Arc::new(within(ANSWER_TIMEOUT, open(&self.database)).await?);
        *slot = Some(Arc::clone(&reader));
        Ok(reader)
    }

    async fn give_up(&self, broken: &Arc<Reader>) {
        for slot in &self.open {
            let mut slot = slot.lock().await;
            if slot.as_ref().is_some_and(|reader| Arc::ptr_eq(reader, broken)) {
                *slot = None;
            }
        }
    }
}

async fn open(database: &Database) -> Result<Reader, Error> {
    let connection = database.connect(SESSION).await?;
    let statements = Reading::prepare(&connection.client).await?;
    Ok(Reader { connection, statements })
}

const READERS: usize = 4;
const READS_WAITING_MAX: usize = 1_024;
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
