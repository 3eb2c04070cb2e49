//! MLS (RFC 9420): groups of devices that agree on keys, epoch by epoch.
//!
//! The only module of the project that names the MLS library (OpenMLS). It speaks plain bytes and the project's own ids;
//! it decides nothing about who may do what (that is [`crate::log::policy`]), but it knows how Stonechat uses MLS and refuses
//! everything else, the same way on every client:
//!
//! - one suite, post-quantum: `MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519` (0x004F);
//! - basic credentials that are an account id and a device id; the signature key is the device's;
//! - commits by members, made of adds, removes, leaves (SelfRemove) and the conversation's state, which stands in a
//!   GroupContext extension of its own ([`STATE_EXTENSION`]); no update proposals, no pre-shared keys, no re-initialisation,
//!   no external commits;
//! - handshakes as PublicMessage: the log encrypts them once more ([`crate::crypto::outer`]);
//! - no key of a past epoch is kept: the log is ordered.
//!
//! A step builds one [`Mls`] over its transaction and hands it to each call. A [`Group`] may stay in memory between steps;
//! whoever abandons a step drops its groups and loads them again.

mod commit;
mod group;
mod join;
mod key_package;
mod provider;
mod storage;

#[cfg(test)]
mod interop;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use ed25519_dalek::Signer as _;
use openmls::prelude::{
    BasicCredential, Capabilities, Ciphersuite, Credential, CredentialType, CredentialWithKey, Extension,
    ExtensionType, Extensions, GroupContext, MlsGroupJoinConfig, PURE_PLAINTEXT_WIRE_FORMAT_POLICY, ProposalType,
    ProtocolVersion, RequiredCapabilitiesExtension, SenderRatchetConfiguration, SignatureScheme, UnknownExtension,
};
use openmls_traits::signatures::SignerError;
use rand_core::CryptoRngCore;
use stonechat_wire::{AccountId, DeviceId};

pub use commit::{Added, Changes, CommitPlan, PendingCommit, StagedCommit};
pub use group::{Group, ReceiveError, Received, StagedProposal};
pub use join::{JoinError, StagedJoin, open_welcome};
pub use key_package::{KeyPackageError, KeyPackageInfo, delete_key_package, generate_key_package, inspect_key_package};

use crate::error::{CoreError, Stop};
use crate::store::{Txn, VaultError};
use provider::Provider;

/// GroupContext extension with the conversation's state: opaque bytes to MLS. From the range for private use.
pub const STATE_EXTENSION: u16 = 0xF100;

/// KeyPackage extension with the moment after which the package must not be used: milliseconds since 1970, big-endian.
///
/// MLS's own lifetime is fixed to "always": the library compares it with the system's clock, also when a commit that adds the
/// package is applied, so a client that catches up late would refuse what others applied.
pub const EXPIRY_EXTENSION: u16 = 0xF101;

/// How many messages of one sender may be missing before the next that arrives.
///
/// A member can make others walk a ratchet this far with one worthless message (some tens of milliseconds), so it is bounded;
/// an honest sender's messages are missing only if the server lost them.
pub const SKIPPED_MESSAGES_MAX: u32 = 10_000;

/// How far one sender's messages may be out of order. Their keys are kept that long.
pub const OUT_OF_ORDER_MAX: u32 = 64;

const SUITE: Ciphersuite = Ciphersuite::MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519;

/// The suite that the second implementation of the interoperation test has.
#[cfg(test)]
const CLASSICAL: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// MLS during one step: its transaction and its randomness.
pub struct Mls<'t, 'v> {
    provider: Provider<'t, 'v>,
    suite: Ciphersuite,
}

impl<'t, 'v> Mls<'t, 'v> {
    /// MLS over a step's transaction. Takes 32 bytes of `rng` at once and more as needed.
    pub fn new(txn: &'t mut Txn<'v>, rng: &'t mut dyn CryptoRngCore) -> Self {
        Self { provider: Provider::new(txn, rng, &JOIN_CONFIG), suite: SUITE }
    }

    /// On [`CLASSICAL`].
    #[cfg(test)]
    fn classical(txn: &'t mut Txn<'v>, rng: &'t mut dyn CryptoRngCore) -> Self {
        Self { suite: CLASSICAL, ..Self::new(txn, rng) }
    }

    /// The vault's failure if there was one, otherwise what the library says.
    fn failed(&self, error: impl std::fmt::Display) -> MlsError {
        match self.provider.take_failure() {
            Some(error) => MlsError::Storage(error),
            None => MlsError::Library(error.to_string()),
        }
    }
}

/// Why something that this device wanted to do did not happen. Nothing changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MlsError {
    /// The vault failed.
    #[error(transparent)]
    Storage(#[from] VaultError),
    /// A commit of this device is pending: merge or clear it first.
    #[error("a commit is pending")]
    CommitPending,
    /// Somebody's leave waits for a commit; until then the epoch carries no messages (RFC 9420 section 15.2).
    #[error("a leave waits to be committed")]
    LeavePending,
    /// This device is no member any more.
    #[error("this device is not in the group")]
    NotMember,
    /// The plan of a commit cannot be carried out.
    #[error("the commit cannot be made: {0}")]
    Plan(String),
    /// The library's word for our own mistake.
    #[error("MLS: {0}")]
    Library(String),
}

