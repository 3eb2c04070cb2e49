//! The keyed log on PostgreSQL: the store of several machines.
//!
//! A key belongs to one of [`LANES`] by its hash. A database has a range of them, one database most often all; and in each
//! database a lane's changes go through one of [`WRITERS`] connections, whatever server they come from ([`lane`]). Statements
//! never span keys ([`statements`]), so a database can be split into several by lanes. Reads are answered by the primary: what
//! was acknowledged by any server is seen by all.
//!
//! Durability is the database's: with `synchronous_standby_names` set to a quorum, an acknowledged append is on the disks of
//! that many machines. What is deleted is gone from every answer at once; its bytes go when PostgreSQL cleans up and rewrites
//! its log, which the operator's settings decide.

mod batch;
mod connect;
mod lane;
mod readers;
mod setup;
mod statements;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tls;
mod wakes;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rand_core::{OsRng, RngCore as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot};
use tokio_postgres::Row;

use self::batch::{Answer, Change, What, integer};
pub use self::connect::BadUrl;
use self::connect::Database;
use self::lane::Lane;
use self::readers::Readers;
use self::wakes::{Outbox, Tasks};
use super::watch::Hub;
use super::{Append, ENTRY_BYTES_MAX, Entry, Expect, Key, KeyedLog, Seq, Size, StoreError, Timestamp, Watcher};

/// How many lanes there are, over all databases. For ever: it decides where a key lies.
pub const LANES: u16 = 1_024;

/// One database, and which lanes are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// How to reach it: `postgres://...` or `host=... dbname=...`.
    pub url: String,
    /// The first lane.
    pub first_lane: u16,
    /// The last one.
    pub last_lane: u16,
}

/// How the store is set up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostgresOptions {
    /// The databases. Together they have every lane once.
    pub shards: Vec<Shard>,
    /// Certificates of the authorities that the databases' certificates are checked against. `None` takes the system's.
    pub ca_file: Option<PathBuf>,
}

impl PostgresOptions {
    /// Databases with as many lanes each as can be.
    pub fn even(urls: impl IntoIterator<Item = String>) -> Self {
        let urls: Vec<String> = urls.into_iter().collect();
        let (count, lanes) = (urls.len().max(1), usize::from(LANES));
        let bound = |place: usize| u16::try_from(place * lanes / count).unwrap_or(LANES);
        let shard = |(place, url)| Shard { url, first_lane: bound(place), last_lane: bound(place + 1) - 1 };
        Self { shards: urls.into_iter().enumerate().map(shard).collect(), ca_file: None }
    }
}

/// Why the store cannot be opened. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A connection string is not one.
    #[error("{0}. It looks like postgres://user:password@host1,host2/database")]
    Url(#[from] BadUrl),
    /// The lanes of the databases leave some out, or some stand twice.
    #[error("the databases have to share lanes 0 to 1023, each lane in one of them; lane {lane} is in {times}")]
    Lanes {
        /// The first that is wrong.
        lane: u16,
        /// In how many databases it is.
        times: usize,
    },
    /// The authorities' certificates cannot be read.
    #[error("cannot read the certificates in {}: {cause}", path.display())]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// Another set of lanes is in the database: this configuration is not the one that it was made with.
    #[error(
        "{database} has lanes {first} to {last}; the configuration says otherwise. All servers need the same table"
    )]
    OtherLanes {
        /// Which database.
        database: String,
        /// Its first lane.
        first: i32,
        /// Its last.
        last: i32,
    },
    /// A later version of the server has changed it.
    #[error(
        "{database} has schema {found}, this server is too old for it. Run the server that wrote it, or a later one"
    )]
    NewerSchema {
        /// Which database.
        database: String,
        /// Its version.
        found: i32,
    },
    /// The database cannot be used.
    #[error("cannot use the database {database}: {source}")]
    Engine {
        /// Which database.
        database: String,
        /// What it said.
        source: StoreError,
    },
}

