//! What the directory costs: publishing changes, proving and verifying look-ups, auditing its history.
//!
//! `cargo bench -p stonechat-server --bench directory -- [--dir DIR] [--epochs N]`. The directory must be on the disk in
//! question, not in memory; by default it is Cargo's target directory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use ed25519_dalek::SigningKey;
use rand_core::{OsRng, RngCore as _};
use stonechat_directory::{Asked, Audit, SignedNote, Source, VerifiedAccount, tlog};
use stonechat_server::directory::{Directory, DirectoryKeys};
use stonechat_server::services::{Services, Session, Settings, TokenKey};
use stonechat_server::store::{Options, SqliteLog, Timestamp};
use stonechat_wire::limits::INBOX_KEY_BYTES;
use stonechat_wire::{DeviceId, DeviceKeys, Handle, LogBody, LogEntry, Reply, Request, Signer, encode};
use tokio::runtime::{Handle as Runtime, Runtime as OwnedRuntime};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const LOOK_UPS: u32 = 200;

struct Bench {
    services: Services<SqliteLog>,
    made: u64,
}

fn main() -> Result<()> {
    let (mut dir, mut epochs) = (PathBuf::from(env!("CARGO_TARGET_TMPDIR")), 1_000_u64);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--dir" => dir = value()?.into(),
            "--epochs" => epochs = value()?.parse()?,
            // Cargo says so to every benchmark.
            "--bench" => {}
            other => bail!("{other} is not known; there are --dir DIR and --epochs N"),
        }
    }
    let dir = tempfile::tempdir_in(&dir).context("cannot make a directory to measure in")?;
    let store = SqliteLog::open(dir.path(), &Options::default())?;
    let (tokens, keys) = (TokenKey::from_seed(&[7; 32]), DirectoryKeys::from_seed(&[8; 32]));
    let mut bench = Bench { services: Services::new(store, tokens, keys, Settings::default())?, made: 0 };
    let runtime = OwnedRuntime::new()?;

    for accounts in [1, 1, 50, 5_000, 1, 50, 5_000] {
        let before = bench.made * 2;
        runtime.block_on(bench.sign_up(accounts))?;
        let time = runtime.block_on(bench.publish())?;
        println!("publish {:>6} changes into {before:>6} labels: {time:>10.1?}", accounts * 2);
    }
    runtime.block_on(bench.look_ups())?;
    let begin = Instant::now();
    for _ in 0..epochs {
        runtime.block_on(async {
            bench.sign_up(1).await?;
            bench.publish().await
        })?;
    }
    println!("{epochs} epochs of one account: {:?} each, published", begin.elapsed() / u32::try_from(epochs)?);
    bench.audit(&runtime)?;
    merkle_log();
    Ok(())
}

impl Bench {
    async fn sign_up(&mut self, accounts: u64) -> Result<()> {
        for _ in 0..accounts {
            let mut session = Session::new("bench".to_owned(), &mut OsRng);
            let genesis = genesis(self.made);
            self.made += 1;
            let request = Request::CreateAccount { genesis, invite: None };
            let done = self.services.handle(&mut session, NOW, &mut OsRng, request).await;
            done.map_err(|failure| anyhow!("{failure}"))?;
        }
        Ok(())
    }

    async fn publish(&self) -> Result<Duration> {
        let begin = Instant::now();
        self.services.publish(NOW).await?;
        Ok(begin.elapsed())
    }

    async fn look_ups(&self) -> Result<()> {
        let policy = self.services.directory().policy();
        let (mut proving, mut verifying, mut bytes, mut proofs) = (Duration::ZERO, Duration::ZERO, 0, 0);
        for _ in 0..LOOK_UPS {
            let handle = handle(OsRng.next_u64() % self.made);
            let begin = Instant::now();
            let request = Request::LookUpHandle { handle: handle.clone() };
            let reply = self.services.answer(NOW, request).await.map_err(|failure| anyhow!("{failure}"))?;
            proving += begin.elapsed();
            let Reply::Account(found) = reply else { bail!("another answer than an account") };
            bytes += encode(&found).len();
            proofs += found.proof.account.len();
            let begin = Instant::now();
            VerifiedAccount::verify(policy, Asked::Handle(&handle), &found.log, &found.proof)?;
            verifying += begin.elapsed();
        }
        let count = LOOK_UPS as usize;
        println!(
            "look-up by handle among {} labels: {} B in all, {} B each of two proofs; proven in {:?}, verified in {:?}",
            self.made * 2,
            bytes / count,
            proofs / count,
            proving / LOOK_UPS,
            verifying / LOOK_UPS
        );
        Ok(())
    }

    fn audit(&self, runtime: &OwnedRuntime) -> Result<()> {
        let directory = self.services.directory();
        let note = SignedNote::parse(directory.checkpoint().context("nothing published")?.as_bytes())?;
        let mut audit = Audit::new(directory.policy().clone());
        let mut source = Local { directory, runtime: runtime.handle().clone(), bytes: 0 };
        let begin = Instant::now();
        let told = audit.advance(&mut source, &note, |_, _| ()).map_err(|stop| anyhow!("{stop:?}"))?;
        let time = begin.elapsed();
        let each = time / u32::try_from(told.size)?;
        println!(
            "audit of {} epochs from its own disk: {time:?}, {each:?} and {} B an epoch; 100,000 such epochs: {:?}",
            told.size,
            source.bytes / told.size,
            each * 100_000
        );
        Ok(())
    }
}

/// The Merkle log alone, at the size that is asked about.
fn merkle_log() {
    let begin = Instant::now();
    let mut frontier = tlog::Frontier::default();
    for n in 0..100_000_u64 {
        frontier.push(tlog::leaf_hash(&n.to_be_bytes()));
    }
    println!("the Merkle log of 100,000 records, hashed: {:?}", begin.elapsed());
}

struct Local<'a> {
    directory: &'a Directory<SqliteLog>,
    runtime: Runtime,
    bytes: u64,
}

impl Source for Local<'_> {
    type Error = String;
    fn get(&mut self, path: &str, _: usize) -> Result<Vec<u8>, String> {
        let found = match path.strip_prefix("audit/").map(str::parse) {
            Some(epoch) => self.runtime.block_on(self.directory.audit_proof(epoch.map_err(|_| path.to_owned())?)),
            None => {
                let tile = path.strip_prefix("tile/entries/").and_then(tlog::parse_tile_path);
                let (index, width) = tile.ok_or(path)?;
                self.runtime.block_on(self.directory.tile(None, index, width))
            }
        };
        let bytes = found.map_err(|error| format!("{error}"))?.ok_or(path)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes)
    }
}

fn handle(n: u64) -> Handle {
    Handle::parse(&format!("p{n}")).expect("a letter and digits")
}

fn genesis(n: u64) -> LogEntry {
    let mut seed = [0; 32];
    OsRng.fill_bytes(&mut seed);
    let (secret, recovery) = (SigningKey::from_bytes(&seed), SigningKey::from_bytes(&[9; 32]));
    let id = DeviceId(seed[..16].try_into().expect("16 of 32 bytes"));
    let device = DeviceKeys { id, signature: secret.verifying_key().to_bytes(), inbox: [1; INBOX_KEY_BYTES] };
    let recovery_key = recovery.verifying_key().to_bytes();
    let body = LogBody::Genesis { handle: handle(n), device, recovery: recovery_key, at: NOW };
    LogEntry::sign(&body, &[(Signer::Device(id), &secret), (Signer::Recovery, &recovery)])
}
