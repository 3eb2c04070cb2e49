//! The one type that holds key bytes.

use std::fmt;

use minicbor::decode::Error as DecodeFailure;
use minicbor::encode::{Error as EncodeFailure, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use rand_core::{CryptoRng, RngCore};
use stonechat_wire::codec;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// 32 secret bytes. Wiped on drop, a clone too; compared in constant time; never printed.
///
/// Encodes itself as a byte string, for records of the vault (which is encrypted) and for what is sealed before it leaves the
/// device.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Wraps the secret bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Fresh ones.
    pub fn random(rng: &mut (impl RngCore + CryptoRng + ?Sized)) -> Self {
        let mut secret = Self([0; 32]);
        rng.fill_bytes(&mut secret.0);
        secret
    }

    /// The secret bytes.
    pub const fn danger_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<C> Encode<C> for Secret {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeFailure<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Secret {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeFailure> {
        codec::fixed::decode(d, ctx).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stonechat_wire::{decode, encode};

    #[test]
    fn a_secret_is_stored_as_a_byte_string_and_read_back() {
        let secret = Secret::from_bytes([7; 32]);
        let bytes = encode(&secret);
        assert_eq!((bytes.len(), &bytes[..2]), (34, &[0x58, 32][..]));
        assert_eq!(decode::<Secret>(&bytes).unwrap(), secret);
        assert_eq!(decode::<Option<Secret>>(&encode(&Some(secret.clone()))).unwrap(), Some(secret));
        assert_eq!(decode::<Option<Secret>>(&encode(&None::<Secret>)).unwrap(), None);
    }

    #[test]
    fn bytes_of_another_length_are_no_secret() {
        for len in [0, 31, 33] {
            let bytes = minicbor::to_vec(minicbor::bytes::ByteVec::from(vec![7; len])).unwrap();
            assert!(decode::<Secret>(&bytes).is_err(), "{len}");
        }
    }

    #[test]
    fn secrets_are_compared_and_not_printed() {
        assert_ne!(Secret::from_bytes([0; 32]), Secret::from_bytes([1; 32]));
        assert_eq!(format!("{:?}", Secret::from_bytes([9; 32])), "Secret(..)");
    }
}
