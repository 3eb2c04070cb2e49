//! The logs of conversations: what arrives in them, what this device appends, and who may do what there.
//!
//! Owns the cursor, the epoch and the view of every conversation. Never looks into what a message says.

pub mod policy;

pub(crate) mod commit;
pub(crate) mod follow;
