//! Conversations that others made: requests that wait for the person, and the way in through a welcome.
//!
//! An invitation of somebody who was not accepted waits; nothing is fetched, joined or answered for it until the person says
//! so.

use minicbor::{Decode, Encode};
use stonechat_wire::{AccountId, BlobId, ConversationId, ProvenAccount, decode};

use super::policy::GroupState;
use super::rows::{Direct, Info, PendingCommit, Phase, Progress, RequestRecord, direct, outgoing};
use super::{Live, Log};
use crate::api::{Event, InvitationFault, LetterFault, Refusal};
use crate::blobs::{Blobs, forget_chunks};
use crate::crypto::letter::{Welcome, open_blob};
use crate::error::{CoreError, Judged, refusal_of, refuse};
use crate::limits::REQUESTS_MAX;
use crate::mls::{self, Group, Mls};
use crate::people::accounts::{Contact, accept, known};
use crate::people::belief::believe_member;
use crate::step::{Ctx, News};
use crate::store::Read as _;

/// What joiners need beside MLS's welcome: the account logs of all members with their proofs, so that they too judge every
/// leaf.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct WelcomePackage {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub welcome: Vec<u8>,
    #[n(2)]
    pub accounts: Vec<ProvenAccount>,
}

pub(super) fn invited(
    ctx: &mut Ctx<'_>,
    from: AccountId,
    id: ConversationId,
    mut request: RequestRecord,
) -> Judged<(), LetterFault> {
    if let Some(progress) = ctx.txn.load::<Progress>(&id)? {
        // A conversation of ours: only if we asked to be added again, or are no longer in it.
        if progress.offered.is_none() && progress.phase != Phase::Gone {
            return refuse(LetterFault::AlreadyIn);
        }
    }
    let helped = ctx.txn.load::<Progress>(&id)?.is_some_and(|progress| progress.offered.is_some());
    let accepted = helped || ctx.txn.load::<Contact>(&from)?.is_some_and(|contact| contact.accepted);
    if !accepted && ctx.txn.count_up_to::<RequestRecord>(REQUESTS_MAX)? >= REQUESTS_MAX {
        return refuse(LetterFault::TooMany);
    }
    request.accepted = accepted;
    ctx.txn.store(&id, &request);
    ctx.event(Event::Requests);
    Ok(())
}

/// Accepts everything that somebody asked for.
pub(crate) fn accept_requests(ctx: &mut Ctx<'_>, from: AccountId) -> Result<Option<ConversationId>, CoreError> {
    accept(ctx, &from)?;
    let mut any = None;
    for (id, mut request) in requests_of(ctx, from)? {
        request.accepted = true;
        ctx.txn.store(&id, &request);
        any = Some(id);
    }
    ctx.event(Event::Requests);
    Ok(any)
}

pub(crate) fn requests_of(ctx: &Ctx<'_>, from: AccountId) -> Result<Vec<(ConversationId, RequestRecord)>, CoreError> {
    let mut requests = Vec::new();
    for (id, request) in ctx.txn.list::<RequestRecord>(REQUESTS_MAX)? {
        if request.from == from {
            requests.push((id, request));
        }
    }
    Ok(requests)
}

impl Log {
    /// Joins what was accepted, fetching welcomes that are in blobs.
    pub(crate) fn drive_requests(&mut self, ctx: &mut Ctx<'_>, blobs: &mut Blobs) -> Result<(), CoreError> {
        for (id, request) in ctx.txn.list::<RequestRecord>(REQUESTS_MAX)? {
            if !request.accepted {
                continue;
            }
            let package = match &request.welcome {
                Welcome::Inline(bytes) => Some(bytes.to_vec()),
                Welcome::Blob { id: blob, key, chunks, hash } => match blobs.fetch(ctx, *blob, *chunks)? {
                    None => None,
                    Some(ciphertext) => match open_blob(key, hash, &ciphertext) {
                        Ok(package) => Some(package),
                        Err(_) => {
                            request_fails(ctx, id, *chunks, blob, InvitationFault::Malformed);
                            None
                        }
                    },
                },
            };
            if let Some(package) = package {
                let before = ctx.savepoint();
                let joined = refusal_of(self.join(ctx, id, &request, &package))?;
                if joined.is_err() {
                    // Nothing of it happened, whatever stood here before included.
                    ctx.restore(before);
                    self.live.remove(&id);
                }
                if let Welcome::Blob { id: blob, chunks, .. } = &request.welcome {
                    forget_chunks(ctx, blob, *chunks);
                }
                ctx.txn.remove::<RequestRecord>(&id);
                ctx.event(Event::Requests);
                match joined {
                    Ok(()) => {
                        ctx.dirty.insert(id);
                    }
                    Err(why) => ctx.refused(Some(id), Refusal::Invitation(why)),
                }
            }
        }
        Ok(())
    }

