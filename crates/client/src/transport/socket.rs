//! The native sockets: TCP, rustls, tungstenite. `web/socket.rs` is a browser's.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use stonechat_core::api::Link;
use stonechat_wire::HelloReply;
use stonechat_wire::limits::FRAME_BYTES_MAX;
use stonechat_wire::{ClientFrame, Hello, PROTOCOL_VERSION, ServerFrame, decode, encode};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

use super::{
    CONNECT_TIMEOUT, ConnectError, IDLE_TIMEOUT, LinkEvent, OUTGOING_FRAMES_MAX, PING_INTERVAL, Parts, ServerUrl,
};
use crate::rt::{sleep, timeout};

/// Takes an address apart.
///
/// # Errors
/// What is wrong with it.
pub(super) fn split(given: &str) -> Result<Parts, String> {
    let url = url::Url::parse(given).map_err(|error| error.to_string())?;
    let extra = if !url.username().is_empty() || url.password().is_some() {
        Some("user name")
    } else if !matches!(url.path(), "" | "/") {
        Some("path")
    } else if url.query().is_some() || url.fragment().is_some() {
        Some("query")
    } else {
        None
    };
    let host = url.host_str().unwrap_or_default().to_owned();
    Ok(Parts { scheme: url.scheme().to_owned(), host, port: url.port(), extra })
}

/// Waits before the next attempt.
pub(super) async fn rest(duration: Duration) {
    sleep(duration).await;
}

/// What opens one link's connections, and shares nothing with the other link's.
pub(super) struct Dialler(Option<Arc<ClientConfig>>);

impl Dialler {
    /// # Errors
    /// [`ConnectError::Tls`] on a machine that trusts nobody.
    pub(super) fn new(server: &ServerUrl) -> Result<Self, ConnectError> {
        let tls = |detail| ConnectError::Tls { host: server.authority(), detail };
        Ok(Self(if server.tls { Some(tls_config().map_err(tls)?) } else { None }))
    }

    /// # Errors
    /// [`ConnectError`], within [`CONNECT_TIMEOUT`].
    pub(super) async fn open(&self, server: &ServerUrl) -> Result<Connection, ConnectError> {
        match timeout(CONNECT_TIMEOUT, Connection::open(server, self.0.clone())).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::TimedOut { host: server.authority() }),
        }
    }
}

/// An open connection; the server answered its `Hello`.
pub(super) struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    hello: HelloReply,
}

impl Connection {
    async fn open(server: &ServerUrl, tls: Option<Arc<ClientConfig>>) -> Result<Self, ConnectError> {
        let host = server.authority();
        let addresses: Vec<_> = tokio::net::lookup_host(dialled(server))
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

    /// Says good-bye, as far as that is quick.
    pub(super) async fn close(mut self) {
        let _ = timeout(CLOSE_TIMEOUT, self.socket.close(None)).await;
    }

    /// Passes frames both ways until either side ends it. Returns why, unless it was this side.
    pub(super) async fn serve(
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

/// Where to dial: names and ports for the resolver.
fn dialled(server: &ServerUrl) -> (&str, u16) {
    let bare = server.host.trim_start_matches('[').trim_end_matches(']');
    (bare, server.port.unwrap_or(if server.tls { 443 } else { 80 }))
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

/// For the good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const WRITE_BATCH: usize = 64;
