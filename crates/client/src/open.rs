//! How a [`Client`] comes to be: an existing home is opened, or a new one is made and its account registered.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use stonechat_core::api::CommandError;
use stonechat_core::query;
use stonechat_wire::{Handle, InviteCode};
use zeroize::Zeroizing;

use crate::client::{COMMAND_TIMEOUT, Client, SEND_TIMEOUT, Timeouts};
use crate::engine::{self, now};
use crate::error::{ClientError, OpenError, SignUpError};
use crate::home::Home;
use crate::keys::{KeyChoice, KeySource};
use crate::place::{self, Unlocked};
use crate::rt::blocking;
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
        let unlocked = place::open(dir.clone(), key).await?;
        let (unlocked, me) = blocking(move || {
            let me = query::me(&unlocked.vault)?.ok_or(OpenError::NoAccount { home: dir })?;
            Ok::<_, OpenError>((unlocked, me))
        })
        .await?;
        let Unlocked { home, vault, key_source, .. } = unlocked;
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

/// 24 words that prove whose account this is. Nothing uses them yet: they are for a recovery that is not built. Wiped on drop;
/// shown once.
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
    /// The vault forgets the recovery words before they are returned: they are the caller's.
    ///
    /// When the server is not there or has the handle already, nothing is left behind. When this is cut off in between, calling
    /// it again with the same handle and server goes on with the same account and gives the same phrase.
    ///
    /// # Errors
    /// [`SignUpError`], within some 50 seconds.
    ///
    /// # Cancel safety
    /// Safe: see above.
    pub async fn sign_up(
        home: impl Into<PathBuf>,
        key: KeyChoice,
        handle: Handle,
        server: &ServerUrl,
    ) -> Result<(Self, RecoveryPhrase), SignUpError> {
        Self::sign_up_invited(home, key, handle, server, None).await
    }

    /// As [`Client::sign_up`], with an invitation: for a server where sign-up is closed.
    ///
    /// # Errors
    /// As for [`Client::sign_up`].
    pub async fn sign_up_invited(
        home: impl Into<PathBuf>,
        key: KeyChoice,
        handle: Handle,
        server: &ServerUrl,
        invite: Option<InviteCode>,
    ) -> Result<(Self, RecoveryPhrase), SignUpError> {
        let dir: PathBuf = home.into();
        let (client, phrase) = Self::make(&dir, key, handle, server, invite).await?;
        match client.forget_recovery_phrase().await {
            Ok(()) => Ok((client, phrase)),
            Err(ClientError::Vault(problem)) => Err(OpenError::from(problem).into()),
            Err(error) => Err(SignUpError::Unconfirmed { home: dir, why: error.to_string() }),
        }
    }

    /// As [`Client::sign_up`], but the vault keeps the words until [`Client::forget_recovery_phrase`]: for an interface that may be
    /// closed before the person wrote them down.
    ///
    /// # Errors
    /// As for [`Client::sign_up`].
    pub async fn sign_up_keeping_phrase(
        home: impl Into<PathBuf>,
        key: KeyChoice,
        handle: Handle,
        server: &ServerUrl,
    ) -> Result<(Self, RecoveryPhrase), SignUpError> {
        Self::make(home, key, handle, server, None).await
    }

    async fn make(
        home: impl Into<PathBuf>,
        key: KeyChoice,
        handle: Handle,
        server: &ServerUrl,
        invite: Option<InviteCode>,
    ) -> Result<(Self, RecoveryPhrase), SignUpError> {
        let dir: PathBuf = home.into();
        if !place::exists(&dir).await {
            // Before anything is made: most sign-ups that fail have a wrong address.
            transport::probe(server).await?;
        }
        let builder = Self::builder().home(&dir).key(key.clone());
        let unlocked = place::create(dir.clone(), key).await.map_err(SignUpError::Open)?;
        let (unlocked, made) = blocking({
            let server = server.clone();
            move || {
                let mut unlocked = unlocked;
                let made = account(&mut unlocked, &handle, &server);
                (unlocked, made)
            }
        })
        .await;
        let Unlocked { home, vault, key_source, is_new } = unlocked;
        let phrase = match made {
            Ok(phrase) => phrase,
            Err(error) => {
                drop(vault);
                if is_new {
                    place::discard(home).await;
                }
                return Err(error);
            }
        };
        let client = builder.start(home, vault, key_source, server.clone())?;
        match client.register(invite).await {
            Ok(()) => {
                // Whoever is written to before its keys lie on the server cannot be reached: stay until they do. Without a
                // connection for so long they are published when there is one.
                let _ = client.sync(SEND_TIMEOUT).await;
                Ok((client, RecoveryPhrase(phrase)))
            }
            Err(ClientError::Command(error)) if error != CommandError::Offline => {
                if let Some(home) = client.stop().await {
                    place::discard(home).await;
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

impl Client {
    /// The recovery words, as long as the vault keeps them.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub async fn recovery_phrase(&self) -> Result<Option<RecoveryPhrase>, ClientError> {
        let note = self.job(|vault| vault.note(PHRASE_NOTE)).await??;
        let words = note.and_then(|words| String::from_utf8(words.to_vec()).ok());
        Ok(words.map(|words| RecoveryPhrase(Zeroizing::new(words))))
    }

    /// Deletes the recovery words from the vault: the person has them.
    ///
    /// # Errors
    /// When the vault cannot be written.
    pub async fn forget_recovery_phrase(&self) -> Result<(), ClientError> {
        Ok(self.job(|vault| vault.commit_with_note(&[], PHRASE_NOTE, b"")).await??)
    }

    /// Ends this client and deletes its home: account, keys and messages. What the server has stays there; nobody can read it or
    /// write as this account without the recovery words. Cannot be undone.
    ///
    /// # Errors
    /// [`ClientError::Stopped`] when another call ended the client; then its home is as it was.
    pub async fn danger_erase(self) -> Result<(), ClientError> {
        match self.stop().await {
            Some(home) => {
                place::discard(home).await;
                Ok(())
            }
            None => Err(ClientError::Stopped { why: "it was shut down before it could be erased".into() }),
        }
    }

    /// As [`Client::danger_erase`], for a home that nobody has open: it may be one that cannot be opened any more.
    ///
    /// # Errors
    /// [`OpenError`] when it is in use, or cannot be reached.
    pub async fn danger_erase_home(home: impl Into<PathBuf>) -> Result<(), OpenError> {
        place::erase(home.into()).await
    }
}

/// The account in the vault that a sign-up is about, made if it is not there; its recovery words.
fn account(
    Unlocked { home, vault, .. }: &mut Unlocked,
    handle: &Handle,
    server: &ServerUrl,
) -> Result<Zeroizing<String>, SignUpError> {
    let me = query::me(vault).map_err(OpenError::from)?;
    let note = vault.note(PHRASE_NOTE).map_err(OpenError::from)?;
    let server = server.to_string();
    let begun = note.and_then(|words| String::from_utf8(words.to_vec()).ok().map(Zeroizing::new));
    let taken = |handle| SignUpError::AlreadySignedUp { home: home.dir().to_owned(), handle };
    match (me, begun) {
        (Some(me), Some(words)) if me.handle == *handle && me.server == server => Ok(words),
        (Some(me), _) if me.registered => Err(taken(me.handle)),
        _ => {
            let made = stonechat_core::sign_up(vault, &mut rand_core::OsRng, now(), handle.clone(), server).map_err(
                |error| match error {
                    stonechat_core::SignUpError::AlreadySignedUp(handle) => taken(handle),
                    stonechat_core::SignUpError::Vault(error) => OpenError::from(error).into(),
                },
            )?;
            // The words stay in the vault until they were handed out: a crash in between loses neither.
            vault
                .commit_with_note(&made.changes, PHRASE_NOTE, made.recovery_phrase.as_bytes())
                .map_err(OpenError::from)?;
            Ok(made.recovery_phrase)
        }
    }
}

/// Until a finished sign-up handed them out, the recovery words are kept under this name.
const PHRASE_NOTE: &str = "recovery phrase";
