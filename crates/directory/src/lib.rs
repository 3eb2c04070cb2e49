//! What everybody must agree on about the directory: client, server, witness and auditor verify with this same code.
//!
//! The directory maps handles to accounts and accounts to the heads of their logs, in an auditable key directory
//! (SEEMless; the crate `akd`). The state of each moment is one leaf of an append-only Merkle log (RFC 6962), whose root
//! the server signs as a checkpoint (a C2SP signed note) and witnesses cosign. `docs/protocol.md`, "The directory",
//! specifies all of it.
//!
//! Read it in this order: [`note`] (signed texts), [`tlog`] (the Merkle log), [`policy`] (who must have signed), [`head`]
//! (a verified moment of the directory), [`proof`] (what it says about a label), [`audit`] (that nothing was taken back),
//! [`mirror`] (following all of it), [`evidence`] (what to show others when it was), [`safety`] (what two people compare).
//!
//! Pure: no clock, no randomness, no files, no sockets. Compiles for wasm32. Types that say something was verified can
//! only be made by verifying.

// Time, randomness and the machine come in as arguments: clippy.toml says what that excludes.
#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod audit;
pub mod evidence;
pub mod head;
pub mod mirror;
pub mod note;
pub mod policy;
pub mod proof;
pub mod safety;
pub mod tlog;

pub use audit::{AuditError, Follower};
pub use evidence::{Evidence, EvidenceError, Verdict};
pub use head::{ForkError, Head, HeadError, SeenHead};
pub use mirror::{Audit, AuditStop, Source};
pub use note::{Checkpoint, NoteError, SignedNote, VerifierKey};
pub use policy::{DirectoryPolicy, PolicyError};
pub use proof::{Asked, ProofError, VerifiedAccount, VerifiedHistory, VerifiedVersion};
pub use safety::{SafetyNumber, ScannedCode};
