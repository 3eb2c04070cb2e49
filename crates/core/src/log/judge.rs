//! Commits that arrive: which one ends an epoch, judged by the policy with the evidence that it carries.
//!
//! The author's own device judges its commit here too, before it is sent.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use stonechat_wire::limits::{ACCOUNT_LOG_BYTES_MAX, CHECKPOINT_BYTES_MAX, ENTRY_BYTES_MAX, LOOKUP_PROOF_BYTES_MAX};
use stonechat_wire::{AccountId, ConversationId, Entry, EpochCaps, List, ProvenAccount, decode, epoch_id};

use super::Log;
use super::policy::{self, GroupState, NewLeaf, PolicyLeaf, Proposed};
use super::rows::{Info, PendingCommit, Progress};
use crate::api::{ChangeFault, Refusal};
use crate::crypto::keys::EpochSecrets;
use crate::crypto::outer::OuterKind;
use crate::error::{CoreError, Judged, Stop, refusal_of, refuse};
use crate::limits::{ADD_BYTES_PER_COMMIT_MAX, ADDS_PER_COMMIT_MAX};
use crate::mls::{self, Changes, ReceiveError, Received, StagedCommit};
use crate::people::accounts::known;
use crate::people::belief::believe_member;
use crate::step::Ctx;
use crate::store::Read as _;

/// What a commit carries for those who judge it, in MLS's authenticated data: the account logs of everybody it adds with what
/// the directory says of them, so that all members judge by the same evidence.
#[derive(Encode, Decode, Default)]
#[cbor(map)]
pub(crate) struct Evidence {
    #[n(1)]
    pub accounts: List<ProvenAccount, ADDS_PER_COMMIT_MAX>,
}

const _: () = assert!(
    ACCOUNT_LOG_BYTES_MAX + 2 * LOOKUP_PROOF_BYTES_MAX + 2 * CHECKPOINT_BYTES_MAX < ENTRY_BYTES_MAX,
    "one account's log and its proof fit a commit"
);

const _: () = assert!(ADD_BYTES_PER_COMMIT_MAX < ENTRY_BYTES_MAX * 4 / 5, "what surrounds it fits beside it");

/// Why a commit is not followed.
enum Unfit {
    /// It is not valid, or breaks the policy.
    Refused(ChangeFault),
    /// It is our own, made before the vault that we have was restored: only the others can follow it.
    OwnLost,
}

impl Log {
    pub(super) fn commit_entry(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &mut Progress,
        entry: &Entry,
        next: &EpochCaps,
        fresh: bool,
    ) -> Result<(), CoreError> {
        let opened_epoch = epoch_id(&progress.epoch_id, &entry.blob, next);
        let pending = ctx.txn.load::<PendingCommit>(&id)?;
        if let Some(pending) =
            pending.as_ref().filter(|p| p.epoch == progress.epoch && p.blob == entry.blob[..] && p.next == *next)
        {
            self.with_group(ctx, id, |group, mls, _| group.merge_pending(mls).map_err(CoreError::from))?;
            self.commit_settled(ctx, id, progress, pending, entry.seq, opened_epoch)?;
            return self.entered(ctx, id, progress, entry.seq, opened_epoch);
        }
        match refusal_of(self.judge(ctx, id, progress, entry, next))? {
            Ok(staged) => {
                if pending.is_some() {
                    ctx.txn.remove::<PendingCommit>(&id);
                }
                let removed = staged.self_removed();
                self.with_group(ctx, id, |group, mls, _| {
                    if group.pending() {
                        group.clear_pending(mls)?;
                    }
                    group.merge(mls, staged).map_err(CoreError::from)
                })?;
                if removed {
                    return self.removed(ctx, id, progress);
                }
                self.entered(ctx, id, progress, entry.seq, opened_epoch)
            }
            Err(Unfit::OwnLost) => self.cannot_follow(ctx, id, progress),
            Err(Unfit::Refused(why)) => {
                ctx.refused(Some(id), Refusal::Change(why));
                // Once more from the start: perhaps it was only shown wrongly.
                if fresh && self.rewind(ctx, id, progress) {
                    return Ok(());
                }
                progress.refused = Some((entry.seq, opened_epoch));
                progress.asked = false;
                self.commit_soon(ctx, id, progress, DETOUR_DELAY_MS)?;
                // Nobody can write on this epoch any more; our own commit, if one was posted, has to name what it skips.
                if let Some(live) = self.live.get_mut(&id) {
                    live.commit_posted = false;
                }
                Ok(())
            }
        }
    }

