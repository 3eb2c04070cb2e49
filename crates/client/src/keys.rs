//! Where the vault's key comes from: a passphrase, the system's keyring, or a file; and `vault.key`, which says which.
//!
//! `vault.key` is a JSON object of mode 0600 beside the vault. It holds the salt and cost of the passphrase's derivation, or
//! the name of the keyring's entry, or the key itself. It always has a check value too, which tells a wrong passphrase from a
//! damaged vault. It is made once, before the vault, and never changed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::home::write_private;

/// What the caller offers.
#[derive(Clone)]
pub enum KeyChoice {
    /// The key is derived from these words (Argon2id). Asked for each time.
    Passphrase(Zeroizing<String>),
    /// The system's keyring where there is one, else a file.
    Auto,
}

impl KeyChoice {
    /// A passphrase.
    pub fn passphrase(words: impl Into<String>) -> Self {
        Self::Passphrase(Zeroizing::new(words.into()))
    }
}

impl fmt::Debug for KeyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase(..)",
            Self::Auto => "Auto",
        })
    }
}

/// Where a vault's key is. Its text completes "the vault's key is …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In the person's head.
    Passphrase,
    /// With the operating system.
    Keyring,
    /// In `vault.key`.
    File,
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase => "derived from your passphrase",
            Self::Keyring => "in the system's keyring",
            Self::File => "in the file vault.key, readable by your user only; a passphrase protects it better",
        })
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Made with a passphrase, opened without.
    #[error("{} is protected by a passphrase; give it", home.display())]
    PassphraseNeeded {
        /// The folder of the home.
        home: PathBuf,
    },
    /// Opened with a passphrase, made without.
    #[error("{} has no passphrase: its key is {found}. Open it without one", home.display())]
    PassphraseUnexpected {
        /// The folder of the home.
        home: PathBuf,
        /// Where the key is.
        found: KeySource,
    },
    /// The check value says no.
    #[error("the passphrase is wrong; nothing was changed, try again")]
    WrongPassphrase,
    /// A passphrase of no characters protects nothing.
    #[error("the passphrase is empty; choose one, or none at all")]
    EmptyPassphrase,
    /// The keyring that had the key is gone, locked or lost it.
    #[error(
        "the vault's key is in the system's keyring, which does not give it out ({detail}); log in to your desktop session or \
         unlock the keyring, and try again"
    )]
    Keyring {
        /// What it said.
        detail: String,
    },
    /// There is a vault and nothing that says where its key is.
    #[error("{} is missing, and the vault beside it cannot be opened without; put it back from a backup", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// `vault.key` is not what this module writes.
    #[error("{} is damaged or was written by a newer Stonechat ({detail}); put it back from a backup", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The operating system refuses.
    #[error("cannot use {}: {source}; check its permissions", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The key that the vault is encrypted under. 32 bytes.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct VaultKey([u8; 32]);

impl VaultKey {
    /// The secret bytes.
    pub(crate) const fn danger_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn random() -> Self {
        Self(random())
    }

    #[cfg(test)]
    pub(crate) fn fixed() -> Self {
        Self([7; 32])
    }

    /// SHA-256 over a label and the key, 16 bytes: tells keys apart and gives nothing away.
    fn check(&self) -> String {
        hex::encode(&Sha256::new_with_prefix(b"stonechat v1 vault key check").chain_update(self.0).finalize()[..16])
    }
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VaultKey(..)")
    }
}

/// The key of the vault that `path` (`vault.key`) stands beside. May take a second (passphrase) or wait for the keyring.
///
/// # Errors
/// [`KeyError`].
pub(crate) fn open(path: &Path, choice: &KeyChoice) -> Result<(VaultKey, KeySource), KeyError> {
    open_with(path, choice, &SystemKeyring)
}

/// Chooses a key for a new vault and writes `vault.key`; opens it if there is one already.
///
/// # Errors
/// [`KeyError`].
pub(crate) fn create(path: &Path, choice: &KeyChoice) -> Result<(VaultKey, KeySource), KeyError> {
    if path.exists() { open(path, choice) } else { create_with(path, choice, &SystemKeyring) }
}

