//! One group of devices: what it is, its messages and its leaves. Commits are in [`super::commit`].

use openmls::framing::errors::MessageDecryptionError;
use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::{
    ExportSecretError, GroupId, Member, MlsGroup, MlsGroupCreateConfig, MlsGroupStateError, MlsMessageIn,
    ProcessMessageError, ProcessedMessageContent, Proposal, ProtocolMessage, QueuedProposal, Sender, StageCommitError,
    ValidationError,
};
use openmls_traits::OpenMlsProvider as _;
use zeroize::Zeroizing;

use super::{
    JOIN_CONFIG, Leaf, LeafIdentity, Mls, MlsError, Signer, StagedCommit, capabilities, context_extensions,
    key_package, state_of,
};
use crate::crypto::Secret;
use crate::store::VaultError;

/// A group that this device is a member of.
pub struct Group {
    pub(super) inner: MlsGroup,
    /// By leaf index.
    pub(super) members: Vec<Leaf>,
}

/// What a message turned out to be.
pub enum Received {
    /// A message of a member to all. It cannot be received again.
    Application {
        /// Who wrote it.
        sender: Leaf,
        /// What they wrote, without the padding that they may have put inside.
        plaintext: Vec<u8>,
        /// What they said beside it, authenticated.
        aad: Vec<u8>,
    },
    /// A member proposes something; nothing happens until [`Group::accept_proposal`].
    Proposal(StagedProposal),
    /// A member opens the next epoch; nothing happens until [`Group::merge`].
    Commit(StagedCommit),
}

/// Why a message was not received. The group and the transaction are as they were.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReceiveError {
    /// Its key was used before: the message was received already, or was so late that its key is gone.
    #[error("the message was received before")]
    Duplicate,
    /// This device wrote it, or it is this device's pending commit. MLS cannot read its own messages.
    #[error("the message is this device's own")]
    Own,
    /// This device made the commit and has lost the keys that it made with it. It has to be added again.
    #[error("the commit is this device's own, and its keys are gone")]
    OwnCommitLost,
    /// It belongs to another epoch.
    #[error("the message is of epoch {theirs}")]
    WrongEpoch {
        /// Which.
        theirs: u64,
    },
    /// More messages of the sender are missing than this client walks past ([`super::SKIPPED_MESSAGES_MAX`]).
    #[error("too many messages of the sender are missing")]
    Gap,
    /// A member or the server misbehaved.
    #[error("the message is not valid: {0}")]
    Invalid(String),
    /// The vault failed.
    #[error(transparent)]
    Storage(#[from] VaultError),
}

/// A proposal that was verified.
pub struct StagedProposal {
    inner: Box<QueuedProposal>,
    /// Who made it.
    pub sender: Leaf,
}

impl StagedProposal {
    /// The leaf that leaves, if that is what was proposed. Nothing else is ever accepted.
    pub fn leaving(&self) -> Option<Leaf> {
        matches!(self.inner.proposal(), Proposal::SelfRemove).then_some(self.sender)
    }
}

