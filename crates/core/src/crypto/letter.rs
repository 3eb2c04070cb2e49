//! Sealed letters: first contact, and the call for help of a device that cannot follow a conversation.
//!
//! A letter lies in a device's inbox as one HPKE ciphertext (RFC 9180, base mode; X-Wing by draft-ietf-hpke-pq,
//! HKDF-SHA-256, ChaCha20-Poly1305): `encapsulated key (1,120 bytes) || ciphertext`. Inside is the letter, signed by the
//! sender's device for exactly this recipient, padded as in [`crate::crypto::outer`] to at least 512 bytes. The server sees neither
//! who wrote it nor what about.
//!
//! What was opened is not yet believed: [`UnverifiedLetter`] becomes [`Letter`] only with the sender's verified account
//! state. A replayed letter verifies; whoever acts on one remembers its id.
//!
//! Welcomes that do not fit a letter travel as a blob, sealed once under a fresh key that the letter names.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal_with_rng};
use minicbor::{Decode, Encode};
use rand_core::{CryptoRng, RngCore};
use sha2::{Digest, Sha256};
use stonechat_wire::limits::{ENVELOPE_BYTES_MAX, KEY_PACKAGE_BYTES_MAX};
use stonechat_wire::{
    AccountId, AccountLog, AccountProof, AccountState, BlobId, Bytes, ConversationId, DeviceId, DeviceKeys, EpochId,
    ProvenAccount, Seq, Timestamp, codec, decode, encode,
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Secret;
use super::keys::{DeviceSecrets, HpkeRng, inbox_key_pair};
use super::outer::{open_padded, pad_into, padded_len, seal_padded, unpad};

/// The longest welcome that is accepted inside a letter. The sender's account log needs room beside it.
pub const INLINE_WELCOME_BYTES_MAX: usize = 48 * 1024;

/// What one device writes to another outside of any conversation.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Letter {
    /// Random: a letter is acted upon once.
    #[cbor(n(0), with = "codec::fixed")]
    pub id: [u8; 16],
    /// The sender's clock.
    #[n(1)]
    pub sent_at: Timestamp,
    /// Who writes.
    #[n(2)]
    pub sender: AccountId,
    /// With which device.
    #[n(3)]
    pub device: DeviceId,
    /// The sender's whole account log: nobody looks strangers up.
    #[n(4)]
    pub log: Option<AccountLog>,
    /// What about.
    #[n(5)]
    pub body: LetterBody,
    /// What the directory says of the log, the handle included: nobody has to be believed.
    #[n(6)]
    pub proof: Option<AccountProof>,
}

/// What a letter is about.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub enum LetterBody {
    /// The receiving device was added to a conversation.
    #[n(0)]
    Invite {
        /// Which.
        #[n(0)]
        conversation: ConversationId,
        /// The commit that opened the epoch that the welcome leads to.
        #[n(1)]
        epoch: Seq,
        /// That epoch.
        #[n(2)]
        epoch_id: EpochId,
        /// Whether it is a group.
        #[n(3)]
        is_group: bool,
        /// The way in.
        #[n(4)]
        welcome: Welcome,
    },
    /// The sending device cannot follow a conversation and asks to be added again.
    #[n(1)]
    Readd {
        /// Which.
        #[n(0)]
        conversation: ConversationId,
        /// The epoch that it is stuck in.
        #[n(1)]
        epoch_id: EpochId,
        /// The epoch whose commit it refused, if that is why.
        #[n(2)]
        refused: Option<EpochId>,
        /// A fresh key package.
        #[n(3)]
        key_package: Bytes<KEY_PACKAGE_BYTES_MAX>,
    },
}

/// Where the MLS welcome (and what belongs to it) is.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub enum Welcome {
    /// Here.
    #[n(0)]
    Inline(#[n(0)] Bytes<INLINE_WELCOME_BYTES_MAX>),
    /// In a blob, see [`open_blob`].
    #[n(1)]
    Blob {
        /// Which.
        #[n(0)]
        id: BlobId,
        /// What opens it.
        #[n(1)]
        key: Secret,
        /// How many chunks it has.
        #[n(2)]
        chunks: u32,
        /// SHA-256 of the whole ciphertext.
        #[cbor(n(3), with = "codec::fixed")]
        hash: [u8; 32],
    },
}

