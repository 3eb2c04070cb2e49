//! A copy of the store while it is used: SQLite's backup API over one snapshot.
//!
//! The copy is the store as it was when copying began. A connection of its own holds that moment's snapshot, so that what
//! is appended meanwhile does not make the copy begin again. As long as the snapshot is held, the write-ahead log cannot
//! start again; `store.backup` is locked meanwhile, and the server's checkpointer leaves the writer alone.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::files::{self, OpenError, open_error};
use super::{SqliteLog, StoreError};

impl SqliteLog {
    /// Copies the store in `dir` into the new file `to`, also while a server uses it. `progress` is told how many pages
    /// are done, of how many. The file is durable when this returns.
    ///
    /// # Errors
    /// [`OpenError`], with what to do; `to` may hold half a copy then.
    pub fn copy(dir: &Path, to: &Path, mut progress: impl FnMut(u64, u64)) -> Result<(), OpenError> {
        let path = files::existing(dir)?;
        let failed = |error: rusqlite::Error| open_error(&path, &error);
        let _alone = files::lock_backup(dir)?;
        let from = files::connect(&path).map_err(failed)?;
        from.execute_batch("BEGIN").map_err(failed)?;
        // A transaction's snapshot is taken by its first read.
        from.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(failed)?;

        let there = |error: rusqlite::Error| open_error(to, &error);
        drop(files::private_file(to)?);
        let mut into = Connection::open(to).map_err(there)?;
        // Half a copy is of no use: it is made durable as a whole, at the end.
        into.pragma_update(None, "synchronous", "OFF").map_err(there)?;
        {
            let copy = Backup::new(&from, &mut into).map_err(there)?;
            loop {
                let step = copy.step(STEP_PAGES).map_err(there)?;
                let at = copy.progress();
                let [left, all] = [at.remaining, at.pagecount].map(|pages| u64::try_from(pages).unwrap_or(0));
                progress(all.saturating_sub(left), all);
                match step {
                    StepResult::Done => break,
                    // Lets the server's own reads and writes through.
                    _ => std::thread::sleep(STEP_PAUSE),
                }
            }
        }
        into.close().map_err(|(_, error)| there(error))?;
        let synced = File::open(to).and_then(|file| file.sync_all());
        synced.map_err(|source| OpenError::NotWritable { path: to.into(), source })
    }

    /// Reads the whole store and looks for damage: every page, every row against its indexes.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] says what was found.
    pub async fn verify(&self) -> Result<(), StoreError> {
        let said: String = self.look(|db| db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))).await?;
        if said == "ok" { Ok(()) } else { Err(StoreError::Corrupt { cause: said }) }
    }
}

/// 1 MiB at SQLite's page size.
const STEP_PAGES: i32 = 256;
const STEP_PAUSE: Duration = Duration::from_millis(1);
