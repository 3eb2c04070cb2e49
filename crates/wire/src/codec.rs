//! Strict CBOR: bounded byte strings and lists, definite lengths, no trailing bytes.

use alloc::vec::Vec;
use core::fmt;

use minicbor::data::Type;
use minicbor::decode::Error as DecodeFailure;
use minicbor::encode::{Error as EncodeFailure, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

/// Bytes that are not a message of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the CBOR that the type asks for, or a bound was passed.
    #[error("malformed or out of bounds")]
    Malformed,
    /// A complete value, and more bytes after it.
    #[error("trailing bytes")]
    Trailing,
}

/// Encodes a value. Encoding into memory cannot fail.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    minicbor::encode(value, &mut out).expect("encoding into a Vec is infallible");
    out
}

/// Decodes exactly one value.
///
/// Lengths are definite, heads have their shortest form and there are no tags; map keys and trailing array items that a
/// type does not know are passed over, so that a later version can add some. What is hashed or signed takes
/// [`decode_canonical`].
///
/// # Errors
/// [`DecodeError`] when the bytes are not exactly one value within its bounds.
pub fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, DecodeError> {
    // Before the decoder: it would take indefinite lengths, and remember how deep they nest while it skips them.
    if item_bytes(bytes)? != bytes.len() {
        return Err(DecodeError::Trailing);
    }
    let mut decoder = Decoder::new(bytes);
    let value = decoder.decode().map_err(|_| DecodeError::Malformed)?;
    if decoder.position() == bytes.len() { Ok(value) } else { Err(DecodeError::Trailing) }
}

/// Decodes exactly one value that has no other encoding than these bytes, so that no two readers of what was hashed or
/// signed can understand it differently.
///
/// # Errors
/// As [`decode`], and when the bytes are not the ones that [`encode`] makes: unknown or repeated or unsorted keys.
pub fn decode_canonical<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8]) -> Result<T, DecodeError> {
    let value: T = decode(bytes)?;
    if encode(&value) == bytes { Ok(value) } else { Err(DecodeError::Malformed) }
}

/// The length of the item that `bytes` starts with. Passes over contents in one step and needs no memory.
fn item_bytes(bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut at = 0_usize;
    let mut items = 1_u64;
    while items > 0 {
        items -= 1;
        let head = *bytes.get(at).ok_or(DecodeError::Malformed)?;
        at += 1;
        let (major, info) = (head >> 5, head & 0x1f);
        // What follows the first byte, and the least value that needs it.
        let (size, least) = match info {
            0..=23 => (0, 0),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1_u64 << 32),
            _ => return Err(DecodeError::Malformed),
        };
        let value = match bytes.get(at..at + size).ok_or(DecodeError::Malformed)? {
            [] => u64::from(info),
            rest => rest.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
        };
        at += size;
        if major < 7 && value < least {
            return Err(DecodeError::Malformed);
        }
        match major {
            2 | 3 => {
                let len = usize::try_from(value).map_err(|_| DecodeError::Malformed)?;
                at = at.checked_add(len).filter(|at| *at <= bytes.len()).ok_or(DecodeError::Malformed)?;
            }
            // A claim of more than there is ends at the end of the input.
            4 => items = items.saturating_add(value),
            5 => items = items.saturating_add(value.saturating_mul(2)),
            6 => return Err(DecodeError::Malformed),
            _ => {}
        }
    }
    Ok(at)
}

/// A byte string of at most `MAX` bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Bytes<MAX> {
    /// Wraps bytes.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] when they are too many.
    pub fn new(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        if bytes.len() <= MAX { Ok(Self(bytes)) } else { Err(DecodeError::Malformed) }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, owned.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl<const MAX: usize> core::ops::Deref for Bytes<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<Vec<u8>> for Bytes<MAX> {
    type Error = DecodeError;
    fn try_from(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        Self::new(bytes)
    }
}

impl<const MAX: usize> fmt::Debug for Bytes<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.0.len())
    }
}

impl<C, const MAX: usize> Encode<C> for Bytes<MAX> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeFailure<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C, const MAX: usize> Decode<'b, C> for Bytes<MAX> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeFailure> {
        let at = d.position();
        // Borrowed from the input: nothing is allocated before the length is known to be within bounds.
        let bytes = d.bytes()?;
        if bytes.len() > MAX {
            return Err(DecodeFailure::message("byte string too long").at(at));
        }
        Ok(Self(bytes.to_vec()))
    }
}

