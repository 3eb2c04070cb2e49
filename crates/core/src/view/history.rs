//! What was said, read from the committed state of a vault: a conversation page by page, and a search over all of them.
//!
//! Both take bounded steps: a page is at most [`PAGE_MAX`] messages, and one step of a search looks at so many rows as its
//! caller says, so that a shell stays answerable while it reads a long history.

use std::collections::BTreeMap;

use stonechat_wire::{AccountId, ConversationId, Handle};

use crate::api::{Message, MessageKey, Page, Place};
use crate::content::Body;
use crate::log::rows::{Info, direct};
use crate::people::accounts::handle_of;
use crate::store::{Order, Read as _, Record as _, Row, Table, VaultError, VaultRead, prefix_end};
use crate::talk::messages::{MessageRecord, message_of, place_of, thread};

/// The conversation that is shown for this one: itself, or, of direct messages that were opened from both sides at once, the one that
/// is written to.
///
/// # Errors
/// When the vault cannot be read.
pub fn shown(vault: &dyn VaultRead, id: &ConversationId) -> Result<ConversationId, VaultError> {
    let peer = vault.load::<Info>(id)?.and_then(|info| info.peer);
    Ok(match peer {
        Some(peer) => direct(&vault, &peer)?.unwrap_or(*id),
        None => *id,
    })
}

/// At most `limit` messages of a conversation (and at most [`PAGE_MAX`]).
///
/// # Errors
/// When the vault cannot be read.
pub fn page(vault: &dyn VaultRead, id: &ConversationId, at: Place, limit: usize) -> Result<Page, VaultError> {
    let Some(info) = vault.load::<Info>(id)? else { return Ok(Page::default()) };
    let thread = thread(id, &info);
    let (start, end) = (thread.to_vec(), prefix_end(&thread));
    let limit = limit.clamp(1, PAGE_MAX);
    let key_of = |key: MessageKey| place_of(&vault, &thread, &key.sender, &key.id);
    let before = |key: &[u8], limit| -> Result<Vec<Row>, VaultError> {
        let mut rows = vault.values(Table::Message, &start, key, Order::Descending, limit)?;
        rows.reverse();
        Ok(rows)
    };
    let from = |key: &[u8], limit| vault.values(Table::Message, key, &end, Order::Ascending, limit);
    let (name, part) = match at {
        Place::Latest => (None, at),
        Place::Before(name) | Place::After(name) | Place::Around(name) => (key_of(name)?, at),
    };
    let rows = match (part, name) {
        (Place::Latest, _) | (_, None) => before(&end, limit)?,
        (Place::Before(_), Some(key)) => before(&key, limit)?,
        (Place::After(_), Some(key)) => from(&after(key), limit)?,
        (Place::Around(_), Some(key)) => {
            let mut rows = before(&key, limit / 2)?;
            rows.extend(from(&key, limit - limit / 2)?);
            rows
        }
    };
    let (older, newer) = match (rows.first(), rows.last()) {
        (Some((first, _)), Some((last, _))) => {
            (vault.count(Table::Message, &start, first)?, vault.count(Table::Message, &after(last.clone()), &end)?)
        }
        _ => (0, 0),
    };
    let mut names = Names::default();
    let mut messages = Vec::with_capacity(rows.len());
    for (_, value) in rows {
        messages.extend(names.message(vault, &MessageRecord::from_bytes(&value)?)?);
    }
    Ok(Page { messages, older, newer })
}

/// What is looked for: words that must all be there, upper and lower case alike.
#[derive(Clone)]
pub struct Words(Vec<String>);

impl Words {
    /// The words of a text; `None` when there are none. At most [`WORDS_MAX`] count.
    pub fn new(text: &str) -> Option<Self> {
        let words: Vec<_> = text.split_whitespace().take(WORDS_MAX).map(str::to_lowercase).collect();
        (!words.is_empty()).then_some(Self(words))
    }

    /// Whether `text` has all of them.
    pub fn are_in(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.0.iter().all(|word| text.contains(word.as_str()))
    }
}

/// Where a search goes on. Opaque: a place in the vault.
#[derive(Clone, Default)]
pub struct SearchFrom(Vec<u8>);

/// What one step of a search found.
pub struct SearchStep {
    /// Messages that match, with what they are sorted by; in no order.
    pub found: Vec<(Moment, Message)>,
    /// Where to go on; `None` at the end.
    pub next: Option<SearchFrom>,
}

/// Where a message stands among those of all conversations: as in its own one, by the server's clock, then by its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Vec<u8>);

/// Looks at the next `rows` messages.
///
/// # Errors
/// When the vault cannot be read.
pub fn search(vault: &dyn VaultRead, words: &Words, from: &SearchFrom, rows: usize) -> Result<SearchStep, VaultError> {
    let rows = vault.values(Table::Message, &from.0, &[], Order::Ascending, rows.max(1))?;
    let next = rows.last().map(|(key, _)| SearchFrom(after(key.clone())));
    let mut names = Names::default();
    let mut found = Vec::new();
    for (key, value) in rows {
        let record = MessageRecord::from_bytes(&value)?;
        let Ok(Body::Text(text)) = Body::decode(&record.body) else { continue };
        if words.are_in(&text)
            && let Some(message) = names.message(vault, &record)?
        {
            // What stands behind the thread in a message's key.
            found.push((Moment(key.get(32..).unwrap_or_default().to_vec()), message));
        }
    }
    Ok(SearchStep { found, next })
}

/// Handles, so that an account log is verified once for many messages.
#[derive(Default)]
struct Names(BTreeMap<AccountId, Option<Handle>>);

impl Names {
    fn message(&mut self, vault: &dyn VaultRead, record: &MessageRecord) -> Result<Option<Message>, VaultError> {
        let handle = match self.0.get(&record.sender) {
            Some(handle) => handle.clone(),
            None => {
                let handle = handle_of(&vault, &record.sender)?;
                self.0.insert(record.sender, handle.clone());
                handle
            }
        };
        handle.map(|handle| message_of(record, handle)).transpose()
    }
}

/// The smallest key after this one.
fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// Messages in one page.
pub const PAGE_MAX: usize = 200;
/// Words of one search.
pub const WORDS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_must_be_there_in_any_order_and_case() {
        let words = Words::new("  Straße  ÄRGER ").unwrap();
        assert!(words.are_in("ärger in der STRASSE, nein: Straße"));
        assert!(!words.are_in("Ärger im Haus"));
        assert!(Words::new(" \n\t").is_none());
    }
}
