//! Devices that cannot follow: this one asks the others to add it again, and adds those who ask.

use stonechat_wire::{Bytes, ConversationId, EpochId};

use super::Log;
use super::intents::vouch;
use super::rows::{Info, Intent, KeyPackageRecord, Phase, Progress};
use crate::api::LetterFault;
use crate::crypto::letter::LetterBody;
use crate::error::{CoreError, Judged, refusal_of, refuse};
use crate::mls::{self, LeafIdentity, Mls};
use crate::people::accounts::known;
use crate::post::outbox::write_letter;
use crate::step::Ctx;
use crate::store::Read as _;

impl Log {
    /// Asks some members to add this device again, with a fresh key package in the letter.
    pub(super) fn call_for_help(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        mut progress: Progress,
    ) -> Result<(), CoreError> {
        if progress.asked && ctx.now < progress.not_before {
            self.at(progress.not_before, id);
            return Ok(());
        }
        let me = ctx.me;
        let (leaf, account) = (me.leaf(), me.account());
        let mls = Mls::new(&mut ctx.txn, ctx.rng);
        let package = mls::generate_key_package(&mls, &me.signer, leaf, ctx.now.0, HELP_LIFETIME_SECS, false)?;
        let reference = mls::inspect_key_package(&mls, &package)?.reference;
        let info = ctx.txn.need::<Info>(&id)?;
        let mut others: Vec<_> = info.leaves.iter().filter(|leaf| leaf.account != account).cloned().collect();
        while others.len() > HELPERS_MAX {
            let drop = ctx.jitter_ms(others.len() as u64);
            others.swap_remove(usize::try_from(drop).unwrap_or(0));
        }
        for other in others {
            let key_package =
                Bytes::new(package.clone()).map_err(|_| CoreError::bug("a key package over its bound"))?;
            let body = LetterBody::Readd {
                conversation: id,
                epoch_id: progress.epoch_id,
                refused: progress.refused.map(|(_, epoch)| epoch),
                key_package,
            };
            write_letter(ctx, other.account, other.device, body, None)?;
        }
        progress.asked = true;
        progress.offered = Some(reference);
        if progress.phase == Phase::Stuck {
            progress.not_before = ctx.now.plus_secs(HELP_AGAIN_SECS);
            self.at(progress.not_before, id);
        }
        ctx.txn.store(&id, &progress);
        Ok(())
    }

    /// A member's device cannot follow. Whoever is first adds it again; false alarms are ignored.
    pub(super) fn asked_for_help(
        &mut self,
        ctx: &mut Ctx<'_>,
        who: LeafIdentity,
        id: ConversationId,
        stuck_in: EpochId,
        key_package: Vec<u8>,
    ) -> Judged<(), LetterFault> {
        let (Some(mut progress), Some(mut info)) = (ctx.txn.load::<Progress>(&id)?, ctx.txn.load::<Info>(&id)?) else {
            return refuse(LetterFault::OtherConversation);
        };
        let member = info.leaves.iter().any(|leaf| leaf.account == who.account && leaf.device == who.device);
        if !member || progress.phase != Phase::Live || stuck_in == progress.epoch_id {
            return Ok(());
        }
        let Some(state) = known(ctx, &who.account)? else { return refuse(LetterFault::Unknown) };
        if let Err(why) = refusal_of(vouch(ctx, &state, who.device, &key_package))? {
            return refuse(LetterFault::KeyPackage(why));
        }
        let replaces =
            |intent: &Intent| matches!(intent, Intent::Replace(a, p) if *a == who.account && p.device == who.device);
        info.intents.retain(|intent| !replaces(intent));
        info.intents.push(Intent::Replace(who.account, KeyPackageRecord { device: who.device, bytes: key_package }));
        ctx.txn.store(&id, &info);
        self.commit_soon(ctx, id, &mut progress, 1_000)?;
        ctx.txn.store(&id, &progress);
        ctx.dirty.insert(id);
        Ok(())
    }
}

/// How many members are asked to help at once.
const HELPERS_MAX: usize = 8;

/// How long a device waits before it asks for help again, in seconds.
const HELP_AGAIN_SECS: u64 = 60;

/// Key packages that are sent for help live this long.
const HELP_LIFETIME_SECS: u64 = 30 * 24 * 3_600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::refusal_of;
    use crate::testing::{Home, Person};

    fn package(home: &mut Home, of: &Person) -> Vec<u8> {
        let leaf = LeafIdentity { account: of.id(), device: of.device };
        home.step(|ctx| {
            let now = ctx.now.0;
            let mls = Mls::new(&mut ctx.txn, ctx.rng);
            let signer = mls::Signer::from_seed(of.secrets.signature.danger_bytes());
            mls::generate_key_package(&mls, &signer, leaf, now, 1_000, false).unwrap()
        })
        .value
    }

    /// Somebody asks to be added again; what this device then means to do, or `None` when it was refused.
    fn asks(home: &mut Home, who: &Person, id: ConversationId, stuck_in: u8, package: Vec<u8>) -> Option<Vec<Intent>> {
        let mut log = Log::default();
        let leaf = LeafIdentity { account: who.id(), device: who.device };
        home.step(|ctx| {
            let answered = log.asked_for_help(ctx, leaf, id, EpochId([stuck_in; 32]), package);
            refusal_of(answered).unwrap().ok().map(|()| ctx.txn.need::<Info>(&id).unwrap().intents)
        })
        .value
    }

    #[test]
    fn a_member_who_is_stuck_is_replaced_and_a_false_alarm_is_ignored() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let good = package(&mut home, &bob);
        // The conversation's present epoch is named after its number.
        assert_eq!(asks(&mut home, &bob, id, 10, good.clone()), Some(vec![]), "they are not behind");
        let intents = asks(&mut home, &bob, id, 9, good.clone()).unwrap();
        assert!(matches!(&intents[..], [Intent::Replace(account, p)] if *account == bob.id() && p.bytes == good));
        // Asked twice, it is meant once.
        assert_eq!(asks(&mut home, &bob, id, 9, good).unwrap().len(), 1);
    }

    #[test]
    fn who_is_no_member_or_brings_a_package_that_is_not_theirs_is_not_helped() {
        let mut home = Home::of("alice");
        let (bob, carol) = (home.meet("bob", 10), home.meet("carol", 20));
        let id = home.converse_with(&bob);
        let (of_carol, of_bob) = (package(&mut home, &carol), package(&mut home, &bob));
        assert_eq!(asks(&mut home, &carol, id, 9, of_carol.clone()), Some(vec![]));
        assert_eq!(asks(&mut home, &bob, id, 9, of_carol), None);
        assert_eq!(asks(&mut home, &bob, ConversationId([99; 32]), 9, of_bob), None);
    }

    #[test]
    fn help_is_asked_of_the_others_once_and_again_after_a_while() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let mut log = Log::default();
        let mut call = |home: &mut Home| {
            home.step(|ctx| {
                let mut progress: Progress = ctx.txn.need(&id).unwrap();
                progress.phase = Phase::Stuck;
                log.call_for_help(ctx, id, progress).unwrap();
                let letters = ctx.txn.starting_with(crate::store::Table::Envelope, &[], 9).unwrap().len();
                (letters, ctx.txn.need::<Progress>(&id).unwrap().offered.is_some())
            })
            .value
        };
        assert_eq!(call(&mut home), (1, true), "to the other person, not to oneself");
        assert_eq!(call(&mut home), (1, true));
        home.now = home.now.plus_secs(HELP_AGAIN_SECS);
        assert_eq!(call(&mut home), (2, true));
    }
}
