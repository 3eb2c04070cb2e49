//! What OpenMLS asks of its surroundings: storage, cryptography and randomness, all belonging to one step.
//!
//! Randomness is the step's: the library's own generator is never asked, also not for HPKE, so a step can be replayed from
//! its seed.
//!
//! There is one suite, [`super::SUITE`]. What others would need is refused here, so that no message can bring anybody down to a
//! classical one, and nothing of it is linked.

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::LazyLock;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use hpke::aead::AesGcm128;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal_with_rng};
use openmls::group::MlsGroupJoinConfig;
use openmls::prelude::tls_codec::SecretVLBytes;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::OpenMlsProvider;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::random::OpenMlsRand;
use openmls_traits::types::{
    AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeAeadType, HpkeCiphertext, HpkeConfig,
    HpkeKdfType, HpkeKemType, HpkeKeyPair, KemOutput, SignatureScheme,
};
use rand_core::CryptoRngCore;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::storage::Store;
use crate::store::{Txn, VaultError};

/// Everything that OpenMLS needs for the calls of one step.
pub(super) struct Provider<'t, 'v> {
    store: Store<'t, 'v>,
    crypto: Crypto,
    rand: Rand<'t>,
}

impl<'t, 'v> Provider<'t, 'v> {
    pub(super) fn new(txn: &'t mut Txn<'v>, rng: &'t mut dyn CryptoRngCore, config: &'t MlsGroupJoinConfig) -> Self {
        let mut seal_seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seal_seed);
        Self { store: Store::new(txn, config), crypto: Crypto { seal_seed }, rand: Rand(RefCell::new(rng)) }
    }

    /// The first failure of the vault since the last call. The library drops or renames some of them, so this is asked after
    /// every call that failed: an unreadable vault must never look like a peer's fault.
    pub(super) fn take_failure(&self) -> Option<VaultError> {
        self.store.take_failure()
    }
}

impl<'t, 'v> OpenMlsProvider for Provider<'t, 'v> {
    type CryptoProvider = Crypto;
    type RandProvider = Rand<'t>;
    type StorageProvider = Store<'t, 'v>;

    fn storage(&self) -> &Self::StorageProvider {
        &self.store
    }

    fn crypto(&self) -> &Self::CryptoProvider {
        &self.crypto
    }

    fn rand(&self) -> &Self::RandProvider {
        &self.rand
    }
}

/// The step's randomness.
pub(super) struct Rand<'t>(RefCell<&'t mut dyn CryptoRngCore>);

impl OpenMlsRand for Rand<'_> {
    type Error = Infallible;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], Infallible> {
        let mut out = [0; N];
        self.0.borrow_mut().fill_bytes(&mut out);
        Ok(out)
    }

    fn random_vec(&self, len: usize) -> Result<Vec<u8>, Infallible> {
        let mut out = vec![0; len];
        self.0.borrow_mut().fill_bytes(&mut out);
        Ok(out)
    }
}

/// RustCrypto's hashes and AEAD, Ed25519, and HPKE (RFC 9180) that encapsulates with this step's randomness.
pub(super) struct Crypto {
    seal_seed: Zeroizing<[u8; 32]>,
}

/// Stateless but for a generator that is never asked.
static RUST_CRYPTO: LazyLock<RustCrypto> = LazyLock::new(RustCrypto::default);

impl OpenMlsCrypto for Crypto {
    fn supports(&self, ciphersuite: Ciphersuite) -> Result<(), CryptoError> {
        if SUITES.contains(&ciphersuite) { Ok(()) } else { Err(CryptoError::UnsupportedCiphersuite) }
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        SUITES.to_vec()
    }

    fn hkdf_extract(&self, hash: HashType, salt: &[u8], ikm: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        RUST_CRYPTO.hkdf_extract(hash, salt, ikm)
    }

    fn hmac(&self, hash: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        RUST_CRYPTO.hmac(hash, key, message)
    }

    fn hkdf_expand(&self, hash: HashType, prk: &[u8], info: &[u8], len: usize) -> Result<SecretVLBytes, CryptoError> {
        RUST_CRYPTO.hkdf_expand(hash, prk, info, len)
    }

    fn hash(&self, hash: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        RUST_CRYPTO.hash(hash, data)
    }