/// A list of at most `MAX` items, of definite length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> List<T, MAX> {
    /// Wraps items.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] when they are too many.
    pub fn new(items: Vec<T>) -> Result<Self, DecodeError> {
        if items.len() <= MAX { Ok(Self(items)) } else { Err(DecodeError::Malformed) }
    }

    /// The items, owned.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> core::ops::Deref for List<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for List<T, MAX> {
    type Error = DecodeError;
    fn try_from(items: Vec<T>) -> Result<Self, DecodeError> {
        Self::new(items)
    }
}

impl<C, T: Encode<C>, const MAX: usize> Encode<C> for List<T, MAX> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), EncodeFailure<W::Error>> {
        e.array(self.0.len() as u64)?;
        for item in &self.0 {
            item.encode(e, ctx)?;
        }
        Ok(())
    }
}

impl<'b, C, T: Decode<'b, C>, const MAX: usize> Decode<'b, C> for List<T, MAX> {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeFailure> {
        let at = d.position();
        let len = d.array()?.ok_or_else(|| DecodeFailure::type_mismatch(Type::ArrayIndef).at(at))?;
        if len > MAX as u64 {
            return Err(DecodeFailure::message("list too long").at(at));
        }
        // Grown item by item: a claimed length allocates nothing that the input does not back.
        let mut items = Vec::new();
        for _ in 0..len {
            items.push(T::decode(d, ctx)?);
        }
        Ok(Self(items))
    }
}

/// `#[cbor(with = "codec::fixed")]`: a byte string of exactly `N` bytes.
pub mod fixed {
    use minicbor::decode::Error as DecodeFailure;
    use minicbor::encode::{Error as EncodeFailure, Write};
    use minicbor::{Decoder, Encoder};

    /// Writes the bytes.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn encode<C, W: Write, const N: usize>(
        bytes: &[u8; N],
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeFailure<W::Error>> {
        e.bytes(bytes)?.ok()
    }

    /// Reads exactly `N` bytes.
    ///
    /// # Errors
    /// When the next value is not a byte string of `N` bytes.
    pub fn decode<C, const N: usize>(d: &mut Decoder<'_>, _: &mut C) -> Result<[u8; N], DecodeFailure> {
        let at = d.position();
        d.bytes()?.try_into().map_err(|_| DecodeFailure::message("byte string of another length").at(at))
    }
}

/// `#[cbor(with = "codec::detail", has_nil)]`: a short text for people, or nothing.
pub mod detail {
    use alloc::string::String;

    use minicbor::decode::Error as DecodeFailure;
    use minicbor::encode::{Error as EncodeFailure, Write};
    use minicbor::{Decoder, Encoder};

    use crate::limits::FAILURE_DETAIL_BYTES_MAX;

    /// Writes as much of the text as the bound allows, in whole characters.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn encode<C, W: Write>(
        text: &Option<String>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeFailure<W::Error>> {
        match text {
            Some(text) => e.str(&text[..text.floor_char_boundary(FAILURE_DETAIL_BYTES_MAX)])?.ok(),
            None => e.null()?.ok(),
        }
    }

    /// Reads a text within the bound.
    ///
    /// # Errors
    /// When the next value is something else.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Option<String>, DecodeFailure> {
        let at = d.position();
        // Borrowed from the input: nothing is allocated before the length is known to be within bounds.
        let text = d.str()?;
        if text.len() > FAILURE_DETAIL_BYTES_MAX {
            return Err(DecodeFailure::message("text too long").at(at));
        }
        Ok(Some(text.into()))
    }

    /// Nothing: the field is left out.
    pub fn nil() -> Option<Option<String>> {
        Some(None)
    }

    /// Whether the field is left out.
    pub fn is_nil(text: &Option<String>) -> bool {
        text.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_byte_string_over_its_bound_is_refused_and_one_at_its_bound_is_not() {
        for len in [0_usize, 63, 64] {
            let bytes = Bytes::<64>::new(vec![7; len]).unwrap();
            assert_eq!(decode::<Bytes<64>>(&encode(&bytes)).unwrap(), bytes);
        }
        assert_eq!(decode::<Bytes<64>>(&encode(&Bytes::<65>::new(vec![7; 65]).unwrap())), Err(DecodeError::Malformed));
    }

    #[test]
    fn a_list_that_claims_more_than_it_brings_is_refused() {
        // array(2^32 - 1) with nothing in it
        assert!(decode::<List<u32, 10>>(&[0x9a, 0xff, 0xff, 0xff, 0xff]).is_err());
        // array(3) with two items
        assert!(decode::<List<u32, 10>>(&[0x83, 1, 2]).is_err());
        // indefinite length
        assert!(decode::<List<u32, 10>>(&[0x9f, 1, 0xff]).is_err());
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert_eq!(decode::<u32>(&[1, 2]), Err(DecodeError::Trailing));
    }
}
