//! Old vaults become vaults of today: one step a version, each from the format before to the next.
//!
//! A step reads a vault of its version and says what to change. The shell runs the steps in order, makes the tables that are new, and
//! commits all of it with the new version in one transaction: a step that fails, or a process that is killed, leaves the old vault as it
//! was. A step works on the bytes of rows and never uses today's types of rows, which go on changing; only codes whose numbers never
//! change their meaning. What a step does is never changed once it was released: each has a stored vault as its test.

use std::collections::BTreeMap;

use minicbor::{Decoder, Encoder};
use stonechat_wire::encode;

use super::vault::{Change, Order, Table, VaultError, VaultRead, prefix_end};

mod sentences;

/// The format that this program writes.
///
/// 1. The first. 2. Codes instead of English sentences in alarms, and in what holds conversations up.
pub const VAULT_VERSION: u32 = 2;

/// What makes a vault of version `from` one of version `from + 1`.
///
/// # Errors
/// When the vault cannot be read, a row of it is damaged, or there is no step from that version.
pub fn upgrade(from: u32, vault: &dyn VaultRead) -> Result<Vec<Change>, VaultError> {
    match from {
        1 => codes_for_sentences(vault),
        other => Err(VaultError { detail: format!("there is no way from version {other} of the vault") }),
    }
}

/// Version 1 kept what held a conversation up, and what an alarm was about, as sentences.
fn codes_for_sentences(vault: &dyn VaultRead) -> Result<Vec<Change>, VaultError> {
    let mut changes = Vec::new();
    for (key, value) in vault.range(Table::Conversation, &[], &[], Order::Ascending, usize::MAX)? {
        // The part that changes with commits: under the id and `i`.
        if key.len() == 33 && key[32] == b'i' {
            let value = edited(&value, |fields| {
                let sentence = fields.remove(&4).and_then(|bytes| text(&bytes));
                fields.extend(sentence.map(|sentence| (6, encode(&sentences::hold(&sentence)))));
                Ok(())
            })?;
            changes.push(Change { table: Table::Conversation, key, value: Some(value) });
        }
    }
    let alarms = b"directory/alarm/";
    for (key, value) in vault.range(Table::Meta, alarms, &prefix_end(alarms), Order::Ascending, usize::MAX)? {
        let value = edited(&value, |fields| {
            let sentence = fields.remove(&1).and_then(|bytes| text(&bytes)).ok_or_else(damaged)?;
            fields.insert(7, encode(&sentences::finding(&sentence)));
            Ok(())
        })?;
        changes.push(Change { table: Table::Meta, key, value: Some(value) });
    }
    Ok(changes)
}

/// A row whose fields, by number, were edited: a byte for its format, then a CBOR map.
fn edited(
    row: &[u8],
    edit: impl FnOnce(&mut BTreeMap<u32, Vec<u8>>) -> Result<(), VaultError>,
) -> Result<Vec<u8>, VaultError> {
    let Some((&RECORD_FORMAT, map)) = row.split_first() else { return Err(damaged()) };
    let mut fields = fields(map).map_err(|_| damaged())?;
    edit(&mut fields)?;
    let mut out = Encoder::new(vec![RECORD_FORMAT]);
    // Writing into a `Vec` does not fail.
    let _ = out.map(fields.len() as u64);
    for (number, value) in fields {
        let _ = out.u32(number);
        out.writer_mut().extend(value);
    }
    Ok(out.into_writer())
}

fn fields(map: &[u8]) -> Result<BTreeMap<u32, Vec<u8>>, minicbor::decode::Error> {
    let mut decoder = Decoder::new(map);
    let count = decoder.map()?.ok_or_else(|| minicbor::decode::Error::message("a map without its length"))?;
    let mut fields = BTreeMap::new();
    for _ in 0..count {
        let number = decoder.u32()?;
        let start = decoder.position();
        decoder.skip()?;
        fields.insert(number, map[start..decoder.position()].to_vec());
    }
    if decoder.position() == map.len() { Ok(fields) } else { Err(minicbor::decode::Error::message("bytes behind it")) }
}

/// A text string; `None` for anything else.
fn text(value: &[u8]) -> Option<String> {
    Decoder::new(value).str().ok().map(ToOwned::to_owned)
}

fn damaged() -> VaultError {
    VaultError { detail: "a record does not decode".into() }
}

/// What every row of versions 1 and 2 starts with.
const RECORD_FORMAT: u8 = 1;

#[cfg(test)]
mod tests;