/// A keyed log on PostgreSQL. Clones share it. Dropping the last one ends its connections, once what was handed to it is
/// committed.
#[derive(Clone)]
pub struct PostgresLog(Arc<Inner>);

struct Inner {
    databases: Vec<Open>,
    /// Which database a lane is in.
    lanes: Vec<usize>,
    hub: Hub,
    /// Bounds what waits for the lanes, in KiB.
    room: Arc<Semaphore>,
    /// Running as long as the store is there.
    wakes: OnceLock<Tasks>,
}

/// A database in use.
struct Open {
    writers: Vec<UnboundedSender<Change>>,
    readers: Readers,
}

impl PostgresLog {
    /// Opens the store, making the tables where there are none.
    ///
    /// # Errors
    /// [`OpenError`], with what to do.
    pub async fn open(options: &PostgresOptions) -> Result<Self, OpenError> {
        let lanes = table(&options.shards)?;
        let hub = Hub::default();
        let tls = client_tls(options)?;
        let mut databases = Vec::with_capacity(options.shards.len());
        for shard in &options.shards {
            let database = Arc::new(Database::parse(&shard.url, Arc::clone(&tls))?);
            setup::set_up(&database, shard).await?;
            databases.push(database);
        }
        let first = databases.first().ok_or(OpenError::Lanes { lane: 0, times: 0 })?;
        let (outbox, mut wakes) = wakes::start(&hub, first);
        let databases = databases.iter().map(|database| Open::new(database, &hub, &outbox)).collect();
        let room = Arc::new(Semaphore::new(CHANGES_KIB_MAX as usize));
        let store = Arc::new(Inner { databases, lanes, hub, room, wakes: OnceLock::new() });
        wakes::ask(&mut wakes, Arc::downgrade(&store));
        let _first = store.wakes.set(wakes);
        Ok(Self(store))
    }

    fn database(&self, key: &Key) -> (&Open, u16) {
        let lane = lane_of(key);
        (&self.0.databases[self.0.lanes[usize::from(lane)]], lane)
    }

    /// Hands a change to its lane and waits until it is durable.
    async fn change<T>(&self, key: &Key, bytes: usize, what: impl FnOnce(Answer<T>) -> What) -> Result<T, StoreError> {
        let kib = u32::try_from(bytes / 1_024 + 1).unwrap_or(u32::MAX).min(CHANGES_KIB_MAX);
        let room = &self.0.room;
        // Without a detour through the scheduler, so that the first poll hands the change over.
        let permit = match Arc::clone(room).try_acquire_many_owned(kib) {
            Ok(permit) => permit,
            Err(_) => Arc::clone(room).acquire_many_owned(kib).await.map_err(|_| StoreError::Closed)?,
        };
        let (reply, done) = oneshot::channel();
        let change = Change { key: key.clone(), what: what(reply), _permit: Some(permit) };
        let (database, lane) = self.database(key);
        database.writers[usize::from(lane) % WRITERS].send(change).map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| StoreError::Closed)?
    }

    /// Deletes what is due in one database.
    async fn expire_in(&self, database: &Open, now: Timestamp) -> Result<u64, StoreError> {
        let (at, batch) = (integer(now.0), EXPIRE_BATCH_ENTRIES as i64);
        let mut deleted = 0;
        loop {
            let due = database.readers.ask(|reader| {
                Box::pin(async move { reader.connection.client.query(&reader.statements.due, &[&at, &batch]).await })
            });
            let due = due.await?;
            let mut of_key: BTreeMap<Key, Vec<i64>> = BTreeMap::new();
            for row in &due {
                let key = Key::from_bytes(column(row, 0)?).ok_or_else(|| corrupt(&"a key of no length"))?;
                of_key.entry(key).or_default().push(column(row, 1)?);
            }
            let deleting = of_key.into_iter().map(|(key, seqs)| async move {
                self.change(&key, 0, |reply| What::Expire { seqs, now, reply }).await
            });
            deleted += futures_util::future::try_join_all(deleting).await?.into_iter().sum::<u64>();
            if due.len() < EXPIRE_BATCH_ENTRIES {
                return Ok(deleted);
            }
        }
    }
}

