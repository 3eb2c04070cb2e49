//! Joining a group through a welcome (RFC 9420 section 12.4.3.1), in two halves: look first, then join.

use openmls::prelude::tls_codec::Deserialize as _;
use openmls::prelude::{
    GroupId, MlsGroup, MlsMessageBodyIn, MlsMessageIn, ProcessedWelcome, StagedWelcome, WelcomeError,
};
use openmls_traits::OpenMlsProvider as _;

use super::group::{exported, leaves_of};
use super::{Group, JOIN_CONFIG, Leaf, Mls, MlsError, key_package, state_of};
use crate::crypto::Secret;
use crate::store::VaultError;

/// Why a welcome leads nowhere.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JoinError {
    /// It is for a key package whose private parts this device does not have (any more).
    #[error("the welcome is for a key package that this device does not have")]
    NoKeyPackage,
    /// Its sender misbehaved.
    #[error("the welcome is not valid: {0}")]
    Invalid(String),
    /// The vault failed.
    #[error(transparent)]
    Storage(#[from] VaultError),
}

/// A welcome that was opened and verified. Dropping it joins nothing.
pub struct StagedJoin {
    inner: StagedWelcome,
    /// The group.
    pub group_id: [u8; 32],
    /// The epoch that this device would enter.
    pub epoch: u64,
    /// Who made the commit that adds this device.
    pub sender: Leaf,
    /// This device's leaf.
    pub own_leaf: Leaf,
    /// Everybody, this device included, by leaf index.
    pub members: Vec<Leaf>,
    /// The conversation's state.
    pub state: Vec<u8>,
    /// The key package that it used.
    pub key_package: [u8; 32],
    /// Whether that is the last resort, which should now be replaced.
    pub last_resort: bool,
}

/// Opens a welcome. The private parts of the key package that it uses are deleted in the same step, unless it is the last
/// resort; whoever wants to look without consequences drops the transaction.
///
/// The sender's claims are verified as far as MLS goes; whether the members are who they say, the caller checks.
///
/// # Errors
/// [`JoinError`].
pub fn open_welcome(mls: &Mls<'_, '_>, bytes: &[u8]) -> Result<StagedJoin, JoinError> {
    let invalid = |why: &dyn std::fmt::Display| JoinError::Invalid(why.to_string());
    let MlsMessageBodyIn::Welcome(welcome) =
        MlsMessageIn::tls_deserialize_exact(bytes).map_err(|e| invalid(&e))?.extract()
    else {
        return Err(invalid(&"it is another kind of message"));
    };
    if welcome.ciphersuite() != mls.suite {
        return Err(invalid(&"it is of another suite"));
    }
    let failed = |error: WelcomeError<VaultError>| match (mls.provider.take_failure(), error) {
        (Some(error), _) | (None, WelcomeError::StorageError(error)) => JoinError::Storage(error),
        (None, WelcomeError::NoMatchingKeyPackage) => JoinError::NoKeyPackage,
        (None, error) => JoinError::Invalid(error.to_string()),
    };
    let processed = ProcessedWelcome::new_from_welcome(&mls.provider, &JOIN_CONFIG, welcome).map_err(failed)?;
    if !processed.psks().is_empty() {
        return Err(invalid(&"it wants a pre-shared key"));
    }
    let own_package = processed.own_key_package().cloned().ok_or(JoinError::NoKeyPackage)?;
    let package = key_package::describe(mls, &own_package).map_err(|e| invalid(&e))?;
    let inner = openmls::prelude::JoinBuilder::new(&mls.provider, processed)
        // A device that fell behind is added again under the same id; `accept` removes what is left of the old group.
        .replace_old_group()
        .skip_lifetime_validation()
        .build()
        .map_err(failed)?;

    let context = inner.group_context();
    let group_id = context.group_id().as_slice().try_into().map_err(|_| invalid(&"its group id is not 32 bytes"))?;
    let epoch = context.epoch().as_u64();
    let state = state_of(context.extensions()).map_err(|e| invalid(&e))?.to_vec();
    let members = leaves_of(inner.members()).map_err(|e| invalid(&e))?;
    let leaf = |index: u32| members.iter().find(|leaf| leaf.index == index).copied();
    let sender = leaf(inner.welcome_sender_index().u32()).ok_or_else(|| invalid(&"its sender is not a member"))?;
    let own_leaf = leaf(inner.own_leaf_index().u32()).ok_or_else(|| invalid(&"this device is not a member"))?;
    // The library finds this device's leaf by signature key alone; an old leaf of this device would have other keys.
    if inner.own_leaf_node() != Some(own_package.leaf_node()) {
        return Err(invalid(&"this device's leaf is not that of its key package"));
    }
    if sender.index == own_leaf.index {
        return Err(invalid(&"it claims to come from this device"));
    }
    Ok(StagedJoin {
        group_id,
        epoch,
        sender,
        own_leaf,
        members,
        state,
        key_package: package.reference,
        last_resort: package.last_resort,
        inner,
    })
}

impl StagedJoin {
    /// A secret of the epoch that this device would enter, RFC 9420 section 8.5.
    ///
    /// # Errors
    /// [`MlsError::Library`].
    pub fn export(&self, mls: &Mls<'_, '_>, label: &str, context: &[u8]) -> Result<Secret, MlsError> {
        exported(mls, self.inner.export_secret(mls.provider.crypto(), label, context, 32))
    }

    /// Joins. What the vault still has of an earlier membership in the same group is deleted.
    ///
    /// # Errors
    /// [`MlsError`].
    pub fn accept(self, mls: &Mls<'_, '_>) -> Result<Group, MlsError> {
        let storage = mls.provider.storage();
        if let Some(mut old) = MlsGroup::load(storage, &GroupId::from_slice(&self.group_id))? {
            old.delete(storage)?;
        }
        let inner = self.inner.into_group(&mls.provider).map_err(|e| mls.failed(e))?;
        Group::new(inner).map_err(|e| MlsError::Library(e.into()))
    }
}
