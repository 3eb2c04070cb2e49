//! The secrets of a server, each in a file of mode 0600: the seed of the key that tokens are issued under, the seed of the
//! directory's keys.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use crate::directory::DirectoryKeys;
use crate::services::TokenKey;

/// Why the secret cannot be had. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file cannot be read or made.
    #[error("cannot use {}: {source}. The server's user needs to read and write the data folder", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It does not hold 32 bytes.
    #[error("{} is damaged: it must hold 32 bytes. Restore it from a backup: with another key, {lost}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What a new one would cost.
        lost: &'static str,
    },
}

/// Reads the token key of a data folder; makes one the first time.
///
/// # Errors
/// [`SecretsError`] says which file and what to do.
pub fn load_token_key(data: &Path) -> Result<TokenKey, SecretsError> {
    let seed = load_seed(data, TOKEN_KEY, lost_with(TOKEN_KEY))?;
    Ok(TokenKey::from_seed(&seed))
}

/// Reads the directory's keys of a data folder; makes them the first time.
///
/// # Errors
/// [`SecretsError`] says which file and what to do.
pub fn load_directory_keys(data: &Path) -> Result<DirectoryKeys, SecretsError> {
    let seed = load_seed(data, DIRECTORY_KEY, lost_with(DIRECTORY_KEY))?;
    Ok(DirectoryKeys::from_seed(&seed))
}

/// What another key in place of this one costs.
pub(crate) fn lost_with(name: &str) -> &'static str {
    match name {
        TOKEN_KEY => "all tokens that people hold are worthless",
        _ => "every client refuses this directory",
    }
}

/// Reads a seed of a data folder; makes it the first time.
fn load_seed(data: &Path, name: &str, lost: &'static str) -> Result<Zeroizing<[u8; 32]>, SecretsError> {
    let path = data.join(name);
    let failed = |source| SecretsError::Io { path: path.clone(), source };
    let stored = match fs::read(&path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(data, &path).map_err(failed)?,
        Err(error) => return Err(failed(error)),
    };
    let seed = stored.as_slice().try_into().map_err(|_| SecretsError::Damaged { path: path.clone(), lost })?;
    Ok(Zeroizing::new(seed))
}

fn make(data: &Path, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut seed = Zeroizing::new(vec![0; 32]);
    OsRng.fill_bytes(&mut seed);
    // Written aside and renamed: a crash leaves no half of a key.
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&seed)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    File::open(data)?.sync_all()?;
    Ok(seed)
}

/// The file of the seed that tokens are issued under.
pub(crate) const TOKEN_KEY: &str = "token-key";
/// The file of the seed of the directory's keys.
pub(crate) const DIRECTORY_KEY: &str = "directory-key";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_token_key(dir.path()).unwrap().public();
        assert_eq!(load_token_key(dir.path()).unwrap().public(), first);
        let mode = fs::metadata(dir.path().join("token-key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token-key"), b"short").unwrap();
        assert!(matches!(load_token_key(dir.path()), Err(SecretsError::Damaged { .. })));
    }
}