/// Deletes what [`create`] left outside `vault.key`, as far as that can be done.
pub(crate) fn forget(path: &Path) {
    if let Ok(file) = read(path)
        && let Place::Keyring { entry } = &file.place
    {
        let entry = entry.clone();
        let _ = in_time(KEYRING_CREATE_TIMEOUT, move || {
            keyring::Entry::new(SERVICE, &entry).and_then(|entry| entry.delete_credential())
        });
    }
}

fn open_with(path: &Path, choice: &KeyChoice, keyring: &dyn Keyring) -> Result<(VaultKey, KeySource), KeyError> {
    let file = read(path)?;
    let home = || path.parent().unwrap_or(path).to_owned();
    let malformed = |detail: &str| KeyError::Malformed { path: path.to_owned(), detail: detail.into() };
    let (key, source) = match (&file.place, choice) {
        (Place::Passphrase { salt, memory_kib, passes }, KeyChoice::Passphrase(words)) => {
            let salt = hex::decode(salt).map_err(|_| malformed("salt"))?;
            let key = derive(words, &salt, *memory_kib, *passes).ok_or_else(|| malformed("cost"))?;
            if key.check() != file.check {
                return Err(KeyError::WrongPassphrase);
            }
            return Ok((key, KeySource::Passphrase));
        }
        (Place::Passphrase { .. }, KeyChoice::Auto) => return Err(KeyError::PassphraseNeeded { home: home() }),
        (Place::Keyring { .. }, KeyChoice::Passphrase(_)) => {
            return Err(KeyError::PassphraseUnexpected { home: home(), found: KeySource::Keyring });
        }
        (Place::File { .. }, KeyChoice::Passphrase(_)) => {
            return Err(KeyError::PassphraseUnexpected { home: home(), found: KeySource::File });
        }
        (Place::Keyring { entry }, KeyChoice::Auto) => {
            let secret = keyring.get(entry).map_err(|detail| KeyError::Keyring { detail })?;
            (
                key_of(&secret).ok_or_else(|| KeyError::Keyring { detail: "its entry is not a key".into() })?,
                KeySource::Keyring,
            )
        }
        (Place::File { key }, KeyChoice::Auto) => {
            let secret = Zeroizing::new(hex::decode(key).map_err(|_| malformed("key"))?);
            (key_of(&secret).ok_or_else(|| malformed("key"))?, KeySource::File)
        }
    };
    if key.check() != file.check {
        return Err(malformed("the key is not the one that the vault was made with"));
    }
    Ok((key, source))
}

fn create_with(path: &Path, choice: &KeyChoice, keyring: &dyn Keyring) -> Result<(VaultKey, KeySource), KeyError> {
    let (key, place, source) = match choice {
        KeyChoice::Passphrase(words) if words.is_empty() => return Err(KeyError::EmptyPassphrase),
        KeyChoice::Passphrase(words) => {
            let salt: [u8; 16] = random();
            let key = derive(words, &salt, MEMORY_KIB, PASSES).expect("the costs are constants within Argon2's bounds");
            let place = Place::Passphrase { salt: hex::encode(salt), memory_kib: MEMORY_KIB, passes: PASSES };
            (key, place, KeySource::Passphrase)
        }
        KeyChoice::Auto => {
            let key = VaultKey::random();
            let entry = hex::encode(random::<16>());
            match keyring.set(&entry, key.danger_bytes()) {
                Ok(()) => (key, Place::Keyring { entry }, KeySource::Keyring),
                Err(detail) => {
                    tracing::debug!(%detail, "no keyring: the vault's key goes into a file");
                    let digits = hex::encode(key.danger_bytes());
                    (key, Place::File { key: digits }, KeySource::File)
                }
            }
        }
    };
    let file = KeyFile { version: FILE_VERSION, place, check: key.check() };
    let text = Zeroizing::new(serde_json::to_vec(&file).expect("strings and numbers are always JSON"));
    write_private(path, &text).map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
    Ok((key, source))
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    version: u32,
    #[serde(flatten)]
    place: Place,
    /// [`VaultKey::check`], hex.
    check: String,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
enum Place {
    /// Argon2id version 0x13, one lane, salt of 16 bytes in hex.
    Passphrase { salt: String, memory_kib: u32, passes: u32 },
    /// The user name of the entry; the service is "stonechat".
    Keyring { entry: String },
    /// The key, hex.
    File { key: String },
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::File { key } = self {
            key.zeroize();
        }
    }
}

