//! The outer encryption: what a conversation's log holds instead of MLS messages.
//!
//! An MLS message shows its group, epoch, content type and length. Sealed in here it shows the server a length bucket:
//! XChaCha20-Poly1305 under a key of the epoch's exporter, a random 24-byte nonce in front, bound to the conversation, the
//! epoch that the entry stands on and its kind. This adds nothing to what members can prove to each other: MLS does that.
//!
//! **Padding**, before encryption: 4 bytes of big-endian length, the content, zeros. The padded length is 256 bytes or, above
//! that, the next one that Padmé allows (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication
//! with PURBs", 2019, §4): of a length in binary, only the leading `log2(log2 L) + 1` bits may be set. Overhead stays under
//! 12 %, and 16 MiB have fewer than 500 buckets.

use std::fmt;

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use minicbor::{Decode, Encode};
use rand_core::{CryptoRng, RngCore};
use stonechat_wire::limits::ENTRY_BYTES_MAX;
use stonechat_wire::{ConversationId, EpochId};

use super::Secret;

/// The longest MLS message that fits one entry: the largest Padmé length that leaves room for nonce and tag, less 4.
pub const MLS_BYTES_MAX: usize = 63 * 16 * 1024 - LENGTH_BYTES;

/// Which kind of entry is sealed: one cannot be passed off as the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OuterKind {
    /// Application message or proposal.
    Application,
    /// Commit; the epoch is the one that it stands on, not the one that it opens.
    Commit,
}

/// Why an entry was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OuterError {
    /// Over [`MLS_BYTES_MAX`].
    #[error("this is too long for one entry: {bytes} bytes of at most {MLS_BYTES_MAX}")]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// Made with another key, for another place, or changed on the way.
    #[error("an entry of the conversation's log was not made by a member for this place")]
    Unreadable,
}

/// Key of one epoch's outer encryption. 32 bytes, see [`super::keys::LABEL_OUTER`].
#[derive(PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct OuterKey(#[n(0)] Secret);

impl fmt::Debug for OuterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OuterKey(..)")
    }
}

impl OuterKey {
    /// Wraps the exporter's output.
    pub const fn from_secret(secret: Secret) -> Self {
        Self(secret)
    }

    /// The secret.
    pub const fn danger_secret(&self) -> &Secret {
        &self.0
    }

    /// Seals an MLS message for one place in one log.
    ///
    /// # Errors
    /// [`OuterError::TooLong`].
    pub fn seal(
        &self,
        rng: &mut (impl RngCore + CryptoRng + ?Sized),
        conversation: &ConversationId,
        epoch: &EpochId,
        kind: OuterKind,
        mls: &[u8],
    ) -> Result<Vec<u8>, OuterError> {
        if mls.len() > MLS_BYTES_MAX {
            return Err(OuterError::TooLong { bytes: mls.len() });
        }
        let sealed = seal_padded(&self.0, rng, &place(conversation, epoch, kind), mls, FLOOR_BYTES);
        debug_assert!(sealed.len() <= ENTRY_BYTES_MAX);
        Ok(sealed)
    }

    /// Opens an entry of the log.
    ///
    /// # Errors
    /// [`OuterError::Unreadable`], whatever is wrong with it.
    pub fn open(
        &self,
        conversation: &ConversationId,
        epoch: &EpochId,
        kind: OuterKind,
        blob: &[u8],
    ) -> Result<Vec<u8>, OuterError> {
        open_padded(&self.0, &place(conversation, epoch, kind), blob).ok_or(OuterError::Unreadable)
    }
}

/// What a sealed entry is bound to.
fn place(conversation: &ConversationId, epoch: &EpochId, kind: OuterKind) -> Vec<u8> {
    let kind = match kind {
        OuterKind::Application => 0,
        OuterKind::Commit => 1,
    };
    [LABEL_ENTRY, conversation.as_bytes(), epoch.as_bytes(), &[kind]].concat()
}

/// `nonce || XChaCha20-Poly1305(padded content)`.
pub(crate) fn seal_padded(
    key: &Secret,
    rng: &mut (impl RngCore + CryptoRng + ?Sized),
    aad: &[u8],
    content: &[u8],
    floor: usize,
) -> Vec<u8> {
    let padded = padded_len(content.len(), floor);
    let mut out = Vec::with_capacity(NONCE_BYTES + padded + TAG_BYTES);
    out.resize(NONCE_BYTES, 0);
    rng.fill_bytes(&mut out);
    let nonce = XNonce::clone_from_slice(&out);
    pad_into(&mut out, content, padded);
    let tag = XChaCha20Poly1305::new(key.danger_bytes().into())
        .encrypt_in_place_detached(&nonce, aad, &mut out[NONCE_BYTES..])
        .expect("far less than the cipher's 256 GiB");
    out.extend_from_slice(&tag);
    out
}

/// The content that [`seal_padded`] sealed, or `None` whatever is wrong.
pub(crate) fn open_padded(key: &Secret, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, rest) = sealed.split_at_checked(NONCE_BYTES)?;
    let (body, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
    let mut body = body.to_vec();
    XChaCha20Poly1305::new(key.danger_bytes().into())
        .decrypt_in_place_detached(XNonce::from_slice(nonce), aad, &mut body, tag.into())
        .ok()?;
    unpad(body)
}

