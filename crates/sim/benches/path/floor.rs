//! Floors: the disk, and the server's store without a server around it.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stonechat_server::store::{Append, Expect, Key, KeyedLog as _, Options, SqliteLog, Timestamp};
use tokio::task::JoinSet;

use crate::Bench;
use crate::table::{line, median, percent, percentile, rate, time, title};

/// What an append of the throughput measurements carries.
pub(crate) const RECORD_BYTES: usize = 1_024;
/// More than the store's writer remembers the heads of.
const MANY_KEYS: u64 = 200_000;
const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// What a run of appends gave.
pub(crate) struct Throughput {
    pub(crate) per_second: f64,
    /// Of each append.
    pub(crate) waits: Vec<Duration>,
}

impl Throughput {
    pub(crate) fn new(waits: Vec<Duration>, took: Duration) -> Self {
        Self { per_second: waits.len() as f64 / took.as_secs_f64(), waits }
    }
}

/// Prints the store alone beside the disk.
pub(crate) async fn store(bench: &Bench) -> Result<()> {
    let writers = bench.senders;
    title(&format!("The store alone: {writers} writers, records of {RECORD_BYTES} bytes, {} s", bench.seconds));
    let (mut disk, mut own, mut many) = (Vec::new(), Vec::new(), Vec::new());
    let (mut own_waits, mut many_waits) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        disk.push(disk_flushes(bench.folder()?.path(), writers, bench.seconds)?);
        let run = store_appends(bench, writers as u64).await?;
        own.push(run.per_second);
        own_waits.extend(run.waits);
        let run = store_appends(bench, MANY_KEYS).await?;
        many.push(run.per_second);
        many_waits.extend(run.waits);
    }
    let floor = median(&mut disk);
    line("floor: one file, a flush for all writers", &rate(floor), "");
    for (name, rates, waits) in
        [("a key for each writer", own, own_waits), ("random keys of 200,000", many, many_waits)]
    {
        let (mut rates, mut waits) = (rates, waits);
        let beside = percent(median(&mut rates), floor);
        line(name, &rate(median(&mut rates)), &format!("{beside} of the disk"));
        line("  one append, p50", &time(percentile(&mut waits, 50)), "");
        line("  one append, p99", &time(percentile(&mut waits, 99)), "");
    }
    Ok(())
}

/// Records a second when one thread writes as many as there are writers and flushes once for all of them.
pub(crate) fn disk_flushes(dir: &Path, writers: usize, seconds: u64) -> Result<f64> {
    let mut file = File::create(dir.join("floor"))?;
    let batch = vec![0x5a; RECORD_BYTES * writers];
    let begin = Instant::now();
    let mut records = 0;
    while begin.elapsed() < Duration::from_secs(seconds) {
        file.write_all(&batch)?;
        file.sync_data()?;
        records += writers;
    }
    Ok(records as f64 / begin.elapsed().as_secs_f64())
}

/// A file that is written durably, a record at a time.
pub(crate) struct DurableFile(File);

impl DurableFile {
    /// One that grows with each record: the file system writes down its new length as well.
    pub(crate) fn growing(path: &Path) -> Result<Self> {
        Ok(Self(File::create(path)?))
    }

    /// One whose room is there already, as in a write-ahead log that has come round. For so many records.
    pub(crate) fn with_room(path: &Path, records: usize) -> Result<Self> {
        let mut file = File::create(path)?;
        file.write_all(&vec![0; records * RECORD_BYTES])?;
        file.sync_all()?;
        file.rewind()?;
        Ok(Self(file))
    }

    /// How long one record takes until it is on the disk.
    pub(crate) fn append(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.0.write_all(&[0x5a; RECORD_BYTES])?;
        self.0.sync_data()?;
        Ok(started.elapsed())
    }
}

/// Writers that append one after the other to a store of their own, over so many keys.
pub(crate) async fn store_appends(bench: &Bench, keys: u64) -> Result<Throughput> {
    let dir = bench.folder()?;
    let log = SqliteLog::open(dir.path(), &Options::default())?;
    let duration = Duration::from_secs(bench.seconds);
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let begin = Instant::now();
    for _ in 0..bench.senders {
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
    Ok(Throughput::new(waits, begin.elapsed()))
}
