//! Development only: real cores and the real server's services on a simulated network, clock and disk.
//!
//! [`world`] makes the surroundings from one seed, [`hostile`] and [`craft`] are the adversaries, [`directory`] a directory with
//! witnesses that may lie, [`scenario`] says what people do and what must hold. `cargo xtask sim --seed N` replays a run.

pub mod craft;
pub mod directory;
pub mod hostile;
pub mod scenario;
pub mod world;
