//! How many appends a second the store makes durable, and how long each waits, beside the disk's own floor.
//!
//! `cargo bench -p stonechat-server --bench store -- [--seconds N] [--writers N] [--dir DIR]`. The directory must be on the
//! disk in question, not in memory; by default it is Cargo's target directory.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stonechat_server::store::{Append, Expect, Key, KeyedLog, Options, SqliteLog, Timestamp};
use tokio::task::JoinSet;

const RECORD_BYTES: usize = 1_024;
/// Keys of the second run: more than the writer remembers the heads of.
const MANY_KEYS: u64 = 200_000;
const NOW: Timestamp = Timestamp(1_700_000_000_000);

struct Arguments {
    seconds: u64,
    writers: usize,
    dir: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    let Arguments { seconds, writers, dir } = &arguments;
    let duration = Duration::from_secs(*seconds);
    let dir = tempfile::tempdir_in(dir).context("cannot make a directory to measure in")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("{writers} writers, records of {RECORD_BYTES} bytes, {seconds} s each");
    println!("{:<44} {:>12} {:>10} {:>10}", "", "records/s", "p50", "p99");
    let floor = flush_floor(dir.path(), *writers, duration)?;
    report("disk: one file, a flush for all writers", floor, duration, &mut []);
    for (name, keys) in [("store: a key for each writer", *writers as u64), ("store: random keys of many", MANY_KEYS)] {
        let dir = tempfile::tempdir_in(dir.path())?;
        let log = SqliteLog::open(dir.path(), &Options::default())?;
        let mut waits = runtime.block_on(appends(&log, *writers, keys, duration))?;
        report(name, waits.len() as u64, duration, &mut waits);
        let begin = Instant::now();
        let disk_mib = log.bytes_on_disk() >> 20;
        drop(log);
        println!("    {disk_mib} MiB on disk, closed in {} ms", begin.elapsed().as_millis());
    }
    Ok(())
}

/// Records a second when one thread writes as many as there are writers and flushes once for all of them.
fn flush_floor(dir: &Path, writers: usize, duration: Duration) -> Result<u64> {
    let mut file = File::create(dir.join("floor"))?;
    let batch = vec![0x5a; RECORD_BYTES * writers];
    let begin = Instant::now();
    let mut records = 0;
    while begin.elapsed() < duration {
        file.write_all(&batch)?;
        file.sync_data()?;
        records += writers as u64;
    }
    Ok(records)
}

/// How long each append waited, of writers that append one after the other.
async fn appends(log: &SqliteLog, writers: usize, keys: u64, duration: Duration) -> Result<Vec<Duration>> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let begin = Instant::now();
    for _ in 0..writers {
        let (log, next) = (log.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut waits = Vec::new();
            while begin.elapsed() < duration {
                // A multiplicative hash spreads the keys, as random ids are.
                let n = (next.fetch_add(1, Ordering::Relaxed) % keys).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let key = Key::new(1, &[&n.to_be_bytes(), &[0; 24]]);
                let started = Instant::now();
                let bytes = vec![0x5a; RECORD_BYTES];
                let appended = log.append(&key, Expect::Any, bytes, Some(NOW.plus_secs(3_600)), NOW).await?;
                ensure!(matches!(appended, Append::Appended(_)), "{appended:?}");
                waits.push(started.elapsed());
            }
            Ok(waits)
        });
    }
    let mut waits = Vec::new();
    while let Some(task) = tasks.join_next().await {
        waits.extend(task??);
    }
    Ok(waits)
}

fn report(name: &str, records: u64, duration: Duration, waits: &mut [Duration]) {
    waits.sort_unstable();
    let percentile = |p: usize| match waits.get(waits.len() * p / 100) {
        Some(wait) => format!("{:.1} ms", wait.as_secs_f64() * 1_000.0),
        None => "-".into(),
    };
    let rate = records as f64 / duration.as_secs_f64();
    println!("{name:<44} {rate:>12.0} {:>10} {:>10}", percentile(50), percentile(99));
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut arguments = Self { seconds: 5, writers: 256, dir: env!("CARGO_TARGET_TMPDIR").into() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--seconds" => arguments.seconds = value()?.parse()?,
                "--writers" => arguments.writers = value()?.parse()?,
                "--dir" => arguments.dir = value()?.into(),
                // Cargo's own.
                "--bench" => {}
                _ => bail!("{word} is none of --seconds, --writers, --dir"),
            }
        }
        ensure!(arguments.seconds > 0 && arguments.writers > 0, "--seconds and --writers are at least 1");
        Ok(arguments)
    }
}