/// Appends `length || content || zeros`, `padded` bytes together.
pub(crate) fn pad_into(out: &mut Vec<u8>, content: &[u8], padded: usize) {
    let end = out.len() + padded;
    let length = u32::try_from(content.len()).expect("every caller bounds its content under 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(content);
    out.resize(end, 0);
}

/// The content of a padded text, or `None` when it is not one.
pub(crate) fn unpad(mut padded: Vec<u8>) -> Option<Vec<u8>> {
    let (length, rest) = padded.split_first_chunk::<LENGTH_BYTES>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    // Zeros only: what is sealed once has one meaning and no room for more.
    if rest.get(length..)?.iter().any(|byte| *byte != 0) {
        return None;
    }
    padded.drain(..LENGTH_BYTES);
    padded.truncate(length);
    Some(padded)
}

/// How long a content of `len` bytes is when padded, its length included; at least `floor`.
pub(crate) const fn padded_len(len: usize, floor: usize) -> usize {
    let len = len.saturating_add(LENGTH_BYTES);
    if len <= floor { floor } else { padme(len) }
}

/// The next length that Padmé allows, for `len >= 2`.
const fn padme(len: usize) -> usize {
    let exponent = len.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1 << (exponent - kept)) - 1;
    (len + mask) & !mask
}

const LABEL_ENTRY: &[u8] = b"stonechat v1 outer entry";
const FLOOR_BYTES: usize = 256;
const LENGTH_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    const CONVERSATION: ConversationId = ConversationId([1; 32]);
    const EPOCH: EpochId = EpochId([2; 32]);

    fn key() -> OuterKey {
        OuterKey::from_secret(Secret::from_bytes([3; 32]))
    }

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::from_seed([4; 32])
    }

    fn sealed(mls: &[u8]) -> Vec<u8> {
        key().seal(&mut rng(), &CONVERSATION, &EPOCH, OuterKind::Application, mls).unwrap()
    }

    #[test]
    fn an_entry_of_every_length_opens_and_shows_only_its_bucket() {
        for (len, bucket) in [
            (0, 256),
            (63, 256),
            (64, 256),
            (252, 256),
            (253, 272),
            (1_000, 1_024),
            (1_021, 1_088),
            (16_383, 17_408),
            (16_384, 17_408),
        ] {
            let mls = vec![7; len];
            let blob = sealed(&mls);
            assert_eq!(blob.len(), NONCE_BYTES + bucket + TAG_BYTES, "{len}");
            assert_eq!(key().open(&CONVERSATION, &EPOCH, OuterKind::Application, &blob), Ok(mls));
        }
    }

    #[test]
    fn the_longest_message_fits_an_entry_and_a_longer_one_is_refused() {
        let blob = sealed(&vec![7; MLS_BYTES_MAX]);
        assert!(blob.len() <= ENTRY_BYTES_MAX);
        assert_eq!(key().open(&CONVERSATION, &EPOCH, OuterKind::Application, &blob).unwrap().len(), MLS_BYTES_MAX);
        assert!(NONCE_BYTES + padded_len(MLS_BYTES_MAX + 1, FLOOR_BYTES) + TAG_BYTES > ENTRY_BYTES_MAX);
        let bytes = MLS_BYTES_MAX + 1;
        assert_eq!(
            key().seal(&mut rng(), &CONVERSATION, &EPOCH, OuterKind::Commit, &vec![7; bytes]),
            Err(OuterError::TooLong { bytes })
        );
    }

    #[test]
    fn an_entry_opens_only_in_its_place() {
        let blob = sealed(b"mls");
        let kind = OuterKind::Application;
        for result in [
            key().open(&ConversationId([9; 32]), &EPOCH, kind, &blob),
            key().open(&CONVERSATION, &EpochId([9; 32]), kind, &blob),
            key().open(&CONVERSATION, &EPOCH, OuterKind::Commit, &blob),
            OuterKey::from_secret(Secret::from_bytes([9; 32])).open(&CONVERSATION, &EPOCH, kind, &blob),
        ] {
            assert_eq!(result, Err(OuterError::Unreadable));
        }
    }

    #[test]
    fn a_changed_or_short_entry_does_not_open() {
        let good = sealed(b"mls");
        for at in [0, NONCE_BYTES, good.len() - 1] {
            let mut blob = good.clone();
            blob[at] ^= 1;
            assert_eq!(key().open(&CONVERSATION, &EPOCH, OuterKind::Application, &blob), Err(OuterError::Unreadable));
        }
        for len in [0, 23, 24, 39, 40, good.len() - 1] {
            let cut = &good[..len];
            assert_eq!(key().open(&CONVERSATION, &EPOCH, OuterKind::Application, cut), Err(OuterError::Unreadable));
        }
    }

    #[test]
    fn padding_that_is_not_zeros_or_claims_too_much_is_refused() {
        assert_eq!(unpad(vec![0, 0, 0, 1, 5, 0, 0]), Some(vec![5]));
        assert_eq!(unpad(vec![0, 0, 0, 1, 5, 0, 1]), None);
        assert_eq!(unpad(vec![0, 0, 0, 4, 5, 0, 0]), None);
        assert_eq!(unpad(vec![0xff, 0xff, 0xff, 0xff, 5]), None);
        assert_eq!(unpad(vec![0, 0, 0]), None);
    }

    #[test]
    fn padding_costs_at_most_12_percent_and_never_shrinks() {
        let mut last = 0;
        for len in 253..100_000 {
            let padded = padded_len(len, FLOOR_BYTES);
            assert!(padded >= len + LENGTH_BYTES && padded >= last, "{len}");
            assert!(padded * 100 <= (len + LENGTH_BYTES) * 112, "{len} -> {padded}");
            last = padded;
        }
    }

    #[test]
    fn a_sealed_entry_has_these_bytes() {
        use sha2::Digest;
        assert_eq!(
            hex::encode(sha2::Sha256::digest(sealed(b"mls"))),
            "3b3861e96d0b27b53b45cdef3e64fbd1bcb42ef5527598541efa35b266d20f25"
        );
    }
}
