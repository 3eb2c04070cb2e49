//! A bot that answers: accepts every request and echoes every text.
//!
//! ```text
//! cargo run -p stonechat-client --example echo -- --home DIR --server URL --handle echo
//! ```
//!
//! Signs up when the home is new (and hands over the recovery words: to a terminal, or in a file of mode 0600), says
//! `ready @echo` when it listens, and leaves tidily on ctrl-C and SIGTERM. What it was sent while it was away it answers
//! when it is back.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{Stream, StreamExt as _};
use stonechat_client::{Body, Client, ClientError, Event, Handle, KeyChoice, Message, ServerUrl, Status, Target};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let client = if std::path::Path::new(&options.home).join("vault.db").exists() {
        Client::builder().home(&options.home).open().await?
    } else {
        let (client, phrase) = Client::sign_up(&options.home, KeyChoice::Auto, options.handle, &options.server).await?;
        hand_over(&options.home, phrase.danger_words())?;
        client
    };
    // Before the first look, so that nothing falls between the two.
    let events = client.events();
    tokio::select! {
        result = answer_all(&client, events) => result?,
        result = asked_to_stop() => result?,
    }
    client.shutdown().await;
    Ok(())
}

/// To whoever sits there, otherwise into a file for its owner alone: standard error may be a log that others read.
fn hand_over(home: &str, words: &str) -> anyhow::Result<()> {
    if std::io::stderr().is_terminal() {
        eprintln!("recovery words, shown this once: {words}");
        return Ok(());
    }
    let path = std::path::Path::new(home).join("recovery-words.txt");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    writeln!(options.open(&path)?, "{words}").with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("the recovery words are in {}; keep them elsewhere and delete it", path.display());
    Ok(())
}

async fn answer_all(client: &Client, mut events: impl Stream<Item = Event> + Unpin) -> Result<(), ClientError> {
    let me = client.me().await?;
    let mut announced = false;
    accept_all(client).await?;
    loop {
        if !announced && client.status().is_ready() {
            println!("ready {}", me.handle);
            announced = true;
        }
        // The status is looked at now and then even when nothing happens.
        let event = match tokio::time::timeout(Duration::from_secs(1), events.next()).await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(()),
            Err(_) => continue,
        };
        match event {
            Event::Message(message) => answer(client, &message).await?,
            Event::Requests => accept_all(client).await?,
            Event::Refused { what, .. } => eprintln!("refused: {what}"),
            Event::Alarm(alarm) => eprintln!("alarm: {}", alarm.finding),
            Event::Missed(events) => eprintln!("too slow: {events} events missed"),
            Event::Conversation(_) | Event::Connection(_) => {}
        }
    }
}

async fn accept_all(client: &Client) -> Result<(), ClientError> {
    for request in client.requests().await? {
        match client.accept(request.handle).await {
            Ok(_) => {}
            // Somebody took the request back, or it was answered already: no reason to stop.
            Err(error @ ClientError::Command(_)) => eprintln!("not accepted: {error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn answer(client: &Client, message: &Message) -> Result<(), ClientError> {
    if let (Status::Received, Body::Text(text)) = (message.status, &message.body) {
        // Saved, and sent whenever there is a connection: a server that restarts loses no answer.
        match client.enqueue(Target::Conversation(message.conversation), format!("echo: {text}")).await {
            Ok(_) => client.mark_read(message.conversation).await?,
            // A text so long that its echo is too long, or a conversation that we were just removed from.
            Err(error @ ClientError::Command(_)) => eprintln!("no answer: {error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn asked_to_stop() -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            result = tokio::signal::ctrl_c() => Ok(result?),
        }
    }
    #[cfg(not(unix))]
    Ok(tokio::signal::ctrl_c().await?)
}

struct Options {
    home: String,
    server: ServerUrl,
    handle: Handle,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let (mut home, mut server, mut handle) = (None, None, None);
        while let Some(name) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--home" => home = Some(value),
                "--server" => server = Some(value.parse()?),
                "--handle" => handle = Some(Handle::parse(&value)?),
                other => anyhow::bail!("{other} is no option; there are --home, --server and --handle"),
            }
        }
        let usage = "usage: echo --home DIR --server URL --handle NAME";
        Ok(Self { home: home.context(usage)?, server: server.context(usage)?, handle: handle.context(usage)? })
    }
}