impl Group {
    pub(super) fn new(inner: MlsGroup) -> Result<Self, &'static str> {
        state_of(inner.extensions())?;
        let members = leaves_of(inner.members())?;
        Ok(Self { inner, members })
    }

    /// Makes a group with this device as its only member.
    ///
    /// # Errors
    /// [`MlsError`]; a group with that id must not exist.
    pub fn create(
        mls: &Mls<'_, '_>,
        signer: &Signer,
        me: LeafIdentity,
        group_id: &[u8; 32],
        state: Vec<u8>,
    ) -> Result<Self, MlsError> {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(mls.suite)
            .capabilities(capabilities(mls.suite))
            .lifetime(key_package::always())
            .wire_format_policy(JOIN_CONFIG.wire_format_policy())
            .max_past_epochs(0)
            .number_of_resumption_psks(0)
            .use_ratchet_tree_extension(true)
            .sender_ratchet_configuration(*JOIN_CONFIG.sender_ratchet_configuration())
            .with_group_context_extensions(context_extensions(state)?)
            .build();
        let id = GroupId::from_slice(group_id);
        let inner = MlsGroup::new_with_group_id(&mls.provider, signer, &config, id, signer.credential(me))
            .map_err(|e| mls.failed(e))?;
        Self::new(inner).map_err(|e| MlsError::Library(e.into()))
    }

    /// Reads a group from the vault.
    ///
    /// # Errors
    /// When the vault cannot be read, or what it has is not a group of ours.
    pub fn load(mls: &Mls<'_, '_>, group_id: &[u8; 32]) -> Result<Option<Self>, MlsError> {
        let inner = MlsGroup::load(mls.provider.storage(), &GroupId::from_slice(group_id))?;
        inner.map(|inner| Self::new(inner).map_err(|e| MlsError::Storage(VaultError { detail: e.into() }))).transpose()
    }

    /// Deletes everything that the vault has of the group.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub fn delete(mut self, mls: &Mls<'_, '_>) -> Result<(), MlsError> {
        Ok(self.inner.delete(mls.provider.storage())?)
    }

    /// Counts the commits since the group was made.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch().as_u64()
    }

    /// This device's leaf index.
    pub fn own_leaf(&self) -> u32 {
        self.inner.own_leaf_index().u32()
    }

    /// Everybody, by leaf index.
    pub fn members(&self) -> &[Leaf] {
        &self.members
    }

    /// The member at a leaf index.
    pub fn member(&self, index: u32) -> Option<Leaf> {
        self.members.binary_search_by_key(&index, |leaf| leaf.index).ok().map(|at| self.members[at])
    }

    /// The conversation's state.
    pub fn state(&self) -> &[u8] {
        state_of(self.inner.extensions()).unwrap_or_default()
    }

    /// Whether this device is still a member.
    pub fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    /// A secret of this epoch that all members derive alike, RFC 9420 section 8.5.
    ///
    /// # Errors
    /// [`MlsError::NotMember`].
    pub fn export(&self, mls: &Mls<'_, '_>, label: &str, context: &[u8]) -> Result<Secret, MlsError> {
        exported(mls, self.inner.export_secret(mls.provider.crypto(), label, context, 32))
    }

    /// A message to all other members. This device cannot read it: whoever wants the plaintext later keeps it.
    ///
    /// # Errors
    /// [`MlsError::LeavePending`], [`MlsError::NotMember`].
    pub fn encrypt(
        &mut self,
        mls: &Mls<'_, '_>,
        signer: &Signer,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, MlsError> {
        if !self.is_active() {
            return Err(MlsError::NotMember);
        }
        if self.inner.has_pending_proposals() {
            return Err(MlsError::LeavePending);
        }
        self.inner.set_aad(aad.to_vec());
        let message = self.inner.create_message(&mls.provider, signer, plaintext).map_err(|e| mls.failed(e))?;
        message.tls_serialize_detached().map_err(|e| mls.failed(e))
    }

    /// Verifies what came from the log, and decrypts it if it is encrypted.
    ///
    /// A key is used up only by a message that is valid as a whole: garbage under somebody's name costs them nothing.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub fn receive(&mut self, mls: &Mls<'_, '_>, bytes: &[u8]) -> Result<Received, ReceiveError> {
        let invalid = |why: &str| ReceiveError::Invalid(why.into());
        let message = MlsMessageIn::tls_deserialize_exact(bytes).map_err(|e| ReceiveError::Invalid(e.to_string()))?;
        let message: ProtocolMessage =
            message.try_into_protocol_message().map_err(|e| ReceiveError::Invalid(e.to_string()))?;
        if message.group_id() != self.inner.group_id() {
            return Err(invalid("it is for another group"));
        }
        if message.is_external() {
            return Err(invalid("it does not come from a member"));
        }
        if message.epoch() != self.inner.epoch() {
            return Err(ReceiveError::WrongEpoch { theirs: message.epoch().as_u64() });
        }
        let processed =
            self.inner.process_message(&mls.provider, message).map_err(|e| match mls.provider.take_failure() {
                Some(error) => ReceiveError::Storage(error),
                None => refused(e),
            })?;
        let Sender::Member(index) = *processed.sender() else { return Err(invalid("it does not come from a member")) };
        let sender = self.member(index.u32()).ok_or_else(|| invalid("its sender is not a member"))?;
        let aad = processed.aad().to_vec();
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => {
                Ok(Received::Application { sender, plaintext: message.into_bytes(), aad })
            }
            ProcessedMessageContent::ProposalMessage(inner) => Ok(Received::Proposal(StagedProposal { inner, sender })),
            ProcessedMessageContent::StagedCommitMessage(inner) => {
                let changes = self.changes(mls, &inner, sender).map_err(invalid)?;
                Ok(Received::Commit(StagedCommit { inner, changes, aad }))
            }
            ProcessedMessageContent::OwnPrivateMessage | ProcessedMessageContent::OwnPendingCommit => {
                Err(ReceiveError::Own)
            }
            ProcessedMessageContent::ExternalJoinProposalMessage(_) => Err(invalid("it does not come from a member")),
        }
    }

    /// Keeps a leave until somebody commits it. Nobody can write in this epoch any more, except commits.
    ///
    /// # Errors
    /// [`MlsError::Plan`] if it is not a leave.
    pub fn accept_proposal(&mut self, mls: &Mls<'_, '_>, staged: StagedProposal) -> Result<(), MlsError> {
        let Some(leaf) = staged.leaving() else { return Err(MlsError::Plan("only leaves are proposed".into())) };
        if self.pending_removals().contains(&leaf.index) {
            return Ok(());
        }
        Ok(self.inner.store_pending_proposal(mls.provider.storage(), *staged.inner)?)
    }

    /// The leaves whose leave waits for a commit.
    pub fn pending_removals(&self) -> Vec<u32> {
        let mut leaves: Vec<u32> = self.inner.pending_proposals().filter_map(leaver).collect();
        leaves.sort_unstable();
        leaves
    }

    /// Proposes that this device leaves; another member has to commit it. It counts as accepted here at once, and for this
    /// epoch only.
    ///
    /// # Errors
    /// [`MlsError::CommitPending`]; [`MlsError::LeavePending`] if it was proposed in this epoch before.
    pub fn propose_leave(&mut self, mls: &Mls<'_, '_>, signer: &Signer) -> Result<Vec<u8>, MlsError> {
        self.operational()?;
        if self.pending_removals().contains(&self.own_leaf()) {
            return Err(MlsError::LeavePending);
        }
        self.inner.set_aad(Vec::new());
        let message = self.inner.leave_group_via_self_remove(&mls.provider, signer).map_err(|e| mls.failed(e))?;
        message.tls_serialize_detached().map_err(|e| mls.failed(e))
    }

    pub(super) fn operational(&self) -> Result<(), MlsError> {
        match (self.is_active(), self.pending()) {
            (false, _) => Err(MlsError::NotMember),
            (true, true) => Err(MlsError::CommitPending),
            (true, false) => Ok(()),
        }
    }
}

