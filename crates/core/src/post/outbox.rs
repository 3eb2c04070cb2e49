//! Letters that leave, and before them the blobs that they point to.

use minicbor::{Decode, Encode};
use stonechat_wire::{
    AccountId, Admission, BlobId, Bytes, Capability, ConversationId, DeviceId, EpochId, ErrorCode, Failure,
    ProvenAccount, Request, Seq, Timestamp,
};

use super::{Post, Question};
use crate::api::{ChangeFault, Link, Outcome, Refusal};
use crate::blobs::{self, Blobs};
use crate::crypto::letter::{INLINE_WELCOME_BYTES_MAX, Letter, LetterBody, Welcome, seal, seal_blob};
use crate::error::{CoreError, Judged, refuse};
use crate::limits::WELCOME_BYTES_MAX;
use crate::people::accounts::{Contact, known};
use crate::step::Ctx;
use crate::store::{Listed, Read as _, Record, Table};
use crate::supplies::take_token;

/// Names a letter on its way: random.
pub(super) type LetterKey = [u8; 16];

/// A letter on its way to a device's inbox.
#[derive(Encode, Decode)]
#[cbor(map)]
struct LetterRecord {
    #[n(0)]
    account: AccountId,
    #[n(1)]
    device: DeviceId,
    #[cbor(n(2), with = "minicbor::bytes")]
    sealed: Vec<u8>,
    /// The blob that must be up before it goes.
    #[n(3)]
    blob: Option<BlobId>,
    #[n(4)]
    not_before: Timestamp,
    #[n(5)]
    tries: u32,
}

impl Record for LetterRecord {
    const TABLE: Table = Table::Envelope;
    type Key = LetterKey;
    fn key(key: &LetterKey) -> Vec<u8> {
        key.to_vec()
    }
}

impl Listed for LetterRecord {
    fn parse_key(rest: &[u8]) -> Option<LetterKey> {
        rest.try_into().ok()
    }
}

/// What an invitation says.
pub(crate) struct Invitation {
    pub conversation: ConversationId,
    pub is_group: bool,
    /// The commit that added those whom it is for.
    pub epoch: Seq,
    pub epoch_id: EpochId,
}

/// Invites the devices that a commit added. Refused when the welcome is too large even for a blob.
pub(crate) fn invite(
    ctx: &mut Ctx<'_>,
    to: &Invitation,
    package: &Bytes<WELCOME_BYTES_MAX>,
    added: &[(AccountId, DeviceId)],
) -> Judged<(), ChangeFault> {
    let own_bytes = ctx.txn.load::<ProvenAccount>(&ctx.me.account())?.map_or(0, |proof| proof.to_bytes().len());
    let (welcome, blob) = if package.len() + own_bytes <= INLINE_SENT_BYTES_MAX {
        let bytes = Bytes::new(package.to_vec()).map_err(|_| CoreError::bug("an inline welcome over its bound"))?;
        (Welcome::Inline(bytes), None)
    } else {
        let (key, ciphertext, hash) = seal_blob(ctx.rng, package);
        let Some((id, chunks)) = blobs::keep(ctx, &ciphertext) else {
            return refuse(ChangeFault::TooLarge);
        };
        (Welcome::Blob { id, key, chunks, hash }, Some(id))
    };
    for (account, device) in added {
        let body = LetterBody::Invite {
            conversation: to.conversation,
            epoch: to.epoch,
            epoch_id: to.epoch_id,
            is_group: to.is_group,
            welcome: welcome.clone(),
        };
        write_letter(ctx, *account, *device, body, blob)?;
    }
    Ok(())
}

/// Seals a letter for a device; it goes when it can.
pub(crate) fn write_letter(
    ctx: &mut Ctx<'_>,
    account: AccountId,
    device: DeviceId,
    body: LetterBody,
    blob: Option<BlobId>,
) -> Result<(), CoreError> {
    let me = ctx.me;
    let Some(state) = known(ctx, &account)? else { return Ok(()) };
    let Some(keys) = state.device(&device) else { return Ok(()) };
    // With what the directory says of this account. Who asks for help is known to those whom it asks.
    let (log, proof) = match ctx.txn.load::<ProvenAccount>(&me.account())? {
        Some(proven) => (proven.log, Some(proven.proof)),
        None => (me.log.clone(), None),
    };
    let letter = Letter {
        id: ctx.random(),
        sent_at: ctx.now,
        sender: me.account(),
        device: me.record.device,
        log: Some(log),
        body,
        proof,
    };
    let sealed = match seal(ctx.rng, account, keys, &letter, &me.signing) {
        Ok(sealed) => sealed,
        // Nothing that trying again would change: an account log that has grown too long, or an inbox key that is none.
        Err(_) => {
            ctx.refused(None, Refusal::Inbox { who: state.handle().clone() });
            return Ok(());
        }
    };
    let record = LetterRecord { account, device, sealed: sealed.into_vec(), blob, not_before: Timestamp(0), tries: 0 };
    let key: LetterKey = ctx.random();
    ctx.txn.store(&key, &record);
    Ok(())
}

