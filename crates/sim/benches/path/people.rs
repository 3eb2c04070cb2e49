//! People with the SDK.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{Stream, StreamExt as _};
use stonechat_client::{Body, Client, ConversationId, Event, Handle, KeyChoice, ServerUrl, Target};
use tokio::time::timeout;

/// For whatever the measurements wait for; none of it takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) struct Person {
    pub(crate) client: Client,
    pub(crate) handle: Handle,
    pub(crate) home: PathBuf,
}

/// Makes an account and waits until others can write to it.
pub(crate) async fn person(name: &str, server: &ServerUrl, homes: &Path) -> Result<Person> {
    let (home, handle) = (homes.join(name), Handle::parse(name)?);
    let (client, _) = Client::sign_up(&home, KeyChoice::Auto, handle.clone(), server).await?;
    client.sync(PATIENCE).await?;
    Ok(Person { client, handle, home })
}

/// Opens a home again.
pub(crate) async fn open(home: &Path) -> Result<Client> {
    Ok(Client::builder().home(home).open().await?)
}

/// One writes to the other, who accepts and reads it.
pub(crate) async fn befriend(one: &Person, other: &Person) -> Result<ConversationId> {
    let mut news = other.client.events();
    let sent = one.client.send(Target::Person(other.handle.clone()), "hello").await?;
    accept(&other.client, &mut news, &one.handle).await?;
    heard(&mut news, "hello").await?;
    one.client.sync(PATIENCE).await?;
    other.client.sync(PATIENCE).await?;
    Ok(sent.conversation)
}

/// Accepts somebody's request as soon as it is there.
pub(crate) async fn accept(
    client: &Client,
    news: &mut (impl Stream<Item = Event> + Unpin),
    from: &Handle,
) -> Result<()> {
    let asked = async {
        while !client.requests().await?.iter().any(|request| request.handle == *from) {
            news.next().await.context("the client stopped")?;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, asked).await.context("the request did not come")??;
    client.accept(from.clone()).await?;
    Ok(())
}

/// Waits until a text is there, decrypted and saved.
pub(crate) async fn heard(news: &mut (impl Stream<Item = Event> + Unpin), text: &str) -> Result<()> {
    let body = Body::Text(text.into());
    let heard = async {
        while let Some(event) = news.next().await {
            if matches!(&event, Event::Message(message) if message.body == body) {
                return Ok(());
            }
        }
        bail!("the client stopped")
    };
    timeout(PATIENCE, heard).await.context("the message did not come")?
}
