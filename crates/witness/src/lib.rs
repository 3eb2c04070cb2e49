//! `stonechat-witness`: follows a directory from the outside, verifies all of it, and says so with its signature.
//!
//! A witness is run by people who do not answer to the server's operator. So it is a small program of its own: it links
//! neither a database nor the client. What it checks stands in `stonechat-directory`; this crate fetches ([`HttpSource`],
//! which `stonechat audit` uses too), keeps what was verified ([`folder`]), and cosigns ([`Witness`]).
//!
//! The directory that it follows is taken for hostile. The witness never cosigns two histories, whatever it is served and
//! whenever it is killed: what it verified is on its disk before a signature over it leaves.

pub mod folder;
pub mod listen;
mod source;
mod witness;

pub use folder::FolderError;
pub use source::{HttpSource, SourceError};
pub use witness::{Witness, WitnessError};