impl Open {
    fn new(database: &Arc<Database>, hub: &Hub, outbox: &Outbox) -> Self {
        let mut writer = [0; 16];
        OsRng.fill_bytes(&mut writer);
        let writers = (0..WRITERS).map(|number| {
            let (sender, changes) = unbounded_channel();
            let lane = Lane {
                database: Arc::clone(database),
                number: number as i32,
                writer: [&writer[..], &[number as u8]].concat(),
                changes,
                hub: hub.clone(),
                outbox: outbox.clone(),
                ready: None,
                batches: 0,
            };
            tokio::spawn(lane.run());
            sender
        });
        Self { writers: writers.collect(), readers: Readers::new(Arc::clone(database)) }
    }
}

impl fmt::Debug for PostgresLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresLog({} databases)", self.0.databases.len())
    }
}

impl KeyedLog for PostgresLog {
    async fn append(
        &self,
        key: &Key,
        expect: Expect,
        bytes: Vec<u8>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Append, StoreError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(StoreError::TooLarge { bytes: bytes.len() });
        }
        self.change(key, bytes.len(), |reply| What::Append { expect, bytes, expires_at, now, reply }).await
    }

    async fn read(
        &self,
        key: &Key,
        after: Seq,
        entries_max: usize,
        bytes_max: usize,
        now: Timestamp,
    ) -> Result<Vec<Entry>, StoreError> {
        let limit = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let (after, now, entries, bytes) = (integer(after.0), integer(now.0), limit(entries_max), limit(bytes_max));
        let rows = self.database(key).0.readers.ask(|reader| {
            let key = key.clone();
            Box::pin(async move {
                let statement = &reader.statements.read;
                reader.connection.client.query(statement, &[&key.as_bytes(), &after, &now, &entries, &bytes]).await
            })
        });
        rows.await?.iter().map(|row| entry(row, 0)).collect()
    }

    async fn last(&self, key: &Key, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        let now = integer(now.0);
        let row = self.database(key).0.readers.ask(|reader| {
            let key = key.clone();
            Box::pin(async move {
                reader.connection.client.query_opt(&reader.statements.last, &[&key.as_bytes(), &now]).await
            })
        });
        row.await?.map(|row| entry(&row, 0)).transpose()
    }

    async fn last_many(&self, keys: &[Key], now: Timestamp) -> Result<Vec<Option<Entry>>, StoreError> {
        let now = integer(now.0);
        let mut found = vec![None; keys.len()];
        for (number, database) in self.0.databases.iter().enumerate() {
            let here = |key: &Key| self.0.lanes[usize::from(lane_of(key))] == number;
            let places: Vec<usize> = (0..keys.len()).filter(|place| here(&keys[*place])).collect();
            for places in places.chunks(KEYS_AT_ONCE) {
                let asked: Arc<[Key]> = places.iter().map(|place| keys[*place].clone()).collect();
                let rows = database.readers.ask(|reader| {
                    let asked = Arc::clone(&asked);
                    Box::pin(async move {
                        let keys: Vec<&[u8]> = asked.iter().map(Key::as_bytes).collect();
                        reader.connection.client.query(&reader.statements.last_many, &[&keys, &now]).await
                    })
                });
                for row in rows.await? {
                    let place = number_at(&row, 0)?.checked_sub(1).and_then(|place| usize::try_from(place).ok());
                    let place =
                        place.and_then(|place| places.get(place)).ok_or_else(|| corrupt(&"a key not asked for"))?;
                    found[*place] = Some(entry(&row, 1)?);
                }
            }
        }
        Ok(found)
    }

    async fn take_first(&self, key: &Key, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        self.change(key, 0, |reply| What::TakeFirst { now, reply }).await
    }

    async fn count(&self, key: &Key, now: Timestamp) -> Result<Size, StoreError> {
        let now = integer(now.0);
        let row = self.database(key).0.readers.ask(|reader| {
            let key = key.clone();
            Box::pin(async move {
                reader.connection.client.query_one(&reader.statements.count, &[&key.as_bytes(), &now]).await
            })
        });
        let row = row.await?;
        Ok(Size { entries: number_at(&row, 0)?, bytes: number_at(&row, 1)? })
    }

    async fn touch(&self, key: &Key, seq: Seq, expires_at: Timestamp) -> Result<bool, StoreError> {
        self.change(key, 0, |reply| What::Touch { seq, expires_at, reply }).await
    }

    async fn trim(&self, key: &Key, upto: Seq) -> Result<(), StoreError> {
        self.change(key, 0, |reply| What::Trim { upto, reply }).await
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.change(key, 0, |reply| What::Remove { reply }).await
    }

    async fn expire(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut deleted = 0;
        for database in &self.0.databases {
            deleted += self.expire_in(database, now).await?;
            let forget = database.readers.ask(|reader| {
                Box::pin(async move { reader.connection.client.execute(&reader.statements.forget_writers, &[]).await })
            });
            forget.await?;
        }
        Ok(deleted)
    }

    fn watch(&self, keys: impl IntoIterator<Item = Key>) -> Watcher {
        self.0.hub.watch(keys)
    }
}

