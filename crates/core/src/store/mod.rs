//! The vault as the core sees it: tables of rows, typed records in them, and the overlay of one step.
//!
//! Knows how records are written, and nothing of what is in them: each record's type stands beside the room that owns it.

mod record;
pub(crate) mod upgrade;
pub mod vault;

pub(crate) use record::{Listed, Read, Record, damaged, optional32};
pub(crate) use vault::{Change, Order, Row, Savepoint, Table, Txn, VaultError, VaultRead, prefix_end};
