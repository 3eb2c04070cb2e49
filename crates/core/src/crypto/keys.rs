//! Secrets and every derivation of one, in this one file: labels, what goes in, what comes out.
//!
//! | label | from | gives |
//! |---|---|---|
//! | [`LABEL_RECOVERY`] | recovery phrase | Ed25519 key of the account log |
//! | (RFC 9180 `DeriveKeyPair`) | inbox seed | X-Wing key pair that envelopes are sealed to |
//! | [`LABEL_READ`] | MLS exporter | read capability of an epoch |
//! | [`LABEL_WRITE`] | MLS exporter | write capability of an epoch |
//! | [`LABEL_OUTER`] | MLS exporter | key of the outer encryption of an epoch |
//!
//! Nothing here reads or writes a store, and nothing here makes randomness: callers bring it.

use std::convert::Infallible;

use bip39::{Language, Mnemonic};
use ed25519_dalek::SigningKey;
use hkdf::Hkdf;
use hpke::kem::XWing;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Kem, Serializable};
use minicbor::{Decode, Encode};
use rand_core::{CryptoRng, RngCore};
use sha2::Sha256;
use stonechat_wire::{Capability, DeviceId, DeviceKeys, EpochCaps};
use zeroize::Zeroizing;

use super::outer::OuterKey;
pub use super::secret::Secret;

/// HKDF-SHA-256 (RFC 5869), no salt, the phrase's entropy as input: seed of the recovery key.
pub const LABEL_RECOVERY: &str = "stonechat v1 recovery";
/// MLS exporter (RFC 9420 §8.5), context the conversation's id, 32 bytes: who knows it reads the entries of the epoch.
pub const LABEL_READ: &str = "stonechat v1 read";
/// As [`LABEL_READ`]: who knows it appends to the epoch.
pub const LABEL_WRITE: &str = "stonechat v1 write";
/// As [`LABEL_READ`]: key of the outer encryption.
pub const LABEL_OUTER: &str = "stonechat v1 outer";

/// Words of a recovery phrase.
pub const RECOVERY_WORDS: usize = 24;

/// Why words are not a recovery phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// Not [`RECOVERY_WORDS`].
    #[error("a recovery phrase has 24 words; these are {found}")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// Not in the list.
    #[error("word {position} is not one of a recovery phrase; check its spelling")]
    Word {
        /// Which, from 1.
        position: usize,
    },
    /// All are words, but not of one phrase.
    #[error("these words do not belong together; check their order and spelling")]
    Checksum,
}

/// The phrase for 32 random bytes: 24 English words of BIP-39 (256 bits and 8 of checksum), one space between.
pub fn recovery_phrase(entropy: &[u8; 32]) -> Zeroizing<String> {
    let mnemonic = Mnemonic::from_entropy_in(Language::English, entropy).expect("32 bytes make 24 words");
    // No word has more than 8 letters: the text never moves, so no copy of it stays behind.
    let mut phrase = Zeroizing::new(String::with_capacity(RECOVERY_WORDS * 9));
    for word in mnemonic.words() {
        if !phrase.is_empty() {
            phrase.push(' ');
        }
        phrase.push_str(word);
    }
    phrase
}

/// The entropy behind a phrase as a person types it: any case, any white space.
///
/// # Errors
/// [`PhraseError`] says what to look at.
pub fn recovery_entropy(phrase: &str) -> Result<Zeroizing<[u8; 32]>, PhraseError> {
    let found = phrase.split_whitespace().count();
    if found != RECOVERY_WORDS {
        return Err(PhraseError::Count { found });
    }
    let phrase = Zeroizing::new(phrase.to_ascii_lowercase());
    let mnemonic = Mnemonic::parse_in_normalized(Language::English, &phrase).map_err(|error| match error {
        bip39::Error::UnknownWord(index) => PhraseError::Word { position: index + 1 },
        _ => PhraseError::Checksum,
    })?;
    let entropy = Zeroizing::new(mnemonic.to_entropy());
    Ok(Zeroizing::new(entropy.as_slice().try_into().expect("24 words make 32 bytes")))
}

/// The key in the account log that the phrase holds: Ed25519 with HKDF of the entropy under [`LABEL_RECOVERY`] as seed.
pub fn recovery_signing_key(entropy: &[u8; 32]) -> SigningKey {
    let mut seed = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, entropy)
        .expand(LABEL_RECOVERY.as_bytes(), seed.as_mut_slice())
        .expect("32 bytes are fewer than 255 hashes");
    SigningKey::from_bytes(&seed)
}

/// The two seeds of a device. They never leave it.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceSecrets {
    /// Ed25519 seed (RFC 8032).
    #[n(0)]
    pub signature: Secret,
    /// Input to X-Wing's `DeriveKeyPair` (draft-ietf-hpke-pq).
    #[n(1)]
    pub inbox: Secret,
}

impl DeviceSecrets {
    /// From random seeds.
    pub const fn from_seeds(signature: [u8; 32], inbox: [u8; 32]) -> Self {
        Self { signature: Secret::from_bytes(signature), inbox: Secret::from_bytes(inbox) }
    }

    /// Signs MLS messages, account log entries, envelopes and log-ins, each under its own label.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_bytes(self.signature.danger_bytes())
    }

    /// What the account log says about this device.
    pub fn device_keys(&self, id: DeviceId) -> DeviceKeys {
        let (_, inbox) = inbox_key_pair(&self.inbox);
        DeviceKeys { id, signature: self.signing_key().verifying_key().to_bytes(), inbox: inbox.to_bytes().into() }
    }
}

/// The X-Wing key pair behind an inbox seed.
pub(crate) fn inbox_key_pair(seed: &Secret) -> (<XWing as Kem>::PrivateKey, <XWing as Kem>::PublicKey) {
    XWing::derive_keypair(seed.danger_bytes())
}

