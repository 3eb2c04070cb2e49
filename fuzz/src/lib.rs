//! One function per decoder that meets bytes from others: what must hold whatever the bytes are.
//!
//! Each takes any bytes, panics when a promise is broken, and says whether it could read them. libFuzzer drives them
//! (`fuzz_targets/`), and `tests/smoke.rs` runs all of them over their seeds and a bounded number of changed ones, the same
//! each time, on a stable compiler.
//!
//! To look for more: `cargo +nightly fuzz run --features libfuzzer content fuzz/corpus/content fuzz/seeds/content`. What it
//! finds becomes a test beside the code at fault.

pub mod core;
pub mod directory;
pub mod seeds;
pub mod wire;

/// A decoder under test.
pub struct Target {
    /// Its name, also of the folder with its seeds.
    pub name: &'static str,
    /// Reads bytes, or does not. Panics when a promise is broken.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that are read, to begin from: a name and bytes.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
    /// How many changed inputs the checks try: some seconds for all targets together.
    pub changed_inputs: u32,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "client_frame", run: wire::client_frame, seeds: seeds::client_frame, changed_inputs: 40_000 },
    Target { name: "server_frame", run: wire::server_frame, seeds: seeds::server_frame, changed_inputs: 40_000 },
    Target { name: "log_record", run: wire::log_record, seeds: seeds::log_record, changed_inputs: 20_000 },
    Target { name: "account_log", run: wire::account_log, seeds: seeds::account_log, changed_inputs: 10_000 },
    Target { name: "content", run: core::content, seeds: seeds::content, changed_inputs: 40_000 },
    Target { name: "letter", run: core::letter, seeds: seeds::letter, changed_inputs: 2_000 },
    Target { name: "group_state", run: core::group_state, seeds: seeds::group_state, changed_inputs: 40_000 },
    Target { name: "note", run: directory::note, seeds: seeds::note, changed_inputs: 20_000 },
    Target { name: "evidence", run: directory::evidence, seeds: seeds::evidence, changed_inputs: 10_000 },
    Target { name: "append_only", run: directory::append_only, seeds: seeds::append_only, changed_inputs: 10_000 },
];
