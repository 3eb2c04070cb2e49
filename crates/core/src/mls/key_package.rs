//! Key packages (RFC 9420 section 10): what somebody needs to add this device to a group.
//!
//! Their private parts stay in the vault until a welcome uses them ([`super::open_welcome`]) or they are deleted. The last
//! resort stays when it is used, because others may be using it too; replace it soon after.

use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::{
    Capabilities, Extension, ExtensionType, Extensions, KeyPackage, Lifetime, MlsMessageBodyIn, MlsMessageIn,
    MlsMessageOut, ProposalType, ProtocolVersion, UnknownExtension, VerifiableCiphersuite,
};
use openmls_traits::OpenMlsProvider as _;

use super::{EXPIRY_EXTENSION, LeafIdentity, Mls, MlsError, STATE_EXTENSION, Signer, capabilities};
use crate::store::VaultError;

/// What a valid key package says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPackageInfo {
    /// Whose device it adds.
    pub identity: LeafIdentity,
    /// The device's Ed25519 public key.
    pub signature_key: [u8; 32],
    /// RFC 9420 section 5.2.
    pub reference: [u8; 32],
    /// Whether it may be used more than once.
    pub last_resort: bool,
    /// Not to be used after this moment, in milliseconds since 1970.
    pub not_after: u64,
}

/// Why a key package cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyPackageError {
    /// Whoever made it is to blame.
    #[error("the key package is not valid: {0}")]
    Invalid(String),
    /// The vault failed.
    #[error(transparent)]
    Storage(#[from] VaultError),
}

/// Makes a key package and keeps its private parts in the vault. Returns an MLSMessage for others to use until
/// `lifetime_secs` from `now_ms`.
///
/// # Errors
/// [`MlsError`].
pub fn generate_key_package(
    mls: &Mls<'_, '_>,
    signer: &Signer,
    me: LeafIdentity,
    now_ms: u64,
    lifetime_secs: u64,
    last_resort: bool,
) -> Result<Vec<u8>, MlsError> {
    let not_after = now_ms.saturating_add(lifetime_secs.saturating_mul(1_000));
    let mut extensions = vec![Extension::Unknown(EXPIRY_EXTENSION, UnknownExtension(not_after.to_be_bytes().to_vec()))];
    if last_resort {
        extensions.push(Extension::LastResort(Default::default()));
    }
    let bundle = KeyPackage::builder()
        .leaf_node_capabilities(capabilities(mls.suite))
        .key_package_lifetime(always())
        .key_package_extensions(Extensions::from_vec(extensions).map_err(|e| mls.failed(e))?)
        .build(mls.suite, &mls.provider, signer, signer.credential(me))
        .map_err(|e| mls.failed(e))?;
    MlsMessageOut::from(bundle.into_key_package()).tls_serialize_detached().map_err(|e| mls.failed(e))
}

/// Checks a key package whole: signatures, suite, capabilities, shape. Whether it is still in time and whether the account
/// really has that device is for the caller.
///
/// # Errors
/// [`KeyPackageError`].
pub fn inspect_key_package(mls: &Mls<'_, '_>, bytes: &[u8]) -> Result<KeyPackageInfo, KeyPackageError> {
    let key_package = parse(mls, bytes)?;
    describe(mls, &key_package).map_err(|why| KeyPackageError::Invalid(why.into()))
}

/// Deletes the private parts of a key package, if they are there.
///
/// # Errors
/// When the vault cannot be used.
pub fn delete_key_package(mls: &Mls<'_, '_>, reference: &[u8; 32]) -> Result<(), MlsError> {
    Ok(mls.provider.storage().forget_key_package(reference)?)
}

/// A verified key package of our suite that supports what our groups need.
pub(super) fn parse(mls: &Mls<'_, '_>, bytes: &[u8]) -> Result<KeyPackage, KeyPackageError> {
    let invalid = |why: &dyn std::fmt::Display| KeyPackageError::Invalid(why.to_string());
    let MlsMessageBodyIn::KeyPackage(unverified) =
        MlsMessageIn::tls_deserialize_exact(bytes).map_err(|e| invalid(&e))?.extract()
    else {
        return Err(invalid(&"it is another kind of message"));
    };
    let key_package = unverified.validate(mls.provider.crypto(), ProtocolVersion::Mls10).map_err(|e| invalid(&e))?;
    if key_package.ciphersuite() != mls.suite {
        return Err(invalid(&"it is of another suite"));
    }
    if !suffices(mls, key_package.leaf_node().capabilities()) {
        return Err(invalid(&"it lacks capabilities"));
    }
    Ok(key_package)
}

fn suffices(mls: &Mls<'_, '_>, capabilities: &Capabilities) -> bool {
    capabilities.versions().contains(&ProtocolVersion::Mls10)
        && capabilities.ciphersuites().contains(&VerifiableCiphersuite::from(mls.suite))
        && capabilities.extensions().contains(&ExtensionType::Unknown(STATE_EXTENSION))
        && capabilities.proposals().contains(&ProposalType::SelfRemove)
}

/// The only MLS lifetime of ours; see [`EXPIRY_EXTENSION`].
pub(super) fn always() -> Lifetime {
    Lifetime::init(0, u64::MAX)
}

/// What a verified key package says.
pub(super) fn describe(mls: &Mls<'_, '_>, key_package: &KeyPackage) -> Result<KeyPackageInfo, &'static str> {
    let leaf = key_package.leaf_node();
    let expiry = key_package.extensions().iter().find_map(|extension| match extension {
        Extension::Unknown(EXPIRY_EXTENSION, UnknownExtension(bytes)) => <[u8; 8]>::try_from(bytes.as_slice()).ok(),
        _ => None,
    });
    if *key_package.life_time() != always() {
        // The library compares it with the clock: a commit that adds such a package would divide a group by its clocks.
        return Err("its MLS lifetime is not without end");
    }
    let reference = key_package.hash_ref(mls.provider.crypto()).map_err(|_| "it has no reference")?;
    Ok(KeyPackageInfo {
        identity: LeafIdentity::parse(leaf.credential())?,
        signature_key: leaf.signature_key().as_slice().try_into().map_err(|_| "its signature key is not 32 bytes")?,
        reference: reference.as_slice().try_into().map_err(|_| "its reference is not 32 bytes")?,
        last_resort: key_package.last_resort(),
        not_after: u64::from_be_bytes(expiry.ok_or("it does not say when it expires")?),
    })
}
