//! From a home's name to its open vault in a browser: a folder of the origin's private file system, a key in IndexedDB, SQLCipher.

use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::home::{self, Home, HomeError};
use crate::keys::{self, KeyChoice, KeySource, VaultKey};
use crate::vault::SqliteVault;

/// A home with its vault open.
pub(crate) struct Unlocked {
    pub home: Home,
    pub vault: SqliteVault,
    pub key_source: KeySource,
    /// It was made just now.
    pub is_new: bool,
}

/// Whether there is a home with a key. What cannot be looked at is taken to be there: opening it says what is wrong.
pub(crate) async fn exists(dir: &Path) -> bool {
    keys::exists(dir).await.unwrap_or(true)
}

/// Opens what is there.
///
/// # Errors
/// [`OpenError`]; nothing is created or changed.
pub(crate) async fn open(dir: PathBuf, _: KeyChoice) -> Result<Unlocked, OpenError> {
    // Before anybody signs up, so that they need not try.
    home::check().await?;
    keys::check()?;
    if !keys::exists(&dir).await? {
        return Err(HomeError::Missing { home: dir }.into());
    }
    let home = Home::lock(&dir).await?;
    let key = keys::open(&dir).await?;
    unlock(home, &key, false).map_err(|(_, error)| error)
}

/// Opens what is there, or makes it.
///
/// # Errors
/// [`OpenError`]; what was not there before is not there now.
pub(crate) async fn create(dir: PathBuf, choice: KeyChoice) -> Result<Unlocked, OpenError> {
    if keys::exists(&dir).await? {
        return open(dir, choice).await;
    }
    let home = Home::lock(&dir).await?;
    // A vault without its key can be opened by nobody any more.
    home.clear()?;
    let key = keys::create(&dir).await?;
    match unlock(home, &key, true) {
        Ok(unlocked) => Ok(unlocked),
        Err((home, error)) => {
            discard(home).await;
            Err(error)
        }
    }
}

/// Deletes a home that holds nothing worth keeping, its key included. Its vault is closed.
pub(crate) async fn discard(home: Home) {
    // The key first: without it nothing that may be left can be read. What cannot be deleted now is found by the next sign-up.
    let _ = keys::forget(home.dir()).await;
    let _ = home.clear();
}

/// Deletes a home that nobody has open.
///
/// # Errors
/// [`OpenError`]; the key is gone first, and with it everything can be read no more.
pub(crate) async fn erase(dir: PathBuf) -> Result<(), OpenError> {
    keys::forget(&dir).await?;
    Ok(Home::lock(&dir).await?.clear()?)
}

fn unlock(home: Home, key: &VaultKey, is_new: bool) -> Result<Unlocked, (Home, OpenError)> {
    match SqliteVault::open(&home.vault_path(), key) {
        Ok(vault) => Ok(Unlocked { home, vault, key_source: KeySource::Browser, is_new }),
        Err(problem) => Err((home, problem.into())),
    }
}
