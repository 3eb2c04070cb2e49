//! Identifiers, counters and the capabilities that open a conversation's log.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::limits::HANDLE_BYTES_MAX;

/// Between programs of one machine, a value travels as the text that people see.
macro_rules! text_in_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Enough to tell two apart in a failing test; logs use salted hashes.
                write!(f, "{}({}…)", stringify!($name), hex::encode(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = crate::codec::DecodeError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| crate::codec::DecodeError::Malformed)?;
                Ok(Self(bytes))
            }
        }

        text_in_serde!($name);

        impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
                crate::codec::fixed::decode(d, ctx).map(Self)
            }
        }
    };
}

byte_id!(
    /// A person: SHA-256 over entry 0 of the account log, see [`crate::account`]. 32 bytes.
    AccountId, 32
);
byte_id!(
    /// A device of an account. 16 random bytes, unique within the account.
    DeviceId, 16
);
byte_id!(
    /// A conversation's log on the server. 32 random bytes.
    ConversationId, 32
);
byte_id!(
    /// What a chain of commits led to, see [`crate::conversation::epoch_id`]. 32 bytes.
    EpochId, 32
);
byte_id!(
    /// An encrypted blob: SHA-256 over the secret that may write to it. 32 bytes. Who knows the id may read.
    BlobId, 32
);
byte_id!(
    /// SHA-256 over a label and a [`Capability`]: all that a server keeps of it. 32 bytes.
    CapabilityHash, 32
);

impl BlobId {
    /// The id of the blob that `secret` may write to.
    pub fn of(secret: &Capability) -> Self {
        Self(Sha256::new_with_prefix(b"stonechat v1 blob id").chain_update(secret.0).finalize().into())
    }
}

/// The right to read or write a conversation's log, to write to a blob, or to use an inbox's contact lane.
///
/// 32 secret bytes. Wiped on drop, compared in constant time, never printed. It travels inside TLS in message bodies.
pub struct Capability([u8; 32]);

impl Capability {
    /// Wraps the secret bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes.
    pub const fn danger_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What the server may keep.
    pub fn hash(&self) -> CapabilityHash {
        CapabilityHash(Sha256::new_with_prefix(b"stonechat v1 capability").chain_update(self.0).finalize().into())
    }

    /// Whether this capability is the one behind `hash`, in constant time.
    pub fn opens(&self, hash: &CapabilityHash) -> bool {
        self.hash().0.ct_eq(&hash.0).into()
    }
}

impl Drop for Capability {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for Capability {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Capability {}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Capability(..)")
    }
}

impl<C> Encode<C> for Capability {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Capability {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        crate::codec::fixed::decode(d, ctx).map(Self)
    }
}

/// Position in a log. The first entry is 1; 0 stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Seq(#[n(0)] pub u64);

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode, Serialize, Deserialize)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Timestamp(#[n(0)] pub u64);

impl Timestamp {
    /// This moment and `secs` seconds; stays at the end of time rather than wrapping.
    #[must_use]
    pub const fn plus_secs(self, secs: u64) -> Self {
        Self(self.0.saturating_add(secs.saturating_mul(1_000)))
    }

    /// This moment and `millis` milliseconds.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// `@handle`: 1 to 15 of `a-z 0-9 _`, stored without the sign.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(String);

/// Why a text is not a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// Nothing but perhaps the sign.
    #[error("a handle has at least one character")]
    Empty,
    /// More than [`HANDLE_BYTES_MAX`].
    #[error("a handle has at most 15 characters")]
    TooLong,
    /// Something else than `a-z 0-9 _`.
    #[error("a handle has only the letters a to z (lower case), digits and _")]
    Character,
}

impl Handle {
    /// Parses a handle, with or without its `@`.
    ///
    /// # Errors
    /// [`HandleError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, HandleError> {
        let name = text.strip_prefix('@').unwrap_or(text);
        if name.is_empty() {
            return Err(HandleError::Empty);
        }
        if !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
            return Err(HandleError::Character);
        }
        if name.len() > HANDLE_BYTES_MAX {
            return Err(HandleError::TooLong);
        }
        Ok(Self(name.into()))
    }

    /// The handle without its `@`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle(@{})", self.0)
    }
}

impl FromStr for Handle {
    type Err = HandleError;
    fn from_str(text: &str) -> Result<Self, HandleError> {
        Self::parse(text)
    }
}

