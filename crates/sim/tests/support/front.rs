//! What stands before a true server and lies for it: it understands every frame and passes on what it likes.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use stonechat_directory::SignedNote;
use stonechat_sim::directory::{Swap, head_in};
use stonechat_wire::{Bytes, ClientFrame, Reply, Request, ServerFrame, decode, encode};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as Upgrade, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_hdr_async, connect_async};

/// Passes connections on to a server, until it is dropped.
pub(crate) struct Front {
    address: SocketAddr,
    way: Arc<Mutex<Way>>,
    _runtime: Runtime,
}

/// How connections go on that are made from now on.
#[derive(Clone, Copy)]
struct Way {
    server: SocketAddr,
    lie: Lie,
}

/// What it does to what passes.
#[derive(Clone, Copy)]
pub(crate) enum Lie {
    /// Nothing.
    Nothing,
    /// Changes the key of the first device in every answer about an account.
    DeviceKey,
    /// Changes every cosignature in every head.
    Cosignatures,
    /// Says that an entry of an account log was taken, and forgets it.
    Forgets,
    /// Lets another server answer who has a handle.
    Holder(SocketAddr),
}

type Upstream = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Front {
    /// Listens on a port of its own.
    pub(crate) fn start(server: SocketAddr) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(Mutex::new(Way { server, lie: Lie::Nothing }));
        let shown = Arc::clone(&way);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let way = *shown.lock().unwrap();
                // A connection that breaks is made again by its client.
                tokio::spawn(async move { drop(pass_on(client, way).await) });
            }
        });
        Self { address, way, _runtime: runtime }
    }

    /// What its victims dial.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends those who come from now on to a server.
    pub(crate) fn leads_to(&self, server: SocketAddr) {
        self.way.lock().unwrap().server = server;
    }

    /// Lies to those who come from now on.
    pub(crate) fn tells(&self, lie: Lie) {
        self.way.lock().unwrap().lie = lie;
    }
}

async fn pass_on(client: TcpStream, Way { server, lie }: Way) -> Result<(), Error> {
    let mut host = None;
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let upgrade = |request: &Upgrade, response: Response| -> Result<Response, ErrorResponse> {
        host = request.headers().get("host").cloned();
        Ok(response)
    };
    let mut client = accept_hdr_async(client, upgrade).await?;
    let dial = async |server: SocketAddr| -> Result<Upstream, Error> {
        let mut onward = format!("ws://{server}/v1/ws").into_client_request()?;
        // As behind an honest proxy: log-ins are for the host that was dialled.
        if let Some(host) = host.clone() {
            onward.headers_mut().insert("host", host);
        }
        Ok(connect_async(onward).await?.0)
    };
    let mut upstream = dial(server).await?;
    let mut hello = None;
    loop {
        tokio::select! {
            frame = client.next() => {
                let Some(frame) = frame.transpose()? else { return Ok(()) };
                let asked = decode::<ClientFrame>(&frame.clone().into_data()).ok().filter(|_| hello.is_some());
                hello.get_or_insert_with(|| frame.clone());
                match (lie, asked) {
                    (Lie::Forgets, Some(ClientFrame { id, request: Request::ExtendAccount { .. } })) => {
                        client.send(Message::binary(encode(&ServerFrame::Reply(id, Reply::Done)))).await?;
                    }
                    (Lie::Holder(other), Some(ClientFrame { request: Request::LookUpHandle { .. }, .. })) => {
                        let mut other = dial(other).await?;
                        other.send(hello.clone().expect("the first frame")).await?;
                        other.next().await.transpose()?;
                        other.send(frame).await?;
                        if let Some(answer) = other.next().await.transpose()? {
                            client.send(answer).await?;
                        }
                    }
                    _ => upstream.send(frame).await?,
                }
            }
            frame = upstream.next() => {
                let Some(frame) = frame.transpose()? else { return Ok(()) };
                client.send(lie.told(frame)).await?;
            }
        }
    }
}

impl Lie {
    /// What a client hears of what the server says.
    fn told(self, message: Message) -> Message {
        let Message::Binary(bytes) = &message else { return message };
        let Ok(frame) = decode::<ServerFrame>(bytes) else { return message };
        let told = match self {
            Self::DeviceKey => Swap::DeviceKey.of(frame),
            Self::Cosignatures => forged(frame),
            Self::Nothing | Self::Forgets | Self::Holder(_) => return message,
        };
        Message::binary(encode(&told))
    }
}

/// Another last byte in each cosignature. The first signature is the directory's own.
fn forged(mut frame: ServerFrame) -> ServerFrame {
    if let Some(head) = head_in(&mut frame) {
        let mut note = SignedNote::parse(&head.checkpoint).unwrap();
        for mut line in note.signatures().to_vec().split_off(1) {
            *line.bytes.last_mut().unwrap() ^= 1;
            note.add(line);
        }
        head.checkpoint = Bytes::new(note.to_string().into_bytes()).unwrap();
    }
    frame
}
