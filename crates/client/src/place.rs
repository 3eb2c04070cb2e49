//! From a home's name to its open vault, natively: a folder, its key, SQLCipher. `web/place.rs` is a browser's.

use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::home::{Home, HomeError};
use crate::keys::{self, KeyChoice, KeyError, KeySource, VaultKey};
use crate::rt::blocking;
use crate::vault::SqliteVault;

/// A home with its vault open.
pub(crate) struct Unlocked {
    pub home: Home,
    pub vault: SqliteVault,
    pub key_source: KeySource,
    /// It was made just now.
    pub is_new: bool,
}

/// Whether there is a home with a vault.
pub(crate) async fn exists(dir: &Path) -> bool {
    dir.join("vault.db").exists()
}

/// Opens what is there.
///
/// # Errors
/// [`OpenError`]; nothing is created or changed.
pub(crate) async fn open(dir: PathBuf, key: KeyChoice) -> Result<Unlocked, OpenError> {
    blocking(move || unlock(Home::open(&dir)?, false, keys::open, &key).map_err(|(_, error)| error)).await
}

/// Opens what is there, or makes it.
///
/// # Errors
/// [`OpenError`]; what was not there before is not there now.
pub(crate) async fn create(dir: PathBuf, key: KeyChoice) -> Result<Unlocked, OpenError> {
    blocking(move || {
        let home = Home::create(&dir)?;
        if home.has_vault() {
            return unlock(home, false, keys::open, &key).map_err(|(_, error)| error);
        }
        // A key without a vault opens nothing: it is what an interrupted sign-up left.
        keys::forget(&home.key_path());
        match std::fs::remove_file(home.key_path()) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(HomeError::Io { path: home.key_path(), source }.into());
            }
            _ => {}
        }
        unlock(home, true, keys::create, &key).map_err(|(home, error)| {
            forget(home);
            error
        })
    })
    .await
}

/// Deletes a home that holds nothing worth keeping, its key included. Its vault is closed.
pub(crate) async fn discard(home: Home) {
    blocking(move || forget(home)).await;
}

/// Deletes a home that nobody has open.
///
/// # Errors
/// [`HomeError`].
pub(crate) async fn erase(dir: PathBuf) -> Result<(), OpenError> {
    blocking(move || {
        forget(Home::create(&dir)?);
        Ok(())
    })
    .await
}

fn forget(home: Home) {
    keys::forget(&home.key_path());
    home.discard();
}

fn unlock(
    home: Home,
    is_new: bool,
    key: impl FnOnce(&Path, &KeyChoice) -> Result<(VaultKey, KeySource), KeyError>,
    choice: &KeyChoice,
) -> Result<Unlocked, (Home, OpenError)> {
    let opened = key(&home.key_path(), choice)
        .map_err(OpenError::from)
        .and_then(|(key, source)| Ok((SqliteVault::open(&home.vault_path(), &key)?, source)));
    match opened {
        Ok((vault, key_source)) => Ok(Unlocked { home, vault, key_source, is_new }),
        Err(error) => Err((home, error)),
    }
}
