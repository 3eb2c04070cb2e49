//! What people say: the content inside an MLS application message.
//!
//! CBOR with integer keys and a version. A body of a kind that this version does not know is kept as it came and encodes
//! to the same bytes again, so that a message from a newer app is shown as such and survives being stored. This module
//! never looks at who sent a message, and never prints what one says: `Debug` shows sizes.

use std::fmt;

use minicbor::decode::Error as DecodeFailure;
use minicbor::encode::{Error as EncodeFailure, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use stonechat_wire::{LogHead, Seq, Timestamp, TreeHash, codec};

use crate::api;
use crate::crypto::Secret;
use crate::limits::TEXT_BYTES_MAX;

pub use crate::api::{MessageId, Notice};

/// The version that this app writes.
pub const CONTENT_VERSION: u8 = 1;
/// Encoded content, whatever its kind.
pub const CONTENT_BYTES_MAX: usize = TEXT_BYTES_MAX + 1_024;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Content {
    /// [`CONTENT_VERSION`].
    #[n(0)]
    pub version: u8,
    /// Which message.
    #[n(1)]
    pub id: MessageId,
    /// The sender's clock.
    #[n(2)]
    pub sent_at: Timestamp,
    /// What it says.
    #[n(3)]
    pub body: Body,
    /// How much of the conversation the sender had seen, so that members find out when they were shown different logs.
    #[n(4)]
    pub view: Option<LogView>,
    /// What the sender saw of the directory, when that is news in this conversation: so that people who were shown two
    /// directories find out from each other.
    #[n(5)]
    pub told: Option<ToldHead>,
}

/// A head of the directory as a member saw it, and what it says of the member's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ToldHead {
    /// Leaves of the directory's log.
    #[n(0)]
    pub size: u64,
    /// The root over them.
    #[n(1)]
    pub root: TreeHash,
    /// The log's signature over the checkpoint of these two. 64 bytes.
    #[cbor(n(2), with = "codec::fixed")]
    pub signature: [u8; 64],
    /// The sender's own account log, as this head or an earlier one has it.
    #[n(3)]
    pub own: LogHead,
}

/// A position in a conversation's log and what the log was up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogView {
    /// The last entry that the sender had.
    #[n(0)]
    pub seq: Seq,
    /// Hash over the entries up to and with it.
    #[cbor(n(1), with = "codec::fixed")]
    pub hash: [u8; 32],
}

/// What a message says. Encoded as `[kind, payload]`.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// Kind 0, a text string: at most [`TEXT_BYTES_MAX`] bytes of UTF-8, otherwise anything.
    Text(String),
    /// Kind 1, a byte string: what the sender's accepted contacts present to write to its inbox. For apps, not for people.
    ContactCard {
        /// The bytes of a [`stonechat_wire::Capability`].
        capability: Secret,
    },
    /// Kind 2, a number: the sender holds every entry from the one after this place up to its [`Content::view`]. For apps, not
    /// for people, and only in direct messages. Any other message says the same of the epoch that it is in.
    Receipt {
        /// Where this device came into the conversation.
        since: Seq,
    },
    /// Something that this device noticed, in the place where it did. Only ever local: a message with one is malformed.
    Notice(Notice),
    /// A kind from a newer app, within what [`stonechat_wire::decode`] takes.
    Unknown {
        /// Which.
        kind: u32,
        /// The payload: one CBOR item, as it came.
        raw: Vec<u8>,
    },
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} B)", text.len()),
            Self::ContactCard { .. } => f.write_str("ContactCard(..)"),
            Self::Notice(_) => f.write_str("Notice(..)"),
            Self::Receipt { since } => write!(f, "Receipt({since:?})"),
            Self::Unknown { kind, raw } => write!(f, "Unknown({kind}, {} B)", raw.len()),
        }
    }
}

/// Why bytes are not a message. An authenticated member made them, so it is their app that is broken or newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Over [`CONTENT_BYTES_MAX`].
    #[error("a message is too long")]
    TooLong,
    /// Not the CBOR described here.
    #[error("a message cannot be read: the sender's app made it wrongly")]
    Malformed,
    /// A later version of the whole format.
    #[error("a message is of format {version}, which this app does not know; update it")]
    Newer {
        /// Which.
        version: u8,
    },
}

impl Content {
    /// Content of this version.
    pub fn new(id: MessageId, sent_at: Timestamp, body: Body) -> Self {
        Self { version: CONTENT_VERSION, id, sent_at, body, view: None, told: None }
    }

    /// The bytes for the MLS message.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads the bytes of an MLS message.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        if bytes.len() > CONTENT_BYTES_MAX {
            return Err(ContentError::TooLong);
        }
        // The version first: a later one may have changed everything behind it.
        let VersionOnly { version } = codec::decode(bytes).map_err(|_| ContentError::Malformed)?;
        if version != CONTENT_VERSION {
            return Err(ContentError::Newer { version });
        }
        let content: Self = codec::decode(bytes).map_err(|_| ContentError::Malformed)?;
        match content.body {
            // What only this device may say to its person.
            Body::Notice(_) => Err(ContentError::Malformed),
            _ => Ok(content),
        }
    }
}

