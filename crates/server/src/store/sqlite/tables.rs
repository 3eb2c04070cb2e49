//! The tables, and every statement that reads or changes them. The connection of a change is in a transaction.
//!
//! `entries` has the rows in arrival order, so that appends fill pages one after the other and expiry empties them the same
//! way. The last number of a key is the greatest one in `entries`, unless that row was deleted: then `heads` has it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use lru::LruCache;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::Whole;
use crate::store::{Append, Entry, Expect, KEY_BYTES_MAX, Key, Seq, Size, Timestamp};

/// What [`SCHEMA`] is, in the file's header.
pub(super) const SCHEMA_VERSION: i64 = 1;
/// `ston`: which program's file it is.
pub(super) const APPLICATION_ID: i64 = 0x7374_6f6e;

/// Version 1. `expires_at` is in milliseconds since the Unix epoch. `queue` is 1 when the key was trimmed or taken from.
pub(super) const SCHEMA: &str = "
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    seq INTEGER NOT NULL,
    expires_at INTEGER,
    bytes BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX entries_by_key ON entries (key, seq);
CREATE INDEX entries_by_expiry ON entries (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE heads (
    key BLOB PRIMARY KEY,
    seq INTEGER NOT NULL,
    queue INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// The writer's view of the tables.
pub(super) struct Tables {
    db: Connection,
    /// Heads of keys in use. Only of keys that live.
    heads: LruCache<Key, Head>,
    /// Keys appended to in this transaction.
    appended: Vec<Key>,
    /// Whether this transaction deleted something.
    deleted: bool,
}

/// What is known of a key beside its entries.
#[derive(Clone, Copy)]
struct Head {
    last: Seq,
    queue: bool,
}

impl Tables {
    pub(super) fn new(db: Connection) -> Self {
        let heads = LruCache::new(NonZeroUsize::new(HEADS_CACHED_MAX).expect("not zero"));
        Self { db, heads, appended: Vec::new(), deleted: false }
    }

    pub(super) fn db(&self) -> &Connection {
        &self.db
    }

    pub(super) fn begin(&mut self) -> Result<()> {
        self.appended.clear();
        self.deleted = false;
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    /// Makes the transaction durable. Returns the keys that it appended to, and whether it deleted something.
    pub(super) fn commit(&mut self) -> Result<(&[Key], bool)> {
        self.db.prepare_cached("COMMIT")?.execute([])?;
        Ok((&self.appended, self.deleted))
    }

    /// Undoes a transaction that failed.
    pub(super) fn roll_back(&mut self) {
        // What is cached may come from the transaction.
        self.heads.clear();
        // SQLite has rolled back by itself after the graver errors, and says so with an error here.
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "the store could not roll back");
        }
    }

    pub(super) fn append(
        &mut self,
        key: &Key,
        expect: Expect,
        bytes: &[u8],
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Append> {
        let head = self.head(key)?;
        let holds = match (expect, head) {
            (Expect::Any, _) | (Expect::Empty, None) => true,
            (Expect::Empty, Some(_)) | (Expect::Last(_), None) => false,
            (Expect::Last(seq), Some(head)) => {
                seq == head.last || (seq < head.last && !has_live_behind(&self.db, key, seq, now)?)
            }
        };
        if !holds {
            return Ok(Append::Conflict { last: head.map(|head| head.last) });
        }
        let seq = Seq(head.map_or(0, |head| head.last.0) + 1);
        self.db
            .prepare_cached("INSERT INTO entries (key, seq, expires_at, bytes) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![key.as_bytes(), integer(seq.0), expires_at.map(|at| integer(at.0)), bytes])?;
        self.heads.put(key.clone(), Head { last: seq, queue: head.is_some_and(|head| head.queue) });
        self.appended.push(key.clone());
        Ok(Append::Appended(seq))
    }

    pub(super) fn take_first(&mut self, key: &Key, now: Timestamp) -> Result<Option<Entry>> {
        let first = read(&self.db, key, Seq(0), 1, usize::MAX, now)?.pop();
        if let Some(entry) = &first {
            self.delete_queued(key, entry.seq, entry.seq)?;
        }
        Ok(first)
    }

    pub(super) fn touch(&mut self, key: &Key, seq: Seq, expires_at: Timestamp) -> Result<bool> {
        let sql = "UPDATE entries SET expires_at = ?3 WHERE key = ?1 AND seq = ?2";
        let changed =
            self.db.prepare_cached(sql)?.execute(params![key.as_bytes(), integer(seq.0), integer(expires_at.0)])?;
        Ok(changed > 0)
    }

    pub(super) fn trim(&mut self, key: &Key, upto: Seq) -> Result<()> {
        self.delete_queued(key, Seq(0), upto)
    }

    pub(super) fn remove(&mut self, key: &Key) -> Result<()> {
        self.heads.pop(key);
        self.deleted = true;
        self.db.prepare_cached("DELETE FROM entries WHERE key = ?1")?.execute([key.as_bytes()])?;
        self.db.prepare_cached("DELETE FROM heads WHERE key = ?1")?.execute([key.as_bytes()])?;
        Ok(())
    }

    /// Deletes up to `max` entries that are due. Returns how many there were.
    pub(super) fn expire(&mut self, now: Timestamp, max: usize) -> Result<usize> {
        let sql = "DELETE FROM entries WHERE id IN
                   (SELECT id FROM entries WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2) RETURNING key, seq";
        let mut gone: BTreeMap<Vec<u8>, Seq> = BTreeMap::new();
        let mut count = 0;
        {
            let mut statement = self.db.prepare_cached(sql)?;
            let mut rows = statement.query(params![integer(now.0), integer(max as u64)])?;
            while let Some(row) = rows.next()? {
                let last = gone.entry(row.get(0)?).or_default();
                *last = (*last).max(Seq(number(row, 1)?));
                count += 1;
            }
        }
        self.deleted |= count > 0;
        for (key, last_gone) in gone {
            self.after_expiry(&Key(key.into()), last_gone)?;
        }
        Ok(count)
    }

    /// Keeps the last number of a key whose entry `last_gone`, and others before it, expired, or forgets the key.
    fn after_expiry(&mut self, key: &Key, last_gone: Seq) -> Result<()> {
        let left = last_row(&self.db, key)?;
        let kept = kept_head(&self.db, key)?;
        let queue = kept.is_some_and(|kept| kept.queue);
        if left.is_none() && !queue {
            self.heads.pop(key);
            if kept.is_some() {
                self.db.prepare_cached("DELETE FROM heads WHERE key = ?1")?.execute([key.as_bytes()])?;
            }
        } else if left.max(kept.map(|kept| kept.last)) < Some(last_gone) {
            self.keep_head(key, Head { last: last_gone, queue })?;
        }
        Ok(())
    }

    /// Deletes a range of a queue, and remembers that it is one.
    fn delete_queued(&mut self, key: &Key, from: Seq, upto: Seq) -> Result<()> {
        let Some(head) = self.head(key)? else { return Ok(()) };
        let gone = self
            .db
            .prepare_cached("DELETE FROM entries WHERE key = ?1 AND seq BETWEEN ?2 AND ?3")?
            .execute(params![key.as_bytes(), integer(from.0), integer(upto.0)])?;
        if gone == 0 {
            return Ok(());
        }
        self.deleted = true;
        if !head.queue || upto >= head.last {
            let head = Head { queue: true, ..head };
            self.keep_head(key, head)?;
            self.heads.put(key.clone(), head);
        }
        Ok(())
    }

    fn keep_head(&self, key: &Key, head: Head) -> Result<()> {
        let sql = "INSERT INTO heads (key, seq, queue) VALUES (?1, ?2, ?3)
                   ON CONFLICT (key) DO UPDATE SET seq = excluded.seq, queue = excluded.queue";
        self.db.prepare_cached(sql)?.execute(params![key.as_bytes(), integer(head.last.0), head.queue]).map(drop)
    }

    fn head(&mut self, key: &Key) -> Result<Option<Head>> {
        if let Some(head) = self.heads.get(key) {
            return Ok(Some(*head));
        }
        let kept = kept_head(&self.db, key)?;
        let Some(last) = last_row(&self.db, key)?.max(kept.map(|kept| kept.last)) else { return Ok(None) };
        let head = Head { last, queue: kept.is_some_and(|kept| kept.queue) };
        self.heads.put(key.clone(), head);
        Ok(Some(head))
    }
}

/// [`crate::store::KeyedLog::read`].
pub(super) fn read(
    db: &Connection,
    key: &Key,
    after: Seq,
    entries_max: usize,
    bytes_max: usize,
    now: Timestamp,
) -> Result<Vec<Entry>> {
    let mut statement = db.prepare_cached(
        "SELECT seq, expires_at, bytes FROM entries
         WHERE key = ?1 AND seq > ?2 AND (expires_at IS NULL OR expires_at > ?3) ORDER BY seq LIMIT ?4",
    )?;
    let limit = i64::try_from(entries_max).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![key.as_bytes(), integer(after.0), integer(now.0), limit])?;
    let (mut page, mut bytes) = (Vec::new(), 0_usize);
    while let Some(row) = rows.next()? {
        // Looked at before it is copied.
        bytes = bytes.saturating_add(row.get_ref(2)?.as_blob()?.len());
        if bytes > bytes_max && !page.is_empty() {
            break;
        }
        page.push(entry(row)?);
    }
    Ok(page)
}

/// [`crate::store::KeyedLog::last`].
pub(super) fn last(db: &Connection, key: &Key, now: Timestamp) -> Result<Option<Entry>> {
    db.prepare_cached(
        "SELECT seq, expires_at, bytes FROM entries
         WHERE key = ?1 AND (expires_at IS NULL OR expires_at > ?2) ORDER BY seq DESC LIMIT 1",
    )?
    .query_row(params![key.as_bytes(), integer(now.0)], entry)
    .optional()
}

/// [`crate::store::KeyedLog::count`].
pub(super) fn count(db: &Connection, key: &Key, now: Timestamp) -> Result<Size> {
    db.prepare_cached(
        "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM entries
         WHERE key = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
    )?
    .query_row(params![key.as_bytes(), integer(now.0)], |row| {
        Ok(Size { entries: number(row, 0)?, bytes: number(row, 1)? })
    })
}

/// The keys that live and start with `prefix`, ascending.
pub(super) fn keys(db: &Connection, prefix: &[u8], max: usize) -> Result<Vec<Key>> {
    // No key is longer, so none with this prefix sorts behind.
    let upto = [prefix, &[0xff; KEY_BYTES_MAX]].concat();
    let limit = i64::try_from(max).unwrap_or(i64::MAX);
    db.prepare_cached(
        "SELECT key FROM entries WHERE key BETWEEN ?1 AND ?2 UNION SELECT key FROM heads WHERE key BETWEEN ?1 AND ?2
         ORDER BY key LIMIT ?3",
    )?
    .query_map(params![prefix, upto, limit], |row| Ok(Key(row.get::<_, Vec<u8>>(0)?.into())))?
    .collect()
}

/// Everything of one key that is in the tables, also what is due and not deleted yet.
pub(super) fn whole(db: &Connection, key: &Key) -> Result<Whole> {
    let last = last_row(db, key)?.max(kept_head(db, key)?.map(|kept| kept.last));
    let records = db
        .prepare_cached("SELECT seq, expires_at, bytes, id FROM entries WHERE key = ?1 ORDER BY seq")?
        .query_map([key.as_bytes()], |row| Ok((number(row, 3)?, entry(row)?)))?
        .collect::<Result<_>>()?;
    Ok(Whole { last, records })
}

fn has_live_behind(db: &Connection, key: &Key, seq: Seq, now: Timestamp) -> Result<bool> {
    db.prepare_cached(
        "SELECT 1 FROM entries WHERE key = ?1 AND seq > ?2 AND (expires_at IS NULL OR expires_at > ?3) LIMIT 1",
    )?
    .exists(params![key.as_bytes(), integer(seq.0), integer(now.0)])
}

fn last_row(db: &Connection, key: &Key) -> Result<Option<Seq>> {
    let sql = "SELECT max(seq) FROM entries WHERE key = ?1";
    db.prepare_cached(sql)?.query_row([key.as_bytes()], |row| Ok(optional_number(row, 0)?.map(Seq)))
}

fn kept_head(db: &Connection, key: &Key) -> Result<Option<Head>> {
    db.prepare_cached("SELECT seq, queue FROM heads WHERE key = ?1")?
        .query_row([key.as_bytes()], |row| Ok(Head { last: Seq(number(row, 0)?), queue: row.get(1)? }))
        .optional()
}

fn entry(row: &Row<'_>) -> Result<Entry> {
    Ok(Entry { seq: Seq(number(row, 0)?), expires_at: optional_number(row, 1)?.map(Timestamp), bytes: row.get(2)? })
}

/// A column that never holds less than 0.
pub(super) fn number(row: &Row<'_>, column: usize) -> Result<u64> {
    let n = row.get::<_, i64>(column)?;
    u64::try_from(n).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, n))
}

fn optional_number(row: &Row<'_>, column: usize) -> Result<Option<u64>> {
    if row.get_ref(column)? == ValueRef::Null { Ok(None) } else { number(row, column).map(Some) }
}

/// SQLite's integers are signed. Callers may ask behind any number; none that is given comes near the limit.
fn integer(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Some 150 bytes each.
const HEADS_CACHED_MAX: usize = 65_536;
