//! Stores on a real PostgreSQL for tests.

use super::{PostgresLog, PostgresOptions};

#[path = "../../../../../tests/postgres/support.rs"]
mod support;

pub(super) use support::{Postgres, postgres};

/// An empty store, and what keeps its database.
pub(super) fn open() -> (PostgresLog, Vec<Postgres>) {
    open_in(1)
}

/// An empty store in three databases.
pub(super) fn open_in_three() -> (PostgresLog, Vec<Postgres>) {
    open_in(3)
}

fn open_in(count: usize) -> (PostgresLog, Vec<Postgres>) {
    let databases: Vec<Postgres> = (0..count).map(|_| postgres(None)).collect();
    // The suite opens stores without waiting.
    let opened = || tokio::runtime::Handle::current().block_on(open_at(&databases));
    (tokio::task::block_in_place(opened), databases)
}

/// One more server's view of the same store.
pub(super) async fn open_at(databases: &[Postgres]) -> PostgresLog {
    let options = PostgresOptions::even(databases.iter().map(|database| database.url.clone()));
    PostgresLog::open(&options).await.unwrap()
}
