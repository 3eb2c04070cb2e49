//! What is not exactly one message within its bounds is rejected, and nothing that arrives makes a decoder panic.

use minicbor::encode::Write;
use minicbor::{Encode, Encoder};
use proptest::prelude::*;
use stonechat_wire::limits::{
    ACCOUNT_ENTRIES_MAX, ACCOUNT_ENTRY_BYTES_MAX, BLOB_CHUNK_BYTES_MAX, BRANCHES_MAX, CHECKPOINT_BYTES_MAX,
    CONTACT_CAPABILITIES_MAX, DEVICES_MAX, DIRECTORY_POLICY_BYTES_MAX, ENTRY_BYTES_MAX, ENVELOPE_BYTES_MAX,
    HANDLE_BYTES_MAX, HISTORY_PROOF_BYTES_MAX, KEY_PACKAGE_BYTES_MAX, KEY_PACKAGES_MAX, LOOKUP_PROOF_BYTES_MAX,
    PAGE_ENTRIES_MAX, RECORD_BYTES_MAX, TOKENS_PER_REQUEST_MAX, TREE_PROOF_HASHES_MAX,
};
use stonechat_wire::message::{DeviceKeyPackage, Element, Page};
use stonechat_wire::{
    AccountHistory, AccountLog, AccountProof, AccountState, Bytes, CapabilityHash, ClientFrame, DecodeError,
    DeviceKeys, Entry, Envelope, Failure, Handle, Hello, HelloReply, Lane, LogBody, LogEntry, LogRecord, LogSignature,
    Push, Reply, Request, Seq, ServerFrame, SignedHead, TreeHash, decode, decode_canonical, encode,
};

use crate::examples::{
    DEVICE, account, all, bytes, capability, chain, entry, envelope, list, signature, signed_head, token,
};

#[test]
fn a_truncated_message_is_refused_at_every_length() {
    for example in all() {
        for len in 0..example.cbor.len() {
            assert!((example.recode)(&example.cbor[..len]).is_err(), "{} cut to {len}", example.name);
        }
    }
}

#[test]
fn one_trailing_byte_is_refused() {
    for example in all() {
        for byte in [0x00, 0x80, 0xf6, 0xff] {
            let longer = [&example.cbor[..], &[byte]].concat();
            assert_eq!((example.recode)(&longer), Err(DecodeError::Trailing), "{}", example.name);
        }
    }
}

/// A field with a bound: how to write a message that holds `n` in it, and what reads that message.
struct Bounded {
    field: &'static str,
    max: usize,
    write: fn(usize) -> Vec<u8>,
    accepts: fn(&[u8]) -> bool,
}

#[test]
fn each_field_takes_its_bound_and_not_one_more() {
    let sizes = [0, 1, 63, 64, 16_383, 16_384];
    for Bounded { field, max, write, accepts } in bounded_fields() {
        for n in sizes.into_iter().chain([max - 1, max, max + 1, max + 64]) {
            let fits = n <= max && (n > 0 || field != "handle");
            assert_eq!(accepts(&write(n)), fits, "{field} of {n}");
        }
    }
}

