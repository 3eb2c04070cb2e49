//! How a [`Client`] comes to be: an existing home is opened, or a new one is made and its account registered.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stonechat_core::api::CommandError;
use stonechat_core::query;
use stonechat_wire::Handle;
use zeroize::Zeroizing;

use crate::client::{COMMAND_TIMEOUT, Client, SEND_TIMEOUT, Timeouts};
use crate::engine::{self, now};
use crate::error::{ClientError, OpenError, SignUpError};
use crate::home::{Home, HomeError};
use crate::keys::{self, KeyChoice, KeySource};
use crate::transport::{self, ServerUrl};
use crate::vault::SqliteVault;

/// How to open a home.
#[derive(Clone, Debug)]
pub struct Builder {
    home: PathBuf,
    key: KeyChoice,
    timeouts: Timeouts,
}

impl Default for Builder {
    fn default() -> Self {
        let timeouts = Timeouts { send: SEND_TIMEOUT, command: COMMAND_TIMEOUT };
        Self { home: PathBuf::new(), key: KeyChoice::Auto, timeouts }
    }
}

impl Builder {
    /// The folder. Required.
    #[must_use]
    pub fn home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = home.into();
        self
    }

    /// What opens the vault; [`KeyChoice::Auto`] unless given.
    #[must_use]
    pub fn key(mut self, key: KeyChoice) -> Self {
        self.key = key;
        self
    }

    /// Other bounds than [`SEND_TIMEOUT`] and [`COMMAND_TIMEOUT`].
    #[must_use]
    pub fn timeouts(mut self, send: Duration, command: Duration) -> Self {
        self.timeouts = Timeouts { send, command };
        self
    }

    /// Opens the home and starts connecting; does not wait for the connection.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is created or changed.
    ///
    /// # Cancel safety
    /// Safe: the home is free again soon after.
    pub async fn open(self) -> Result<Client, OpenError> {
        let Self { home: dir, key, .. } = self.clone();
        let (home, vault, key_source, me) = blocking(move || {
            let home = Home::open(&dir)?;
            let (key, source) = keys::open(&home.key_path(), &key)?;
            let vault = SqliteVault::open(&home.vault_path(), &key)?;
            let me = query::me(&vault)?.ok_or(OpenError::NoAccount { home: dir })?;
            Ok::<_, OpenError>((home, vault, source, me))
        })
        .await?;
        self.start(home, vault, key_source, me.server.parse()?)
    }

    fn start(
        self,
        home: Home,
        vault: SqliteVault,
        key_source: KeySource,
        server: ServerUrl,
    ) -> Result<Client, OpenError> {
        let (engine, ended) = engine::start(vault, home, server)?;
        Ok(Client::new(engine, ended, self.home, key_source, self.timeouts))
    }
}

/// 24 words that prove whose account this is when every device is lost. Wiped on drop; shown once.
pub struct RecoveryPhrase(Zeroizing<String>);

impl RecoveryPhrase {
    /// The words, separated by spaces.
    pub fn danger_words(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RecoveryPhrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryPhrase(..)")
    }
}

impl Client {
    /// Makes an account and registers it: its keys, its home, its place on the server. When this returns, others can write to it.
    ///
    /// When the server is not there or has the handle already, nothing is left behind. When this is cut off in between, calling
    /// it again with the same handle and server goes on with the same account and gives the same phrase.
    ///
    /// # Errors
    /// [`SignUpError`], within some 40 seconds.
    ///
    /// # Cancel safety
    /// Safe: see above.
    pub async fn sign_up(
        home: impl Into<PathBuf>,
        key: KeyChoice,
        handle: Handle,
        server: &ServerUrl,
    ) -> Result<(Self, RecoveryPhrase), SignUpError> {
        let dir: PathBuf = home.into();
        if !dir.join("vault.db").exists() {
            // Before anything is made: most sign-ups that fail have a wrong address.
            transport::probe(server).await?;
        }
        let builder = Self::builder().home(&dir).key(key.clone());
        let prepared = blocking({
            let (dir, server) = (dir.clone(), server.clone());
            move || Prepared::make(&dir, &key, &handle, &server)
        })
        .await?;
        let Prepared { home, vault, key_source, phrase } = prepared;
        let client = builder.start(home, vault, key_source, server.clone())?;
        match client.register().await {
            Ok(()) => {
                // Whoever is written to before its keys lie on the server cannot be reached: stay until they do. Without a
                // connection for so long they are published when there is one.
                let _ = client.sync(SEND_TIMEOUT).await;
                // From here on the words are the caller's.
                let forgotten = client.job(|vault| vault.commit_with_note(&[], PHRASE_NOTE, b"")).await;
                match forgotten {
                    Ok(Ok(())) => Ok((client, RecoveryPhrase(phrase))),
                    Ok(Err(problem)) => Err(OpenError::from(problem).into()),
                    Err(error) => Err(SignUpError::Unconfirmed { home: dir, why: error.to_string() }),
                }
            }
            Err(ClientError::Command(error)) if error != CommandError::Offline => {
                if let Some(home) = client.stop().await {
                    blocking(move || {
                        keys::forget(&home.key_path());
                        home.discard();
                    })
                    .await;
                }
                Err(SignUpError::Refused(error))
            }
            Err(error) => {
                let why = client.status().why().unwrap_or_else(|| error.to_string());
                client.stop().await;
                Err(SignUpError::Unconfirmed { home: dir, why })
            }
        }
    }
}

