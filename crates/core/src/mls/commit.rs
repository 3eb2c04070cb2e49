//! Commits (RFC 9420 section 12.4): of this device, pending until the log has decided; of others, staged until they are
//! judged.

use std::collections::BTreeMap;

use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{CreateCommitError, LeafNodeIndex, MlsMessageOut, Proposal, QueuedProposal, Sender};
use openmls_traits::OpenMlsProvider as _;

use super::group::{exported, leaver, leaves_of};
use super::{Group, Leaf, Mls, MlsError, Signer, context_extensions, key_package, state_of};
use crate::crypto::Secret;

/// What a commit changes, for those who judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Who commits; the leaf as it was before.
    pub sender: Leaf,
    /// Who comes.
    pub adds: Vec<Added>,
    /// Who is removed by the sender.
    pub removes: Vec<Leaf>,
    /// Who leaves of their own accord.
    pub leaves: Vec<Leaf>,
    /// The sender's leaf after the commit, if it has an update path.
    pub sender_update: Option<Leaf>,
    /// The conversation's state, if it is set.
    pub state: Option<Vec<u8>>,
    /// Everybody afterwards, by leaf index.
    pub members_after: Vec<Leaf>,
}

/// Somebody who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The leaf that they get.
    pub leaf: Leaf,
    /// Reference of the key package that adds them.
    pub key_package: [u8; 32],
}

/// A commit of another member, verified and not merged. Dropping it changes nothing.
pub struct StagedCommit {
    pub(super) inner: Box<openmls::prelude::StagedCommit>,
    /// What it changes.
    pub changes: Changes,
    /// What its sender said beside it, authenticated.
    pub aad: Vec<u8>,
}

impl StagedCommit {
    /// Whether it removes this device.
    pub fn self_removed(&self) -> bool {
        self.inner.self_removed()
    }

    /// The epoch that it opens.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch().as_u64()
    }

    /// A secret of the epoch that it opens.
    ///
    /// # Errors
    /// [`MlsError::NotMember`] if it removes this device.
    pub fn export(&self, mls: &Mls<'_, '_>, label: &str, context: &[u8]) -> Result<Secret, MlsError> {
        exported(mls, self.inner.export_secret(mls.provider.crypto(), label, context, 32))
    }
}

/// What a commit of this device shall do. The leaves that wait are always part of it.
#[derive(Clone, Debug, Default)]
pub struct CommitPlan {
    /// Key packages of those to add.
    pub add: Vec<Vec<u8>>,
    /// Leaf indices of those to remove.
    pub remove: Vec<u32>,
    /// The conversation's new state.
    pub state: Option<Vec<u8>>,
    /// Whether this device's keys are renewed even if MLS does not ask for it. Only a commit that does nothing but add can
    /// do without; it is smaller, and its epoch is as safe as the one before it.
    pub update_path: bool,
    /// Said beside the commit, authenticated.
    pub aad: Vec<u8>,
}

/// A commit of this device that is pending: in the vault, not merged.
#[derive(Clone, Debug)]
pub struct PendingCommit {
    /// For the members: a PublicMessage.
    pub commit: Vec<u8>,
    /// For those who are added, all of them.
    pub welcome: Option<Vec<u8>>,
    /// What it changes.
    pub changes: Changes,
}

impl Group {
    /// Makes a commit and keeps it pending, in the vault too. Persist, then send: it cannot be made again.
    ///
    /// # Errors
    /// [`MlsError::CommitPending`], [`MlsError::NotMember`], [`MlsError::Plan`].
    pub fn commit(&mut self, mls: &Mls<'_, '_>, signer: &Signer, plan: CommitPlan) -> Result<PendingCommit, MlsError> {
        self.operational()?;
        let add = plan.add.iter().map(|bytes| key_package::parse(mls, bytes));
        let add = add.collect::<Result<Vec<_>, _>>().map_err(|e| MlsError::Plan(e.to_string()))?;
        let sender = self.member(self.own_leaf()).ok_or(MlsError::NotMember)?;
        // Removing who leaves anyway would be a second proposal for the same leaf.
        let leaving = self.pending_removals();
        let remove = plan.remove.into_iter().filter(|index| !leaving.contains(index)).map(LeafNodeIndex::new);
        let state = plan.state.map(context_extensions).transpose()?;

        self.inner.set_aad(plan.aad);
        let own = Sender::Member(self.inner.own_leaf_index());
        let mut builder =
            self.inner.commit_builder().propose_adds(add).propose_removals(remove).force_self_update(plan.update_path);
        if let Some(state) = state {
            builder = builder.propose_group_context_extensions(state).map_err(|e| planned(mls, e))?;
        }
        let bundle = builder
            .load_psks(mls.provider.storage())
            .and_then(|builder| {
                // Nobody commits their own leave.
                let others = |proposal: &QueuedProposal| leaver(proposal).is_none() || proposal.sender() != &own;
                builder.create_group_info(false).build(mls.provider.rand(), mls.provider.crypto(), signer, others)
            })
            .map_err(|e| planned(mls, e))?
            .stage_commit(&mls.provider)
            .map_err(|e| mls.failed(e))?;
        let (commit, welcome, _) = bundle.into_messages();
        let pending =
            self.inner.pending_commit().ok_or_else(|| MlsError::Library("the commit is not pending".into()))?;
        let changes = self.changes(mls, pending, sender).map_err(|e| MlsError::Library(e.into()))?;
        let bytes = |message: MlsMessageOut| message.tls_serialize_detached().map_err(|e| mls.failed(e));
        Ok(PendingCommit { commit: bytes(commit)?, welcome: welcome.map(bytes).transpose()?, changes })
    }

