//! Reading what was said: pages of a conversation, a search over all of them, drafts, and an app's own notes.
//!
//! All of it is in the vault and needs no network. A search is many small looks at the vault, with everything else in between.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use stonechat_core::api::{CommandError, Draft, Found, Invalid, Message, Page, Place, Text};
use stonechat_core::history::{self, Moment, SearchFrom, Words};
use stonechat_core::limits::TEXT_BYTES_MAX;
use stonechat_wire::ConversationId;

use crate::client::Client;
use crate::error::ClientError;
use crate::vault::Note;

impl Client {
    /// At most `limit` messages of a conversation around a place in it, and how many there are before and after.
    ///
    /// # Errors
    /// When the vault cannot be read; so for every method of this kind.
    pub async fn page(&self, conversation: ConversationId, at: Place, limit: usize) -> Result<Page, ClientError> {
        Ok(self.job(move |vault| history::page(vault, &conversation, at, limit)).await??)
    }

    /// The conversation that is shown for this one: itself, or, of direct messages that were opened from both sides at once, the
    /// one that is written to.
    ///
    /// # Errors
    /// As for [`Client::page`].
    pub async fn shown(&self, conversation: ConversationId) -> Result<ConversationId, ClientError> {
        Ok(self.job(move |vault| history::shown(vault, &conversation)).await??)
    }

    /// Looks for words in all messages, in the names of conversations and in their members' handles. Upper and lower case are
    /// alike. At most `limit` messages (and at most [`FOUND_MAX`]).
    ///
    /// # Errors
    /// As for [`Client::page`].
    pub async fn search(&self, text: &str, limit: usize) -> Result<Found, ClientError> {
        let Some(words) = Words::new(text) else { return Ok(Found::default()) };
        let limit = limit.min(FOUND_MAX);
        // The latest; one more than asked for tells whether there are more.
        let mut latest: BTreeMap<Reverse<Moment>, Message> = BTreeMap::new();
        let mut from = Some(SearchFrom::default());
        while let Some(start) = from.take() {
            let words = words.clone();
            let step = self.job(move |vault| history::search(vault, &words, &start, SEARCH_ROWS)).await??;
            for (at, message) in step.found {
                latest.insert(Reverse(at), message);
                if latest.len() > limit + 1 {
                    latest.pop_last();
                }
            }
            from = step.next;
        }
        let more = latest.len() > limit;
        let messages = latest.into_values().take(limit).collect();
        let named = |conversation: &stonechat_core::api::Conversation| {
            let handles = conversation.members.iter().map(|member| member.handle.to_string());
            words.are_in(&conversation.title) || handles.into_iter().any(|handle| words.are_in(&handle))
        };
        let conversations = self.conversations().await?.iter().filter(|one| named(one)).map(|one| one.id).collect();
        Ok(Found { conversations, messages, more })
    }

    /// Keeps what was typed and not sent; an empty text forgets it.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] over [`TEXT_BYTES_MAX`], or when the vault cannot be written.
    pub async fn save_draft(&self, conversation: ConversationId, text: impl Into<Text>) -> Result<(), ClientError> {
        let text: Text = text.into();
        if text.len() > TEXT_BYTES_MAX {
            let bytes = text.len() as u64;
            return Err(ClientError::Command(CommandError::Invalid(Invalid::DraftTooLong { bytes })));
        }
        self.write_note(format!("{DRAFT}{conversation}"), text.0.into_bytes()).await
    }

    /// What was typed and not sent.
    ///
    /// # Errors
    /// As for [`Client::page`].
    pub async fn drafts(&self) -> Result<Vec<Draft>, ClientError> {
        let notes = self.job(|vault| vault.notes(DRAFT)).await??;
        let draft = |(name, text): Note| {
            let conversation = name.strip_prefix(DRAFT)?.parse().ok()?;
            Some(Draft { conversation, text: String::from_utf8(text.to_vec()).ok()?.into() })
        };
        Ok(notes.into_iter().filter_map(draft).collect())
    }

    /// An app's own note of that name, kept with everything else, encrypted.
    ///
    /// # Errors
    /// As for [`Client::page`].
    pub async fn note(&self, name: &str) -> Result<Option<Vec<u8>>, ClientError> {
        let name = format!("{APP}{name}");
        Ok(self.job(move |vault| vault.note(&name)).await??.map(|note| note.to_vec()))
    }

    /// Keeps an app's own note; an empty one is deleted.
    ///
    /// # Errors
    /// When the vault cannot be written.
    pub async fn save_note(&self, name: &str, note: Vec<u8>) -> Result<(), ClientError> {
        self.write_note(format!("{APP}{name}"), note).await
    }

    async fn write_note(&self, name: String, note: Vec<u8>) -> Result<(), ClientError> {
        Ok(self.job(move |vault| vault.commit_with_note(&[], &name, &note)).await??)
    }
}

/// Messages that one search gives.
pub const FOUND_MAX: usize = 100;
/// Rows in one look at the vault.
const SEARCH_ROWS: usize = 1_000;
/// Names of notes: a conversation's id follows, or the app's own name.
const DRAFT: &str = "draft ";
const APP: &str = "app ";
