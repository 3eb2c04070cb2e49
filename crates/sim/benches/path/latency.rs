//! From `send` to decrypted: two people with the SDK, one message at a time.
//!
//! Between the two stand three commits that wait for the disk, one after the other: the sender saves before it sends, the
//! server stores before it passes on, the receiver saves before it shows.

use std::time::{Duration, Instant};

use anyhow::Result;
use stonechat_client::Target;

use crate::Bench;
use crate::floor::disk_appends;
use crate::people::{befriend, heard, person};
use crate::server::Server;
use crate::table::{line, median, percentile, time, times, title};

const WARM_UP: usize = 50;
const MESSAGES: usize = 300;
/// What a person leaves between two messages is more; this is for the disk to come to rest.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) async fn run(bench: &Bench) -> Result<()> {
    title(&format!("One-to-one message, durable, loopback: {MESSAGES} messages, {} runs", bench.runs));
    let dir = bench.folder()?;
    let server = Server::start(dir.path())?;
    let (alice, bob) =
        (person("alice", &server.url()?, dir.path()).await?, person("bob", &server.url()?, dir.path()).await?);
    let conversation = befriend(&alice, &bob).await?;
    let mut news = bob.client.events();
    let (mut floors, mut sends, mut arrivals) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..bench.runs {
        let mut floor = disk_appends(bench.folder()?.path(), MESSAGES)?;
        floors.push([percentile(&mut floor, 50), percentile(&mut floor, 99)]);
        let (mut sent, mut arrived) = (Vec::new(), Vec::new());
        for n in 0..WARM_UP + MESSAGES {
            let text = format!("run {run} message {n}");
            let started = Instant::now();
            let send = async {
                alice.client.send(Target::Conversation(conversation), text.clone()).await?;
                anyhow::Ok(started.elapsed())
            };
            let arrive = async {
                heard(&mut news, &text).await?;
                anyhow::Ok(started.elapsed())
            };
            let (send, arrive) = tokio::try_join!(send, arrive)?;
            if n >= WARM_UP {
                sent.push(send);
                arrived.push(arrive);
            }
            tokio::time::sleep(PAUSE).await;
        }
        sends.push([percentile(&mut sent, 50), percentile(&mut sent, 99)]);
        arrivals.push([percentile(&mut arrived, 50), percentile(&mut arrived, 99)]);
    }
    let of = |runs: &[[Duration; 2]], n: usize| median(&mut runs.iter().map(|run| run[n]).collect::<Vec<_>>());
    line("floor: one append to a file with fdatasync, p50", &time(of(&floors, 0)), "");
    line("floor: the same, p99", &time(of(&floors, 1)), "");
    for (n, percentile, aim) in [(0, "p50", " (aim: 5 ms)"), (1, "p99", "")] {
        let floor = of(&floors, n);
        let beside = |figure| format!("{} the floor; three such appends are in it{aim}", times(figure, floor));
        let (arrived, sent) = (of(&arrivals, n), of(&sends, n));
        line(&format!("`send` to decrypted and saved by the other, {percentile}"), &time(arrived), &beside(arrived));
        let beside = format!("{} the floor; two such appends are in it", times(sent, floor));
        line(&format!("`send` returns (durable at the server), {percentile}"), &time(sent), &beside);
    }
    alice.client.shutdown().await;
    bob.client.shutdown().await;
    server.stop()
}
