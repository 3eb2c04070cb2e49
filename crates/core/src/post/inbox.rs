//! Letters that arrive.
//!
//! A letter is verified before anything else happens: its sender's account log from entry 0, then the signature of one of
//! that account's devices. What it asks for is mail for [`crate::log`].

use stonechat_directory::proof::Asked as About;
use stonechat_wire::limits::PAGE_ENTRIES_MAX;
use stonechat_wire::{Envelope, Lane, List, Request};

use super::{Post, Question};
use crate::api::{LetterFault, Link, Refusal};
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
                ctx.refused(None, Refusal::Letter(why));
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

fn open(ctx: &mut Ctx<'_>, envelope: &Envelope) -> Judged<(), LetterFault> {
    let me = ctx.me;
    let unverified = UnverifiedLetter::open(&me.secrets, me.account(), me.record.device, &envelope.sealed)
        .or_else(|_| refuse(LetterFault::Unreadable))?;
    let sender = unverified.sender();
    // The proof first: what does not hold is nobody's letter. Without one, only who is known already is heard.
    let known = known(ctx, &sender)?;
    let state = match unverified.proven() {
        Some(proven) => match (believe(ctx, About::Account(&sender), &proven, Source::Member)?, known) {
            (Belief::Known(state), _) | (Belief::Later(_), Some(state)) => state,
            (Belief::Later(why), None) | (Belief::Untrusted(why), _) => return refuse(LetterFault::Sender(why)),
        },
        None => match known {
            Some(state) => state,
            None => return refuse(LetterFault::Unknown),
        },
    };
    let letter = unverified.verify(&state).or_else(|_| refuse(LetterFault::Signature))?;
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

#[cfg(test)]
mod tests {
    use stonechat_wire::{Bytes, ConversationId, EpochId, Seq, Timestamp};

    use super::*;
    use crate::crypto::letter::{Letter, seal};
    use crate::testing::{Home, Person};

    /// A letter of somebody to this home, without a proof.
    fn letter(home: &mut Home, from: &Person, id: u8) -> Envelope {
        let body = LetterBody::Readd {
            conversation: ConversationId([1; 32]),
            epoch_id: EpochId([1; 32]),
            refused: None,
            key_package: Bytes::new(vec![1; 100]).unwrap(),
        };
        let letter = Letter {
            id: [id; 16],
            sent_at: Timestamp(1),
            sender: from.id(),
            device: from.device,
            log: Some(from.log.clone()),
            body,
            proof: None,
        };
        let me = home.identity.record.account;
        let keys = home.identity.secrets.device_keys(home.identity.record.device);
        let sealed = seal(&mut home.rng, me, &keys, &letter, &from.secrets.signing_key()).unwrap();
        Envelope { seq: Seq(u64::from(id)), lane: Lane::Strangers, sealed }
    }

    #[test]
    fn a_letter_of_somebody_known_is_mail_once_however_often_it_comes() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let letter = letter(&mut home, &bob, 1);
        let count = |home: &mut Home| {
            home.step(|ctx| {
                refusal_of(open(ctx, &letter)).unwrap().unwrap();
                ctx.mail.letters.len()
            })
            .value
        };
        assert_eq!((count(&mut home), count(&mut home)), (1, 0));
    }

    #[test]
    fn a_letter_of_somebody_unknown_without_a_proof_is_thrown_away() {
        let (mut home, carol) = (Home::of("alice"), Person::of("carol", 20));
        let letter = letter(&mut home, &carol, 1);
        let out = home.step(|ctx| (refusal_of(open(ctx, &letter)).unwrap(), ctx.mail.letters.len()));
        assert!(matches!(out.value, (Err(LetterFault::Unknown), 0)));
    }

    #[test]
    fn a_letter_that_was_not_sealed_for_this_device_is_thrown_away() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let mut letter = letter(&mut home, &bob, 1);
        let mut bytes = letter.sealed.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        letter.sealed = Bytes::new(bytes).unwrap();
        assert!(home.step(|ctx| refusal_of(open(ctx, &letter)).unwrap()).value.is_err());
    }

    #[test]
    fn what_comes_before_the_policy_is_neither_opened_nor_acknowledged() {
        let mut home = Home::online("alice");
        let bob = home.meet("bob", 10);
        let envelopes = List::new(vec![letter(&mut home, &bob, 1)]).unwrap();
        let mut post = Post::default();
        let out = home.step(|ctx| {
            post.envelopes(ctx, &envelopes).unwrap();
            ctx.mail.letters.len()
        });
        assert_eq!((out.value, out.requests().len()), (0, 0));
        // Once it is pinned, the server is to push them again.
        let disconnects = home.step(|ctx| {
            ctx.mail.policy_pinned = true;
            post.take_mail(ctx);
        });
        assert_eq!(disconnects.effects.len(), 1);
    }

    #[test]
    fn the_oldest_identifiers_are_forgotten_beyond_the_bound() {
        let mut home = Home::of("alice");
        let name = |number: usize| u64::try_from(number).unwrap().to_be_bytes();
        let new = |home: &mut Home, number: usize| home.step(|ctx| is_new(ctx, b'l', &name(number)).unwrap()).value;
        home.step(|ctx| (0..SEEN_MAX).for_each(|number| assert!(is_new(ctx, b'l', &name(number)).unwrap())));
        assert!(!new(&mut home, 0));
        assert!(new(&mut home, SEEN_MAX));
        assert!(new(&mut home, 0), "the oldest made room");
        assert!(!new(&mut home, SEEN_MAX));
    }
}
