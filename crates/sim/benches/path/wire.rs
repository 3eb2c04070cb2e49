//! Raw clients: wire frames over a WebSocket, and conversations whose entries nobody can decrypt.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use ed25519_dalek::{Signer as _, SigningKey};
use futures_util::{SinkExt as _, StreamExt as _};
use rand_core::{OsRng, RngCore as _};
use stonechat_wire::limits::INBOX_KEY_BYTES;
use stonechat_wire::message::Element;
use stonechat_wire::{
    AccountId, AuthChallenge, Bytes, Capability, ClientFrame, ConversationId, DeviceId, DeviceKeys, EntryKind,
    EpochCaps, EpochId, Handle, Hello, HelloReply, List, LogBody, LogEntry, PROTOCOL_VERSION, Push, Reply, Request,
    Seq, ServerFrame, Signer, Timestamp, Token, decode, encode, first_epoch_id,
};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use voprf::{EvaluationElement, Group, Proof, Ristretto255, VoprfClient};

/// A greeted connection.
pub(crate) struct Wire {
    socket: WebSocketStream<TcpStream>,
    host: String,
    hello: HelloReply,
    next_id: u32,
}

impl Wire {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(8 * 1_024).write_buffer_size(8 * 1_024);
        let url = format!("ws://{address}/v1/ws");
        let (mut socket, _) = tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await?;
        socket.send(Message::Binary(encode(&Hello { version: PROTOCOL_VERSION }).into())).await?;
        let ServerFrame::Hello(hello) = receive(&mut socket).await? else { bail!("no greeting") };
        Ok(Self { socket, host: address.to_string(), hello, next_id: 0 })
    }

    /// Asks without waiting for the answer.
    pub(crate) async fn send(&mut self, request: Request) -> Result<()> {
        self.next_id += 1;
        self.socket.send(Message::Binary(encode(&ClientFrame { id: self.next_id, request }).into())).await?;
        Ok(())
    }

    /// The next frame.
    pub(crate) async fn receive(&mut self) -> Result<ServerFrame> {
        receive(&mut self.socket).await
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Result<Reply> {
        loop {
            match self.receive().await? {
                ServerFrame::Reply(_, reply) => return Ok(reply),
                ServerFrame::Push(_) => {}
                other => bail!("{other:?}"),
            }
        }
    }

    pub(crate) async fn ask(&mut self, request: Request) -> Result<Reply> {
        self.send(request).await?;
        self.answer().await
    }

    /// One anonymous token; on a connection that is logged in.
    pub(crate) async fn token(&mut self) -> Result<Token> {
        let failed = |error: voprf::Error| anyhow::anyhow!("a token: {error:?}");
        let mut nonce = [0; 32];
        OsRng.fill_bytes(&mut nonce);
        let blinded = VoprfClient::<Ristretto255>::blind(&nonce, &mut OsRng).map_err(failed)?;
        let element = Element(blinded.message.serialize().into());
        let issue = Request::IssueTokens { blinded: List::new(vec![element]).context("a list of one")? };
        let Reply::Tokens { evaluated, proof } = self.ask(issue).await? else { bail!("no tokens") };
        let evaluated = EvaluationElement::<Ristretto255>::deserialize(&evaluated[0].0).map_err(failed)?;
        let proof = Proof::deserialize(&proof).map_err(failed)?;
        let key = Ristretto255::deserialize_elem(&self.hello.token_key).map_err(failed)?;
        let output = blinded.state.finalize(&nonce, &evaluated, &proof, key).map_err(failed)?;
        Ok(Token { nonce, output: output.as_slice().try_into()? })
    }
}

async fn receive(socket: &mut WebSocketStream<TcpStream>) -> Result<ServerFrame> {
    loop {
        match socket.next().await.context("the server hung up")?? {
            Message::Binary(bytes) => return Ok(decode(&bytes)?),
            Message::Ping(_) | Message::Pong(_) => {}
            other => bail!("{other:?}"),
        }
    }
}

/// An account that only raw connections use.
pub(crate) struct Account {
    id: AccountId,
    device: DeviceId,
    secret: SigningKey,
    genesis: LogEntry,
}

