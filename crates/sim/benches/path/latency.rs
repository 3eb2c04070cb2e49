//! From `send` to decrypted: two people with the SDK, one message at a time.
//!
//! Between the two stand three commits that wait for the disk, one after the other: the sender saves before it sends, the
//! server stores before it passes on, the receiver saves before it shows.

use std::time::{Duration, Instant};

use anyhow::Result;
use stonechat_client::Target;

use crate::Bench;
use crate::floor::DurableFile;
use crate::people::{befriend, heard, person};
use crate::server::Server;
use crate::table::{line, percentile, time, times, title};

const WARM_UP: usize = 50;
/// In each run.
const MESSAGES: usize = 300;
/// A person leaves more between two messages.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) async fn run(bench: &Bench) -> Result<()> {
    title(&format!("One-to-one message, durable, loopback: {} messages", bench.runs * MESSAGES));
    let dir = bench.folder()?;
    let server = Server::start(dir.path())?;
    let (alice, bob) =
        (person("alice", &server.url()?, dir.path()).await?, person("bob", &server.url()?, dir.path()).await?);
    let conversation = befriend(&alice, &bob).await?;
    let mut news = bob.client.events();
    let mut growing = DurableFile::growing(&dir.path().join("growing"))?;
    let mut with_room = DurableFile::with_room(&dir.path().join("with room"), bench.runs * MESSAGES)?;
    // In turn, so that the disk does the same beside all of them.
    let [mut appended, mut overwritten, mut sent, mut arrived] = [const { Vec::new() }; 4];
    for n in 0..WARM_UP + bench.runs * MESSAGES {
        let text = format!("message {n}");
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
        // The receiver may still be telling the server, and the sender its vault.
        tokio::time::sleep(PAUSE).await;
        if n >= WARM_UP {
            sent.push(send);
            arrived.push(arrive);
            appended.push(growing.append()?);
            overwritten.push(with_room.append()?);
        }
    }
    for (percent, name, aim) in [(50, "p50", " (aim: 5 ms)"), (99, "p99", "")] {
        let floor = percentile(&mut overwritten, percent);
        line(&format!("floor: 1 KiB over what a file has, with fdatasync, {name}"), &time(floor), "");
        let grown = percentile(&mut appended, percent);
        line(&format!("floor: 1 KiB to a file's end, with fdatasync, {name}"), &time(grown), "");
        let figure = percentile(&mut sent, percent);
        let beside = format!("{} the first floor; two of those are in it", times(figure, floor));
        line(&format!("`send` returns: durable at the server, {name}"), &time(figure), &beside);
        let figure = percentile(&mut arrived, percent);
        let beside = format!("{} the first floor; three are in it{aim}", times(figure, floor));
        line(&format!("`send` to decrypted and saved by the other, {name}"), &time(figure), &beside);
    }
    alice.client.shutdown().await;
    bob.client.shutdown().await;
    server.stop()
}