/// Whether no letter waits.
pub(crate) fn is_empty(ctx: &Ctx<'_>) -> Result<bool, CoreError> {
    Ok(ctx.txn.count_up_to::<LetterRecord>(1)? == 0)
}

impl Post {
    pub(super) fn send_letters(&mut self, ctx: &mut Ctx<'_>, blobs: &mut Blobs) -> Result<(), CoreError> {
        if !ctx.links.is_ready(Link::Anonymous) {
            return Ok(());
        }
        for (key, record) in ctx.txn.list::<LetterRecord>(LETTERS_IN_FLIGHT_MAX * 4)? {
            if self.questions.has(|question| matches!(question, Question::Post(other) if *other == key)) {
                continue;
            }
            if record.not_before > ctx.now {
                ctx.wake(record.not_before, "a letter is to be sent again");
                continue;
            }
            if let Some(blob) = record.blob
                && !blobs.upload(ctx, blob)?
            {
                continue;
            }
            let contact = ctx.txn.load::<Contact>(&record.account)?.and_then(|contact| contact.contact);
            // A capability that was taken back is refused once; then a token pays.
            let admission = match contact.filter(|_| record.tries == 0) {
                Some(capability) => Admission::Contact(Capability::from_bytes(*capability.danger_bytes())),
                None => match take_token(ctx)? {
                    Some(token) => Admission::Token(token),
                    None => continue,
                },
            };
            let sealed = Bytes::new(record.sealed).map_err(|_| CoreError::bug("a letter over its bound"))?;
            let request = Request::PostEnvelope { account: record.account, device: record.device, admission, sealed };
            self.questions.ask(ctx, Link::Anonymous, request, Question::Post(key));
        }
        Ok(())
    }

    /// Whoever waits for letters to be tried is told.
    pub(super) fn settle(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        if self.posting.is_empty() || !ctx.links.is_ready(Link::Anonymous) {
            return Ok(());
        }
        if ctx.txn.list::<LetterRecord>(usize::MAX)?.iter().any(|(_, record)| record.tries == 0) {
            return Ok(());
        }
        for command in std::mem::take(&mut self.posting) {
            ctx.finish(command, Ok(Outcome::Done));
        }
        Ok(())
    }
}

pub(super) fn posted(ctx: &mut Ctx<'_>, key: &LetterKey) {
    ctx.txn.remove::<LetterRecord>(key);
}

/// No inbox took it: later again, but not for ever.
pub(super) fn put_off(ctx: &mut Ctx<'_>, key: &LetterKey, failure: &Failure) -> Result<(), CoreError> {
    let Some(mut record) = ctx.txn.load::<LetterRecord>(key)? else { return Ok(()) };
    record.tries += 1;
    let dead = failure.code == ErrorCode::NotFound || record.tries > LETTER_TRIES_MAX;
    if dead || (failure.code == ErrorCode::Closed && record.tries > 1) {
        ctx.txn.remove::<LetterRecord>(key);
        ctx.refused(None, Refusal::LetterLost(failure.code));
        return Ok(());
    }
    let backoff = 1_u64 << record.tries.min(12);
    record.not_before = match failure.code {
        ErrorCode::Closed | ErrorCode::InvalidToken => ctx.now,
        _ => ctx.now.plus_secs(u64::from(failure.retry_after_secs.unwrap_or(0)).max(backoff)),
    };
    ctx.txn.store(key, &record);
    Ok(())
}

