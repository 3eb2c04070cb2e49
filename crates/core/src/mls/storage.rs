//! Where OpenMLS keeps its state: [`Table::Mls`] of the step's [`Txn`], so that it moves in the same transaction as
//! everything else.
//!
//! A row's key is one byte for its kind and the library's own key. Its value is a byte for the format and postcard, which
//! is small and quick but knows no field names: when the library changes a stored type, the format byte changes and old
//! rows need code that reads them.

use std::cell::{Cell, RefCell};

use openmls::group::MlsGroupJoinConfig;
use openmls_traits::storage::{CURRENT_VERSION as V, StorageProvider, traits};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::{Row, Table, Txn, VaultError};

/// Kind of a row; the first byte of its key. Never changes meaning.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Tree = 1,
    Context = 2,
    Transcript = 3,
    ConfirmationTag = 4,
    GroupState = 5,
    MessageSecrets = 6,
    ResumptionPsks = 7,
    OwnLeafIndex = 8,
    EpochSecrets = 9,
    OwnLeafNodes = 10,
    /// One row a proposal, under the group's id and the proposal's reference.
    Proposal = 11,
    /// Private keys of this device's path, under the group's id, the epoch and the leaf.
    EpochKeys = 12,
    KeyPackage = 13,
    EncryptionKey = 14,
    SignatureKey = 15,
    Psk = 16,
}

/// The vault's MLS table as the library sees it.
pub(super) struct Store<'t, 'v> {
    txn: RefCell<&'t mut Txn<'v>>,
    config: &'t MlsGroupJoinConfig,
    failure: Cell<Option<VaultError>>,
}

/// Format of the values.
const FORMAT: u8 = 1;

impl<'t, 'v> Store<'t, 'v> {
    pub(super) fn new(txn: &'t mut Txn<'v>, config: &'t MlsGroupJoinConfig) -> Self {
        Self { txn: RefCell::new(txn), config, failure: Cell::new(None) }
    }

    /// See [`super::provider::Provider::take_failure`].
    pub(super) fn take_failure(&self) -> Option<VaultError> {
        self.failure.take()
    }

    /// Deletes a key package by its reference's bytes; the library offers no way from bytes to its own type.
    pub(super) fn forget_key_package(&self, reference: &[u8; 32]) -> Result<(), VaultError> {
        self.delete(Kind::KeyPackage, &reference.as_slice())
    }

    fn fail(&self, error: VaultError) -> VaultError {
        let first = self.failure.take().unwrap_or_else(|| error.clone());
        self.failure.set(Some(first));
        error
    }

    fn undecodable(&self, why: impl std::fmt::Display) -> VaultError {
        self.fail(VaultError { detail: format!("an MLS row does not decode: {why}") })
    }

    fn encode(&self, value: &impl Serialize, first: u8) -> Result<Vec<u8>, VaultError> {
        postcard::to_extend(value, vec![first])
            .map_err(|e| self.fail(VaultError { detail: format!("an MLS value does not encode: {e}") }))
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, VaultError> {
        match bytes.split_first() {
            Some((&FORMAT, value)) => postcard::from_bytes(value).map_err(|e| self.undecodable(e)),
            _ => Err(self.undecodable("unknown format")),
        }
    }

    fn write(&self, kind: Kind, key: &impl Serialize, value: &impl Serialize) -> Result<(), VaultError> {
        let row = self.encode(key, kind as u8)?;
        let value = self.encode(value, FORMAT)?;
        self.txn.borrow_mut().put(Table::Mls, row, value);
        Ok(())
    }

    fn read<T: DeserializeOwned>(&self, kind: Kind, key: &impl Serialize) -> Result<Option<T>, VaultError> {
        let row = self.encode(key, kind as u8)?;
        let value = self.txn.borrow().get(Table::Mls, &row).map_err(|e| self.fail(e))?;
        value.map(|value| self.decode(&value)).transpose()
    }

    fn delete(&self, kind: Kind, key: &impl Serialize) -> Result<(), VaultError> {
        let row = self.encode(key, kind as u8)?;
        self.txn.borrow_mut().delete(Table::Mls, row);
        Ok(())
    }

    fn proposals(&self, group: &impl Serialize) -> Result<Vec<Row>, VaultError> {
        let prefix = self.encode(group, Kind::Proposal as u8)?;
        // At most one proposal a member is ever queued, so the number of rows is bounded by the group.
        self.txn.borrow().prefix(Table::Mls, &prefix, usize::MAX).map_err(|e| self.fail(e))
    }
}

/// Three methods of the trait for one value that a group has once.
macro_rules! group_value {
    ($kind:ident, $value:ident, $write:ident, $read:ident, $delete:ident) => {
        fn $write<G: traits::GroupId<V>, T: traits::$value<V>>(&self, group: &G, value: &T) -> Result<(), VaultError> {
            self.write(Kind::$kind, group, value)
        }

        fn $read<G: traits::GroupId<V>, T: traits::$value<V>>(&self, group: &G) -> Result<Option<T>, VaultError> {
            self.read(Kind::$kind, group)
        }

        fn $delete<G: traits::GroupId<V>>(&self, group: &G) -> Result<(), VaultError> {
            self.delete(Kind::$kind, group)
        }
    };
}

impl StorageProvider<V> for Store<'_, '_> {
    type Error = VaultError;