    fn aead_encrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        RUST_CRYPTO.aead_encrypt(alg, key, data, nonce, aad)
    }

    fn aead_decrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        ct_tag: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        RUST_CRYPTO.aead_decrypt(alg, key, ct_tag, nonce, aad)
    }

    fn signature_key_gen(&self, _: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        // Signature keys are the device's; the library makes none.
        Err(CryptoError::UnsupportedSignatureScheme)
    }

    fn verify_signature(
        &self,
        alg: SignatureScheme,
        data: &[u8],
        pk: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        is_ed25519(alg)?;
        let key = VerifyingKey::try_from(pk).map_err(|_| CryptoError::InvalidPublicKey)?;
        let signature = Signature::from_slice(signature).map_err(|_| CryptoError::InvalidSignature)?;
        key.verify_strict(data, &signature).map_err(|_| CryptoError::InvalidSignature)
    }

    fn sign(&self, alg: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        is_ed25519(alg)?;
        let key = SigningKey::try_from(key).map_err(|_| CryptoError::CryptoLibraryError)?;
        Ok(key.sign(data).to_vec())
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        aad: &[u8],
        ptxt: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        #[cfg(test)]
        if is_classical(&config) {
            return RUST_CRYPTO.hpke_seal(config, pk_r, info, aad, ptxt);
        }
        is_post_quantum(&config)?;
        let public = <XWing as Kem>::PublicKey::from_bytes(pk_r).map_err(|_| CryptoError::InvalidPublicKey)?;
        let mut rng = SealRng::new(&self.seal_seed, [pk_r, info, aad, ptxt]);
        let (encapsulated, ciphertext) = single_shot_seal_with_rng::<AesGcm128, HkdfSha256, XWing>(
            &OpModeS::Base,
            &public,
            info,
            ptxt,
            aad,
            &mut rng,
        )
        .map_err(|_| CryptoError::HpkeEncryptionError)?;
        Ok(HpkeCiphertext { kem_output: encapsulated.to_bytes().to_vec().into(), ciphertext: ciphertext.into() })
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        sk_r: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        #[cfg(test)]
        if is_classical(&config) {
            return RUST_CRYPTO.hpke_open(config, input, sk_r, info, aad);
        }
        is_post_quantum(&config)?;
        let failed = |_| CryptoError::HpkeDecryptionError;
        let private = <XWing as Kem>::PrivateKey::from_bytes(sk_r).map_err(failed)?;
        let encapsulated = <XWing as Kem>::EncappedKey::from_bytes(input.kem_output.as_slice()).map_err(failed)?;
        let ciphertext = input.ciphertext.as_slice();
        single_shot_open::<AesGcm128, HkdfSha256, XWing>(&OpModeR::Base, &private, &encapsulated, info, ciphertext, aad)
            .map_err(failed)
    }

    fn hpke_setup_sender_and_export(
        &self,
        _: HpkeConfig,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        // External commits are not made here.
        Err(CryptoError::SenderSetupError)
    }

    fn hpke_setup_receiver_and_export(
        &self,
        _: HpkeConfig,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        // Nor are they followed.
        Err(CryptoError::ReceiverSetupError)
    }

    /// `DeriveKeyPair` of X-Wing, as draft-ietf-hpke-pq has it.
    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
        #[cfg(test)]
        if is_classical(&config) {
            return RUST_CRYPTO.derive_hpke_keypair(config, ikm);
        }
        is_post_quantum(&config)?;
        let (private, public) = XWing::derive_keypair(ikm);
        Ok(HpkeKeyPair { private: private.to_bytes().to_vec().into(), public: public.to_bytes().to_vec() })
    }
}

fn is_ed25519(alg: SignatureScheme) -> Result<(), CryptoError> {
    if alg == SignatureScheme::ED25519 { Ok(()) } else { Err(CryptoError::UnsupportedSignatureScheme) }
}

/// What [`super::SUITE`] seals with.
fn is_post_quantum(config: &HpkeConfig) -> Result<(), CryptoError> {
    match config {
        HpkeConfig(HpkeKemType::XWingKemDraft6, HpkeKdfType::HkdfSha256, HpkeAeadType::AesGcm128) => Ok(()),
        _ => Err(CryptoError::UnsupportedCiphersuite),
    }
}

/// What [`super::CLASSICAL`] seals with.
#[cfg(test)]
fn is_classical(config: &HpkeConfig) -> bool {
    matches!(config, HpkeConfig(HpkeKemType::DhKem25519, HpkeKdfType::HkdfSha256, HpkeAeadType::AesGcm128))
}

#[cfg(not(test))]
const SUITES: [Ciphersuite; 1] = [super::SUITE];
#[cfg(test)]
const SUITES: [Ciphersuite; 2] = [super::SUITE, super::CLASSICAL];

/// The randomness of one encapsulation: SHA-256 in counter mode, keyed by the step's seed and everything that is sealed.
///
/// The library encapsulates to several members in parallel; bound to its input, a ciphertext does not depend on who came
/// first.
struct SealRng {
    key: Zeroizing<[u8; 32]>,
    counter: u64,
}

impl SealRng {
    fn new(seed: &[u8; 32], inputs: [&[u8]; 4]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"stonechat v1 hpke encapsulation");
        hash.update(seed);
        for input in inputs {
            hash.update((input.len() as u64).to_be_bytes());
            hash.update(input);
        }
        Self { key: Zeroizing::new(hash.finalize().into()), counter: 0 }
    }
}

impl TryRng for SealRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(32) {
            let block = Zeroizing::new(<[u8; 32]>::from(
                Sha256::new_with_prefix(*self.key).chain_update(self.counter.to_be_bytes()).finalize(),
            ));
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.counter += 1;
        }
        Ok(())
    }
}

impl TryCryptoRng for SealRng {}
