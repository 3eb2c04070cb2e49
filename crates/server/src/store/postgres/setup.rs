//! Making the tables, and refusing databases that are something else.

use tokio_postgres::Client;

use super::connect::{Database, Failed, SESSION, within};
use super::lane::ANSWER_TIMEOUT;
use super::statements::{OLDEST, SCHEMA, VERSION};
use super::{OpenError, Shard};

/// Makes the tables where there are none, and checks that those that are there are for these lanes and this version.
pub(super) async fn set_up(database: &Database, shard: &Shard) -> Result<(), OpenError> {
    let unreachable = |failed: Failed| OpenError::Engine { database: database.name(), source: failed.into_error() };
    let connection = within(ANSWER_TIMEOUT, database.connect(SESSION)).await.map_err(unreachable)?;
    let client = &connection.client;
    let found = within(ANSWER_TIMEOUT, tables(client, shard)).await.map_err(unreachable)?;
    if found.oldest > VERSION {
        return Err(OpenError::NewerSchema { database: database.name(), found: found.version });
    }
    if (found.first_lane, found.last_lane) != (i32::from(shard.first_lane), i32::from(shard.last_lane)) {
        return Err(OpenError::OtherLanes {
            database: database.name(),
            first: found.first_lane,
            last: found.last_lane,
        });
    }
    if !within(ANSWER_TIMEOUT, has_standby(client)).await.map_err(unreachable)? {
        tracing::info!(
            database = %database.name(),
            "PostgreSQL waits for no standby: what it acknowledges is as durable as its own disk"
        );
    }
    Ok(())
}

struct Found {
    version: i32,
    oldest: i32,
    first_lane: i32,
    last_lane: i32,
}

async fn tables(client: &Client, shard: &Shard) -> Result<Found, tokio_postgres::Error> {
    // Servers that start together make the tables one after the other.
    client.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(hashtext('stonechat store'))").await?;
    let there = client.query_one("SELECT to_regclass('store') IS NOT NULL", &[]).await?.try_get::<_, bool>(0)?;
    if !there {
        client.batch_execute(SCHEMA).await?;
        let (first, last) = (i32::from(shard.first_lane), i32::from(shard.last_lane));
        let row = "INSERT INTO store (version, oldest, first_lane, last_lane) VALUES ($1, $2, $3, $4)";
        client.execute(row, &[&VERSION, &OLDEST, &first, &last]).await?;
    }
    let row = client.query_one("SELECT version, oldest, first_lane, last_lane FROM store", &[]).await?;
    client.batch_execute("COMMIT").await?;
    Ok(Found {
        version: row.try_get(0)?,
        oldest: row.try_get(1)?,
        first_lane: row.try_get(2)?,
        last_lane: row.try_get(3)?,
    })
}

async fn has_standby(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let names = client.query_one("SHOW synchronous_standby_names", &[]).await?.try_get::<_, String>(0)?;
    Ok(!names.is_empty())
}