    group_value!(Tree, TreeSync, write_tree, tree, delete_tree);
    group_value!(Context, GroupContext, write_context, group_context, delete_context);
    group_value!(
        Transcript,
        InterimTranscriptHash,
        write_interim_transcript_hash,
        interim_transcript_hash,
        delete_interim_transcript_hash
    );
    group_value!(ConfirmationTag, ConfirmationTag, write_confirmation_tag, confirmation_tag, delete_confirmation_tag);
    group_value!(MessageSecrets, MessageSecrets, write_message_secrets, message_secrets, delete_message_secrets);
    group_value!(
        ResumptionPsks,
        ResumptionPskStore,
        write_resumption_psk_store,
        resumption_psk_store,
        delete_all_resumption_psk_secrets
    );
    group_value!(OwnLeafIndex, LeafNodeIndex, write_own_leaf_index, own_leaf_index, delete_own_leaf_index);
    group_value!(
        EpochSecrets,
        GroupEpochSecrets,
        write_group_epoch_secrets,
        group_epoch_secrets,
        delete_group_epoch_secrets
    );

    // The trait names the types of these three in another order.
    fn write_group_state<S: traits::GroupState<V>, G: traits::GroupId<V>>(
        &self,
        group: &G,
        state: &S,
    ) -> Result<(), VaultError> {
        self.write(Kind::GroupState, group, state)
    }

    fn group_state<S: traits::GroupState<V>, G: traits::GroupId<V>>(&self, group: &G) -> Result<Option<S>, VaultError> {
        self.read(Kind::GroupState, group)
    }

    fn delete_group_state<G: traits::GroupId<V>>(&self, group: &G) -> Result<(), VaultError> {
        self.delete(Kind::GroupState, group)
    }

    // The configuration belongs to the program, not to the group: old groups get the values of today's code.
    fn write_mls_join_config<G: traits::GroupId<V>, C: traits::MlsGroupJoinConfig<V>>(
        &self,
        _: &G,
        _: &C,
    ) -> Result<(), VaultError> {
        Ok(())
    }

    fn mls_group_join_config<G: traits::GroupId<V>, C: traits::MlsGroupJoinConfig<V>>(
        &self,
        _: &G,
    ) -> Result<Option<C>, VaultError> {
        // The value's type cannot be named here, and it reads only from self-describing formats.
        serde_json::to_value(self.config)
            .and_then(serde_json::from_value)
            .map(Some)
            .map_err(|e| self.fail(VaultError { detail: format!("the MLS configuration: {e}") }))
    }

    fn delete_group_config<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), VaultError> {
        Ok(())
    }

    fn append_own_leaf_node<G: traits::GroupId<V>, L: traits::LeafNode<V>>(
        &self,
        group: &G,
        leaf: &L,
    ) -> Result<(), VaultError> {
        let mut leaves: Vec<Vec<u8>> = self.read(Kind::OwnLeafNodes, group)?.unwrap_or_default();
        leaves.push(self.encode(leaf, FORMAT)?);
        self.write(Kind::OwnLeafNodes, group, &leaves)
    }

    fn own_leaf_nodes<G: traits::GroupId<V>, L: traits::LeafNode<V>>(&self, group: &G) -> Result<Vec<L>, VaultError> {
        let leaves: Vec<Vec<u8>> = self.read(Kind::OwnLeafNodes, group)?.unwrap_or_default();
        leaves.iter().map(|leaf| self.decode(leaf)).collect()
    }

    fn delete_own_leaf_nodes<G: traits::GroupId<V>>(&self, group: &G) -> Result<(), VaultError> {
        self.delete(Kind::OwnLeafNodes, group)
    }

    fn queue_proposal<G: traits::GroupId<V>, R: traits::ProposalRef<V>, P: traits::QueuedProposal<V>>(
        &self,
        group: &G,
        reference: &R,
        proposal: &P,
    ) -> Result<(), VaultError> {
        self.write(Kind::Proposal, &(group, reference), &(reference, proposal))
    }

    fn queued_proposal_refs<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(
        &self,
        group: &G,
    ) -> Result<Vec<R>, VaultError> {
        // The reference comes first in the value, after the format.
        let reference =
            |value: &[u8]| postcard::take_from_bytes(value.get(1..).unwrap_or_default()).map(|(first, _)| first);
        let rows = self.proposals(group)?;
        rows.iter().map(|(_, value)| reference(value).map_err(|e| self.undecodable(e))).collect()
    }