fn bounded_fields() -> Vec<Bounded> {
    fn reads<T: for<'b> minicbor::Decode<'b, ()>>(bytes: &[u8]) -> bool {
        decode::<T>(bytes).is_ok()
    }
    vec![
        Bounded { field: "handle", max: HANDLE_BYTES_MAX, write: |n| encode(&"a".repeat(n)), accepts: reads::<Handle> },
        Bounded {
            field: "LogEntry.body",
            max: ACCOUNT_ENTRY_BYTES_MAX,
            write: |n| map(2, |e| field(e, 0, &Raw(n)) && field(e, 1, &[signature()])),
            accepts: reads::<LogEntry>,
        },
        Bounded {
            field: "LogEntry.signatures",
            max: 2,
            write: |n| map(2, |e| field(e, 0, &Raw(1)) && field(e, 1, &vec![signature(); n])),
            accepts: reads::<LogEntry>,
        },
        Bounded {
            field: "AccountLog",
            max: ACCOUNT_ENTRIES_MAX,
            write: |n| encode(&vec![LogEntry { body: bytes(b""), signatures: list([]) }; n]),
            accepts: reads::<AccountLog>,
        },
        Bounded {
            field: "LogRecord.live",
            max: BRANCHES_MAX,
            write: |n| record(&vec![Seq(1); n], 1),
            accepts: reads::<LogRecord>,
        },
        Bounded {
            field: "LogRecord.blob",
            max: ENTRY_BYTES_MAX,
            write: |n| record(&[], n),
            accepts: reads::<LogRecord>,
        },
        Bounded {
            field: "Entry.blob",
            max: ENTRY_BYTES_MAX,
            write: |n| map(4, |e| field(e, 0, &Seq(1)) && field(e, 1, &1) && kind(e, 2) && field(e, 3, &Raw(n))),
            accepts: reads::<Entry>,
        },
        Bounded {
            field: "Page.entries",
            max: PAGE_ENTRIES_MAX,
            write: |n| map(2, |e| field(e, 0, &vec![entry(); n]) && field(e, 1, &false)),
            accepts: reads::<Page>,
        },
        Bounded {
            field: "Push.Envelopes",
            max: PAGE_ENTRIES_MAX,
            write: |n| variant(1, 1, |e| item(e, &vec![envelope(Lane::Contacts); n])),
            accepts: reads::<Push>,
        },
        Bounded {
            field: "Envelope.sealed",
            max: ENVELOPE_BYTES_MAX,
            write: |n| map(3, |e| field(e, 0, &Lane::Contacts) && field(e, 1, &1) && field(e, 2, &Raw(n))),
            accepts: reads::<Envelope>,
        },
        Bounded {
            field: "PublishKeyPackages.packages",
            max: KEY_PACKAGES_MAX,
            write: |n| variant(3, 1, |e| item(e, &vec![Raw(1); n])),
            accepts: reads::<Request>,
        },
        Bounded {
            field: "PublishKeyPackages.packages[0]",
            max: KEY_PACKAGE_BYTES_MAX,
            write: |n| variant(3, 1, |e| item(e, &[Raw(n)])),
            accepts: reads::<Request>,
        },
        Bounded {
            field: "PublishKeyPackages.last_resort",
            max: KEY_PACKAGE_BYTES_MAX,
            write: |n| variant(3, 2, |e| item(e, &[Raw(1)]) && item(e, &Raw(n))),
            accepts: reads::<Request>,
        },
        Bounded {
            field: "ConfigureInbox.contacts",
            max: CONTACT_CAPABILITIES_MAX,
            write: |n| variant(4, 2, |e| item(e, &vec![CapabilityHash([1; 32]); n]) && item(e, &true)),
            accepts: reads::<Request>,
        },
        Bounded {
            field: "IssueTokens.blinded",
            max: TOKENS_PER_REQUEST_MAX,
            write: |n| variant(6, 1, |e| item(e, &vec![Element([1; 32]); n])),
            accepts: reads::<Request>,
        },
        Bounded {
            field: "PostEnvelope.sealed",
            max: ENVELOPE_BYTES_MAX,
            write: |n| {
                variant(23, 4, |e| {
                    let admission = stonechat_wire::Admission::Token(token());
                    item(e, &account()) && item(e, &DEVICE) && item(e, &admission) && item(e, &Raw(n))
                })
            },
            accepts: reads::<Request>,
        },
        Bounded {
            field: "AppendBlob.bytes",
            max: BLOB_CHUNK_BYTES_MAX,
            write: |n| {
                variant(24, 4, |e| item(e, &capability(1)) && item(e, &None::<u8>) && item(e, &1) && item(e, &Raw(n)))
            },
            accepts: reads::<Request>,
        },
        Bounded {
            field: "Tokens.evaluated",
            max: TOKENS_PER_REQUEST_MAX,
            write: |n| variant(3, 2, |e| item(e, &vec![Element([1; 32]); n]) && item(e, &bytes::<64>(&[1; 64]))),
            accepts: reads::<Reply>,
        },
        Bounded {
            field: "KeyPackages",
            max: DEVICES_MAX,
            write: |n| variant(5, 1, |e| item(e, &vec![DeviceKeyPackage { device: DEVICE, package: bytes(b"") }; n])),
            accepts: reads::<Reply>,
        },
        Bounded {
            field: "Chunk.bytes",
            max: BLOB_CHUNK_BYTES_MAX,
            write: |n| variant(8, 1, |e| item(e, &Raw(n))),
            accepts: reads::<Reply>,
        },
        Bounded {
            field: "Consistency",
            max: TREE_PROOF_HASHES_MAX,
            write: |n| variant(11, 1, |e| item(e, &vec![TreeHash([1; 32]); n])),
            accepts: reads::<Reply>,
        },
        Bounded {
            field: "DirectoryPolicy",
            max: DIRECTORY_POLICY_BYTES_MAX,
            write: |n| variant(12, 1, |e| item(e, &Raw(n))),
            accepts: reads::<Reply>,
        },
        Bounded {
            field: "SignedHead.checkpoint",
            max: CHECKPOINT_BYTES_MAX,
            write: |n| map(3, |e| field(e, 0, &Raw(n)) && field(e, 1, &Raw(1)) && field(e, 2, &[TreeHash([1; 32])])),
            accepts: reads::<SignedHead>,
        },
        Bounded {
            field: "SignedHead.record",
            max: RECORD_BYTES_MAX,
            write: |n| map(3, |e| field(e, 0, &Raw(1)) && field(e, 1, &Raw(n)) && field(e, 2, &[TreeHash([1; 32])])),
            accepts: reads::<SignedHead>,
        },
        Bounded {
            field: "AccountProof.account",
            max: LOOKUP_PROOF_BYTES_MAX,
            write: |n| map(2, |e| field(e, 0, &signed_head()) && field(e, 1, &Raw(n))),
            accepts: reads::<AccountProof>,
        },
        Bounded {
            field: "AccountProof.handle",
            max: LOOKUP_PROOF_BYTES_MAX,
            write: |n| map(3, |e| field(e, 0, &signed_head()) && field(e, 1, &Raw(1)) && field(e, 2, &Raw(n))),
            accepts: reads::<AccountProof>,
        },
        Bounded {
            field: "AccountHistory.handle",
            max: HISTORY_PROOF_BYTES_MAX,
            write: |n| map(3, |e| field(e, 0, &signed_head()) && field(e, 1, &Raw(1)) && field(e, 2, &Raw(n))),
            accepts: reads::<AccountHistory>,
        },
    ]
}

