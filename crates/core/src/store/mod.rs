//! The vault as the core sees it: tables of rows, and the overlay of one step.
//!
//! Knows how rows are written, and nothing of what is in them: each row's type stands beside the room that owns it.

pub mod vault;

pub(crate) mod records;
