//! Letters that arrive.
//!
//! A letter is verified before anything else happens: its sender's account log from entry 0, then the signature of one of
//! that account's devices. What it asks for is mail for [`crate::log`].

use stonechat_directory::proof::Asked as About;
use stonechat_wire::limits::PAGE_ENTRIES_MAX;
use stonechat_wire::{Envelope, Lane, List, Request};

use super::{Post, Question};
use crate::api::Link;
use crate::crypto::letter::{LetterBody, UnverifiedLetter};
use crate::error::{CoreError, Judged, refusal_of, refuse};
use crate::limits::SEEN_MAX;
use crate::people::accounts::known;
use crate::people::belief::{Belief, Source, believe, policy};
use crate::step::{Asked, Ctx};
use crate::store::Table;

impl Post {
    /// The server pushed what is in the inbox.
    pub(crate) fn envelopes(
        &mut self,
        ctx: &mut Ctx<'_>,
        envelopes: &List<Envelope, PAGE_ENTRIES_MAX>,
    ) -> Result<(), CoreError> {
        if policy(&ctx.txn)?.is_none() {
            self.too_early = true;
            return Ok(());
        }
        for envelope in envelopes.iter() {
            self.expected = self.expected.saturating_sub(1);
            if let Err(why) = refusal_of(open(ctx, envelope))? {
                ctx.refused(None, format!("a letter in the inbox was thrown away: {why}"));
            }
        }
        for lane in [Lane::Contacts, Lane::Strangers] {
            if let Some(upto) = envelopes.iter().filter(|e| e.lane == lane).map(|e| e.seq).max() {
                // Sent after this step is committed: what was handled is in the vault by then.
                self.questions.ask(ctx, Link::Device, Request::AckInbox { lane, upto }, Question::AckInbox);
            }
        }
        Ok(())
    }
}

fn open(ctx: &mut Ctx<'_>, envelope: &Envelope) -> Judged<()> {
    let me = ctx.me;
    let unverified =
        UnverifiedLetter::open(&me.secrets, me.account(), me.record.device, &envelope.sealed).or_else(refuse)?;
    let sender = unverified.sender();
    // The proof first: what does not hold is nobody's letter. Without one, only who is known already is heard.
    let known = known(ctx, &sender)?;
    let state = match unverified.proven() {
        Some(proven) => match (believe(ctx, About::Account(&sender), &proven, Source::Member)?, known) {
            (Belief::Known(state), _) | (Belief::Later(_), Some(state)) => state,
            (Belief::Later(why), None) | (Belief::Untrusted(why), _) => return refuse(why),
        },
        None => match known {
            Some(state) => state,
            None => return refuse("it is from somebody unknown and brings no proof of the directory"),
        },
    };
    let letter = unverified.verify(&state).or_else(refuse)?;
    if !is_new(ctx, b'l', &letter.id)? {
        return Ok(());
    }
    ctx.mail.letters.push(match letter.body {
        LetterBody::Invite { conversation, epoch, epoch_id, is_group, welcome } => {
            Asked::Join { from: sender, conversation, epoch, epoch_id, is_group, welcome }
        }
        LetterBody::Readd { conversation, epoch_id, refused: _, key_package } => Asked::Help {
            account: sender,
            device: letter.device,
            conversation,
            stuck_in: epoch_id,
            key_package: key_package.into_vec(),
        },
    });
    Ok(())
}

/// Whether an identifier is new; from now on it is not. The oldest are forgotten beyond [`SEEN_MAX`].
fn is_new(ctx: &mut Ctx<'_>, kind: u8, id: &[u8]) -> Result<bool, CoreError> {
    let key = [&[kind], id].concat();
    if ctx.txn.get(Table::Seen, &key)?.is_some() {
        return Ok(false);
    }
    let number = ctx.txn.get(Table::Seen, b"n")?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    let slot = [b"s".as_slice(), &(number % SEEN_MAX as u64).to_be_bytes()].concat();
    if let Some(oldest) = ctx.txn.get(Table::Seen, &slot)? {
        ctx.txn.delete(Table::Seen, oldest);
    }
    ctx.txn.put(Table::Seen, slot, key.clone());
    ctx.txn.put(Table::Seen, key, Vec::new());
    ctx.txn.put(Table::Seen, b"n".to_vec(), (number + 1).to_be_bytes());
    Ok(true)
}