#[test]
fn a_byte_string_of_fixed_length_is_refused_one_shorter_and_one_longer() {
    for len in [0, 15, 16, 17, 31, 32, 33, 63, 64, 65] {
        let cbor = encode(&Raw(len));
        assert_eq!(decode::<stonechat_wire::AccountId>(&cbor).is_ok(), len == 32);
        assert_eq!(decode::<stonechat_wire::DeviceId>(&cbor).is_ok(), len == 16);
        assert_eq!(decode::<stonechat_wire::Capability>(&cbor).is_ok(), len == 32);
    }
}

#[test]
fn a_claim_of_2_to_the_60_is_refused_at_once() {
    // Byte string, text, array and map heads that claim 2^60, 2^32 and 2^31, where a message has a value of that kind.
    for example in all() {
        for (at, byte) in example.cbor.iter().enumerate().take(512) {
            if !(2..=5).contains(&(byte >> 5)) {
                continue;
            }
            for claim in [
                [0x1b_u8, 0x10, 0, 0, 0, 0, 0, 0, 0].as_slice(),
                &[0x1a, 0xff, 0xff, 0xff, 0xff],
                &[0x1a, 0x80, 0, 0, 0],
            ] {
                let mut head = claim.to_vec();
                head[0] |= byte & 0xe0;
                let claiming = [&example.cbor[..at], &head, &example.cbor[at + 1..]].concat();
                // Inside a byte string the change is content; elsewhere it is rejected. Either way it returns, and small.
                if let Ok(read) = (example.recode)(&claiming) {
                    assert!(read.len() <= claiming.len(), "{}", example.name);
                }
            }
        }
    }
    assert!(decode::<Bytes<64>>(&[0x5b, 0x10, 0, 0, 0, 0, 0, 0, 0]).is_err());
    assert!(decode::<AccountLog>(&[0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0]).is_err());
    assert!(decode::<HelloReply>(&[0xbb, 0x10, 0, 0, 0, 0, 0, 0, 0]).is_err());
    assert!(decode::<Hello>(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
}

#[test]
fn indefinite_lengths_long_heads_and_tags_are_refused() {
    assert!(decode::<Hello>(&[0x81, 0x01]).is_ok());
    for (what, cbor) in [
        ("an indefinite array", &[0x9f, 0x01, 0xff][..]),
        ("a number in two bytes that needs one", &[0x81, 0x18, 0x01]),
        ("a number in nine bytes that needs one", &[0x81, 0x1b, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("a length in two bytes that needs one", &[0x98, 0x01, 0x01]),
        ("a tag", &[0x81, 0xc1, 0x01]),
        ("a reserved head", &[0x81, 0x1c]),
        ("an unknown item of indefinite length", &[0x82, 0x01, 0x9f, 0xff]),
        ("nothing", &[]),
    ] {
        assert_eq!(decode::<Hello>(cbor), Err(DecodeError::Malformed), "{what}");
    }
    // A frame of nothing but nested arrays without an end.
    assert_eq!(decode::<ClientFrame>(&vec![0x9f; 1 << 20]), Err(DecodeError::Malformed));
    assert_eq!(decode::<Failure>(&[0xbf, 0x00, 0x04, 0xff]), Err(DecodeError::Malformed));
}

#[test]
fn what_a_later_version_adds_is_passed_over() {
    assert_eq!(decode::<Hello>(&[0x82, 0x19, 0x01, 0x00, 0x61, b'x']), Ok(Hello { version: 256 }));
    let failure = Failure::new(stonechat_wire::ErrorCode::NotFound);
    assert_eq!(decode::<Failure>(&[0xa2, 0x00, 0x04, 0x09, 0x82, 0x01, 0x02]), Ok(failure));
    // The number is known before the fields are: an unknown variant is rejected.
    assert!(decode::<Request>(&[0x82, 0x18, 0xff, 0x80]).is_err());
}

#[test]
fn the_detail_of_a_failure_is_cut_as_it_is_sent_and_refused_when_it_is_longer() {
    let with = |detail: &str| Failure { detail: Some(detail.into()), ..Failure::new(stonechat_wire::ErrorCode::Full) };
    for (said, sent) in
        [("", 0), ("x", 1), (&"x".repeat(256), 256), (&"x".repeat(10_000), 256), (&"€".repeat(100), 255)]
    {
        let read = decode::<Failure>(&encode(&with(said))).unwrap();
        assert_eq!(read, with(&said[..sent]));
    }
    // Key 2, a text of 257 bytes.
    let long = [&[0xa2, 0x00, 0x0b, 0x02, 0x79, 0x01, 0x01], [b'x'; 257].as_slice()].concat();
    assert_eq!(decode::<Failure>(&long), Err(DecodeError::Malformed));
}

#[test]
fn a_signed_body_has_one_encoding() {
    let keys = encode(&match decode::<LogBody>(&chain()[1].body).unwrap() {
        LogBody::AddDevice { device, .. } => device,
        other => panic!("{other:?}"),
    });
    assert!(decode_canonical::<DeviceKeys>(&keys).is_ok());
    let (id, rest) = keys[1..].split_at(18);
    let second_id = [&[0x00, 0x50][..], &[0xee; 16]].concat();
    for (what, other) in [
        ("a repeated key", [&[0xa4], id, &second_id, rest].concat()),
        ("an unknown key", [&[0xa4], id, rest, &[0x09, 0x00]].concat()),
        ("keys out of order", [&[0xa3], rest, id].concat()),
    ] {
        assert!(decode::<DeviceKeys>(&other).is_ok(), "{what} is harmless elsewhere");
        assert_eq!(decode_canonical::<DeviceKeys>(&other), Err(DecodeError::Malformed), "{what}");
    }
}

#[test]
fn a_log_whose_body_has_a_second_encoding_is_refused_although_it_is_signed() {
    use ed25519_dalek::{Signer as _, SigningKey};
    let genesis = &chain()[0];
    // An item after the last field of the body: a reader that passes over it sees the same account.
    let mut body = genesis.body.to_vec();
    assert_eq!(body[2], 0x84);
    body[2] = 0x85;
    body.push(0x00);
    assert!(decode::<LogBody>(&body).is_ok());
    let signed = [b"stonechat v1 account entry", &body[..]].concat();
    let mut signatures = genesis.signatures.clone().into_vec();
    for (signature, seed) in signatures.iter_mut().zip([1, 0xf1]) {
        signature.signature = SigningKey::from_bytes(&[seed; 32]).sign(&signed).to_bytes();
    }
    let log = AccountLog(list([LogEntry { body: bytes(&body), signatures: list(signatures) }]));
    let refused = stonechat_wire::AccountLogError::Malformed { index: 0 };
    assert_eq!(AccountState::verify(&log, None), Err(refused));
}

#[test]
fn twenty_thousand_mutated_messages_do_not_panic() {
    let examples = all();
    let mut random = Xorshift(0x5eed_0000_0000_0001);
    for _ in 0..20_000 {
        let example = &examples[random.below(examples.len())];
        let mut mutated = example.cbor.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(mutated.len());
            match random.below(5) {
                0 => mutated[at] ^= 1 << random.below(8),
                1 => {
                    mutated[at] = HEADS[random.below(HEADS.len())];
                }
                2 => mutated.truncate(at.max(1)),
                3 => mutated.insert(at, u8::try_from(random.below(256)).unwrap()),
                _ => {
                    let other = &examples[random.below(examples.len())].cbor;
                    mutated.truncate(at);
                    mutated.extend_from_slice(&other[random.below(other.len())..]);
                }
            }
        }
        if let Ok(read) = (example.recode)(&mutated) {
            assert_eq!((example.recode)(&read).as_ref(), Ok(&read), "{} does not settle", example.name);
        }
        every_decoder(&mutated);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        every_decoder(&bytes);
    }

    #[test]
    fn arbitrary_bytes_under_a_right_head_never_panic(number in 0_u8..32, bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let head = if number < 24 { vec![0x82, number] } else { vec![0x82, 0x18, number] };
        every_decoder(&[head, bytes].concat());
    }

    #[test]
    fn a_record_comes_back_as_it_was(
        time in any::<u64>(),
        epoch in any::<u64>(),
        commit in proptest::option::of(any::<([u8; 32], [u8; 32], [u8; 32])>()),
        live in proptest::collection::vec(any::<u64>().prop_map(Seq), 0..=BRANCHES_MAX),
        blob in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        use stonechat_wire::{EntryKind, EpochCaps, EpochId, Timestamp};
        let kind = match commit {
            None => EntryKind::Application,
            Some((read, write, _)) => EntryKind::Commit(EpochCaps { read: CapabilityHash(read), write: CapabilityHash(write) }),
        };
        let opens = commit.map(|(_, _, id)| EpochId(id));
        let record = LogRecord { time: Timestamp(time), epoch: Seq(epoch), kind, opens, live: list(live), blob: bytes(&blob) };
        prop_assert_eq!(decode_canonical::<LogRecord>(&encode(&record)), Ok(record));
    }

    #[test]
    fn an_append_comes_back_as_it_was(
        epoch in any::<u64>(), skip in any::<Option<u64>>(), ttl_secs in any::<Option<u64>>(),
        blob in proptest::collection::vec(any::<u8>(), 0..300), id in any::<u32>(),
    ) {
        let request = Request::Append {
            conversation: crate::examples::CONVERSATION,
            epoch: Seq(epoch),
            epoch_id: stonechat_wire::EpochId([7; 32]),
            write: capability(9),
            kind: stonechat_wire::EntryKind::Application,
            skip: skip.map(Seq),
            ttl_secs,
            blob: bytes(&blob),
        };
        let frame = ClientFrame { id, request };
        prop_assert_eq!(decode_canonical::<ClientFrame>(&encode(&frame)), Ok(frame));
    }
}

/// Reads bytes as everything that arrives from elsewhere.
fn every_decoder(bytes: &[u8]) {
    let _ = decode::<Hello>(bytes);
    let _ = decode::<ClientFrame>(bytes);
    let _ = decode::<ServerFrame>(bytes);
    let _ = decode::<Request>(bytes);
    let _ = decode::<Reply>(bytes);
    let _ = decode::<Push>(bytes);
    let _ = decode::<Failure>(bytes);
    let _ = decode::<LogRecord>(bytes);
    let _ = decode::<LogSignature>(bytes);
    let _ = decode_canonical::<LogBody>(bytes);
    if let Ok(log) = decode::<AccountLog>(bytes) {
        let _ = AccountState::verify(&log, None);
    }
}

/// A byte string of so many bytes, with no bound.
#[derive(Clone)]
struct Raw(usize);

impl<C> Encode<C> for Raw {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&vec![7; self.0])?.ok()
    }
}

type VecEncoder = Encoder<Vec<u8>>;

fn map(keys: u64, fill: impl FnOnce(&mut VecEncoder) -> bool) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.map(keys).unwrap();
    assert!(fill(&mut e));
    e.into_writer()
}

