//! Every statement that the store makes, and the tables that they are about.
//!
//! No statement spans keys: whatever one decides or changes about a key follows from that key's rows alone, so the tables
//! can be split by key over any number of databases. The tests parse the statements and demand it. [`APPEND`] handles many
//! keys at once, each by itself.
//!
//! Who writes a key holds the lock of its lane. The compare-and-set of [`APPEND`] holds without it.

use tokio_postgres::{Client, Error, Statement};

/// What [`SCHEMA`] is. A server changes an older store, and leaves one alone whose `oldest` is newer than this.
pub(super) const VERSION: i32 = 1;
/// The oldest version of which a server may write to a store of [`VERSION`]: two that follow each other work side by side
/// while servers are replaced one by one.
pub(super) const OLDEST: i32 = 1;

/// Version 1.
///
/// - `head` has a row for each key that lives: the last number that was given, how many the last append took (which makes the
///   upsert of [`APPEND`] a compare-and-set), and whether it is a queue.
/// - `writer` has a row for each lane of each server: the last batch that it committed, and up to which it gave
///   up what was not. That is how a lane learns what became
///   of a batch whose `COMMIT` was not answered.
/// - `store` has one row: what this database is.
pub(super) const SCHEMA: &str = "
CREATE TABLE head (
    key bytea PRIMARY KEY,
    last int8 NOT NULL,
    step int8 NOT NULL,
    queue bool NOT NULL DEFAULT false
) WITH (fillfactor = 50);
CREATE TABLE entry (
    key bytea NOT NULL,
    seq int8 NOT NULL,
    expires_at int8,
    bytes bytea NOT NULL,
    PRIMARY KEY (key, seq)
);
ALTER TABLE entry ALTER bytes SET STORAGE EXTERNAL;
CREATE INDEX entry_by_expiry ON entry (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE writer (
    id bytea PRIMARY KEY,
    batch int8 NOT NULL,
    fence int8 NOT NULL DEFAULT 0,
    seen timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);
CREATE TABLE store (
    one bool PRIMARY KEY DEFAULT true CHECK (one),
    version int4 NOT NULL,
    oldest int4 NOT NULL,
    first_lane int4 NOT NULL,
    last_lane int4 NOT NULL
);
";

/// `expect` of a run of [`APPEND`] that expects nothing.
pub(super) const ANY: i64 = -2;
/// `expect` of a run of [`APPEND`] that expects no such key.
pub(super) const EMPTY: i64 = -1;

/// Appends runs: entries of one key each, made whole or not at all. A run of more than one entry that names a last number
/// needs it exactly.
///
/// `$1` to `$4`, one element a run: key (at most once), expected number, entries, now. `$5` to `$8`, one element an entry: key,
/// place in its run from 1, expiry, bytes. Returns for each run its place, the last number that was given before, and
/// whether it was made.
///
/// Base tables are read by scalar subqueries and written by an upsert, never joined: with sequential scans and nested loops
/// off, the one plan that is left is the right one at any size.
pub(super) const APPEND: &str = "
WITH asked AS MATERIALIZED (
    SELECT t.run, t.key, t.expect, t.count, t.now, (SELECT h.last FROM head h WHERE h.key = t.key) AS last
    FROM unnest($1::bytea[], $2::int8[], $3::int8[], $4::int8[]) WITH ORDINALITY AS t(key, expect, count, now, run)
), decided AS MATERIALIZED (
    SELECT a.run, a.key, a.count, a.last, CASE
        WHEN a.expect = -2 THEN true
        WHEN a.expect = -1 THEN a.last IS NULL
        WHEN a.last = a.expect THEN true
        WHEN a.last > a.expect AND a.count = 1 THEN NOT EXISTS (
            SELECT 1 FROM entry e
            WHERE e.key = a.key AND e.seq > a.expect AND (e.expires_at IS NULL OR e.expires_at > a.now))
        ELSE false
    END AS holds
    FROM asked a
), moved AS (
    INSERT INTO head AS h (key, last, step)
    SELECT d.key, coalesce(d.last, 0) + d.count, d.count FROM decided d WHERE d.holds
    ON CONFLICT (key) DO UPDATE SET last = excluded.last, step = excluded.step
        WHERE h.last = excluded.last - excluded.step
    RETURNING h.key, h.last - h.step AS before
), written AS (
    INSERT INTO entry (key, seq, expires_at, bytes)
    SELECT m.key, m.before + e.nth, e.expires_at, e.bytes
    FROM unnest($5::bytea[], $6::int8[], $7::int8[], $8::bytea[]) AS e(key, nth, expires_at, bytes)
    JOIN moved m ON m.key = e.key
)
SELECT d.run, d.last, m.key IS NOT NULL AS made FROM decided d LEFT JOIN moved m ON m.key = d.key";

/// Key, now. Returns the entry that it deleted.
pub(super) const TAKE_FIRST: &str = "
WITH gone AS (
    DELETE FROM entry WHERE key = $1 AND seq = (
        SELECT seq FROM entry WHERE key = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY seq LIMIT 1)
    RETURNING seq, expires_at, bytes
), marked AS (
    UPDATE head SET queue = true WHERE key = $1 AND NOT queue AND EXISTS (SELECT 1 FROM gone)
)
SELECT seq, expires_at, bytes FROM gone";

/// Key, number, expiry.
pub(super) const TOUCH: &str = "UPDATE entry SET expires_at = $3 WHERE key = $1 AND seq = $2";

/// Key, number.
pub(super) const TRIM: &str = "
WITH gone AS (DELETE FROM entry WHERE key = $1 AND seq <= $2 RETURNING seq)
UPDATE head SET queue = true WHERE key = $1 AND NOT queue AND EXISTS (SELECT 1 FROM gone)";

/// Key.
pub(super) const REMOVE: &str = "
WITH gone AS (DELETE FROM entry WHERE key = $1)
DELETE FROM head WHERE key = $1";

/// Key, numbers that looked due, now. Deletes those that are, and the key with its last entry unless it is a queue. Returns
/// how many entries it deleted.
pub(super) const EXPIRE: &str = "
WITH gone AS (
    DELETE FROM entry WHERE key = $1 AND seq = ANY($2::int8[]) AND expires_at <= $3 RETURNING seq
), forgotten AS (
    DELETE FROM head WHERE key = $1 AND NOT queue AND NOT EXISTS (
        SELECT 1 FROM entry
        WHERE key = $1 AND NOT (seq = ANY($2::int8[]) AND expires_at IS NOT NULL AND expires_at <= $3))
)
SELECT count(*) FROM gone";

/// Now, how many at most. Only proposes what [`EXPIRE`] deletes: it decides nothing, so it may read across keys.
pub(super) const DUE: &str = "SELECT key, seq FROM entry WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2";

/// Key, number, now, entries, bytes. Sizes are added up without reading what is stored out of line.
pub(super) const READ: &str = "
SELECT seq, expires_at, bytes FROM (
    SELECT seq, expires_at, bytes, row_number() OVER w AS place, sum(octet_length(bytes)) OVER w AS total
    FROM (
        SELECT seq, expires_at, bytes FROM entry
        WHERE key = $1 AND seq > $2 AND (expires_at IS NULL OR expires_at > $3) ORDER BY seq LIMIT $4
    ) AS page WINDOW w AS (ORDER BY seq ROWS UNBOUNDED PRECEDING)
) AS sized
WHERE place = 1 OR total <= $5 ORDER BY seq";

/// Key, now.
pub(super) const LAST: &str = "
SELECT seq, expires_at, bytes FROM entry
WHERE key = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY seq DESC LIMIT 1";

/// Keys, now. Each key by itself; returns the place of a key with its entry.
pub(super) const LAST_MANY: &str = "
SELECT k.place, e.seq, e.expires_at, e.bytes
FROM unnest($1::bytea[]) WITH ORDINALITY AS k(key, place)
CROSS JOIN LATERAL (
    SELECT seq, expires_at, bytes FROM entry
    WHERE key = k.key AND (expires_at IS NULL OR expires_at > $2) ORDER BY seq DESC LIMIT 1
) AS e";

/// Keys. Each key by itself; the last number that was given, where the key lives.
pub(super) const HEADS: &str = "
SELECT k.place, (SELECT last FROM head WHERE key = k.key) AS last
FROM unnest($1::bytea[]) WITH ORDINALITY AS k(key, place)";

/// Key, now.
pub(super) const COUNT: &str = "
SELECT count(*), coalesce(sum(octet_length(bytes)), 0)::int8 FROM entry
WHERE key = $1 AND (expires_at IS NULL OR expires_at > $2)";

/// This lane of this server, the batch that it is about to commit. Fails when that was given up meanwhile: bytes that were
/// on their way while the lane asked elsewhere must not be acted upon later.
pub(super) const MARK: &str = "
WITH marked AS (
    INSERT INTO writer AS w (id, batch) VALUES ($1, $2)
    ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, seen = now()
        WHERE w.batch < excluded.batch AND w.fence < excluded.batch
    RETURNING batch
)
SELECT 1 / count(*) FROM marked";

/// This lane of this server, a batch that was not answered. Gives it up if it is not committed yet, and returns the last
/// batch that is, 0 for none. It writes, so that its own commit says that everything before it is where a commit has to be.
pub(super) const SETTLE: &str = "
INSERT INTO writer AS w (id, batch, fence) VALUES ($1, 0, $2)
ON CONFLICT (id) DO UPDATE SET fence = excluded.fence, seen = now() RETURNING batch";

/// Forgets servers that are gone.
pub(super) const FORGET_WRITERS: &str = "DELETE FROM writer WHERE seen < now() - interval '30 days'";

/// What a lane prepares on its connection.
pub(super) struct Writing {
    pub(super) append: Statement,
    pub(super) take_first: Statement,
    pub(super) touch: Statement,
    pub(super) trim: Statement,
    pub(super) remove: Statement,
    pub(super) expire: Statement,
    pub(super) mark: Statement,
    pub(super) settle: Statement,
}

impl Writing {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            append: client.prepare(APPEND).await?,
            take_first: client.prepare(TAKE_FIRST).await?,
            touch: client.prepare(TOUCH).await?,
            trim: client.prepare(TRIM).await?,
            remove: client.prepare(REMOVE).await?,
            expire: client.prepare(EXPIRE).await?,
            mark: client.prepare(MARK).await?,
            settle: client.prepare(SETTLE).await?,
        })
    }
}

/// What a reader prepares on its connection.
pub(super) struct Reading {
    pub(super) read: Statement,
    pub(super) last: Statement,
    pub(super) last_many: Statement,
    pub(super) heads: Statement,
    pub(super) count: Statement,
    pub(super) due: Statement,
    pub(super) forget_writers: Statement,
}

impl Reading {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            read: client.prepare(READ).await?,
            last: client.prepare(LAST).await?,
            last_many: client.prepare(LAST_MANY).await?,
            heads: client.prepare(HEADS).await?,
            count: client.prepare(COUNT).await?,
            due: client.prepare(DUE).await?,
            forget_writers: client.prepare(FORGET_WRITERS).await?,
        })
    }
}

#[cfg(test)]
mod tests;