impl fmt::Debug for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} B)", bytes.len()),
            Self::Blob { chunks, .. } => write!(f, "Blob({chunks} chunks)"),
        }
    }
}

/// Why a letter cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It does not fit an envelope.
    #[error("the letter is too long")]
    TooLong,
    /// The recipient's inbox key is not an X-Wing key.
    #[error("the inbox key of the recipient's device is not valid")]
    RecipientKey,
}

/// Why a letter is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LetterError {
    /// Not sealed for this device, or changed on the way.
    #[error("a letter in the inbox was not sealed for this device")]
    Unreadable,
    /// Not a letter that this version reads.
    #[error("a letter in the inbox is malformed or newer than this app")]
    Malformed,
    /// The account state is somebody else's.
    #[error("a letter in the inbox was checked against another account than its sender's")]
    OtherAccount,
    /// The account has no such device now.
    #[error("a letter in the inbox is from a device that its sender's account does not have")]
    Device,
    /// The signature is not by that device, or for somebody else.
    #[error("a letter in the inbox is not signed by the device that it names")]
    Signature,
}

/// The letter's exact bytes and the signature over label, recipient and them.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Signed {
    #[n(0)]
    letter: Bytes<ENVELOPE_BYTES_MAX>,
    #[cbor(n(1), with = "codec::fixed")]
    signature: [u8; 64],
}

/// Signs and seals a letter for one device of an account.
///
/// # Errors
/// [`SealError`].
pub fn seal(
    rng: &mut (impl RngCore + CryptoRng + ?Sized),
    account: AccountId,
    device: &DeviceKeys,
    letter: &Letter,
    signing: &SigningKey,
) -> Result<Bytes<ENVELOPE_BYTES_MAX>, SealError> {
    let letter = encode(letter);
    let signature = signing.sign(&bound_to(LABEL_LETTER, &account, &device.id, &letter)).to_bytes();
    let signed = Signed { letter: Bytes::new(letter).map_err(|_| SealError::TooLong)?, signature };
    let signed = Zeroizing::new(encode(&signed));
    let mut padded = Zeroizing::new(Vec::new());
    let length = padded_len(signed.len(), FLOOR_BYTES);
    padded.reserve_exact(length);
    pad_into(&mut padded, &signed, length);
    let recipient = <XWing as Kem>::PublicKey::from_bytes(&device.inbox).map_err(|_| SealError::RecipientKey)?;
    let info = bound_to(LABEL_ENVELOPE, &account, &device.id, &[]);
    let (encapsulated, ciphertext) = single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeS::Base,
        &recipient,
        &info,
        &padded,
        &[],
        &mut HpkeRng(rng),
    )
    .map_err(|_| SealError::RecipientKey)?;
    Bytes::new([&encapsulated.to_bytes()[..], &ciphertext].concat()).map_err(|_| SealError::TooLong)
}

/// A letter as it came: opened, so written for this device, but by whom is only claimed.
#[derive(Debug)]
pub struct UnverifiedLetter {
    letter: Letter,
    signed: Vec<u8>,
    signature: [u8; 64],
}

