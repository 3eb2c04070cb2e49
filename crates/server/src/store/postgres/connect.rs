//! Connections to PostgreSQL: how they are set up, what their errors mean, and warnings that must not be missed.
//!
//! A commit that waits for its standbys can be cancelled; then PostgreSQL reports success, with a warning before it. So a
//! connection remembers whether it was warned, and a lane takes no commit of a warned connection for durable.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc::Sender;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::error::{DbError, Severity, SqlState};
use tokio_postgres::{AsyncMessage, Client, Config, Error};

use super::tls::MakeTls;
use crate::store::StoreError;

/// How one database is reached.
#[derive(Clone)]
pub(super) struct Database {
    config: Config,
    tls: MakeTls,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No password.
        write!(f, "Database({})", self.name())
    }
}

/// Why a connection string is no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a PostgreSQL connection string: {0}")]
pub struct BadUrl(String);

/// A connection. Closed, whatever it is doing, when it is dropped.
pub(super) struct Connection {
    pub(super) client: Client,
    warned: Arc<AtomicBool>,
    driver: AbortHandle,
}

impl Connection {
    /// Whether the server has warned of anything since the connection was made.
    pub(super) fn was_warned(&self) -> bool {
        self.warned.load(Ordering::Acquire)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Database {
    /// Reads `postgres://...` or `host=... dbname=...`, with several hosts where there are standbys.
    pub(super) fn parse(url: &str, tls: Arc<rustls::ClientConfig>) -> Result<Self, BadUrl> {
        let mut config: Config = url.parse().map_err(|error: Error| BadUrl(cause(&error)))?;
        // Of several hosts, the one that takes writes.
        config.target_session_attrs(tokio_postgres::config::TargetSessionAttrs::ReadWrite);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("stonechatd");
        }
        config
            .keepalives_idle(Duration::from_secs(5))
            .keepalives_interval(Duration::from_secs(2))
            .keepalives_retries(3);
        config.tcp_user_timeout(DEAD_AFTER);
        Ok(Self { config, tls: MakeTls(tls) })
    }

    /// Hosts and database, for the operator.
    pub(super) fn name(&self) -> String {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            #[cfg(unix)]
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        });
        let hosts = hosts.collect::<Vec<_>>().join(",");
        format!("{hosts}/{}", self.config.get_dbname().unwrap_or_default())
    }

    /// Connects, and sets the session up with `settings`.
    pub(super) async fn connect(&self, settings: &str) -> Result<Connection, Error> {
        self.connect_noting(settings, None).await
    }

    /// [`Self::connect`], and hands on what others notify of. What finds no room is dropped.
    pub(super) async fn connect_noting(
        &self,
        settings: &str,
        notes: Option<Sender<String>>,
    ) -> Result<Connection, Error> {
        let warned = Arc::new(AtomicBool::new(false));
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        let driver = drive(connection, Arc::clone(&warned), notes);
        let connection = Connection { client, warned, driver };
        connection.client.batch_execute(settings).await?;
        // What is said while connecting (a collation that changed, say) is about no commit.
        connection.warned.store(false, Ordering::Release);
        Ok(connection)
    }
}

/// Moves a connection's bytes until it ends. A warning is noted before the reply that follows it is handed on.
fn drive<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    warned: Arc<AtomicBool>,
    notes: Option<Sender<String>>,
) -> AbortHandle
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let running = tokio::spawn(async move {
        let mut messages = poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            match (message, &notes) {
                (AsyncMessage::Notice(notice), _) if is_warning(&notice) => {
                    tracing::warn!(message = notice.message(), "PostgreSQL warns");
                    warned.store(true, Ordering::Release);
                }
                (AsyncMessage::Notification(note), Some(notes)) => drop(notes.try_send(note.payload().to_owned())),
                _ => {}
            }
        }
    });
    running.abort_handle()
}

/// Everything but what is known to be less.
fn is_warning(notice: &DbError) -> bool {
    !matches!(notice.parsed_severity(), Some(Severity::Debug | Severity::Log | Severity::Info | Severity::Notice))
}

/// Waits for something of a connection, not for ever: a server that is gone without a word answers nothing.
pub(super) async fn within<T>(limit: Duration, doing: impl Future<Output = Result<T, Error>>) -> Result<T, Failed> {
    match timeout(limit, doing).await {
        Ok(done) => done.map_err(Failed::from),
        Err(_) => Err(Failed::Connection(format!("no answer within {} s", limit.as_secs()))),
    }
}

/// What an error says about what it was the answer to.
#[derive(Debug, Clone)]
pub(super) enum Failed {
    /// The server refuses this: it was not done. The connection goes on.
    Refused(StoreError),
    /// The connection, or the server behind it, is no use any more. What was under way may have been done.
    Connection(String),
}

impl Failed {
    /// For who waits no longer.
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Connection(cause) => StoreError::Unavailable { cause },
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Connection(cause) => f.write_str(cause),
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let said = cause(&error);
        let Some(code) = error.code() else { return Self::Connection(said) };
        let fatal = error.as_db_error().and_then(DbError::parsed_severity);
        if matches!(fatal, Some(Severity::Fatal | Severity::Panic)) {
            return Self::Connection(said);
        }
        match code.code().get(..2) {
            // Connections; the operator's intervention (a restart); and a primary that is one no longer.
            Some("08" | "57") => Self::Connection(said),
            _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Self::Connection(said),
            _ if *code == SqlState::DISK_FULL => Self::Refused(StoreError::DiskFull { cause: said }),
            Some("XX") => Self::Refused(StoreError::Corrupt { cause: said }),
            _ => Self::Refused(StoreError::Unavailable { cause: said }),
        }
    }
}

/// What the server said, else what the library says. Never a statement or its parameters: they are not in either.
fn cause(error: &Error) -> String {
    use std::error::Error as _;
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
    }
}

/// Settings of every session. A server that vanished holds its lane's lock no longer than ten seconds; nothing is ever
/// cancelled by a time-out, because a cancelled wait for the standbys looks like success.
pub(super) const SESSION: &str = "
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = '10s';
SET client_connection_check_interval = '2s';
SET tcp_keepalives_idle = 5;
SET tcp_keepalives_interval = 2;
SET tcp_keepalives_count = 3;
SET tcp_user_timeout = '10s';
SET client_min_messages = warning;
SET jit = off;
SET enable_seqscan = off;
SET plan_cache_mode = force_generic_plan;
";

/// And of a lane's: see [`super::statements::APPEND`].
pub(super) const LANE_SESSION: &str = "
SET enable_nestloop = off;
SET enable_mergejoin = off;
SET synchronous_commit = on;
";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long bytes may stay unacknowledged before the connection counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(10);
