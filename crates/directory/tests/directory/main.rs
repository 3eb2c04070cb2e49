//! The checks against a directory that is made here, honest and not; and its vectors, which other languages read.
#![expect(clippy::unwrap_used, reason = "a test stops where something is not as claimed")]

mod hostile;
mod made;
mod vectors;