fn read(path: &Path) -> Result<KeyFile, KeyError> {
    use std::io::Read as _;

    let malformed = |detail: String| KeyError::Malformed { path: path.to_owned(), detail };
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
        _ => KeyError::Io { path: path.to_owned(), source },
    };
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX));
    std::fs::File::open(path).map_err(io)?.take(FILE_BYTES_MAX as u64).read_to_end(&mut text).map_err(io)?;
    // The parser's own words could quote a key.
    let file: KeyFile =
        serde_json::from_slice(&text).map_err(|error| malformed(format!("column {}", error.column())))?;
    if file.version == FILE_VERSION { Ok(file) } else { Err(malformed(format!("version {}", file.version))) }
}

fn derive(words: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Option<VaultKey> {
    if memory_kib > MEMORY_KIB_MAX || passes > PASSES_MAX {
        return None;
    }
    let params = Params::new(memory_kib, passes, 1, Some(32)).ok()?;
    let mut key = VaultKey([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(words.as_bytes(), salt, &mut key.0)
        .ok()?;
    Some(key)
}

fn key_of(bytes: &[u8]) -> Option<VaultKey> {
    bytes.try_into().ok().map(VaultKey)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::getrandom(&mut bytes).expect("the system has randomness: nothing here can be done without");
    bytes
}

/// A keyring as this module uses it; a failure is told in words.
trait Keyring {
    fn get(&self, entry: &str) -> Result<Zeroizing<Vec<u8>>, String>;
    fn set(&self, entry: &str, secret: &[u8]) -> Result<(), String>;
}

struct SystemKeyring;

impl Keyring for SystemKeyring {
    fn get(&self, entry: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let entry = entry.to_owned();
        in_time(KEYRING_OPEN_TIMEOUT, move || keyring::Entry::new(SERVICE, &entry)?.get_secret().map(Zeroizing::new))
    }

    fn set(&self, entry: &str, secret: &[u8]) -> Result<(), String> {
        let (entry, secret) = (entry.to_owned(), Zeroizing::new(secret.to_vec()));
        in_time(KEYRING_CREATE_TIMEOUT, move || {
            let entry = keyring::Entry::new(SERVICE, &entry)?;
            entry.set_secret(&secret)?;
            // Some keyrings forget at once: only what comes back is kept.
            if entry.get_secret()? == *secret { Ok(()) } else { Err(keyring::Error::NoEntry) }
        })
    }
}

/// Asks the keyring on a thread of its own: it may wait for a person, or for a bus that never answers.
fn in_time<T: Send + 'static>(
    timeout: Duration,
    ask: impl FnOnce() -> keyring::Result<T> + Send + 'static,
) -> Result<T, String> {
    let (tell, answer) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("stonechat-keyring".into())
        .spawn(move || {
            // Nobody listens any more after the timeout.
            let _ = tell.send(ask().map_err(|error| error.to_string()));
        })
        .map_err(|error| error.to_string())?;
    answer.recv_timeout(timeout).map_err(|_| format!("no answer in {} s", timeout.as_secs()))?
}

const SERVICE: &str = "stonechat";
const FILE_VERSION: u32 = 1;
const FILE_BYTES_MAX: usize = 4_096;

/// RFC 9106 section 4, second recommended option, with one lane.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// What a file may ask for before it counts as damaged.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 64;

/// A person may have to unlock the keyring.
const KEYRING_OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Where there is a keyring it answers; where there is none, a file does.
const KEYRING_CREATE_TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    struct FakeKeyring(RefCell<BTreeMap<String, Vec<u8>>>);

    impl Keyring for FakeKeyring {
        fn get(&self, entry: &str) -> Result<Zeroizing<Vec<u8>>, String> {
            self.0.borrow().get(entry).cloned().map(Zeroizing::new).ok_or_else(|| "no entry".into())
        }
        fn set(&self, entry: &str, secret: &[u8]) -> Result<(), String> {
            self.0.borrow_mut().insert(entry.into(), secret.into());
            Ok(())
        }
    }

    struct NoKeyring;

    impl Keyring for NoKeyring {
        fn get(&self, _: &str) -> Result<Zeroizing<Vec<u8>>, String> {
            Err("no bus".into())
        }
        fn set(&self, _: &str, _: &[u8]) -> Result<(), String> {
            Err("no bus".into())
        }
    }

    fn path() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault.key");
        (dir, path)
    }

    #[test]
    fn a_passphrase_opens_what_it_made_and_another_does_not() {
        let (_dir, path) = path();
        let words = KeyChoice::passphrase("correct horse");
        let (made, source) = create_with(&path, &words, &NoKeyring).unwrap();
        assert_eq!(source, KeySource::Passphrase);
        let (opened, _) = open_with(&path, &words, &NoKeyring).unwrap();
        assert_eq!(made.0, opened.0);
        let wrong = open_with(&path, &KeyChoice::passphrase("correct horsf"), &NoKeyring);
        assert!(matches!(wrong, Err(KeyError::WrongPassphrase)));
        let none = open_with(&path, &KeyChoice::Auto, &NoKeyring);
        assert!(matches!(none, Err(KeyError::PassphraseNeeded { .. })));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("horse") && !text.contains(&hex::encode(made.0)), "{text}");
    }

    #[test]
    fn two_homes_with_one_passphrase_have_two_keys() {
        let ((_a, one), (_b, two)) = (path(), path());
        let words = KeyChoice::passphrase("same");
        assert_ne!(
            create_with(&one, &words, &NoKeyring).unwrap().0.0,
            create_with(&two, &words, &NoKeyring).unwrap().0.0
        );
    }

    #[test]
    fn an_empty_passphrase_is_refused_and_leaves_nothing() {
        let (_dir, path) = path();
        assert!(matches!(create_with(&path, &KeyChoice::passphrase(""), &NoKeyring), Err(KeyError::EmptyPassphrase)));
        assert!(!path.exists());
    }

    #[test]
    fn without_a_keyring_the_key_is_in_a_file_of_mode_0600() {
        let (_dir, path) = path();
        let (made, source) = create_with(&path, &KeyChoice::Auto, &NoKeyring).unwrap();
        assert_eq!(source, KeySource::File);
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777, 0o600);
        assert_eq!(open_with(&path, &KeyChoice::Auto, &NoKeyring).unwrap().0.0, made.0);
        let error = open_with(&path, &KeyChoice::passphrase("x"), &NoKeyring).unwrap_err();
        assert!(error.to_string().contains("has no passphrase"), "{error}");
    }

    #[test]
    fn with_a_keyring_the_file_does_not_hold_the_key() {
        let (_dir, path) = path();
        let keyring = FakeKeyring::default();
        let (made, source) = create_with(&path, &KeyChoice::Auto, &keyring).unwrap();
        assert_eq!(source, KeySource::Keyring);
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&hex::encode(made.0)));
        assert_eq!(open_with(&path, &KeyChoice::Auto, &keyring).unwrap().0.0, made.0);
        assert!(matches!(open_with(&path, &KeyChoice::Auto, &NoKeyring), Err(KeyError::Keyring { .. })));
    }

    #[test]
    fn a_machine_without_a_keyring_is_told_in_bounded_time() {
        let start = std::time::Instant::now();
        let (_dir, path) = path();
        create(&path, &KeyChoice::Auto).unwrap();
        assert!(start.elapsed() < KEYRING_CREATE_TIMEOUT + Duration::from_secs(2));
        forget(&path);
    }

    #[test]
    fn a_damaged_or_greedy_key_file_is_an_error_that_quotes_nothing() {
        let (_dir, path) = path();
        let (made, _) = create_with(&path, &KeyChoice::Auto, &NoKeyring).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        let greedy = r#"{"version":1,"source":"passphrase","salt":"00112233445566778899aabbccddeeff","memory_kib":4000000000,"passes":1,"check":""}"#;
        let other = good.replace(&hex::encode(made.0), &hex::encode([7; 32]));
        for bad in ["", "{", &good[..good.len() / 2], &good.replace("\"version\":1", "\"version\":2"), greedy, &other] {
            std::fs::write(&path, bad).unwrap();
            let choice = if bad == greedy { KeyChoice::passphrase("x") } else { KeyChoice::Auto };
            let error = open_with(&path, &choice, &NoKeyring).unwrap_err();
            assert!(matches!(error, KeyError::Malformed { .. }), "{bad}: {error:?}");
            assert!(!format!("{error:?}").contains(&hex::encode(&made.0[..8])), "{error:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(open_with(&path, &KeyChoice::Auto, &NoKeyring), Err(KeyError::Missing { .. })));
    }
}