impl Account {
    pub(crate) fn new(handle: &str) -> Result<Self> {
        let mut seed = [0; 32];
        OsRng.fill_bytes(&mut seed);
        let (secret, recovery) = (SigningKey::from_bytes(&seed), SigningKey::from_bytes(&[9; 32]));
        let device = DeviceId(seed[..16].try_into()?);
        let keys = DeviceKeys { id: device, signature: secret.verifying_key().to_bytes(), inbox: [1; INBOX_KEY_BYTES] };
        let recovery_key = recovery.verifying_key().to_bytes();
        let handle = Handle::parse(handle)?;
        let body = LogBody::Genesis { handle, device: keys, recovery: recovery_key, at: Timestamp(1) };
        let genesis = LogEntry::sign(&body, &[(Signer::Device(device), &secret), (Signer::Recovery, &recovery)]);
        Ok(Self { id: AccountId(genesis.hash()), device, secret, genesis })
    }

    pub(crate) async fn register(&self, address: SocketAddr) -> Result<()> {
        Wire::open(address).await?.ask(Request::CreateAccount { genesis: self.genesis.clone(), invite: None }).await?;
        Ok(())
    }

    pub(crate) async fn log_in(&self, address: SocketAddr) -> Result<Wire> {
        let mut wire = Wire::open(address).await?;
        let (account, device) = (self.id, self.device);
        let challenge = AuthChallenge { host: &wire.host, nonce: wire.hello.nonce, account, device };
        let signature = self.secret.sign(&challenge.signed_bytes()).to_bytes();
        wire.ask(Request::Authenticate { account, device, signature }).await?;
        Ok(wire)
    }
}

/// A conversation in its first epoch.
#[derive(Clone, Copy)]
pub(crate) struct Chat {
    id: ConversationId,
    read: [u8; 32],
    write: [u8; 32],
    epoch: EpochId,
}

impl Chat {
    /// Starts one, over an anonymous connection.
    pub(crate) async fn create(anonymous: &mut Wire, token: Token) -> Result<Self> {
        let mut random = [[0; 32]; 3];
        random.iter_mut().for_each(|bytes| OsRng.fill_bytes(bytes));
        let [id, read, write] = random;
        let id = ConversationId(id);
        let first =
            EpochCaps { read: Capability::from_bytes(read).hash(), write: Capability::from_bytes(write).hash() };
        anonymous.ask(Request::CreateConversation { conversation: id, first, token }).await?;
        Ok(Self { id, read, write, epoch: first_epoch_id(&id, &first) })
    }

    /// An entry of so many bytes. No two with different numbers are alike: the same entry again would be no entry.
    pub(crate) fn entry(&self, number: u64, bytes: usize) -> Result<Request> {
        let mut blob = vec![0x5a; bytes.max(8)];
        blob[..8].copy_from_slice(&number.to_be_bytes());
        Ok(Request::Append {
            conversation: self.id,
            epoch: Seq(1),
            epoch_id: self.epoch,
            write: Capability::from_bytes(self.write),
            kind: EntryKind::Application,
            skip: None,
            ttl_secs: None,
            blob: Bytes::new(blob)?,
        })
    }

    /// Follows it from its beginning. Returns how many entries came with the answer.
    pub(crate) async fn follow(&self, wire: &mut Wire) -> Result<usize> {
        let read = Capability::from_bytes(self.read);
        let follow = Request::Follow { conversation: self.id, epoch: Seq(1), read, after: Seq(1) };
        let Reply::Following(page) = wire.ask(follow).await? else { bail!("it does not follow") };
        Ok(page.entries.len())
    }
}

/// Waits for so many entries of what is followed.
pub(crate) async fn pushed(wire: &mut Wire, entries: usize) -> Result<()> {
    let mut seen = 0;
    while seen < entries {
        match wire.receive().await? {
            ServerFrame::Push(Push::Entries { page, .. }) => seen += page.entries.len(),
            other => bail!("{other:?}"),
        }
    }
    Ok(())
}

/// Starts so many conversations.
pub(crate) async fn chats(address: SocketAddr, count: usize) -> Result<Vec<Chat>> {
    let payer = Account::new(&format!("p{}", OsRng.next_u32()))?;
    payer.register(address).await?;
    let mut device = payer.log_in(address).await?;
    let mut anonymous = Wire::open(address).await?;
    let mut chats = Vec::with_capacity(count);
    for _ in 0..count {
        let token = device.token().await?;
        chats.push(Chat::create(&mut anonymous, token).await?);
    }
    Ok(chats)
}
