//! The operator's socket: `stonechatd admin` asks a running server over a Unix socket in its data folder.
//!
//! **Who may.** The socket has mode 0600 in a folder of mode 0700, and each connection's peer must be the server's own user
//! or root, by the kernel's word. There is no password: whoever is that user can read the store anyway.
//!
//! **What may come.** HTTP/1.1 with JSON, bounded: connections at one time, bytes of a body, seconds of a connection. A
//! request that is hostile costs what any of these bounds costs, and never a client's place.
//!
//! Logs name what was asked for, never about whom.

pub mod client;
mod routes;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::serve::{App, http};
use crate::services::SignUp;
use crate::store::KeyedLog;

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Since it started.
    pub uptime_secs: u64,
    /// WebSockets now.
    pub connections: usize,
    /// Going down.
    pub draining: bool,
    /// Who may sign up.
    pub signup: SignUp,
    /// Of the directory, as it is given out.
    pub directory: DirectoryStatus,
    /// What is on the disk.
    pub storage: Storage,
}

/// The directory's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryStatus {
    /// Records of the newest head; 0 when nothing is published.
    pub records: u64,
    /// Whether it has the witnesses that clients need.
    pub cosigned: bool,
}

/// What is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// What the store's files have together.
    pub bytes: u64,
    /// The bound that the configuration sets.
    pub bytes_max: Option<u64>,
    /// What is free on its disk.
    pub free_bytes: Option<u64>,
}

/// What the routes need to know of the store beside its log.
pub type Measure = Arc<dyn Fn() -> Storage + Send + Sync>;

/// A socket that was made, and what it needs.
pub struct Admin {
    listener: UnixListener,
    path: PathBuf,
    measure: Measure,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Admin({})", self.path.display())
    }
}

impl Admin {
    /// Makes the socket in a data folder that this process has locked.
    ///
    /// # Errors
    /// When it cannot be made there: the path is too long for a socket, or the file system has none.
    pub fn open(data: &Path, measure: Measure) -> io::Result<Self> {
        let path = socket_of(data);
        // Under another name until its mode is right. What is there is of a server that was killed: the folder is locked.
        let aside = path.with_extension("new");
        match std::fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&aside)?;
        std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&aside, &path)?;
        Ok(Self { listener, path, measure })
    }

    /// Answers until the server goes down, and a little longer: so that whoever asked for that hears it.
    pub(crate) async fn serve<S: KeyedLog>(self, app: Arc<App<S>>) {
        let router = routes::router(Arc::clone(&app), Arc::clone(&self.measure));
        let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = app.draining.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an operator's connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if !is_operator(&stream) {
                tracing::warn!("another user of this machine tried the operator's socket and was refused");
                continue;
            }
            // Over the bound: closed at once. Whoever waits in line would wait for a stranger's seconds.
            let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else { continue };
            let (router, app_) = (router.clone(), Arc::clone(&app));
            app.spawn(async move {
                let _seat = seat;
                if timeout(CONNECTION_TIMEOUT, http(&app_, stream, router)).await.is_err() {
                    tracing::debug!("an operator's connection took too long");
                }
            });
        }
        // The next server makes its own; one that is gone leaves none to wonder about.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the operator's socket is gone already");
        }
    }
}

/// Where the socket of a data folder is.
pub fn socket_of(data: &Path) -> PathBuf {
    data.join("admin.sock")
}

/// What is free on the disk of a folder.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether the other side is the server's own user, or root.
fn is_operator(stream: &UnixStream) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == ours || peer.uid() == 0)
}

const CONNECTIONS_MAX: usize = 16;
/// For all requests of a connection together.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// Of a request's body.
const BODY_BYTES_MAX: usize = 16 * 1024;
