//! One connection to the server, opened again whenever it is lost.
//!
//! A link speaks CBOR frames in binary WebSocket messages (`<server>/v1/ws`) and knows nothing of what they mean. Each
//! connection has its own outgoing queue, so that no frame meant for one is ever sent on the next. The two links share no
//! state, TLS sessions included: resuming one's session on the other would tell the server that they belong together.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use stonechat_core::api::Link;
use stonechat_wire::{ClientFrame, ErrorCode, Failure, HelloReply, ServerFrame};
use tokio::sync::mpsc;

use crate::rt::Instant;

/// The sockets: tokio's, or a browser's.
#[cfg_attr(target_arch = "wasm32", path = "web/socket.rs")]
mod socket;

use socket::Dialler;

/// A server's address: `https://host[:port]`, or `http://` where nobody else is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    tls: bool,
    host: String,
    port: Option<u16>,
}

/// Why a text is not a server's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an address at all.
    #[error("{given:?} is not an address ({detail}); a server's address looks like https://chat.example.org")]
    Malformed {
        /// The text.
        given: String,
        /// What the parser said.
        detail: String,
    },
    /// Neither `https` nor `http`.
    #[error("{given:?} starts with {scheme}://; a server's address starts with https:// (or http:// for tests)")]
    Scheme {
        /// The text.
        given: String,
        /// Its scheme.
        scheme: String,
    },
    /// More than a host and a port.
    #[error("{given:?} has a {part}; give only the host, and the port if it is not the usual one: {instead}")]
    Extra {
        /// The text.
        given: String,
        /// What it has too much.
        part: &'static str,
        /// What was probably meant.
        instead: String,
    },
}

impl FromStr for ServerUrl {
    type Err = AddressError;

    fn from_str(given: &str) -> Result<Self, AddressError> {
        let malformed = |detail: String| AddressError::Malformed { given: given.to_owned(), detail };
        if !given.contains("://") {
            return Err(malformed("it does not start with https://".into()));
        }
        let url = socket::split(given).map_err(malformed)?;
        let tls = match url.scheme.as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(AddressError::Scheme { given: given.to_owned(), scheme: url.scheme }),
        };
        if url.host.is_empty() {
            return Err(malformed("it names no host".into()));
        }
        let this = Self { tls, host: url.host, port: url.port };
        match url.extra {
            Some(part) => Err(AddressError::Extra { given: given.to_owned(), part, instead: this.to_string() }),
            None => Ok(this),
        }
    }
}

/// An address, taken apart.
struct Parts {
    scheme: String,
    host: String,
    /// If it is not the scheme's usual one.
    port: Option<u16>,
    /// What a server's address does not have, and this one does.
    extra: Option<&'static str>,
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

impl ServerUrl {
    /// `host[:port]` as it is dialled: what the server sees as `Host`.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    fn endpoint(&self) -> String {
        format!("{}://{}/v1/ws", if self.tls { "wss" } else { "ws" }, self.authority())
    }
}

/// Why there is no connection. The texts are for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No such name.
    #[error("{host} cannot be found; check the spelling of the server's address and this machine's network")]
    Resolve {
        /// `host[:port]`.
        host: String,
    },
    /// Nobody listens there.
    #[error("nothing answers at {host}; the server is not running, or the port is wrong")]
    Refused {
        /// `host[:port]`.
        host: String,
    },
    /// The network does not get there.
    #[error("{host} cannot be reached: {detail}; check this machine's network")]
    Unreachable {
        /// `host[:port]`.
        host: String,
        /// What the system said.
        detail: String,
    },
    /// Too slow.
    #[error("{host} did not answer in {} s; the server or the network is overloaded, or a firewall is in the way", CONNECT_TIMEOUT.as_secs())]
    TimedOut {
        /// `host[:port]`.
        host: String,
    },
    /// No secure channel.
    #[error("no secure connection to {host}: {detail}. Nothing was sent")]
    Tls {
        /// `host[:port]`.
        host: String,
        /// What is wrong.
        detail: String,
    },
    /// A gateway answers for a server that does not.
    #[error("the server at {host} is not available at the moment ({detail})")]
    Unavailable {
        /// `host[:port]`.
        host: String,
        /// What was answered.
        detail: String,
    },
    /// Something else lives there.
    #[error("{host} answers but is not a Stonechat server ({detail}); check the address")]
    NotStonechat {
        /// `host[:port]`.
        host: String,
        /// What was answered.
        detail: String,
    },
    /// The server ended the connection and said why.
    #[error("the server at {host} closed the connection: {failure}")]
    Closed {
        /// `host[:port]`.
        host: String,
        /// The server's reason.
        failure: Failure,
    },
    /// An open connection ended.
    #[error("the connection to {host} was lost ({detail})")]
    Lost {
        /// `host[:port]`.
        host: String,
        /// What the connection reported.
        detail: String,
    },
}

