//! A TCP forwarder that counts bytes: what goes over the wire, with WebSocket framing, without TCP's own headers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use stonechat_client::ServerUrl;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Forwards to one server for as long as the program runs.
pub(crate) struct Proxy {
    pub(crate) url: ServerUrl,
    up: Arc<AtomicU64>,
    down: Arc<AtomicU64>,
}

impl Proxy {
    pub(crate) async fn start(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?).parse()?;
        let proxy = Self { url, up: Arc::default(), down: Arc::default() };
        let (up, down) = (Arc::clone(&proxy.up), Arc::clone(&proxy.down));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(to).await else { continue };
                if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
                    continue;
                }
                let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
                tokio::spawn(forward(client_in, server_out, Arc::clone(&up)));
                tokio::spawn(forward(server_in, client_out, Arc::clone(&down)));
            }
        });
        Ok(proxy)
    }

    /// Bytes to the server and from it, so far.
    pub(crate) fn counted(&self) -> (u64, u64) {
        (self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed))
    }
}

/// Until either side ends it.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, counter: Arc<AtomicU64>) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1_024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        counter.fetch_add(read as u64, Ordering::Relaxed);
        to.write_all(&buffer[..read]).await?;
    }
}