impl Body {
    /// Whether a person sees it. The others are between apps: no row, no preview, not counted.
    pub(crate) fn is_for_people(&self) -> bool {
        !matches!(self, Self::ContactCard { .. } | Self::Receipt { .. })
    }

    /// What a person sees of it. What is between apps has no row; where it has one all the same, a newer app made it.
    pub(crate) fn shown(self) -> api::Body {
        match self {
            Self::Text(text) => api::Body::Text(text.into()),
            Self::Notice(notice) => api::Body::Notice(notice),
            Self::ContactCard { .. } => api::Body::Newer { kind: KIND_CONTACT_CARD },
            Self::Receipt { .. } => api::Body::Newer { kind: KIND_RECEIPT },
            Self::Unknown { kind, .. } => api::Body::Newer { kind },
        }
    }

    /// The bytes for a record of the vault.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads what [`Body::encode`] wrote.
    ///
    /// # Errors
    /// [`ContentError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        codec::decode(bytes).map_err(|_| ContentError::Malformed)
    }
}

#[derive(Decode)]
#[cbor(map)]
struct VersionOnly {
    #[n(0)]
    version: u8,
}

impl<C> Encode<C> for Body {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeFailure<W::Error>> {
        e.array(2)?;
        match self {
            Self::Text(text) => e.u32(KIND_TEXT)?.str(text)?.ok(),
            Self::ContactCard { capability } => e.u32(KIND_CONTACT_CARD)?.encode(capability)?.ok(),
            Self::Notice(notice) => e.u32(KIND_NOTICE)?.encode(notice)?.ok(),
            Self::Receipt { since } => e.u32(KIND_RECEIPT)?.encode(since)?.ok(),
            Self::Unknown { kind, raw } => {
                e.u32(*kind)?;
                e.writer_mut().write_all(raw).map_err(EncodeFailure::write)
            }
        }
    }
}

impl<'b, C> Decode<'b, C> for Body {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeFailure> {
        let at = d.position();
        if d.array()? != Some(2) {
            return Err(DecodeFailure::message("a body is a kind and a payload").at(at));
        }
        match d.u32()? {
            KIND_TEXT => {
                let text = d.str()?;
                if text.len() > TEXT_BYTES_MAX {
                    return Err(DecodeFailure::message("text too long").at(at));
                }
                Ok(Self::Text(text.to_owned()))
            }
            KIND_RECEIPT => Ok(Self::Receipt { since: d.decode()? }),
            KIND_CONTACT_CARD => Ok(Self::ContactCard { capability: d.decode_with(ctx)? }),
            KIND_NOTICE => Ok(Self::Notice(d.decode()?)),
            kind => {
                let start = d.position();
                d.skip()?;
                let raw = d.input().get(start..d.position()).ok_or_else(DecodeFailure::end_of_input)?;
                Ok(Self::Unknown { kind, raw: raw.to_vec() })
            }
        }
    }
}