text_in_serde!(Handle);

impl<C> Encode<C> for Handle {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Handle {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        let text = d.str()?;
        if text.starts_with('@') {
            return Err(decode::Error::message("a handle travels without its sign").at(at));
        }
        Self::parse(text).map_err(|_| decode::Error::message("not a handle").at(at))
    }
}

/// What a newcomer shows where sign-up is closed. 10 random bytes; whoever has them may sign up. In text, 20 hex digits in
/// groups of five.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InviteCode(pub [u8; 10]);

impl fmt::Debug for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteCode(..)")
    }
}

impl fmt::Display for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = hex::encode(self.0);
        write!(f, "{}-{}-{}-{}", &text[..5], &text[5..10], &text[10..15], &text[15..])
    }
}

/// This text is no invitation's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an invitation's code is 20 letters and digits: 0 to 9 and a to f")]
pub struct InviteCodeError;

impl FromStr for InviteCode {
    type Err = InviteCodeError;

    /// As people type it: hyphens, spaces and capitals do not matter.
    fn from_str(text: &str) -> Result<Self, InviteCodeError> {
        let mut digits = [0; 20];
        let mut count = 0;
        for byte in text.bytes().filter(|byte| !matches!(byte, b'-' | b' ')) {
            *digits.get_mut(count).ok_or(InviteCodeError)? = byte;
            count += 1;
        }
        let mut code = [0; 10];
        hex::decode_to_slice(&digits[..count], &mut code).map_err(|_| InviteCodeError)?;
        Ok(Self(code))
    }
}

text_in_serde!(InviteCode);

impl<C> Encode<C> for InviteCode {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for InviteCode {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        crate::codec::fixed::decode(d, ctx).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn a_handle_is_1_to_15_of_the_allowed_characters() {
        for good in ["@a", "alice", "a_b_9", "@abcdefghijklmno"] {
            assert!(Handle::parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", HandleError::Empty),
            ("@", HandleError::Empty),
            ("Alice", HandleError::Character),
            ("al ice", HandleError::Character),
            ("ålice", HandleError::Character),
            ("@@alice", HandleError::Character),
            ("alice\n", HandleError::Character),
            ("abcdefghijklmnop", HandleError::TooLong),
        ] {
            assert_eq!(Handle::parse(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn what_people_see_is_what_travels_in_serde() {
        let account = AccountId([0xa1; 32]);
        let json = serde_json::to_string(&(account, Handle::parse("bob").unwrap(), Timestamp(7))).unwrap();
        assert_eq!(json, alloc::format!("[\"{account}\",\"@bob\",7]"));
        assert_eq!(serde_json::from_str::<(AccountId, Handle, Timestamp)>(&json).unwrap().0, account);
        for wrong in ["\"\"", "\"a1\"", "\"@bob\"", "7", "null"] {
            assert!(serde_json::from_str::<AccountId>(wrong).is_err(), "{wrong}");
        }
        for wrong in ["\"\"", "\"@\"", "\"@Bob\"", "7", "null"] {
            assert!(serde_json::from_str::<Handle>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_capability_itself_opens_its_hash() {
        let capability = Capability::from_bytes([7; 32]);
        assert!(capability.opens(&capability.hash()));
        assert!(!Capability::from_bytes([8; 32]).opens(&capability.hash()));
        assert_eq!(alloc::format!("{capability:?}"), "Capability(..)");
    }

    #[test]
    fn an_invitations_code_is_read_as_people_type_it() {
        let code = InviteCode([0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 7, 8, 9, 10]);
        assert_eq!(code.to_string(), "a1b2c-3d4e5-f6070-8090a");
        for typed in ["a1b2c-3d4e5-f6070-8090a", "A1B2C3D4E5F60708090A", " a1b2c 3d4e5 f6070 8090a "] {
            assert_eq!(typed.parse(), Ok(code), "{typed}");
        }
        for wrong in ["", "a1b2c", "a1b2c-3d4e5-f6070-8090a0", "g1b2c-3d4e5-f6070-8090a", &"-".repeat(99)] {
            assert_eq!(wrong.parse::<InviteCode>(), Err(InviteCodeError), "{wrong}");
        }
        assert!(!format!("{code:?}").contains("a1"), "whoever has it may sign up");
    }
}
