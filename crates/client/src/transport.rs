//! One connection to the server, opened again whenever it is lost.
//!
//! A link speaks CBOR frames in binary WebSocket messages (`<server>/v1/ws`) and knows nothing of what they mean. Each
//! connection has its own outgoing queue, so that no frame meant for one is ever sent on the next. The two links share no
//! state, TLS sessions included: resuming one's session on the other would tell the server that they belong together.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use stonechat_core::api::Link;
use stonechat_wire::limits::FRAME_BYTES_MAX;
use stonechat_wire::{
    ClientFrame, ErrorCode, Failure, Hello, HelloReply, PROTOCOL_VERSION, ServerFrame, decode, encode,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

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
        let url = url::Url::parse(given).map_err(|error| malformed(error.to_string()))?;
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(AddressError::Scheme { given: given.to_owned(), scheme: other.to_owned() }),
        };
        let host =
            url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| malformed("it names no host".into()))?;
        let this = Self { tls, host: host.to_owned(), port: url.port() };
        let extra = |part| AddressError::Extra { given: given.to_owned(), part, instead: this.to_string() };
        if !url.username().is_empty() || url.password().is_some() {
            Err(extra("user name"))
        } else if !matches!(url.path(), "" | "/") {
            Err(extra("path"))
        } else if url.query().is_some() || url.fragment().is_some() {
            Err(extra("query"))
        } else {
            Ok(this)
        }
    }
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

    fn dialled(&self) -> (&str, u16) {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        (bare, self.port.unwrap_or(if self.tls { 443 } else { 80 }))
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
        /// Why.
        failure: Failure,
    },
    /// An open connection ended.
    #[error("the connection to {host} was lost ({detail})")]
    Lost {
        /// `host[:port]`.
        host: String,
        /// How.
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
    let tls = if server.tls { tls_config().map(Some) } else { Ok(None) };
    let mut backoff = Backoff::default();
    loop {
        let opened = match &tls {
            Ok(config) => tokio::select! {
                opened = Connection::open(&server, config.clone()) => opened,
                () = events.closed() => return,
            },
            Err(detail) => Err(ConnectError::Tls { host: server.authority(), detail: detail.clone() }),
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
            () = tokio::time::sleep(backoff.next().max(Duration::from_secs(asked.into()))) => {}
            () = events.closed() => return,
        }
    }
}

/// Whether a Stonechat server of this version answers there: opens a connection, says hello, closes.
///
/// # Errors
/// [`ConnectError`], within [`CONNECT_TIMEOUT`].
pub(crate) async fn probe(server: &ServerUrl) -> Result<(), ConnectError> {
    let tls = |detail| ConnectError::Tls { host: server.authority(), detail };
    let config = if server.tls { Some(tls_config().map_err(tls)?) } else { None };
    let mut connection = Connection::open(server, config).await?;
    // The answer is known; whether the good-bye arrives does not matter.
    let _ = timeout(CLOSE_TIMEOUT, connection.socket.close(None)).await;
    Ok(())
}

struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    hello: HelloReply,
}

impl Connection {
    async fn open(server: &ServerUrl, tls: Option<Arc<ClientConfig>>) -> Result<Self, ConnectError> {
        let host = server.authority();
        match timeout(CONNECT_TIMEOUT, Self::open_untimed(server, tls)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::TimedOut { host }),
        }
    }

    async fn open_untimed(server: &ServerUrl, tls: Option<Arc<ClientConfig>>) -> Result<Self, ConnectError> {
        let host = server.authority();
        let addresses: Vec<_> = tokio::net::lookup_host(server.dialled())
            .await
            .map_err(|_| ConnectError::Resolve { host: host.clone() })?
            .collect();
        let stream = TcpStream::connect(&addresses[..]).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => ConnectError::Refused { host: host.clone() },
            _ => ConnectError::Unreachable { host: host.clone(), detail: error.to_string() },
        })?;
        // A small frame is a message that somebody waits for. Without it they only wait a little longer.
        let _ = stream.set_nodelay(true);
        let connector = tls.map_or(Connector::Plain, Connector::Rustls);
        let (mut socket, _) = tokio_tungstenite::client_async_tls_with_config(
            server.endpoint(),
            stream,
            Some(ws_config()),
            Some(connector),
        )
        .await
        .map_err(|error| handshake_error(server, &error))?;

        let not_stonechat = |detail: &str| ConnectError::NotStonechat { host: host.clone(), detail: detail.into() };
        let lost = |error: WsError| ConnectError::Lost { host: host.clone(), detail: error.to_string() };
        socket.send(Message::Binary(encode(&Hello { version: PROTOCOL_VERSION }).into())).await.map_err(lost)?;
        loop {
            return match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => match decode::<ServerFrame>(&bytes) {
                    Ok(ServerFrame::Hello(hello)) => Ok(Self { socket, hello }),
                    Ok(ServerFrame::Closing(failure)) => Err(ConnectError::Closed { host, failure }),
                    Ok(_) | Err(_) => Err(not_stonechat("its first frame is no greeting")),
                },
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(_)) => Err(not_stonechat("its first frame is no greeting")),
                Some(Err(error)) => Err(lost(error)),
                None => Err(not_stonechat("it closed the connection without a greeting")),
            };
        }
    }

    /// Passes frames both ways until either side ends it. Returns why, unless it was this side.
    async fn serve(
        self,
        link: Link,
        server: &ServerUrl,
        events: &mpsc::Sender<(Link, LinkEvent)>,
    ) -> Option<ConnectError> {
        let host = server.authority();
        let Self { socket, hello } = self;
        let (mut sink, mut stream) = socket.split();
        let (outgoing, mut queue) = mpsc::channel::<ClientFrame>(OUTGOING_FRAMES_MAX);
        let lost = |detail: String| ConnectError::Lost { host: host.clone(), detail };

        let read = async {
            if events.send((link, LinkEvent::Connected { host: host.clone(), hello, outgoing })).await.is_err() {
                return None;
            }
            loop {
                let message = match timeout(IDLE_TIMEOUT, stream.next()).await {
                    Err(_) => return Some(lost(format!("silent for {} s", IDLE_TIMEOUT.as_secs()))),
                    Ok(None | Some(Err(WsError::ConnectionClosed))) => {
                        return Some(lost("the server closed it".into()));
                    }
                    Ok(Some(Err(error))) => return Some(lost(error.to_string())),
                    Ok(Some(Ok(message))) => message,
                };
                let frame = match message {
                    Message::Binary(bytes) => decode::<ServerFrame>(&bytes),
                    Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => continue,
                    Message::Text(_) => return Some(lost("the server sent something that is no frame".into())),
                };
                match frame {
                    Ok(ServerFrame::Closing(failure)) => {
                        return Some(ConnectError::Closed { host: host.clone(), failure });
                    }
                    Ok(frame) => {
                        // Back-pressure: while the engine is busy, nothing more is read from the socket.
                        if events.send((link, LinkEvent::Frame(frame))).await.is_err() {
                            return None;
                        }
                    }
                    Err(error) => return Some(lost(format!("the server sent a frame that is {error}"))),
                }
            }
        };
        let write = async {
            let mut frames = Vec::with_capacity(WRITE_BATCH);
            loop {
                frames.clear();
                match timeout(PING_INTERVAL, queue.recv_many(&mut frames, WRITE_BATCH)).await {
                    Ok(0) => {
                        // Either end may be gone already.
                        let _ = timeout(CLOSE_TIMEOUT, sink.close()).await;
                        return None;
                    }
                    Ok(_) => {}
                    Err(_) => {
                        if let Err(error) = sink.send(Message::Ping(Vec::new().into())).await {
                            return Some(lost(error.to_string()));
                        }
                        continue;
                    }
                }
                for frame in frames.drain(..) {
                    if let Err(error) = sink.feed(Message::Binary(encode(&frame).into())).await {
                        return Some(lost(error.to_string()));
                    }
                }
                if let Err(error) = sink.flush().await {
                    return Some(lost(error.to_string()));
                }
            }
        };
        tokio::select! {
            why = read => why,
            why = write => why,
        }
    }
}