const KIND_TEXT: u32 = 0;
const KIND_CONTACT_CARD: u32 = 1;
const KIND_RECEIPT: u32 = 2;
/// Only in the vault.
const KIND_NOTICE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use stonechat_wire::Handle;

    fn content(body: Body) -> Content {
        Content::new(MessageId([7; 16]), Timestamp(1_700_000_000_000), body)
    }

    /// A body as a newer app writes it.
    fn unknown(payload: &[u8]) -> Body {
        Body::Unknown { kind: 77, raw: payload.to_vec() }
    }

    #[test]
    fn content_has_these_bytes() {
        let mut content = content(Body::Text("hi".into()));
        content.view = Some(LogView { seq: Seq(3), hash: [1; 32] });
        let expected = format!("a5000101{}021b0000018bcfe56800038200626869{}", "50".to_owned() + &"07".repeat(16), {
            "04a20003015820".to_owned() + &"01".repeat(32)
        });
        assert_eq!(hex::encode(content.encode()), expected);
        assert_eq!(Content::decode(&content.encode()).unwrap(), content);
    }

    #[test]
    fn a_receipt_has_these_bytes_and_is_not_for_people() {
        let receipt = Body::Receipt { since: Seq(258) };
        assert_eq!(hex::encode(receipt.encode()), "8202190102");
        assert_eq!(Body::decode(&receipt.encode()).unwrap(), receipt);
        assert!(!receipt.is_for_people());
        for payload in ["8202f6", "820220", "82026161"] {
            assert_eq!(Body::decode(&hex::decode(payload).unwrap()), Err(ContentError::Malformed), "{payload}");
        }
    }

    #[test]
    fn a_text_at_its_bound_is_read_and_one_over_it_is_not() {
        for len in [0, 63, 64, 16_383, 16_384, TEXT_BYTES_MAX] {
            let content = content(Body::Text("x".repeat(len)));
            assert_eq!(Content::decode(&content.encode()).unwrap(), content);
        }
        let long = content(Body::Text("x".repeat(TEXT_BYTES_MAX + 1)));
        assert_eq!(Content::decode(&long.encode()), Err(ContentError::Malformed));
        let huge = content(Body::Text("x".repeat(CONTENT_BYTES_MAX)));
        assert_eq!(Content::decode(&huge.encode()), Err(ContentError::TooLong));
    }

    #[test]
    fn a_text_that_is_not_utf8_is_refused() {
        let mut bytes = content(Body::Text("hi".into())).encode();
        let last = bytes.iter().rposition(|b| *b == b'i').unwrap();
        bytes[last] = 0xff;
        assert_eq!(Content::decode(&bytes), Err(ContentError::Malformed));
    }

    #[test]
    fn a_body_of_an_unknown_kind_encodes_to_the_bytes_it_came_as() {
        // A map whose keys are not sorted, with a float and a nested list: nothing that this version would write.
        let payload = [0xa2, 0x05, 0xfb, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x82, 0x01, 0x81, 0xf6];
        let bytes = content(unknown(&payload)).encode();
        let read = Content::decode(&bytes).unwrap();
        assert_eq!(read.body, unknown(&payload));
        assert_eq!(read.encode(), bytes);
    }

    #[test]
    fn an_unknown_body_that_is_cut_short_or_of_indefinite_length_is_refused() {
        for payload in [&[][..], &[0x82, 0x01], &[0x58, 0x20, 0x01], &[0x9f, 0x01, 0xff]] {
            assert_eq!(
                Content::decode(&content(unknown(payload)).encode()),
                Err(ContentError::Malformed),
                "{payload:?}"
            );
        }
    }

    #[test]
    fn a_notice_is_kept_and_never_taken_from_anybody_else() {
        let notice = Body::Notice(Notice::DeviceAdded(Handle::parse("bob").unwrap()));
        assert_eq!(Body::decode(&notice.encode()).unwrap(), notice);
        assert_eq!(Content::decode(&content(notice).encode()), Err(ContentError::Malformed));
    }

    #[test]
    fn what_a_member_saw_of_the_directory_travels_in_field_5() {
        let own = LogHead { length: 2, hash: [3; 32] };
        let told = ToldHead { size: 9, root: TreeHash([1; 32]), signature: [2; 64], own };
        let content = Content { told: Some(told), ..content(Body::Text("hi".into())) };
        let bytes = content.encode();
        assert!(bytes.len() < 220 && Content::decode(&bytes).unwrap() == content, "{} B", bytes.len());
    }

    #[test]
    fn a_later_version_is_named_and_trailing_bytes_are_refused() {
        let newer = Content { version: 2, ..content(Body::Text(String::new())) };
        assert_eq!(Content::decode(&newer.encode()), Err(ContentError::Newer { version: 2 }));
        let mut bytes = content(Body::Text("hi".into())).encode();
        bytes.push(0);
        assert_eq!(Content::decode(&bytes), Err(ContentError::Malformed));
    }

    #[test]
    fn debug_prints_neither_texts_nor_capabilities() {
        let shown = format!(
            "{:?} {:?}",
            Body::Text("canary".into()),
            Body::ContactCard { capability: Secret::from_bytes([0xAB; 32]) }
        );
        assert_eq!(shown, "Text(6 B) ContactCard(..)");
    }

    #[test]
    fn a_message_id_reads_what_it_prints() {
        let id = MessageId([0xAB; 16]);
        assert_eq!(id.to_string(), "ab".repeat(16));
        assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
        assert!("abc".parse::<MessageId>().is_err());
    }

    fn any_body() -> impl Strategy<Value = Body> {
        prop_oneof![
            any::<String>().prop_map(Body::Text),
            any::<[u8; 32]>().prop_map(|capability| Body::ContactCard { capability: Secret::from_bytes(capability) }),
            any::<u64>().prop_map(|since| Body::Receipt { since: Seq(since) }),
            // The last one is kept for what only this device writes.
            (3..u32::MAX, any::<Vec<u8>>()).prop_map(|(kind, payload)| {
                let mut raw = Vec::new();
                minicbor::encode(minicbor::bytes::ByteVec::from(payload), &mut raw).unwrap();
                Body::Unknown { kind, raw }
            }),
        ]
    }

    proptest! {
        #[test]
        fn content_reads_what_it_writes(id: [u8; 16], at: u64, body in any_body(), view: Option<(u64, [u8; 32])>) {
            let view = view.map(|(seq, hash)| LogView { seq: Seq(seq), hash });
            let content = Content { view, ..Content::new(MessageId(id), Timestamp(at), body) };
            prop_assert_eq!(Body::decode(&content.body.encode()).unwrap(), content.body.clone());
            prop_assert_eq!(Content::decode(&content.encode()).unwrap(), content);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ = Content::decode(&bytes);
        }
    }
}
