//! A directory that serves what it is told to, over HTTP, and keeps what is cosigned.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use stonechat_directory::note::KeyKind;
use stonechat_directory::tlog::{Frontier, leaf_hash, parse_tile_path};
use stonechat_directory::{Checkpoint, DirectoryPolicy, SignedNote, VerifierKey, audit};
use stonechat_wire::{DirectoryRecord, Timestamp, TreeHash, encode};

const ORIGIN: &str = "hostile.test/directory";

/// The records of a log.
#[derive(Clone, Default)]
pub(crate) struct History(Vec<Vec<u8>>);

impl History {
    /// So many records of a directory without accounts. Two of different `flavour` have the first record in common.
    pub(crate) fn new(records: u64, flavour: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() * 1000 - 100_000;
        let record = |n: u64| DirectoryRecord {
            epoch: 0,
            root: audit::empty_root(),
            time: Timestamp(now + n * 10 + if n == 0 { 0 } else { flavour }),
        };
        Self((0..records).map(|n| encode(&record(n))).collect())
    }

    pub(crate) fn root(&self, size: u64) -> TreeHash {
        let mut frontier = Frontier::default();
        self.0[..usize::try_from(size).unwrap()].iter().for_each(|leaf| frontier.push(leaf_hash(leaf)));
        frontier.root()
    }
}

/// What is served now.
#[derive(Default)]
pub(crate) struct Served {
    pub(crate) history: History,
    /// How many of its records the newest checkpoint has.
    pub(crate) size: u64,
    /// What stands in place of records.
    pub(crate) garbage: Option<Vec<u8>>,
    /// A checkpoint that is asked for is given at once, even if it is no newer.
    pub(crate) hasty: bool,
    /// Whether each cosignature is followed by one more record.
    pub(crate) growing: bool,
    /// Cosigned checkpoints, in order.
    pub(crate) cosigned: Vec<Checkpoint>,
    pub(crate) requests: u64,
}

type Hook = Box<dyn FnMut(u64, &str) + Send>;

pub(crate) struct Directory {
    pub(crate) address: SocketAddr,
    shared: Arc<(Mutex<Served>, Condvar)>,
    /// Called with each request, before it is answered: its number, from 1, and its path.
    hook: Arc<Mutex<Option<Hook>>>,
}

impl Directory {
    pub(crate) fn start(served: Served) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (shared, hook) = (Arc::new((Mutex::new(served), Condvar::new())), Arc::new(Mutex::new(None::<Hook>)));
        let (its_shared, its_hook) = (Arc::clone(&shared), Arc::clone(&hook));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, hook) = (Arc::clone(&its_shared), Arc::clone(&its_hook));
                // A witness that is killed leaves half a request.
                thread::spawn(move || answer(stream.unwrap(), &shared, &hook).unwrap_or_default());
            }
        });
        Self { address, shared, hook }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn served(&self) -> MutexGuard<'_, Served> {
        self.shared.0.lock().unwrap()
    }

    pub(crate) fn on_request(&self, hook: impl FnMut(u64, &str) + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// Waits until something is true of what is served and cosigned.
    pub(crate) fn eventually(&self, what: &str, is_true: impl Fn(&Served) -> bool) {
        let (lock, changed) = &*self.shared;
        let (_guard, wait) = changed
            .wait_timeout_while(lock.lock().unwrap(), Duration::from_secs(30), |served| !is_true(served))
            .unwrap();
        assert!(!wait.timed_out(), "not within 30 s: {what}");
    }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

fn policy() -> DirectoryPolicy {
    let log = VerifierKey::new(ORIGIN, KeyKind::Log, key().verifying_key().to_bytes()).unwrap();
    DirectoryPolicy::new(log, [3; 32], Vec::new(), 0).unwrap()
}

fn answer(mut stream: TcpStream, shared: &(Mutex<Served>, Condvar), hook: &Mutex<Option<Hook>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(number) = line.strip_prefix("content-length:") {
            length = number.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = request.split(' ').nth(1).unwrap_or_default().strip_prefix("/directory/").unwrap_or_default().to_owned();

    let number = {
        let mut served = shared.0.lock().unwrap();
        served.requests += 1;
        served.requests
    };
    if let Some(hook) = hook.lock().unwrap().as_mut() {
        hook(number, &path);
    }
    let (status, body) = respond(&path, &body, shared);
    write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

fn respond(path: &str, body: &[u8], (lock, changed): &(Mutex<Served>, Condvar)) -> (u16, Vec<u8>) {
    let mut served = lock.lock().unwrap();
    if path == "policy" {
        return (200, policy().to_json().into_bytes());
    }
    if let Some(after) = path.strip_prefix("checkpoint?after=") {
        let after: u64 = after.parse().unwrap();
        if !served.hasty {
            let limit = Duration::from_millis(300);
            served = changed.wait_timeout_while(served, limit, |served| served.size <= after).unwrap().0;
        }
        let (size, root) = (served.size, served.history.root(served.size));
        let text = Checkpoint { origin: ORIGIN.to_owned(), size, root }.to_text();
        return (200, SignedNote::sign(text, ORIGIN, &key()).to_string().into_bytes());
    }
    if let Some((tile, width)) = path.strip_prefix("tile/entries/").and_then(parse_tile_path) {
        let start = usize::try_from(tile * 256).unwrap();
        let leaves = &served.history.0[start..][..usize::try_from(width).unwrap()];
        let framed =
            leaves.iter().flat_map(|leaf| [&u16::try_from(leaf.len()).unwrap().to_be_bytes()[..], leaf].concat());
        return (200, served.garbage.clone().unwrap_or_else(|| framed.collect()));
    }
    if path == "cosignature" {
        let note = SignedNote::parse(body).unwrap();
        assert_eq!(note.signatures().len(), 2, "the log's line and the witness's");
        served.cosigned.push(Checkpoint::parse(note.text()).unwrap());
        if served.growing {
            served.size += 1;
        }
        changed.notify_all();
        return (200, Vec::new());
    }
    (404, Vec::new())
}