impl ConnectError {
    /// Whether waiting will not help: a person must change something.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Tls { .. } | Self::NotStonechat { .. } => true,
            Self::Closed { failure, .. } => failure.code == ErrorCode::Version,
            _ => false,
        }
    }

    /// What happened, without where: for logs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "name not found",
            Self::Refused { .. } => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timed out",
            Self::Tls { .. } => "no TLS",
            Self::Unavailable { .. } => "unavailable",
            Self::NotStonechat { .. } => "not a Stonechat server",
            Self::Closed { .. } => "closed by the server",
            Self::Lost { .. } => "lost",
        }
    }
}

/// What a link tells the engine.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// A connection is open. Frames go into `outgoing`; dropping it sends what is queued and closes the connection.
    Connected {
        /// The `host[:port]` that was dialled.
        host: String,
        /// The server's first frame.
        hello: HelloReply,
        /// At most [`OUTGOING_FRAMES_MAX`] frames.
        outgoing: mpsc::Sender<ClientFrame>,
    },
    /// A frame arrived.
    Frame(ServerFrame),
    /// The connection is gone, or could not be opened.
    Down {
        /// Whether there was one: [`LinkEvent::Connected`] came before.
        was_up: bool,
        /// Why; `None` when this side closed it.
        why: Option<ConnectError>,
    },
}

/// Keeps one link connected until the engine stops listening.
pub(crate) async fn run(link: Link, server: ServerUrl, events: mpsc::Sender<(Link, LinkEvent)>) {
    let dialler = Dialler::new(&server);
    let mut backoff = Backoff::default();
    loop {
        let opened = match &dialler {
            Ok(dialler) => tokio::select! {
                opened = dialler.open(&server) => opened,
                () = events.closed() => return,
            },
            Err(error) => Err(error.clone()),
        };
        let (was_up, why) = match opened {
            Ok(connection) => {
                let since = Instant::now();
                let why = connection.serve(link, &server, &events).await;
                if since.elapsed() >= STEADY_AFTER {
                    backoff = Backoff::default();
                }
                (true, why)
            }
            Err(error) => (false, Some(error)),
        };
        let asked = match &why {
            Some(ConnectError::Closed { failure, .. }) => {
                failure.retry_after_secs.unwrap_or(0).min(RETRY_AFTER_SECS_MAX)
            }
            _ => 0,
        };
        if events.send((link, LinkEvent::Down { was_up, why })).await.is_err() {
            return;
        }
        tokio::select! {
            () = socket::rest(backoff.next().max(Duration::from_secs(asked.into()))) => {}
            () = events.closed() => return,
        }
    }
}

/// Whether a Stonechat server of this version answers there: opens a connection, says hello, closes.
///
/// # Errors
/// [`ConnectError`], within [`CONNECT_TIMEOUT`].
pub(crate) async fn probe(server: &ServerUrl) -> Result<(), ConnectError> {
    // The answer is known; whether the good-bye arrives does not matter.
    Dialler::new(server)?.open(server).await?.close().await;
    Ok(())
}

/// 0.25 s, doubled up to 30 s, of which a random half is taken off: many clients of one server do not return at once.
#[derive(Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let full = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        let mut random = [0; 4];
        // Without randomness, all clients wait alike; that is no reason to stop.
        let _ = getrandom::getrandom(&mut random);
        full / 2 + (full / 2).mul_f64(f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX))
    }
}

/// From the name's resolution to the server's greeting.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that brings nothing for so long, not even a pong, is dead.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Keeps the connection through middle boxes, and brings the pong.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// A connection that lasted so long was a success.
const STEADY_AFTER: Duration = Duration::from_secs(5);
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A server may ask for patience, not for ever.
const RETRY_AFTER_SECS_MAX: u32 = 300;
/// More than the subscriptions of one connection, which are asked for at once after connecting.
const OUTGOING_FRAMES_MAX: usize = 8_192;

#[cfg(test)]
mod tests;
