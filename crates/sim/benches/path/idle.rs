//! What an idle connection costs the server in memory, for each of the two kinds.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Bench;
use crate::server::Server;
use crate::table::{bytes, line, title};
use crate::wire::{Account, Chat, Wire, chats};

const CONNECTIONS: usize = 5_000;
const CONVERSATIONS: usize = 250;
const AT_ONCE: usize = 64;
/// For what a connection needs only while it opens.
const REST: Duration = Duration::from_secs(3);

pub(crate) async fn run(bench: &Bench) -> Result<()> {
    title(&format!(
        "Server memory for an idle connection, {CONNECTIONS} of them (resident; without the kernel's share)"
    ));
    raise_open_files()?;

    let this = std::env::current_exe()?;
    let bare = Server::spawn(Command::new(this).arg("hold-connections"))?;
    let floor = cost(&bare, |_| async move {
        let mut stream = TcpStream::connect(bare.address).await?;
        stream.write_all(b"x").await?;
        Ok(stream)
    })
    .await?;
    line("floor: a task that holds a TCP connection", &bytes(floor), "");
    drop(bare);

    let dir = bench.folder()?;
    // Accounts and conversations are made by a server of its own: what that leaves in memory is not counted.
    let server = Server::start(dir.path())?;
    let address = server.address;
    let chats = chats(address, CONVERSATIONS).await?;
    let accounts = stream::iter(0..CONNECTIONS).map(|n| register(address, n));
    let accounts: Vec<_> = accounts.buffer_unordered(AT_ONCE).try_collect().await?;
    server.stop()?;

    let server = Server::start(dir.path())?;
    let address = server.address;
    let anonymous = cost(&server, |n| follow(address, chats[n % CONVERSATIONS])).await?;
    show("anonymous, following a conversation", anonymous, floor);
    server.stop()?;

    let server = Server::start(dir.path())?;
    let address = server.address;
    let device = cost(&server, |n| accounts[n].log_in(address)).await?;
    show("a device, logged in", device, floor);
    server.stop()
}

fn show(what: &str, cost: f64, floor: f64) {
    line(what, &bytes(cost), &format!("{:.1} x the floor (aim: under 16 KiB)", cost / floor.max(1.0)));
}

/// How much each of the connections adds.
async fn cost<T, F: Future<Output = Result<T>>>(server: &Server, open: impl Fn(usize) -> F) -> Result<f64> {
    // What the first of its kind allocates for all.
    let first = open(0).await?;
    tokio::time::sleep(REST).await;
    let before = server.memory()?;
    let opened = stream::iter(0..CONNECTIONS).map(open).buffer_unordered(AT_ONCE);
    let opened: Vec<_> = opened.try_collect().await?;
    tokio::time::sleep(REST).await;
    let after = server.memory()?;
    drop((first, opened));
    Ok(after.saturating_sub(before) as f64 / CONNECTIONS as f64)
}

async fn register(address: SocketAddr, n: usize) -> Result<Account> {
    let account = Account::new(&format!("idle{n}"))?;
    account.register(address).await?;
    Ok(account)
}

async fn follow(address: SocketAddr, chat: Chat) -> Result<Wire> {
    let mut wire = Wire::open(address).await?;
    chat.follow(&mut wire).await?;
    Ok(wire)
}

/// The floor's server: a task for each connection, which waits for a byte.
pub(crate) async fn hold_connections() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move { while let Ok(1..) = stream.read(&mut [0; 64]).await {} });
    }
}

/// This process's, and those of the servers that it starts.
fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = CONNECTIONS as u64 + 500;
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= wanted),
        "{CONNECTIONS} connections need `ulimit -Hn` to be at least {wanted}"
    );
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit })?;
    }
    Ok(())
}