/// What a failure of MLS on our own data means: the vault, or a fault of ours.
impl From<MlsError> for CoreError {
    fn from(error: MlsError) -> Self {
        match error {
            MlsError::Storage(error) => Self::Vault(error),
            other => Self::Bug(format!("MLS: {other}")),
        }
    }
}

impl<R> From<MlsError> for Stop<R> {
    fn from(error: MlsError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<KeyPackageError> for CoreError {
    fn from(error: KeyPackageError) -> Self {
        match error {
            KeyPackageError::Storage(error) => Self::Vault(error),
            other => Self::Bug(format!("MLS: {other}")),
        }
    }
}

/// The device's Ed25519 key as MLS uses it: in leaves, messages and commits.
pub struct Signer(ed25519_dalek::SigningKey);

impl Signer {
    /// From the 32 secret bytes of RFC 8032.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    fn credential(&self, me: LeafIdentity) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(me.to_bytes()).into(),
            signature_key: self.public().as_slice().into(),
        }
    }
}

impl openmls_traits::signatures::Signer for Signer {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.0.sign(payload).to_bytes().to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// Whose leaf it is, as its credential says. Whether that is true, the account's log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafIdentity {
    /// The person.
    pub account: AccountId,
    /// Which of their devices.
    pub device: DeviceId,
}

impl LeafIdentity {
    /// The basic credential's identity: 32 bytes of account, 16 of device.
    fn to_bytes(self) -> Vec<u8> {
        [self.account.0.as_slice(), &self.device.0].concat()
    }

    fn parse(credential: &Credential) -> Result<Self, &'static str> {
        const SHAPE: &str = "a credential is not an account and a device";
        if credential.credential_type() != CredentialType::Basic {
            return Err(SHAPE);
        }
        let (account, device) = credential.serialized_content().split_at_checked(32).ok_or(SHAPE)?;
        Ok(Self {
            account: AccountId(account.try_into().map_err(|_| SHAPE)?),
            device: DeviceId(device.try_into().map_err(|_| SHAPE)?),
        })
    }
}

/// A member's place in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf {
    /// Index of the leaf in the tree.
    pub index: u32,
    /// Whose it is.
    pub identity: LeafIdentity,
    /// Ed25519 public key.
    pub signature_key: [u8; 32],
}

impl Leaf {
    fn parse(index: u32, credential: &Credential, signature_key: &[u8]) -> Result<Self, &'static str> {
        let signature_key = signature_key.try_into().map_err(|_| "a signature key is not 32 bytes")?;
        Ok(Self { index, identity: LeafIdentity::parse(credential)?, signature_key })
    }
}

/// What every leaf of ours can do, and every leaf in our groups must.
fn capabilities(suite: Ciphersuite) -> Capabilities {
    Capabilities::new(
        Some(&[ProtocolVersion::Mls10]),
        Some(&[suite]),
        Some(&[
            ExtensionType::Unknown(STATE_EXTENSION),
            ExtensionType::Unknown(EXPIRY_EXTENSION),
            ExtensionType::LastResort,
        ]),
        Some(&[ProposalType::SelfRemove]),
        Some(&[CredentialType::Basic]),
    )
}

fn required_capabilities() -> RequiredCapabilitiesExtension {
    RequiredCapabilitiesExtension::new(
        &[ExtensionType::Unknown(STATE_EXTENSION)],
        &[ProposalType::SelfRemove],
        &[CredentialType::Basic],
    )
}

/// The GroupContext extensions of every group of ours: what members must support, and the state.
fn context_extensions(state: Vec<u8>) -> Result<Extensions<GroupContext>, MlsError> {
    Extensions::from_vec(vec![
        Extension::RequiredCapabilities(required_capabilities()),
        Extension::Unknown(STATE_EXTENSION, UnknownExtension(state)),
    ])
    .map_err(|e| MlsError::Library(e.to_string()))
}

/// The state in a group's extensions, which must be those of [`context_extensions`] and nothing else.
fn state_of(extensions: &Extensions<GroupContext>) -> Result<&[u8], &'static str> {
    if extensions.iter().count() != 2 || extensions.required_capabilities() != Some(&required_capabilities()) {
        return Err("the group's extensions are not those of a conversation");
    }
    match extensions.unknown(STATE_EXTENSION) {
        Some(UnknownExtension(state)) => Ok(state),
        None => Err("the group has no state"),
    }
}

/// How this program runs every group, whoever made it and whenever.
static JOIN_CONFIG: LazyLock<MlsGroupJoinConfig> = LazyLock::new(|| {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .padding_size(0)
        .max_past_epochs(0)
        .number_of_resumption_psks(0)
        .use_ratchet_tree_extension(true)
        .sender_ratchet_configuration(SenderRatchetConfiguration::new(OUT_OF_ORDER_MAX, SKIPPED_MESSAGES_MAX))
        .build()
});