impl UnverifiedLetter {
    /// Opens an envelope from the inbox of device `device` of `account`.
    ///
    /// # Errors
    /// [`LetterError::Unreadable`] or [`LetterError::Malformed`].
    pub fn open(
        secrets: &DeviceSecrets,
        account: AccountId,
        device: DeviceId,
        sealed: &[u8],
    ) -> Result<Self, LetterError> {
        let (encapsulated, ciphertext) =
            sealed.split_at_checked(<XWing as Kem>::EncappedKey::size()).ok_or(LetterError::Unreadable)?;
        let encapsulated =
            <XWing as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| LetterError::Unreadable)?;
        let (private, _) = inbox_key_pair(&secrets.inbox);
        let info = bound_to(LABEL_ENVELOPE, &account, &device, &[]);
        let padded = single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeR::Base,
            &private,
            &encapsulated,
            &info,
            ciphertext,
            &[],
        )
        .map_err(|_| LetterError::Unreadable)?;
        let signed = Zeroizing::new(unpad(padded).ok_or(LetterError::Malformed)?);
        let Signed { letter: bytes, signature } = decode(&signed).map_err(|_| LetterError::Malformed)?;
        let letter = decode(&bytes).map_err(|_| LetterError::Malformed)?;
        Ok(Self { letter, signed: bound_to(LABEL_LETTER, &account, &device, &bytes), signature })
    }

    /// Who claims to have written it.
    pub fn sender(&self) -> AccountId {
        self.letter.sender
    }

    /// The account log that it brings, unverified.
    pub fn log(&self) -> Option<&AccountLog> {
        self.letter.log.as_ref()
    }

    /// The account log with its proof, unverified.
    pub fn proven(&self) -> Option<ProvenAccount> {
        let (log, proof) = self.letter.log.as_ref().zip(self.letter.proof.as_ref())?;
        Some(ProvenAccount { log: log.clone(), proof: proof.clone() })
    }

    /// The letter, if the device that it names is one of the sender's now and signed it for this recipient.
    ///
    /// # Errors
    /// [`LetterError::OtherAccount`], [`LetterError::Device`] or [`LetterError::Signature`].
    pub fn verify(self, sender: &AccountState) -> Result<Letter, LetterError> {
        if sender.id() != self.letter.sender {
            return Err(LetterError::OtherAccount);
        }
        let device = sender.device(&self.letter.device).ok_or(LetterError::Device)?;
        let key = VerifyingKey::from_bytes(&device.signature).map_err(|_| LetterError::Signature)?;
        key.verify_strict(&self.signed, &Signature::from_bytes(&self.signature)).map_err(|_| LetterError::Signature)?;
        Ok(self.letter)
    }
}

/// Why a blob does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Not the bytes that the letter's hash names.
    #[error("the server gave other bytes than were put there")]
    OtherBytes,
    /// The right bytes, sealed wrongly.
    #[error("the sender's app sealed it wrongly")]
    Unreadable,
}

/// Seals bytes for a blob under a fresh key: XChaCha20-Poly1305, padded. Returns the key (secret), the ciphertext and its
/// SHA-256.
pub fn seal_blob(rng: &mut (impl RngCore + CryptoRng + ?Sized), plaintext: &[u8]) -> (Secret, Vec<u8>, [u8; 32]) {
    let key = Secret::random(rng);
    let ciphertext = seal_padded(&key, rng, LABEL_BLOB, plaintext, FLOOR_BYTES);
    let hash = Sha256::digest(&ciphertext).into();
    (key, ciphertext, hash)
}

/// Opens what [`seal_blob`] sealed, after checking that it is what the letter's author put there.
///
/// # Errors
/// [`BlobError`].
pub fn open_blob(key: &Secret, hash: &[u8; 32], ciphertext: &[u8]) -> Result<Vec<u8>, BlobError> {
    if !bool::from(Sha256::digest(ciphertext).ct_eq(hash)) {
        return Err(BlobError::OtherBytes);
    }
    open_padded(key, LABEL_BLOB, ciphertext).ok_or(BlobError::Unreadable)
}

fn bound_to(label: &[u8], account: &AccountId, device: &DeviceId, bytes: &[u8]) -> Vec<u8> {
    [label, account.as_bytes(), device.as_bytes(), bytes].concat()
}