fn ws_config() -> WebSocketConfig {
    // 16 KiB: most frames are small, and a frame of any size still passes.
    WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(16 * 1024)
        .max_write_buffer_size(4 * FRAME_BYTES_MAX)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX))
}

fn tls_config() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    if roots.add_parsable_certificates(found.certs).0 == 0 {
        return Err("this machine has no list of trusted certificate authorities; install it (ca-certificates)".into());
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
        .map_err(|error| error.to_string())
}

fn handshake_error(server: &ServerUrl, error: &WsError) -> ConnectError {
    let host = server.authority();
    match error {
        WsError::Http(response) if response.status().is_server_error() => {
            ConnectError::Unavailable { host, detail: format!("it answered {}", response.status()) }
        }
        WsError::Http(response) => {
            ConnectError::NotStonechat { host, detail: format!("it answered {}", response.status()) }
        }
        WsError::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidMessage(_)) => ConnectError::Tls {
                host,
                detail: "it does not speak TLS; perhaps its address starts with http://".into(),
            },
            Some(rustls::Error::InvalidCertificate(why)) => {
                ConnectError::Tls { host, detail: certificate_trouble(why) }
            }
            Some(other) => ConnectError::Tls { host, detail: other.to_string() },
            None if server.tls => ConnectError::Lost { host, detail: error.to_string() },
            None => ConnectError::Lost { host, detail: error.to_string() },
        },
        WsError::Tls(error) => ConnectError::Tls { host, detail: error.to_string() },
        other if server.tls => ConnectError::NotStonechat { host, detail: other.to_string() },
        other => {
            ConnectError::NotStonechat { host, detail: format!("{other}; perhaps its address starts with https://") }
        }
    }
}

/// What is wrong with a certificate, and what to do about it.
fn certificate_trouble(why: &rustls::CertificateError) -> String {
    use rustls::CertificateError as Why;
    match why {
        Why::UnknownIssuer | Why::BadSignature => {
            "this machine does not trust who issued its certificate: somebody may be in between, or the server has a \
             certificate of its own making. If it is yours, name your authority's PEM file in the variable SSL_CERT_FILE"
                .into()
        }
        Why::NotValidForName | Why::NotValidForNameContext { .. } => {
            "its certificate is for another name; check the address".into()
        }
        Why::Expired | Why::ExpiredContext { .. } => {
            "its certificate has expired; check this machine's clock, or tell the server's operator".into()
        }
        Why::NotValidYet | Why::NotValidYetContext { .. } => {
            "its certificate is not valid yet; check this machine's clock".into()
        }
        other => format!("its certificate is not valid ({other})"),
    }
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
/// For the good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection that lasted so long was a success.
const STEADY_AFTER: Duration = Duration::from_secs(5);
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A server may ask for patience, not for ever.
const RETRY_AFTER_SECS_MAX: u32 = 300;
/// More than the subscriptions of one connection, which are asked for at once after connecting.
const OUTGOING_FRAMES_MAX: usize = 8_192;
const WRITE_BATCH: usize = 64;

#[cfg(test)]
mod tests;
