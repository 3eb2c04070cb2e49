//! The folder that holds one account on one machine: who may use it, and one process at a time.
//!
//! A home has `vault.db` (the vault, with SQLite's `-wal` beside it), `vault.key` (where the vault's key comes from) and
//! `lock`. Nothing here reads what is inside them.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another process has it.
    #[error(
        "{} is in use by another Stonechat process; close that one, or give this one a home of its own", home.display()
    )]
    InUse {
        /// The folder of the home.
        home: PathBuf,
    },
    /// Nothing was ever made there.
    #[error("nobody is signed up in {}; sign up first, or check that this is the home you meant", home.display())]
    Missing {
        /// The folder of the home.
        home: PathBuf,
    },
    /// The operating system refuses.
    #[error("cannot use {}: {source}; check that the path is right and that you may write there", path.display())]
    Io {
        /// What could not be used.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A home that this process has to itself until the value is dropped.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    /// Holds the lock; the system frees it with the process, however that ends.
    _lock: File,
    created: bool,
}

impl Home {
    /// Locks a home that has a vault.
    ///
    /// # Errors
    /// [`HomeError::Missing`] when there is none, [`HomeError::InUse`] after [`LOCK_TIMEOUT`]. Nothing is created.
    pub(crate) fn open(dir: &Path) -> Result<Self, HomeError> {
        if !dir.join(VAULT_FILE).exists() {
            return Err(HomeError::Missing { home: dir.to_owned() });
        }
        Self::lock(dir, false, LOCK_TIMEOUT)
    }

    /// Locks a home, making the folder where there is none.
    ///
    /// # Errors
    /// As [`Home::open`], [`HomeError::Missing`] apart.
    pub(crate) fn create(dir: &Path) -> Result<Self, HomeError> {
        let io = |source| HomeError::Io { path: dir.to_owned(), source };
        let created = !dir.exists();
        if created {
            private_dir(dir).map_err(io)?;
        } else if std::fs::read_dir(dir).map_err(io)?.next().is_none() {
            // An empty folder was made for this. One with other things in it keeps its mode: our files have their own.
            set_private(dir, 0o700).map_err(io)?;
        }
        Self::lock(dir, created, LOCK_TIMEOUT)
    }

    fn lock(dir: &Path, created: bool, patience: Duration) -> Result<Self, HomeError> {
        let path = dir.join(LOCK_FILE);
        let io = |source| HomeError::Io { path: path.clone(), source };
        let lock = private_file(OpenOptions::new().create(true).truncate(false).write(true), &path).map_err(io)?;
        let start = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { dir: dir.to_owned(), _lock: lock, created }),
                Err(std::fs::TryLockError::WouldBlock) if start.elapsed() >= patience => {
                    return Err(HomeError::InUse { home: dir.to_owned() });
                }
                Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
                Err(std::fs::TryLockError::Error(source)) => return Err(io(source)),
            }
        }
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The vault.
    pub(crate) fn vault_path(&self) -> PathBuf {
        self.dir.join(VAULT_FILE)
    }

    /// Where the vault's key comes from.
    pub(crate) fn key_path(&self) -> PathBuf {
        self.dir.join(KEY_FILE)
    }

    /// Whether there is a vault.
    pub(crate) fn has_vault(&self) -> bool {
        self.vault_path().exists()
    }

    /// Deletes a vault that holds nothing worth keeping: no account was ever registered from it. What else lies in the folder
    /// stays; the folder goes if [`Home::create`] made it and it is empty.
    pub(crate) fn discard(self) {
        for name in [VAULT_FILE, "vault.db-wal", "vault.db-shm", "vault.db-journal", KEY_FILE, LOCK_FILE] {
            // What is not there needs no deleting, and what cannot be deleted is found by the next sign-up.
            let _ = std::fs::remove_file(self.dir.join(name));
        }
        if self.created {
            let _ = std::fs::remove_dir(&self.dir);
        }
    }
}

/// Writes a file of mode 0600 so that a crash leaves the old one or the new one, never half.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;

    let temporary = path.with_extension("tmp");
    let mut file = private_file(OpenOptions::new().create(true).truncate(true).write(true), &temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    match path.parent() {
        Some(dir) if cfg!(unix) => File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

/// Makes the vault's file, if it is not there, so that only its owner may read it. SQLite gives its `-wal` the same mode.
pub(crate) fn prepare_file(path: &Path) -> io::Result<()> {
    private_file(OpenOptions::new().create(true).truncate(false).write(true).read(true), path).map(drop)
}

/// Opens a file that, if this makes it, only its owner may read.
fn private_file(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path)
}

fn private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn set_private(path: &Path, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    return std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    {
        let _ = (path, mode);
        Ok(())
    }
}

const VAULT_FILE: &str = "vault.db";
const KEY_FILE: &str = "vault.key";
const LOCK_FILE: &str = "lock";

/// How long to wait for another command on the same home. Those are short; a running interface is not.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_home_is_made_for_its_owner_alone_and_discarding_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/home");
        let home = Home::create(&dir).unwrap();
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(dir.join("lock").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        write_private(&home.key_path(), b"x").unwrap();
        home.discard();
        assert!(!dir.exists());
    }

    #[test]
    fn discarding_keeps_what_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        Home::create(dir.path()).unwrap().discard();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_home_in_use_is_waited_for_and_then_named() {
        let dir = tempfile::tempdir().unwrap();
        let first = Home::create(dir.path()).unwrap();
        let error = Home::lock(dir.path(), false, Duration::from_millis(60)).unwrap_err();
        assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
        let waiting = std::thread::spawn({
            let dir = dir.path().to_owned();
            move || Home::lock(&dir, false, Duration::from_secs(5)).map(|_| ())
        });
        std::thread::sleep(Duration::from_millis(50));
        drop(first);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn opening_a_home_that_is_not_there_makes_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("typo");
        assert!(matches!(Home::open(&dir), Err(HomeError::Missing { .. })));
        assert!(!dir.exists());
    }
}
