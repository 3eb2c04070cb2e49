//! Durable appends a second through WebSockets, beside the store alone and the disk alone.
//!
//! Each sender has a connection, talks in some conversations in turn and waits for each acknowledgement. The senders are
//! tasks of this process and use processor time that the server then has not: both are printed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stonechat_wire::Reply;
use tokio::task::JoinSet;

use crate::Bench;
use crate::floor::{RECORD_BYTES, Throughput, disk_flushes, store_appends};
use crate::server::{Server, cpu};
use crate::table::{line, median, percent, percentile, rate, time, title};
use crate::wire::{Chat, Wire, chats};

const CONVERSATIONS_PER_SENDER: usize = 2;

pub(crate) async fn run(bench: &Bench) -> Result<()> {
    let (senders, seconds) = (bench.senders, bench.seconds);
    let conversations = senders * CONVERSATIONS_PER_SENDER;
    title(&format!(
        "Durable appends: {senders} senders, {conversations} conversations, entries of {RECORD_BYTES} bytes, {seconds} s"
    ));
    let dir = bench.folder()?;
    let server = Server::start(dir.path())?;
    let chats = chats(server.address, conversations).await?;
    let mut clients = Vec::new();
    for _ in 0..senders {
        clients.push(Wire::open(server.address).await?);
    }
    let (mut disk, mut store, mut path, mut waits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut server_cost, mut client_cost, mut store_cost) = (Vec::new(), Vec::new(), Vec::new());
    let mut number = 0;
    for _ in 0..bench.runs {
        disk.push(disk_flushes(bench.folder()?.path(), senders, seconds)?);

        let before = cpu("self")?;
        let alone = store_appends(bench, conversations as u64).await?;
        store_cost.push(per_append(cpu("self")? - before, alone.waits.len()));
        store.push(alone.per_second);

        let before = (server.cpu()?, cpu("self")?);
        let whole = send_all(&mut clients, &chats, &mut number, seconds).await?;
        server_cost.push(per_append(server.cpu()? - before.0, whole.waits.len()));
        client_cost.push(per_append(cpu("self")? - before.1, whole.waits.len()));
        path.push(whole.per_second);
        waits.extend(whole.waits);
    }
    let (disk, store, path) = (median(&mut disk), median(&mut store), median(&mut path));
    line("floor: the disk, one flush for all senders", &rate(disk), "");
    line("floor: the store alone", &rate(store), &format!("{} of the disk", percent(store, disk)));
    let beside = format!("{} of the store alone (aim: 60 %)", percent(path, store));
    line("through WebSockets to stonechatd", &rate(path), &beside);
    line("  acknowledged after, p50", &time(percentile(&mut waits, 50)), "");
    line("  acknowledged after, p99", &time(percentile(&mut waits, 99)), "");
    let microseconds = |cost: &mut [f64]| format!("{:.0} us", median(cost));
    line("processor time an append: the store alone, with its writers", &microseconds(&mut store_cost), "");
    line("processor time an append: stonechatd", &microseconds(&mut server_cost), "");
    line("processor time an append: the senders", &microseconds(&mut client_cost), "on the same processors");
    server.stop()
}

fn per_append(cpu: Duration, appends: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / appends.max(1) as f64
}

async fn send_all(clients: &mut Vec<Wire>, chats: &[Chat], number: &mut u64, seconds: u64) -> Result<Throughput> {
    let begin = Instant::now();
    let until = begin + Duration::from_secs(seconds);
    let mut tasks = JoinSet::new();
    for (n, mut client) in std::mem::take(clients).into_iter().enumerate() {
        let mine = n * CONVERSATIONS_PER_SENDER..(n + 1) * CONVERSATIONS_PER_SENDER;
        let mine = chats[mine].to_vec();
        let mut next = *number;
        tasks.spawn(async move {
            let mut waits = Vec::new();
            for chat in mine.iter().cycle() {
                if Instant::now() >= until {
                    break;
                }
                next += 1;
                let entry = chat.entry(next, RECORD_BYTES)?;
                let started = Instant::now();
                let reply = client.ask(entry).await?;
                ensure!(matches!(reply, Reply::Appended { .. }), "{reply:?}");
                waits.push(started.elapsed());
            }
            anyhow::Ok((client, next, waits))
        });
    }
    let mut waits = Vec::new();
    while let Some(task) = tasks.join_next().await {
        let (client, next, its) = task??;
        clients.push(client);
        *number = next.max(*number);
        waits.extend(its);
    }
    Ok(Throughput::new(waits, begin.elapsed()))
}