fn variant(number: u8, fields: u64, fill: impl FnOnce(&mut VecEncoder) -> bool) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.array(2).unwrap().u8(number).unwrap().array(fields).unwrap();
    assert!(fill(&mut e));
    e.into_writer()
}

fn field<T: Encode<()>>(e: &mut VecEncoder, key: u8, value: &T) -> bool {
    e.u8(key).unwrap().encode(value).is_ok()
}

fn item<T: Encode<()>>(e: &mut VecEncoder, value: &T) -> bool {
    e.encode(value).is_ok()
}

fn kind(e: &mut VecEncoder, key: u8) -> bool {
    field(e, key, &stonechat_wire::EntryKind::Application)
}

fn record(live: &[Seq], blob: usize) -> Vec<u8> {
    map(5, |e| {
        field(e, 0, &1) && field(e, 1, &1) && kind(e, 2) && field(e, 4, &live.to_vec()) && field(e, 5, &Raw(blob))
    })
}

/// First bytes that mean a length, a kind or an end.
const HEADS: [u8; 14] = [0x00, 0x18, 0x1b, 0x40, 0x5b, 0x7b, 0x80, 0x9b, 0x9f, 0xa0, 0xbb, 0xbf, 0xf6, 0xff];

/// Enough for mutations, and the same on every machine.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}
