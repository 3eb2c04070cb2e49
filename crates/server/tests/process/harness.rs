//! A real `stonechatd` and real WebSockets to it.
#![expect(clippy::unwrap_used, reason = "a test harness: a surprise ends the test")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use futures_util::{SinkExt as _, StreamExt as _};
use rand_core::{OsRng, RngCore as _};
use stonechat_wire::limits::INBOX_KEY_BYTES;
use stonechat_wire::message::{Element, Page};
use stonechat_wire::{
    AccountId, AuthChallenge, Bytes, Capability, ClientFrame, ConversationId, DeviceId, DeviceKeys, EntryKind,
    EpochCaps, EpochId, Failure, Handle, Hello, HelloReply, List, LogBody, LogEntry, PROTOCOL_VERSION, Push, Reply,
    Request, Seq, ServerFrame, Signer, Timestamp, Token, decode, encode, epoch_id, first_epoch_id,
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use voprf::{EvaluationElement, Group, Proof, Ristretto255, VoprfClient};

use crate::small_disk::SmallDisk;

pub(crate) fn stonechatd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_stonechatd"))
}

pub(crate) struct Server {
    pub(crate) dir: TempDir,
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), "")
    }

    pub(crate) fn start_with(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config)
    }

    pub(crate) fn start_in(dir: TempDir, config: &str) -> Self {
        let data = dir.path().join("data");
        Self::run(dir, &data, config, |command| command)
    }

    /// Its data on a disk of a few megabytes.
    pub(crate) fn start_on(disk: &SmallDisk) -> Self {
        Self::start_again_on(disk, tempfile::tempdir().unwrap())
    }

    pub(crate) fn start_again_on(disk: &SmallDisk, dir: TempDir) -> Self {
        Self::run(dir, &disk.path().join("data"), "", |command| disk.enter(&command))
    }

    fn run(dir: TempDir, data: &Path, config: &str, prepared: impl FnOnce(Command) -> Command) -> Self {
        let file = dir.path().join("config.toml");
        std::fs::write(&file, config).unwrap();
        let mut command = stonechatd();
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&file).arg("--data").arg(data);
        let mut child = prepared(command)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::options().create(true).append(true).open(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().split_once("://").unwrap_or_else(|| panic!("not ready: {line:?}")).1.parse().unwrap();
        assert!(line.starts_with("listening on http"), "{line}");
        Self { dir, address, child }
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for the end and gives back the folder. The exit status must be as asked.
    pub(crate) async fn ended(mut self, success: bool) -> TempDir {
        for _ in 0..1_000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.success(), success, "{}", self.log());
                let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
                return dir;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("still running after ten seconds");
    }

    pub(crate) async fn socket(&self) -> Socket {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let url = format!("ws://{}/v1/ws", self.address);
        let (socket, _) = tokio_tungstenite::client_async(url, MaybeTlsStream::Plain(stream)).await.unwrap();
        Socket(socket)
    }

    pub(crate) async fn client(&self) -> Client {
        let mut socket = self.socket().await;
        socket.send(encode(&Hello { version: PROTOCOL_VERSION })).await;
        let ServerFrame::Hello(hello) = socket.receive().await.unwrap() else { panic!("no hello") };
        Client { socket, hello, next_id: 0, pushes: Vec::new() }
    }

    /// A device connection of a new account.
    pub(crate) async fn sign_up(&self, handle: &str) -> (Client, Person) {
        let person = person(handle);
        let mut client = self.client().await;
        client.ask(Request::CreateAccount { genesis: person.genesis.clone(), invite: None }).await.unwrap();
        client.ask(person.login(&client.hello.nonce, &self.address.to_string())).await.unwrap();
        (client, person)
    }

    /// Starts a conversation.
    pub(crate) async fn chat(&self, anonymous: &mut Client) -> Chat {
        let (mut device, _) = self.sign_up(&format!("c{}", OsRng.next_u32())).await;
        let token = device.token().await;
        let chat = Chat::new();
        let create = Request::CreateConversation { conversation: chat.id, first: chat.first.caps(), token };
        assert_eq!(anonymous.ask(create).await, Ok(Reply::Done));
        chat
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already, where the test ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A raw WebSocket.
pub(crate) struct Socket(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn send(&mut self, bytes: Vec<u8>) {
        self.0.send(Message::Binary(bytes.into())).await.unwrap();
    }

    /// The next frame; `None` when the server hung up.
    pub(crate) async fn receive(&mut self) -> Option<ServerFrame> {
        loop {
            match timeout(Duration::from_secs(20), self.0.next()).await.expect("the server says something") {
                Some(Ok(Message::Binary(bytes))) => return Some(decode(&bytes).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(_) | Err(_)) | None => return None,
            }
        }
    }

    /// The server's goodbye.
    pub(crate) async fn goodbye(&mut self) -> Failure {
        match self.receive().await {
            Some(ServerFrame::Closing(failure)) => {
                assert!(self.receive().await.is_none());
                failure
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A greeted connection.
pub(crate) struct Client {
    pub(crate) socket: Socket,
    pub(crate) hello: HelloReply,
    next_id: u32,
    pub(crate) pushes: Vec<Push>,
}

impl Client {
    pub(crate) async fn send(&mut self, request: Request) -> u32 {
        self.next_id += 1;
        self.socket.send(encode(&ClientFrame { id: self.next_id, request })).await;
        self.next_id
    }

    pub(crate) async fn answer(&mut self) -> (u32, Result<Reply, Failure>) {
        loop {
            match self.socket.receive().await.expect("an answer") {
                ServerFrame::Reply(id, reply) => return (id, Ok(reply)),
                ServerFrame::Refused(id, failure) => return (id, Err(failure)),
                ServerFrame::Push(push) => self.pushes.push(push),
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn ask(&mut self, request: Request) -> Result<Reply, Failure> {
        let id = self.send(request).await;
        let (answered, result) = self.answer().await;
        assert_eq!(answered, id);
        result
    }

    /// `None` when the server hung up, or says goodbye.
    pub(crate) async fn try_ask(&mut self, request: Request) -> Option<Result<Reply, Failure>> {
        self.next_id += 1;
        let bytes = encode(&ClientFrame { id: self.next_id, request });
        self.socket.0.send(Message::Binary(bytes.into())).await.ok()?;
        loop {
            match self.socket.receive().await? {
                ServerFrame::Reply(_, reply) => return Some(Ok(reply)),
                ServerFrame::Refused(_, failure) => return Some(Err(failure)),
                ServerFrame::Push(_) => {}
                _ => return None,
            }
        }
    }

    /// Draws tokens that nobody will use.
    pub(crate) async fn draw(&mut self, count: usize) -> Result<Reply, Failure> {
        let blinded = (0..count).map(|_| {
            let blinded = VoprfClient::<Ristretto255>::blind(b"unused", &mut OsRng).unwrap();
            Element(blinded.message.serialize().into())
        });
        self.ask(Request::IssueTokens { blinded: List::new(blinded.collect::<Vec<_>>()).unwrap() }).await
    }

    pub(crate) async fn append(&mut self, request: Request) -> Seq {
        match self.ask(request).await {
            Ok(Reply::Appended { seq, .. }) => seq,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn follow(&mut self, request: Request) -> Page {
        match self.ask(request).await {
            Ok(Reply::Following(page)) => page,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn push(&mut self) -> Push {
        if self.pushes.is_empty() {
            match self.socket.receive().await {
                Some(ServerFrame::Push(push)) => return push,
                other => panic!("{other:?}"),
            }
        }
        self.pushes.remove(0)
    }

    pub(crate) async fn token(&mut self) -> Token {
        let mut nonce = [0; 32];
        OsRng.fill_bytes(&mut nonce);
        let blinded = VoprfClient::<Ristretto255>::blind(&nonce, &mut OsRng).unwrap();
        let element = Element(blinded.message.serialize().into());
        let issue = Request::IssueTokens { blinded: List::new(vec![element]).unwrap() };
        let Reply::Tokens { evaluated, proof } = self.ask(issue).await.unwrap() else { panic!() };
        let evaluated = EvaluationElement::<Ristretto255>::deserialize(&evaluated[0].0).unwrap();
        let proof = Proof::deserialize(&proof).unwrap();
        let key = Ristretto255::deserialize_elem(&self.hello.token_key).unwrap();
        // A batch of one, as the server proves it.
        let output = blinded.state.finalize(&nonce, &evaluated, &proof, key).unwrap();
        Token { nonce, output: output.as_slice().try_into().unwrap() }
    }
}

pub(crate) struct Person {
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) secret: SigningKey,
    pub(crate) genesis: LogEntry,
}

pub(crate) fn person(handle: &str) -> Person {
    let mut seed = [0; 32];
    OsRng.fill_bytes(&mut seed);
    let (secret, recovery) = (SigningKey::from_bytes(&seed), SigningKey::from_bytes(&[9; 32]));
    let device = DeviceId(seed[..16].try_into().unwrap());
    let keys = DeviceKeys { id: device, signature: secret.verifying_key().to_bytes(), inbox: [1; INBOX_KEY_BYTES] };
    let handle = Handle::parse(handle).unwrap();
    let body =
        LogBody::Genesis { handle, device: keys, recovery: recovery.verifying_key().to_bytes(), at: Timestamp(1) };
    let genesis = LogEntry::sign(&body, &[(Signer::Device(device), &secret), (Signer::Recovery, &recovery)]);
    Person { account: AccountId(genesis.hash()), device, secret, genesis }
}

impl Person {
    pub(crate) fn login(&self, nonce: &[u8; 32], host: &str) -> Request {
        let (account, device) = (self.account, self.device);
        let challenge = AuthChallenge { host, nonce: *nonce, account, device };
        Request::Authenticate { account, device, signature: self.secret.sign(&challenge.signed_bytes()).to_bytes() }
    }
}

/// The secrets of one epoch.
#[derive(Clone, Copy)]
pub(crate) struct Epoch {
    pub(crate) seq: Seq,
    pub(crate) id: EpochId,
    pub(crate) secrets: [[u8; 32]; 2],
}

impl Epoch {
    pub(crate) fn caps(&self) -> EpochCaps {
        let [read, write] = self.secrets.map(|secret| Capability::from_bytes(secret).hash());
        EpochCaps { read, write }
    }

    fn random(seq: Seq) -> Self {
        let mut secrets = [[0; 32]; 2];
        secrets.iter_mut().for_each(|secret| OsRng.fill_bytes(secret));
        Self { seq, id: EpochId([0; 32]), secrets }
    }
}

/// A conversation and its first epoch.
pub(crate) struct Chat {
    pub(crate) id: ConversationId,
    pub(crate) first: Epoch,
}

impl Chat {
    pub(crate) fn new() -> Self {
        let mut id = ConversationId([0; 32]);
        OsRng.fill_bytes(&mut id.0);
        let mut first = Epoch::random(Seq(1));
        first.id = first_epoch_id(&id, &first.caps());
        Self { id, first }
    }

    fn append(&self, epoch: &Epoch, kind: EntryKind, blob: &[u8]) -> Request {
        Request::Append {
            conversation: self.id,
            epoch: epoch.seq,
            epoch_id: epoch.id,
            write: Capability::from_bytes(epoch.secrets[1]),
            kind,
            skip: None,
            ttl_secs: None,
            blob: Bytes::new(blob.to_vec()).unwrap(),
        }
    }

    pub(crate) fn say(&self, epoch: &Epoch, blob: &[u8]) -> Request {
        self.append(epoch, EntryKind::Application, blob)
    }

    /// A commit that would be entry `seq`, and the epoch that it opens.
    pub(crate) fn commit(&self, epoch: &Epoch, seq: u64, blob: &[u8]) -> (Request, Epoch) {
        let mut next = Epoch::random(Seq(seq));
        next.id = epoch_id(&epoch.id, blob, &next.caps());
        (self.append(epoch, EntryKind::Commit(next.caps()), blob), next)
    }

    pub(crate) fn follow(&self, epoch: &Epoch, after: u64) -> Request {
        let read = Capability::from_bytes(epoch.secrets[0]);
        Request::Follow { conversation: self.id, epoch: epoch.seq, read, after: Seq(after) }
    }
}

/// `GET path`, and the whole answer.
pub(crate) async fn http_get(address: SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

pub(crate) fn disclose(data: &Path, handle: &str, more: &[&str]) -> std::process::Output {
    stonechatd().args(["disclose", handle, "--data"]).arg(data).args(more).output().unwrap()
}

/// Runs `stonechatd` and gives back what it says as it fails.
pub(crate) fn fails(args: &[&str]) -> String {
    let output = stonechatd().args(args).stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}