/// Which lane a key is in. For ever.
pub(super) fn lane_of(key: &Key) -> u16 {
    let hash = Sha256::digest(key.as_bytes());
    u16::from_be_bytes([hash[0], hash[1]]) % LANES
}

/// Which database each lane is in.
fn table(shards: &[Shard]) -> Result<Vec<usize>, OpenError> {
    let in_lane = |lane: u16| {
        let has = |shard: &Shard| (shard.first_lane..=shard.last_lane).contains(&lane);
        let mut found = shards.iter().enumerate().filter(|(_, shard)| has(shard)).map(|(number, _)| number);
        match (found.next(), found.count()) {
            (Some(number), 0) => Ok(number),
            (None, _) => Err(OpenError::Lanes { lane, times: 0 }),
            (Some(_), more) => Err(OpenError::Lanes { lane, times: 1 + more }),
        }
    };
    (0..LANES).map(in_lane).collect()
}

fn client_tls(options: &PostgresOptions) -> Result<Arc<rustls::ClientConfig>, OpenError> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    let mut roots = rustls::RootCertStore::empty();
    match &options.ca_file {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let failed = |cause: String| OpenError::Certificates { path: path.clone(), cause };
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| failed(error.to_string()))?;
                roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| OpenError::Certificates { path: PathBuf::new(), cause: error.to_string() })?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// An entry in the columns from `first`: number, expiry, bytes.
fn entry(row: &Row, first: usize) -> Result<Entry, StoreError> {
    let expires_at: Option<i64> = column(row, first + 1)?;
    Ok(Entry {
        seq: Seq(number_at(row, first)?),
        expires_at: expires_at.map(|at| number(at).map(Timestamp)).transpose()?,
        bytes: column(row, first + 2)?,
    })
}

fn column<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, place: usize) -> Result<T, StoreError> {
    row.try_get(place).map_err(|error| corrupt(&error))
}

fn number_at(row: &Row, place: usize) -> Result<u64, StoreError> {
    number(column(row, place)?)
}

/// A column that never holds less than 0.
fn number(n: i64) -> Result<u64, StoreError> {
    u64::try_from(n).map_err(|_| corrupt(&"a number below 0"))
}

fn corrupt(cause: &dyn fmt::Display) -> StoreError {
    StoreError::Corrupt { cause: cause.to_string() }
}

/// Connections that write to a database, of each server: as many transactions are under way there, and so many locks are
/// there. All servers need the same number.
const WRITERS: usize = 16;
/// What waits for the lanes, together: 64 MiB, each change counting 1 KiB more than it has.
const CHANGES_KIB_MAX: u32 = 64 * 1_024;
const EXPIRE_BATCH_ENTRIES: usize = 512;
const KEYS_AT_ONCE: usize = 512;