/// A welcome is sent in the letter if it has, with what the sender says of itself, at most so many bytes; a larger one in a
/// blob.
const INLINE_SENT_BYTES_MAX: usize = 32 * 1024;
const _: () = assert!(INLINE_SENT_BYTES_MAX <= INLINE_WELCOME_BYTES_MAX, "what is sent is accepted");
/// A fourth of the letters that are looked at in one step.
const LETTERS_IN_FLIGHT_MAX: usize = 16;
/// After so many tries, a letter that no inbox takes is dropped; it was retried over days.
const LETTER_TRIES_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use stonechat_wire::Reply;

    use super::*;
    use crate::testing::{Home, Out, Person};

    fn help(conversation: u8) -> LetterBody {
        LetterBody::Readd {
            conversation: ConversationId([conversation; 32]),
            epoch_id: EpochId([1; 32]),
            refused: None,
            key_package: Bytes::new(vec![1; 100]).unwrap(),
        }
    }

    /// Somebody online with a letter to somebody on its way, and the post.
    fn waiting() -> (Home, Post, Person) {
        let mut home = Home::online("alice");
        let bob = home.meet("bob", 10);
        home.step(|ctx| write_letter(ctx, bob.id(), bob.device, help(1), None).unwrap());
        (home, Post::default(), bob)
    }

    fn send(home: &mut Home, post: &mut Post) -> Out<()> {
        home.step(|ctx| post.drive(ctx, &mut Blobs::default()).unwrap())
    }

    fn refuse_with(home: &mut Home, post: &mut Post, id: u32, code: ErrorCode) -> usize {
        let failure = Failure { code, retry_after_secs: None, detail: None };
        home.step(|ctx| post.refused(ctx, Link::Anonymous, id, &failure).unwrap()).refusals()
    }

    fn is_gone(home: &mut Home) -> bool {
        home.step(|ctx| is_empty(ctx).unwrap()).value
    }

    #[test]
    fn a_letter_is_paid_for_with_a_token_and_is_gone_once_it_was_taken() {
        let (mut home, mut post, bob) = waiting();
        assert!(send(&mut home, &mut post).requests().is_empty(), "without a token it waits");
        home.give_tokens(1);
        let sent = send(&mut home, &mut post);
        assert!(matches!(&sent.requests()[..], [Request::PostEnvelope { account, admission: Admission::Token(_), .. }]
            if *account == bob.id()));
        assert!(send(&mut home, &mut post).requests().is_empty(), "it is on its way");
        assert!(home.step(|ctx| post.answered(ctx, Link::Anonymous, 1, &Reply::Done)).value);
        assert!(is_gone(&mut home));
    }

    #[test]
    fn a_contact_is_written_to_with_their_capability_until_they_take_it_back() {
        let (mut home, mut post, bob) = waiting();
        home.give_tokens(1);
        home.step(|ctx| {
            let capability = crate::crypto::Secret::from_bytes([4; 32]);
            crate::people::accounts::keep_contact_card(ctx, &bob.id(), capability).unwrap();
        });
        let sent = send(&mut home, &mut post);
        assert!(matches!(sent.requests()[..], [Request::PostEnvelope { admission: Admission::Contact(_), .. }]));
        assert_eq!(refuse_with(&mut home, &mut post, 1, ErrorCode::Closed), 0);
        let sent = send(&mut home, &mut post);
        assert!(matches!(sent.requests()[..], [Request::PostEnvelope { admission: Admission::Token(_), .. }]));
        // A second time it is final, and said.
        assert_eq!(refuse_with(&mut home, &mut post, 2, ErrorCode::Closed), 1);
        assert!(is_gone(&mut home));
    }

    #[test]
    fn a_letter_to_nobody_is_dropped_and_one_to_a_busy_server_is_sent_later() {
        let (mut home, mut post, _) = waiting();
        home.give_tokens(2);
        send(&mut home, &mut post);
        assert_eq!(refuse_with(&mut home, &mut post, 1, ErrorCode::Slow), 0);
        assert!(send(&mut home, &mut post).requests().is_empty());
        home.now = home.now.plus_secs(2);
        assert_eq!(send(&mut home, &mut post).requests().len(), 1);
        assert_eq!(refuse_with(&mut home, &mut post, 2, ErrorCode::NotFound), 1);
        assert!(is_gone(&mut home));
    }

    #[test]
    fn nobody_unknown_is_written_to() {
        let (mut home, carol) = (Home::online("alice"), Person::of("carol", 20));
        home.step(|ctx| write_letter(ctx, carol.id(), carol.device, help(1), None).unwrap());
        assert!(is_gone(&mut home));
    }

    #[test]
    fn a_large_welcome_goes_by_a_blob_which_is_up_before_the_letters_go() {
        let mut home = Home::online("alice");
        let bob = home.meet("bob", 10);
        home.give_tokens(2);
        let to = Invitation {
            conversation: ConversationId([1; 32]),
            is_group: true,
            epoch: Seq(2),
            epoch_id: EpochId([1; 32]),
        };
        let package = Bytes::new(vec![1; INLINE_SENT_BYTES_MAX + 1]).unwrap();
        home.step(|ctx| {
            crate::error::refusal_of(invite(ctx, &to, &package, &[(bob.id(), bob.device)])).unwrap().unwrap();
        });
        let (mut post, mut blobs) = (Post::default(), Blobs::default());
        let out = home.step(|ctx| post.drive(ctx, &mut blobs).unwrap());
        assert!(matches!(out.requests()[..], [Request::AppendBlob { .. }]));
        home.step(|ctx| blobs.answered(ctx, Link::Anonymous, 1, Reply::Done).unwrap());
        let out = home.step(|ctx| post.drive(ctx, &mut blobs).unwrap());
        assert!(matches!(out.requests()[..], [Request::PostEnvelope { .. }]));
    }
}