    fn queued_proposals<G: traits::GroupId<V>, R: traits::ProposalRef<V>, P: traits::QueuedProposal<V>>(
        &self,
        group: &G,
    ) -> Result<Vec<(R, P)>, VaultError> {
        self.proposals(group)?.iter().map(|(_, value)| self.decode(value)).collect()
    }

    fn remove_proposal<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(
        &self,
        group: &G,
        reference: &R,
    ) -> Result<(), VaultError> {
        self.delete(Kind::Proposal, &(group, reference))
    }

    fn clear_proposal_queue<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(
        &self,
        group: &G,
    ) -> Result<(), VaultError> {
        for (row, _) in self.proposals(group)? {
            self.txn.borrow_mut().delete(Table::Mls, row);
        }
        Ok(())
    }

    fn write_encryption_epoch_key_pairs<G: traits::GroupId<V>, E: traits::EpochKey<V>, K: traits::HpkeKeyPair<V>>(
        &self,
        group: &G,
        epoch: &E,
        leaf: u32,
        keys: &[K],
    ) -> Result<(), VaultError> {
        self.write(Kind::EpochKeys, &(group, epoch, leaf), &keys)
    }

    fn encryption_epoch_key_pairs<G: traits::GroupId<V>, E: traits::EpochKey<V>, K: traits::HpkeKeyPair<V>>(
        &self,
        group: &G,
        epoch: &E,
        leaf: u32,
    ) -> Result<Vec<K>, VaultError> {
        Ok(self.read(Kind::EpochKeys, &(group, epoch, leaf))?.unwrap_or_default())
    }

    fn delete_encryption_epoch_key_pairs<G: traits::GroupId<V>, E: traits::EpochKey<V>>(
        &self,
        group: &G,
        epoch: &E,
        leaf: u32,
    ) -> Result<(), VaultError> {
        self.delete(Kind::EpochKeys, &(group, epoch, leaf))
    }

    fn write_key_package<R: traits::HashReference<V>, K: traits::KeyPackage<V>>(
        &self,
        reference: &R,
        package: &K,
    ) -> Result<(), VaultError> {
        self.write(Kind::KeyPackage, reference, package)
    }

    fn key_package<R: traits::HashReference<V>, K: traits::KeyPackage<V>>(
        &self,
        reference: &R,
    ) -> Result<Option<K>, VaultError> {
        self.read(Kind::KeyPackage, reference)
    }

    fn delete_key_package<R: traits::HashReference<V>>(&self, reference: &R) -> Result<(), VaultError> {
        self.delete(Kind::KeyPackage, reference)
    }

    fn write_encryption_key_pair<E: traits::EncryptionKey<V>, K: traits::HpkeKeyPair<V>>(
        &self,
        public: &E,
        pair: &K,
    ) -> Result<(), VaultError> {
        self.write(Kind::EncryptionKey, public, pair)
    }

    fn encryption_key_pair<K: traits::HpkeKeyPair<V>, E: traits::EncryptionKey<V>>(
        &self,
        public: &E,
    ) -> Result<Option<K>, VaultError> {
        self.read(Kind::EncryptionKey, public)
    }

    fn delete_encryption_key_pair<E: traits::EncryptionKey<V>>(&self, public: &E) -> Result<(), VaultError> {
        self.delete(Kind::EncryptionKey, public)
    }

    fn write_signature_key_pair<P: traits::SignaturePublicKey<V>, K: traits::SignatureKeyPair<V>>(
        &self,
        public: &P,
        pair: &K,
    ) -> Result<(), VaultError> {
        self.write(Kind::SignatureKey, public, pair)
    }

    fn signature_key_pair<P: traits::SignaturePublicKey<V>, K: traits::SignatureKeyPair<V>>(
        &self,
        public: &P,
    ) -> Result<Option<K>, VaultError> {
        self.read(Kind::SignatureKey, public)
    }

    fn delete_signature_key_pair<P: traits::SignaturePublicKey<V>>(&self, public: &P) -> Result<(), VaultError> {
        self.delete(Kind::SignatureKey, public)
    }

    fn write_psk<I: traits::PskId<V>, B: traits::PskBundle<V>>(&self, id: &I, psk: &B) -> Result<(), VaultError> {
        self.write(Kind::Psk, id, psk)
    }

    fn psk<B: traits::PskBundle<V>, I: traits::PskId<V>>(&self, id: &I) -> Result<Option<B>, VaultError> {
        self.read(Kind::Psk, id)
    }

    fn delete_psk<I: traits::PskId<V>>(&self, id: &I) -> Result<(), VaultError> {
        self.delete(Kind::Psk, id)
    }
}