    /// Joins a conversation through its welcome, judging every leaf.
    fn join(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        request: &RequestRecord,
        package: &[u8],
    ) -> Judged<(), InvitationFault> {
        let Ok(package) = decode::<WelcomePackage>(package) else {
            return refuse(InvitationFault::Malformed);
        };
        for proven in &package.accounts {
            if let Err(why) = refusal_of(believe_member(ctx, proven))? {
                return refuse(InvitationFault::Account(why));
            }
        }
        let old = ctx.txn.load::<Progress>(&id)?;
        if old.as_ref().is_some_and(|old| old.phase != Phase::Gone) {
            self.live.remove(&id);
            let mls = Mls::new(&mut ctx.txn, ctx.rng);
            if let Some(group) = Group::load(&mls, &id.0)? {
                group.delete(&mls)?;
            }
        }
        let mls = Mls::new(&mut ctx.txn, ctx.rng);
        let staged = match mls::open_welcome(&mls, &package.welcome) {
            Ok(staged) => staged,
            Err(_) => return refuse(InvitationFault::Mls),
        };
        let rejoining = old.as_ref().filter(|old| old.phase != Phase::Gone);
        if rejoining.is_some_and(|old| old.offered != Some(staged.key_package)) {
            return refuse(InvitationFault::OtherKeyPackage);
        }
        if staged.group_id != id.0 || staged.sender.identity.account != request.from {
            return refuse(InvitationFault::OtherThanSaid);
        }
        let Ok(state) = GroupState::decode(&staged.state) else {
            return refuse(InvitationFault::State);
        };
        let members = staged.members.clone();
        // The pool is one shorter, or the last resort is used up: a new one is due.
        ctx.mail.used.push(staged.last_resort);
        let group = match staged.accept(&mls) {
            Ok(group) => group,
            Err(_) => return refuse(InvitationFault::Mls),
        };
        for leaf in &members {
            let state = known(ctx, &leaf.identity.account)?;
            let keys = state.as_ref().and_then(|state| state.device(&leaf.identity.device));
            if keys.is_none_or(|keys| keys.signature != leaf.signature_key) {
                return refuse(InvitationFault::StrangeMember);
            }
        }
        let me = ctx.me.account();
        let peer = match state.direct_accounts() {
            None if request.is_group => None,
            Some([a, b]) if !request.is_group && (a == me || b == me) && (a == request.from || b == request.from) => {
                Some(request.from)
            }
            _ => return refuse(InvitationFault::OtherKind),
        };
        let live = self.live.entry(id).or_default();
        *live = Live { group: Some(group), ..Default::default() };
        let mut progress = Progress::new(Phase::Live, request.epoch, request.epoch_id);
        if let Some(old) = old {
            progress.unread = old.unread;
            progress.next_out = old.next_out;
        }
        let mut info =
            Info { peer, state: Vec::new(), leaves: Vec::new(), intents: Vec::new(), hold: None, opening: false };
        if let Some(previous) = ctx.txn.load::<Info>(&id)? {
            info.intents = previous.intents;
        }
        ctx.txn.remove::<PendingCommit>(&id);
        // What was encrypted for the epoch that was lost is encrypted again.
        for (number, mut out) in outgoing(&ctx.txn, &id, usize::MAX)? {
            out.sealed = None;
            ctx.txn.store(&(id, number), &out);
        }
        ctx.txn.store(&id, &progress);
        ctx.txn.store(&id, &info);
        if let Some(peer) = peer {
            prefer_direct(ctx, peer, id)?;
        }
        self.refresh_info(ctx, id)?;
        ctx.mail.messages.push(News::Introduce(id));
        Ok(())
    }
}

pub(super) fn blob_missing(ctx: &mut Ctx<'_>, blob: BlobId) -> Result<(), CoreError> {
    for (id, request) in ctx.txn.list::<RequestRecord>(REQUESTS_MAX)? {
        if let Welcome::Blob { id: of, chunks, .. } = &request.welcome
            && *of == blob
        {
            request_fails(ctx, id, *chunks, of, InvitationFault::TooOld);
        }
    }
    Ok(())
}

fn request_fails(ctx: &mut Ctx<'_>, id: ConversationId, chunks: u32, blob: &BlobId, why: InvitationFault) {
    forget_chunks(ctx, blob, chunks);
    ctx.txn.remove::<RequestRecord>(&id);
    ctx.event(Event::Requests);
    ctx.refused(Some(id), Refusal::Invitation(why));
}