/// The leaf that a proposal to leave is about.
pub(super) fn leaver(proposal: &QueuedProposal) -> Option<u32> {
    match (proposal.proposal(), proposal.sender()) {
        (Proposal::SelfRemove, Sender::Member(index)) => Some(index.u32()),
        _ => None,
    }
}

pub(super) fn leaves_of(members: impl Iterator<Item = Member>) -> Result<Vec<Leaf>, &'static str> {
    members.map(|member| Leaf::parse(member.index.u32(), &member.credential, &member.signature_key)).collect()
}

pub(super) fn exported(mls: &Mls<'_, '_>, secret: Result<Vec<u8>, ExportSecretError>) -> Result<Secret, MlsError> {
    let secret = Zeroizing::new(secret.map_err(|e| match e {
        ExportSecretError::GroupStateError(MlsGroupStateError::UseAfterEviction) => MlsError::NotMember,
        e => mls.failed(e),
    })?);
    match secret.as_slice().try_into() {
        Ok(bytes) => Ok(Secret::from_bytes(bytes)),
        Err(_) => Err(MlsError::Library("an exported secret has another length".into())),
    }
}

/// Sorts the library's reasons by what the caller does about them.
fn refused(error: ProcessMessageError<VaultError>) -> ReceiveError {
    match error {
        ProcessMessageError::StorageError(error) => ReceiveError::Storage(error),
        ProcessMessageError::InvalidCommit(StageCommitError::OwnCommitMismatch) => ReceiveError::OwnCommitLost,
        ProcessMessageError::ValidationError(ValidationError::UnableToDecrypt(
            MessageDecryptionError::SecretTreeError(error),
        )) => {
            // The library does not export this type; its `Debug` is the variant's name.
            match format!("{error:?}").as_str() {
                "SecretReuseError" | "TooDistantInThePast" => ReceiveError::Duplicate,
                "TooDistantInTheFuture" => ReceiveError::Gap,
                _ => ReceiveError::Invalid(error.to_string()),
            }
        }
        error => ReceiveError::Invalid(error.to_string()),
    }
}
