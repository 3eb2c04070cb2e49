//! The place of one account in a browser: a folder of the origin's private file system (OPFS), for one worker at a time.
//!
//! SQLite reads and writes it through a pool of synchronous file handles, which the browser gives to one worker only: that is the
//! lock. What is in them is SQLCipher's; the browser's own list of files shows names of the pool's making.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use js_sys::{Function, Promise, Reflect};
use sqlite_wasm_rs::WasmOsCallback;
use sqlite_wasm_vfs::sahpool::{OpfsSAHError, OpfsSAHPoolCfgBuilder, OpfsSAHPoolUtil, install};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;

use crate::rt::{Instant, sleep};

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another worker has it.
    #[error("{} is in use by another tab of this browser; close that one, or go on there", home.display())]
    InUse {
        /// The folder of the home.
        home: PathBuf,
    },
    /// Nothing was ever made there.
    #[error("nobody is signed up in {}; sign up first", home.display())]
    Missing {
        /// The folder of the home.
        home: PathBuf,
    },
    /// The browser has no such place.
    #[error(
        "this browser gives this page no private storage ({detail}); that happens in private windows, in pages inside other \
         pages, and in old browsers"
    )]
    NoStorage {
        /// What the browser said.
        detail: String,
    },
    /// The browser refuses.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// What could not be used.
        path: PathBuf,
        /// What the browser said.
        source: io::Error,
    },
}

/// Whether this browser gives this page such a place at all. Makes nothing.
///
/// # Errors
/// [`HomeError::NoStorage`].
pub(crate) async fn check() -> Result<(), HomeError> {
    let get = |object: &JsValue, name: &str| Reflect::get(object, &name.into()).unwrap_or_default();
    let storage = get(&get(&js_sys::global(), "navigator"), "storage");
    let no_storage = |error: JsValue| {
        let name = get(&error, "name").as_string();
        HomeError::NoStorage { detail: name.unwrap_or_else(|| "no private file system".into()) }
    };
    let root: Function = get(&storage, "getDirectory").dyn_into().map_err(no_storage)?;
    let root: Promise = root.call0(&storage).and_then(wasm_bindgen::JsCast::dyn_into).map_err(no_storage)?;
    JsFuture::from(root).await.map(drop).map_err(no_storage)
}

/// A home that this worker has to itself until the value is dropped.
pub(crate) struct Home {
    dir: PathBuf,
    pool: OpfsSAHPoolUtil,
}

impl Home {
    /// Takes the folder, making it where there is none. A worker that is just ending keeps it for a moment: that is waited for.
    ///
    /// # Errors
    /// [`HomeError::InUse`] after [`LOCK_TIMEOUT`], [`HomeError::NoStorage`].
    pub(crate) async fn lock(dir: &Path) -> Result<Self, HomeError> {
        let start = Instant::now();
        loop {
            match Self::take(dir).await {
                Ok(home) => return Ok(home),
                Err(error) if is_in_use(&error) => {
                    if start.elapsed() >= LOCK_TIMEOUT {
                        return Err(HomeError::InUse { home: dir.to_owned() });
                    }
                }
                Err(OpfsSAHError::Opfs { message, .. }) => return Err(HomeError::NoStorage { detail: message }),
                Err(error @ OpfsSAHError::NotSupported) => {
                    return Err(HomeError::NoStorage { detail: error.to_string() });
                }
                Err(error) => return Err(io_error(dir, &error)),
            }
            sleep(LOCK_INTERVAL).await;
        }
    }

    async fn take(dir: &Path) -> Result<Self, OpfsSAHError> {
        let config = OpfsSAHPoolCfgBuilder::new().directory(&dir.to_string_lossy()).build();
        // SQLite's default from here on: a vault is opened by its name alone.
        let pool = install::<WasmOsCallback>(&config, true).await?;
        pool.resume().await?;
        Ok(Self { dir: dir.to_owned(), pool })
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The vault.
    pub(crate) fn vault_path(&self) -> PathBuf {
        VAULT_FILE.into()
    }

    /// Deletes every file. The vault is closed.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub(crate) fn clear(&self) -> Result<(), HomeError> {
        use sqlite_wasm_rs::vfs::VfsFilesManager as _;

        self.pool.clear().map_err(|error| io_error(&self.dir, &error))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Files that are still open keep the handles; then they go with the worker.
        let _ = self.pool.pause();
    }
}

/// There is nothing to prepare: the pool makes files.
pub(crate) fn prepare_file(_: &Path) -> io::Result<()> {
    Ok(())
}

fn is_in_use(error: &OpfsSAHError) -> bool {
    let OpfsSAHError::Opfs { value, .. } = error else { return false };
    Reflect::get(value, &"name".into()).is_ok_and(|name| name == "NoModificationAllowedError")
}

fn io_error(dir: &Path, error: &OpfsSAHError) -> HomeError {
    HomeError::Io { path: dir.to_owned(), source: io::Error::other(error.to_string()) }
}

const VAULT_FILE: &str = "vault.db";
/// How long to wait for a worker that is ending.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_INTERVAL: Duration = Duration::from_millis(50);