const LABEL_ENVELOPE: &[u8] = b"stonechat v1 envelope";
const LABEL_LETTER: &[u8] = b"stonechat v1 letter";
const LABEL_BLOB: &[u8] = b"stonechat v1 blob";
const FLOOR_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use stonechat_wire::{Handle, List, LogBody, LogEntry, Signer};

    struct Person {
        secrets: DeviceSecrets,
        device: DeviceId,
        log: AccountLog,
        state: AccountState,
    }

    impl Person {
        fn id(&self) -> AccountId {
            self.state.id()
        }

        fn keys(&self) -> &DeviceKeys {
            self.state.device(&self.device).unwrap()
        }

        fn open(&self, sealed: &[u8]) -> Result<UnverifiedLetter, LetterError> {
            UnverifiedLetter::open(&self.secrets, self.id(), self.device, sealed)
        }
    }

    fn person(handle: &str, n: u8) -> Person {
        let secrets = DeviceSecrets::from_seeds([n; 32], [n + 1; 32]);
        let (device, recovery) = (DeviceId([n; 16]), SigningKey::from_bytes(&[n + 2; 32]));
        let body = LogBody::Genesis {
            handle: Handle::parse(handle).unwrap(),
            device: secrets.device_keys(device),
            recovery: recovery.verifying_key().to_bytes(),
            at: Timestamp(1),
        };
        let genesis =
            LogEntry::sign(&body, &[(Signer::Device(device), &secrets.signing_key()), (Signer::Recovery, &recovery)]);
        let log = AccountLog(List::new(vec![genesis]).unwrap());
        let state = AccountState::verify(&log, None).unwrap();
        Person { secrets, device, log, state }
    }

    fn alice() -> Person {
        person("alice", 10)
    }

    fn bob() -> Person {
        person("bob", 20)
    }

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::from_seed([4; 32])
    }

    fn invite(from: &Person, welcome: usize) -> Letter {
        let body = LetterBody::Invite {
            conversation: ConversationId([1; 32]),
            epoch: Seq(2),
            epoch_id: EpochId([3; 32]),
            is_group: false,
            welcome: Welcome::Inline(Bytes::new(vec![7; welcome]).unwrap()),
        };
        Letter {
            id: [5; 16],
            sent_at: Timestamp(9),
            sender: from.id(),
            device: from.device,
            log: Some(from.log.clone()),
            body,
            proof: None,
        }
    }

    fn sealed(from: &Person, to: &Person, letter: &Letter) -> Bytes<ENVELOPE_BYTES_MAX> {
        seal(&mut rng(), to.id(), to.keys(), letter, &from.secrets.signing_key()).unwrap()
    }

    #[test]
    fn a_letter_of_either_kind_is_read_by_its_recipient() {
        let (alice, bob) = (alice(), bob());
        let body = LetterBody::Readd {
            conversation: ConversationId([1; 32]),
            epoch_id: EpochId([3; 32]),
            refused: Some(EpochId([4; 32])),
            key_package: Bytes::new(vec![8; 900]).unwrap(),
        };
        for letter in [
            invite(&alice, 100),
            invite(&alice, INLINE_WELCOME_BYTES_MAX),
            Letter { body, log: None, ..invite(&alice, 0) },
        ] {
            let opened = bob.open(&sealed(&alice, &bob, &letter)).unwrap();
            assert_eq!((opened.sender(), opened.log()), (alice.id(), letter.log.as_ref()));
            assert_eq!(opened.verify(&alice.state), Ok(letter));
        }
    }

    #[test]
    fn a_letter_is_read_by_nobody_else() {
        let (alice, bob) = (alice(), bob());
        let letter = sealed(&alice, &bob, &invite(&alice, 100));
        assert_eq!(alice.open(&letter).unwrap_err(), LetterError::Unreadable);
        let other_device = UnverifiedLetter::open(&bob.secrets, bob.id(), DeviceId([99; 16]), &letter);
        assert_eq!(other_device.unwrap_err(), LetterError::Unreadable);
    }

    #[test]
    fn a_letter_that_was_passed_on_to_somebody_else_is_refused() {
        let (alice, bob, carol) = (alice(), bob(), person("carol", 30));
        // Bob seals Alice's signed letter again, for Carol.
        let opened = bob.open(&sealed(&alice, &bob, &invite(&alice, 100))).unwrap();
        let signed =
            encode(&Signed { letter: Bytes::new(encode(&opened.letter)).unwrap(), signature: opened.signature });
        let mut padded = Vec::new();
        pad_into(&mut padded, &signed, padded_len(signed.len(), FLOOR_BYTES));
        let to = <XWing as Kem>::PublicKey::from_bytes(&carol.keys().inbox).unwrap();
        let info = bound_to(LABEL_ENVELOPE, &carol.id(), &carol.device, &[]);
        let (key, text) = single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeS::Base,
            &to,
            &info,
            &padded,
            &[],
            &mut HpkeRng(&mut rng()),
        )
        .unwrap();
        let forwarded = carol.open(&[&key.to_bytes()[..], &text].concat()).unwrap();
        assert_eq!(forwarded.verify(&alice.state), Err(LetterError::Signature));
    }

    #[test]
    fn a_letter_that_claims_another_sender_or_device_is_refused() {
        let (alice, bob, mallory) = (alice(), bob(), person("mallory", 40));
        let claimed = sealed(&mallory, &bob, &invite(&alice, 100));
        assert_eq!(bob.open(&claimed).unwrap().verify(&alice.state), Err(LetterError::Signature));
        assert_eq!(bob.open(&claimed).unwrap().verify(&mallory.state), Err(LetterError::OtherAccount));
        let gone = Letter { device: DeviceId([99; 16]), ..invite(&alice, 100) };
        assert_eq!(bob.open(&sealed(&alice, &bob, &gone)).unwrap().verify(&alice.state), Err(LetterError::Device));
    }

    #[test]
    fn a_changed_or_cut_envelope_does_not_open() {
        let (alice, bob) = (alice(), bob());
        let good = sealed(&alice, &bob, &invite(&alice, 100)).into_vec();
        for at in [0, 1_119, 1_120, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(bob.open(&bad).unwrap_err(), LetterError::Unreadable, "{at}");
        }
        for len in [0, 1_119, 1_120, 1_136, good.len() - 1] {
            assert_eq!(bob.open(&good[..len]).unwrap_err(), LetterError::Unreadable, "{len}");
        }
    }

    #[test]
    fn short_letters_have_one_length_and_too_long_ones_are_refused() {
        let (alice, bob) = (alice(), bob());
        let short = |n| sealed(&alice, &bob, &Letter { log: None, ..invite(&alice, n) }).len();
        assert_eq!((short(0), short(60)), (1_120 + 512 + 16, 1_120 + 512 + 16));
        // The account log of somebody with many devices does not fit beside a long welcome.
        let entries = vec![alice.log.0[0].clone(); 12];
        let letter =
            Letter { log: Some(AccountLog(List::new(entries).unwrap())), ..invite(&alice, INLINE_WELCOME_BYTES_MAX) };
        let result = seal(&mut rng(), bob.id(), bob.keys(), &letter, &alice.secrets.signing_key());
        assert_eq!(result, Err(SealError::TooLong));
    }

    #[test]
    fn a_blob_opens_with_its_key_and_hash_only() {
        for len in [0, 63, 64, 16_383, 16_384, 300_000] {
            let plaintext = vec![7; len];
            let (key, ciphertext, hash) = seal_blob(&mut rng(), &plaintext);
            assert_eq!(open_blob(&key, &hash, &ciphertext), Ok(plaintext));
            assert_eq!(open_blob(&Secret::from_bytes([0; 32]), &hash, &ciphertext), Err(BlobError::Unreadable));
            assert_eq!(open_blob(&key, &[0; 32], &ciphertext), Err(BlobError::OtherBytes));
            assert_eq!(open_blob(&key, &hash, &ciphertext[1..]), Err(BlobError::OtherBytes));
        }
    }

    #[test]
    fn debug_prints_no_key_of_a_blob() {
        let welcome =
            Welcome::Blob { id: BlobId([1; 32]), key: Secret::from_bytes([0xAB; 32]), chunks: 3, hash: [0; 32] };
        assert_eq!(format!("{welcome:?}"), "Blob(3 chunks)");
        assert_eq!(decode::<Welcome>(&encode(&welcome)).unwrap(), welcome);
    }
}