    /// Whether a commit of this device is pending.
    pub fn pending(&self) -> bool {
        self.inner.pending_commit().is_some()
    }

    /// A secret of the epoch that the pending commit opens; the same that [`Self::export`] gives after the merge.
    ///
    /// # Errors
    /// [`MlsError::Plan`] without a pending commit.
    pub fn export_pending(&self, mls: &Mls<'_, '_>, label: &str, context: &[u8]) -> Result<Secret, MlsError> {
        let pending = self.inner.pending_commit().ok_or_else(|| MlsError::Plan("no commit is pending".into()))?;
        exported(mls, pending.export_secret(mls.provider.crypto(), label, context, 32))
    }

    /// Enters the epoch that the pending commit opens. The keys of this epoch are deleted.
    ///
    /// # Errors
    /// [`MlsError::Plan`] without a pending commit.
    pub fn merge_pending(&mut self, mls: &Mls<'_, '_>) -> Result<(), MlsError> {
        if !self.pending() {
            return Err(MlsError::Plan("no commit is pending".into()));
        }
        self.inner.merge_pending_commit(&mls.provider).map_err(|e| mls.failed(e))?;
        self.entered()
    }

    /// Forgets the pending commit: another one came first.
    ///
    /// # Errors
    /// When the vault cannot be used.
    pub fn clear_pending(&mut self, mls: &Mls<'_, '_>) -> Result<(), MlsError> {
        Ok(self.inner.clear_pending_commit(mls.provider.storage())?)
    }

    /// Enters the epoch that a commit opens. The keys of this epoch are deleted, and so is a pending commit. If the commit
    /// removes this device, everything in the vault is deleted and the group is inactive.
    ///
    /// # Errors
    /// [`MlsError`].
    pub fn merge(&mut self, mls: &Mls<'_, '_>, staged: StagedCommit) -> Result<(), MlsError> {
        if !staged.self_removed() {
            self.inner.merge_staged_commit(&mls.provider, *staged.inner).map_err(|e| mls.failed(e))?;
            return self.entered();
        }
        // The library would keep the secrets of the last epoch. Their rows carry its number: delete before and after.
        self.inner.delete(mls.provider.storage())?;
        self.inner.merge_staged_commit(&mls.provider, *staged.inner).map_err(|e| mls.failed(e))?;
        self.inner.delete(mls.provider.storage())?;
        self.members = staged.changes.members_after;
        Ok(())
    }

    fn entered(&mut self) -> Result<(), MlsError> {
        self.members = leaves_of(self.inner.members()).map_err(|e| MlsError::Library(e.into()))?;
        Ok(())
    }

    /// What a commit changes; an error if it does something that no commit of ours does.
    pub(super) fn changes(
        &self,
        mls: &Mls<'_, '_>,
        commit: &openmls::prelude::StagedCommit,
        sender: Leaf,
    ) -> Result<Changes, &'static str> {
        const UNKNOWN: &str = "it names a member who is not there";
        let mut tree: BTreeMap<u32, Leaf> = self.members.iter().map(|leaf| (leaf.index, *leaf)).collect();
        let (mut packages, mut removes, mut leaves, mut state) = (Vec::new(), Vec::new(), Vec::new(), None);
        for queued in commit.queued_proposals() {
            match queued.proposal() {
                Proposal::Add(add) => packages.push(key_package::describe(mls, add.key_package())?),
                Proposal::Remove(remove) => removes.push(tree.remove(&remove.removed().u32()).ok_or(UNKNOWN)?),
                Proposal::SelfRemove => {
                    leaves.push(leaver(queued).and_then(|index| tree.remove(&index)).ok_or(UNKNOWN)?);
                }
                Proposal::GroupContextExtensions(proposal) if state.is_none() => {
                    state = Some(state_of(proposal.extensions())?.to_vec());
                }
                _ => return Err("it does something that conversations do not do"),
            }
        }
        if !tree.contains_key(&sender.index) {
            return Err("its sender removes themselves");
        }
        // RFC 9420 section 12.1.1: each takes the leftmost free leaf, in the order of the proposals.
        let mut adds = Vec::new();
        for package in packages {
            let index = (0..).find(|index| !tree.contains_key(index)).ok_or("the group is full")?;
            let leaf = Leaf { index, identity: package.identity, signature_key: package.signature_key };
            tree.insert(index, leaf);
            adds.push(Added { leaf, key_package: package.reference });
        }
        let path = commit.update_path_leaf_node();
        let sender_update = path
            .map(|leaf| Leaf::parse(sender.index, leaf.credential(), leaf.signature_key().as_slice()))
            .transpose()?;
        tree.extend(sender_update.map(|leaf| (leaf.index, leaf)));
        removes.sort_unstable();
        leaves.sort_unstable();
        Ok(Changes { sender, adds, removes, leaves, sender_update, state, members_after: tree.into_values().collect() })
    }
}

/// Why a commit could not be made: the vault, or the plan.
fn planned(mls: &Mls<'_, '_>, error: CreateCommitError) -> MlsError {
    match mls.failed(error) {
        MlsError::Library(why) => MlsError::Plan(why),
        error => error,
    }
}