/// A home with an account in it that the server does not know yet.
struct Prepared {
    home: Home,
    vault: SqliteVault,
    key_source: KeySource,
    phrase: Zeroizing<String>,
}

impl Prepared {
    fn make(dir: &Path, key: &KeyChoice, handle: &Handle, server: &ServerUrl) -> Result<Self, SignUpError> {
        let home = Home::create(dir).map_err(OpenError::from)?;
        if home.has_vault() {
            return Self::fill(home, keys::open, key, handle, server).map_err(|(_, error)| error);
        }
        // A key without a vault opens nothing: it is what an interrupted sign-up left.
        keys::forget(&home.key_path());
        let io = |source| OpenError::from(HomeError::Io { path: home.key_path(), source });
        match std::fs::remove_file(home.key_path()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error).into()),
            _ => {}
        }
        Self::fill(home, keys::create, key, handle, server).map_err(|(home, error)| {
            keys::forget(&home.key_path());
            home.discard();
            error
        })
    }

    fn fill(
        home: Home,
        unlock: impl FnOnce(&Path, &KeyChoice) -> Result<(keys::VaultKey, KeySource), keys::KeyError>,
        key: &KeyChoice,
        handle: &Handle,
        server: &ServerUrl,
    ) -> Result<Self, (Home, SignUpError)> {
        let filled = || -> Result<_, OpenError> {
            let (key, key_source) = unlock(&home.key_path(), key)?;
            let vault = SqliteVault::open(&home.vault_path(), &key)?;
            let me = query::me(&vault)?;
            let note = vault.note(PHRASE_NOTE)?;
            Ok((vault, key_source, me, note))
        };
        let (mut vault, key_source, me, note) = match filled() {
            Ok(filled) => filled,
            Err(error) => return Err((home, error.into())),
        };
        let server = server.to_string();
        let begun = note.and_then(|words| String::from_utf8(words.to_vec()).ok().map(Zeroizing::new));
        let phrase = match (me, begun) {
            (Some(me), Some(words)) if me.handle == *handle && me.server == server => words,
            (Some(me), _) if me.registered => {
                let error = SignUpError::AlreadySignedUp { home: home.dir().to_owned(), handle: me.handle };
                return Err((home, error));
            }
            _ => {
                let made = match stonechat_core::sign_up(&vault, &mut rand_core::OsRng, now(), handle.clone(), server) {
                    Ok(made) => made,
                    Err(stonechat_core::SignUpError::AlreadySignedUp(handle)) => {
                        let error = SignUpError::AlreadySignedUp { home: home.dir().to_owned(), handle };
                        return Err((home, error));
                    }
                    Err(stonechat_core::SignUpError::Vault(error)) => {
                        return Err((home, OpenError::from(error).into()));
                    }
                };
                // The words stay in the vault until they were handed out: a crash in between loses neither.
                if let Err(problem) =
                    vault.commit_with_note(&made.changes, PHRASE_NOTE, made.recovery_phrase.as_bytes())
                {
                    return Err((home, OpenError::from(problem).into()));
                }
                made.recovery_phrase
            }
        };
        Ok(Self { home, vault, key_source, phrase })
    }
}

/// Disk, keyring and Argon2 hold up a thread that may be held up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going away, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Until a finished sign-up handed them out, the recovery words are kept under this name.
const PHRASE_NOTE: &str = "recovery phrase";