    /// Whether a commit of somebody else is to be followed.
    fn judge(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &Progress,
        entry: &Entry,
        next: &EpochCaps,
    ) -> Result<StagedCommit, Stop<Unfit>> {
        let refused = |why| Err(Stop::Refused(Unfit::Refused(why)));
        let Ok(mls_message) =
            self.secrets(ctx, id)?.outer.open(&id, &progress.epoch_id, OuterKind::Commit, &entry.blob)
        else {
            return refused(ChangeFault::Unsealed);
        };
        let received = self.with_group(ctx, id, |group, mls, _| Ok(group.receive(mls, &mls_message)))?;
        let staged = match received {
            Ok(Received::Commit(staged)) => staged,
            Ok(_) => return refused(ChangeFault::NotACommit),
            Err(ReceiveError::Storage(error)) => return Err(error.into()),
            Err(ReceiveError::OwnCommitLost) => return Err(Stop::Refused(Unfit::OwnLost)),
            Err(_) => return refused(ChangeFault::Mls),
        };
        if let Err(why) = refusal_of(self.check_policy(ctx, id, &staged.changes, &staged.aad))? {
            return refused(why);
        }
        if staged.self_removed() {
            // There is no next epoch for this device; the others check the hashes.
            return Ok(staged);
        }
        let theirs = self.with_group(ctx, id, |_, mls, _| {
            EpochSecrets::derive(|label| staged.export(mls, label, &id.0)).map_err(CoreError::from)
        })?;
        if theirs.caps() != *next {
            return refused(ChangeFault::Capabilities);
        }
        Ok(staged)
    }
}

impl Log {
    /// Judges a commit by the policy, with the evidence that it carries.
    pub(super) fn check_policy(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        changes: &Changes,
        aad: &[u8],
    ) -> Judged<(), ChangeFault> {
        let info = ctx.txn.need::<Info>(&id)?;
        let before = info.group_state()?;
        let after = match &changes.state {
            None => before.clone(),
            Some(bytes) => match GroupState::decode(bytes) {
                Ok(state) => state,
                Err(_) => return refuse(ChangeFault::State),
            },
        };
        let evidence: Evidence = if aad.is_empty() {
            Evidence::default()
        } else {
            match decode(aad) {
                Ok(evidence) => evidence,
                Err(_) => return refuse(ChangeFault::Evidence),
            }
        };
        let mut proven = BTreeSet::new();
        for account in evidence.accounts.iter() {
            // One that nobody needs could still be one that some members know otherwise: it would divide them for nothing.
            let of = account.log.0.first().map(|entry| AccountId(entry.hash()));
            if !changes.adds.iter().any(|added| Some(added.leaf.identity.account) == of) {
                return refuse(ChangeFault::NeedlessLog);
            }
            match refusal_of(believe_member(ctx, account))? {
                Ok(id) => proven.insert(id),
                Err(why) => return refuse(ChangeFault::Account(why)),
            };
        }
        // The same facts for everybody who judges: who is added is proven by the commit itself.
        if changes.adds.iter().any(|added| !proven.contains(&added.leaf.identity.account)) {
            return refuse(ChangeFault::Unproven);
        }
        let before_leaves = self.with_group(ctx, id, |group, _, _| Ok(group.members().to_vec()))?;
        let mut states = BTreeMap::new();
        let named =
            before_leaves.iter().chain(changes.adds.iter().map(|added| &added.leaf)).chain(&changes.sender_update);
        for account in named.map(|leaf| leaf.identity.account).collect::<BTreeSet<_>>() {
            if let Some(state) = known(ctx, &account)? {
                states.insert(account, state);
            }
        }
        let logs = |account: &AccountId| states.get(account);
        let leaf = |leaf: &mls::Leaf| PolicyLeaf {
            index: leaf.index,
            account: leaf.identity.account,
            device: leaf.identity.device,
            signature_key: leaf.signature_key,
        };
        let new =
            |leaf: &mls::Leaf| NewLeaf::from_parts(leaf.identity.account, leaf.identity.device, leaf.signature_key);
        let members_before: Vec<_> = before_leaves.iter().map(leaf).collect();
        let adds: Vec<_> = changes.adds.iter().map(|added| new(&added.leaf)).collect();
        let removes: Vec<_> = changes.removes.iter().map(|leaf| leaf.index).collect();
        let self_leaving: Vec<_> = changes.leaves.iter().map(|leaf| leaf.index).collect();
        let update = changes.sender_update.as_ref().map(new);
        let verdict = policy::check_commit(&Proposed {
            before: &before,
            members_before: &members_before,
            committer: changes.sender.index,
            adds: &adds,
            removes: &removes,
            self_leaving: &self_leaving,
            sender_update: update.as_ref(),
            after: &after,
            logs: &logs,
        });
        verdict.or_else(|rule| refuse(ChangeFault::Rule(rule)))
    }
}

/// Before somebody works around a commit that it cannot follow, it waits this long to be added again by those who could.
const DETOUR_DELAY_MS: u64 = 4_000;
