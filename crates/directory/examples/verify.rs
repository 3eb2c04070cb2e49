//! How long it takes to verify what a look-up by handle brings: a signed head and two proofs, those of `vectors/directory.json`.
//! For measurements: `cargo xtask bench directory` runs it natively and in V8, the engine of Node.js and Chromium.

use std::time::Instant;

use anyhow::Context as _;
use serde_json::Value;
use stonechat_directory::proof::{verify_account, verify_handle};
use stonechat_directory::{DirectoryPolicy, Head};
use stonechat_wire::{AccountId, Bytes, Handle, List, SignedHead, TreeHash};

const ROUNDS: usize = 101;

fn main() -> anyhow::Result<()> {
    let vectors: Value = serde_json::from_str(include_str!("../../../vectors/directory.json"))?;
    let text = |path: &str| vectors.pointer(path).and_then(Value::as_str).with_context(|| format!("no {path}"));
    let bytes = |path: &str| anyhow::Ok(hex::decode(text(path)?)?);
    let policy = DirectoryPolicy::from_json(vectors["policy"].to_string().as_bytes())?;
    let mut inclusion = Vec::new();
    for hash in vectors["head"]["inclusion"].as_array().context("no inclusion proof")? {
        let mut bytes = [0; 32];
        hex::decode_to_slice(hash.as_str().context("no hash")?, &mut bytes)?;
        inclusion.push(TreeHash(bytes));
    }
    let signed = SignedHead {
        checkpoint: Bytes::new(text("/head/checkpoint")?.as_bytes().to_vec())?,
        record: Bytes::new(bytes("/head/record")?)?,
        inclusion: List::new(inclusion)?,
    };
    let account: AccountId = text("/account/account")?.parse().map_err(|_| anyhow::anyhow!("no account id"))?;
    let handle = Handle::parse(text("/handle/handle")?)?;
    let (of_account, of_handle) = (bytes("/account/proof")?, bytes("/handle/proof")?);

    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let head = Head::verify(&policy, &signed)?;
        verify_account(&policy, &head, &account, &of_account)?;
        verify_handle(&policy, &head, &handle, &of_handle)?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    println!(
        "a head and two proofs ({} and {} B) verified, median of {ROUNDS}: {:.2?}",
        of_account.len(),
        of_handle.len(),
        times[ROUNDS / 2]
    );
    Ok(())
}
