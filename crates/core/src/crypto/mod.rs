//! Everything that is sealed, derived or blinded outside of MLS.
//!
//! Pure functions of keys and bytes: nothing here reads or writes the vault, and nothing here decides whom to believe.

pub mod keys;
pub mod letter;
pub mod outer;
pub mod tokens;

mod secret;

pub(crate) use secret::Secret;