/// Of the direct messages with one person, the conversation with the smaller id is written to.
pub(super) fn prefer_direct(ctx: &mut Ctx<'_>, peer: AccountId, id: ConversationId) -> Result<(), CoreError> {
    let better = match direct(&ctx.txn, &peer)? {
        Some(old) => id <= old || ctx.txn.load::<Progress>(&old)?.is_none_or(|progress| progress.phase == Phase::Gone),
        None => true,
    };
    if better {
        ctx.txn.store(&peer, &Direct(id));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use stonechat_wire::{Bytes, EpochId, Seq};

    use super::*;
    use crate::testing::{Home, NOW, Person};

    fn request(from: AccountId) -> RequestRecord {
        let welcome = Welcome::Inline(Bytes::new(vec![1, 2, 3]).unwrap());
        let (epoch, epoch_id) = (Seq(2), EpochId([1; 32]));
        RequestRecord { from, epoch, epoch_id, is_group: false, at: NOW, welcome, accepted: false }
    }

    fn invite(home: &mut Home, from: AccountId, number: u16) -> bool {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        home.step(|ctx| refusal_of(invited(ctx, from, ConversationId(id), request(from))).unwrap().is_ok()).value
    }

    fn waiting(home: &mut Home) -> Vec<bool> {
        let list = home.step(|ctx| ctx.txn.list::<RequestRecord>(usize::MAX).unwrap()).value;
        list.into_iter().map(|(_, request)| request.accepted).collect()
    }

    #[test]
    fn an_invitation_waits_for_the_person_unless_they_accepted_who_invites() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        assert!(invite(&mut home, bob.id(), 1));
        assert_eq!(waiting(&mut home), [false]);
        home.step(|ctx| accept_requests(ctx, bob.id()).unwrap());
        assert!(invite(&mut home, bob.id(), 2));
        assert_eq!(waiting(&mut home), [true, true]);
    }

    #[test]
    fn strangers_do_not_fill_the_vault_and_do_not_keep_contacts_out() {
        let mut home = Home::of("alice");
        let (stranger, bob) = (Person::of("eve", 20), home.meet("bob", 10));
        let max = u16::try_from(REQUESTS_MAX).unwrap();
        assert!((0..max).all(|number| invite(&mut home, stranger.id(), number)));
        assert!(!invite(&mut home, stranger.id(), max));
        home.step(|ctx| accept(ctx, &bob.id()).unwrap());
        assert!(invite(&mut home, bob.id(), max + 1));
    }

    #[test]
    fn nobody_invites_to_a_conversation_that_this_device_is_in_unless_it_asked() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let again = |home: &mut Home| {
            home.step(|ctx| refusal_of(invited(ctx, bob.id(), id, request(bob.id()))).unwrap().is_ok()).value
        };
        assert!(!again(&mut home));
        home.step(|ctx| {
            let mut progress: Progress = ctx.txn.need(&id).unwrap();
            progress.offered = Some([1; 32]);
            ctx.txn.store(&id, &progress);
        });
        assert!(again(&mut home));
        assert_eq!(waiting(&mut home), [true], "help is not asked about twice");
    }

    #[test]
    fn only_what_was_accepted_is_joined_and_a_welcome_that_is_none_changes_nothing() {
        let mut home = Home::online("alice");
        let bob = home.meet("bob", 10);
        let (mut log, mut blobs) = (Log::default(), Blobs::default());
        invite(&mut home, bob.id(), 1);
        let drive = |home: &mut Home, log: &mut Log, blobs: &mut Blobs| {
            home.step(|ctx| log.drive_requests(ctx, blobs).unwrap()).refusals()
        };
        assert_eq!(drive(&mut home, &mut log, &mut blobs), 0);
        assert_eq!(waiting(&mut home), [false]);
        home.step(|ctx| accept_requests(ctx, bob.id()).unwrap());
        assert_eq!(drive(&mut home, &mut log, &mut blobs), 1);
        assert!(waiting(&mut home).is_empty());
        assert!(home.step(|ctx| crate::log::rows::conversation_ids(&ctx.txn).unwrap()).value.is_empty());
    }

    #[test]
    fn a_welcome_that_the_server_does_not_have_any_more_ends_its_request_and_no_other() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        for number in [1, 2] {
            let key = crate::crypto::Secret::from_bytes([1; 32]);
            let welcome = Welcome::Blob { id: BlobId([number; 32]), key, chunks: 1, hash: [0; 32] };
            let id = ConversationId([number; 32]);
            home.step(|ctx| ctx.txn.store(&id, &RequestRecord { welcome, ..request(bob.id()) }));
        }
        let out = home.step(|ctx| blob_missing(ctx, BlobId([1; 32])).unwrap());
        assert_eq!(out.refusals(), 1);
        let left = home.step(|ctx| ctx.txn.list::<RequestRecord>(9).unwrap()).value;
        assert!(matches!(&left[..], [(id, _)] if *id == ConversationId([2; 32])));
    }

    #[test]
    fn of_two_conversations_with_one_person_the_smaller_id_is_written_to_until_it_is_over() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let ids = [3, 1, 2].map(|number| ConversationId([number; 32]));
        let prefer = |home: &mut Home, id| {
            home.step(|ctx| {
                prefer_direct(ctx, bob.id(), id).unwrap();
                direct(&ctx.txn, &bob.id()).unwrap().unwrap()
            })
            .value
        };
        for id in ids {
            home.step(|ctx| ctx.txn.store(&id, &Progress::new(Phase::Live, Seq(1), EpochId([1; 32]))));
        }
        assert_eq!(ids.map(|id| prefer(&mut home, id)), [ids[0], ids[1], ids[1]]);
        home.step(|ctx| ctx.txn.store(&ids[1], &Progress::new(Phase::Gone, Seq(1), EpochId([1; 32]))));
        assert_eq!(prefer(&mut home, ids[2]), ids[2]);
    }
}
