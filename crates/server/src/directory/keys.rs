//! The directory's keys: one seed, from which come the VRF key of the key directory and the key that signs checkpoints.

use akd::ecvrf::{VRFKeyStorage, VRFPrivateKey, VRFPublicKey, VrfError};
use async_trait::async_trait;
use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};
use stonechat_directory::note::KeyKind;
use stonechat_directory::{NoteError, VerifierKey};
use zeroize::Zeroizing;

/// The directory's secret keys. Whoever has them can publish a directory of their own: witnesses and clients notice that it
/// does not continue the one that they know.
#[derive(Clone)]
pub struct DirectoryKeys {
    vrf: Zeroizing<[u8; 32]>,
    signing: SigningKey,
}

impl std::fmt::Debug for DirectoryKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DirectoryKeys(..)")
    }
}

impl DirectoryKeys {
    /// The keys of a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let derive = |label: &[u8]| Sha256::new_with_prefix(label).chain_update(seed).finalize().into();
        let vrf: [u8; 32] = derive(b"stonechat v1 directory vrf");
        let log: Zeroizing<[u8; 32]> = Zeroizing::new(derive(b"stonechat v1 directory log"));
        Self { vrf: Zeroizing::new(vrf), signing: SigningKey::from_bytes(&log) }
    }

    /// The key that signs checkpoints.
    pub(crate) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The origin of a directory whose operator has not named one: made from its key, so that no two share it.
    pub(crate) fn default_origin(&self) -> String {
        let hash = Sha256::digest(self.signing.verifying_key().as_bytes());
        format!("stonechat/{}", hex::encode(&hash[..8]))
    }

    /// The log's verifier key under an origin.
    pub(crate) fn verifier(&self, origin: &str) -> Result<VerifierKey, NoteError> {
        VerifierKey::new(origin, KeyKind::Log, self.signing.verifying_key().to_bytes())
    }

    /// The VRF public key.
    pub(crate) fn vrf_public(&self) -> [u8; 32] {
        let key = VRFPrivateKey::try_from(&self.vrf[..]).expect("any 32 bytes are a VRF key");
        VRFPublicKey::from(&key).to_bytes()
    }
}

#[async_trait]
impl VRFKeyStorage for DirectoryKeys {
    async fn retrieve(&self) -> Result<Vec<u8>, VrfError> {
        Ok(self.vrf.to_vec())
    }
}
