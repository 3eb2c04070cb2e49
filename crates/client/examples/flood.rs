//! Somebody who writes a great deal: sends numbered messages as fast as the server takes them. For measurements.
//!
//! ```text
//! cargo run -p stonechat-client --example flood -- HOME TARGET COUNT
//! ```
//!
//! HOME is the folder of an account that exists; TARGET is a handle, or a group's name or id. Sends `message 1` to
//! `message COUNT` and ends when the server has them all.

use std::time::Duration;

use anyhow::{Context as _, bail};
use stonechat_client::Client;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let [home, target, count] = &arguments[..] else { bail!("usage: flood HOME TARGET COUNT") };
    let count = count.parse::<u32>().context("COUNT is a number")?;
    let client = Client::builder().home(home).open().await?;
    client.connected(Duration::from_secs(20)).await?;
    let target = client.target(target).await?;
    for number in 1..=count {
        client.send(target.clone(), format!("message {number}")).await?;
    }
    client.shutdown().await;
    Ok(())
}
