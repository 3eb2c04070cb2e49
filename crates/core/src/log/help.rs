//! Devices that cannot follow: this one asks the others to add it again, and adds those who ask.

use stonechat_wire::{Bytes, ConversationId, EpochId};

use super::Log;
use super::intents::vouch;
use super::rows::{Info, Intent, KeyPackageRecord, Phase, Progress};
use crate::crypto::letter::LetterBody;
use crate::error::{CoreError, Judged, refuse};
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
    ) -> Judged<()> {
        let (Some(mut progress), Some(mut info)) = (ctx.txn.load::<Progress>(&id)?, ctx.txn.load::<Info>(&id)?) else {
            return refuse("it is about a conversation that this device does not have");
        };
        let member = info.leaves.iter().any(|leaf| leaf.account == who.account && leaf.device == who.device);
        if !member || progress.phase != Phase::Live || stuck_in == progress.epoch_id {
            return Ok(());
        }
        let Some(state) = known(ctx, &who.account)? else { return refuse("it is from somebody unknown") };
        vouch(ctx, &state, who.device, &key_package)?;
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