/// What an epoch's members share beside the messages.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EpochSecrets {
    /// Reads the entries that stand on the epoch.
    #[n(0)]
    pub read: Capability,
    /// Appends to the epoch.
    #[n(1)]
    pub write: Capability,
    /// Outer encryption of the entries that stand on the epoch.
    #[n(2)]
    pub outer: OuterKey,
}

impl EpochSecrets {
    /// Derives them with the epoch's exporter: `export(label)`, context the conversation's id, 32 bytes
    /// (RFC 9420 §8.5).
    ///
    /// # Errors
    /// What `export` fails with.
    pub fn derive<E>(export: impl Fn(&str) -> Result<Secret, E>) -> Result<Self, E> {
        Ok(Self {
            read: Capability::from_bytes(*export(LABEL_READ)?.danger_bytes()),
            write: Capability::from_bytes(*export(LABEL_WRITE)?.danger_bytes()),
            outer: OuterKey::from_secret(export(LABEL_OUTER)?),
        })
    }

    /// The hashes that guard the epoch on the server.
    pub fn caps(&self) -> EpochCaps {
        EpochCaps { read: self.read.hash(), write: self.write.hash() }
    }
}

/// Our source of randomness (`rand_core` 0.6) as the newer traits that HPKE asks for.
pub(crate) struct HpkeRng<'r, R: ?Sized>(pub(crate) &'r mut R);

impl<R: RngCore + CryptoRng + ?Sized> TryRng for HpkeRng<'_, R> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(into);
        Ok(())
    }
}

impl<R: RngCore + CryptoRng + ?Sized> TryCryptoRng for HpkeRng<'_, R> {}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest;
    use stonechat_wire::{decode, encode};

    fn counting(first: u8) -> [u8; 32] {
        std::array::from_fn(|i| first + u8::try_from(i).unwrap())
    }

    fn device() -> DeviceSecrets {
        DeviceSecrets::from_seeds(counting(0), counting(32))
    }

    #[test]
    fn the_phrase_of_known_entropy_is_that_of_bip_39() {
        // From the vectors of BIP-39.
        assert_eq!(
            *recovery_phrase(&[0x7f; 32]),
            "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal winner \
             thank year wave sausage worth title"
        );
    }

    #[test]
    fn a_phrase_gives_back_its_entropy_however_it_is_typed() {
        let phrase = recovery_phrase(&counting(1));
        assert_eq!(recovery_entropy(&phrase), Ok(Zeroizing::new(counting(1))));
        let typed = format!("  {}\n", phrase.to_uppercase().replace(' ', "\n  "));
        assert_eq!(recovery_entropy(&typed), Ok(Zeroizing::new(counting(1))));
    }

    #[test]
    fn a_wrong_phrase_is_refused_with_what_is_wrong() {
        let phrase = recovery_phrase(&[0x7f; 32]);
        assert_eq!(recovery_entropy("legal winner"), Err(PhraseError::Count { found: 2 }));
        let misspelt = phrase.replacen("thank", "thanc", 1);
        assert_eq!(recovery_entropy(&misspelt), Err(PhraseError::Word { position: 3 }));
        let swapped = phrase.replacen("legal winner", "winner legal", 1);
        assert_eq!(recovery_entropy(&swapped), Err(PhraseError::Checksum));
    }

    #[test]
    fn the_recovery_key_of_known_entropy_is_this_one() {
        let key = recovery_signing_key(&counting(0));
        assert_eq!(
            hex::encode(key.verifying_key().as_bytes()),
            "98098db00d09019e7a40e76d6a4185f3ba962a13422382a834e16b6d77401e19"
        );
    }

    #[test]
    fn the_device_keys_of_known_seeds_are_these() {
        let keys = device().device_keys(DeviceId([9; 16]));
        // The first is RFC 8032's public key for this seed.
        assert_eq!(hex::encode(keys.signature), "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8");
        assert_eq!(
            hex::encode(Sha256::digest(keys.inbox)),
            "85e9fdc58784a79b633b4d9300f2284a670ec357d7258ca4c42352d294a81381"
        );
    }

    #[test]
    fn each_epoch_secret_has_its_own_label() {
        let export = |label: &str| Ok::<_, Infallible>(Secret::from_bytes(Sha256::digest(label).into()));
        let secrets = EpochSecrets::derive(export).unwrap();
        assert_eq!(
            hex::encode(secrets.read.danger_bytes()),
            "45b16d06326f3f9d07611fb76ccfa4d25115c08d09b6c08273d5c8e559da6214"
        );
        assert_eq!(
            hex::encode(secrets.write.danger_bytes()),
            "91875662d1355e2bc3e03209a1e056db031aa6d2615f9d8147bddb23bfab0e2d"
        );
        assert_eq!(
            hex::encode(secrets.outer.danger_secret().danger_bytes()),
            "a4dcdf7666721e93f7c3c4469f37c05c5e8f2781907aa62eead9a6c260f5457b"
        );
        assert_eq!(secrets.caps(), EpochCaps { read: secrets.read.hash(), write: secrets.write.hash() });
        assert_eq!(decode::<EpochSecrets>(&encode(&secrets)).unwrap(), secrets);
    }

    #[test]
    fn an_exporter_that_fails_gives_no_secrets() {
        assert_eq!(EpochSecrets::derive(|_| Err("no")), Err("no"));
    }

    #[test]
    fn secrets_are_stored_and_read_back_but_not_printed() {
        let stored = encode(&device());
        assert_eq!(decode::<DeviceSecrets>(&stored).unwrap(), device());
        assert_eq!(format!("{:?}", device()), "DeviceSecrets { signature: Secret(..), inbox: Secret(..) }");
    }
}
