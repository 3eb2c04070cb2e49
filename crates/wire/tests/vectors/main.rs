//! What `vectors/wire.json` shows is what this crate does: the file is made here and compared. `UPDATE_VECTORS=1` rewrites it.

#![expect(clippy::unwrap_used, reason = "a test stops where something is not as claimed")]

mod codec;
mod examples;
mod schema;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use ed25519_dalek::{Signature, SigningKey};
use minicbor::Decode;
use sha2::{Digest, Sha256};
use stonechat_wire::{
    AccountLog, AccountState, Admission, EntryKind, ErrorCode, Lane, LogBody, Push, Reply, Request, ServerFrame, Signer,
};

use examples::{account, all, chain, hashes, list, login_bytes, signatures};

#[test]
fn vectors_are_what_the_code_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/wire.json");
    let made = render();
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, (kept, made)) in kept.lines().zip(made.lines()).enumerate() {
        assert_eq!(kept, made, "line {} of vectors/wire.json: bytes on the wire changed", line + 1);
    }
    assert_eq!(
        kept.lines().count(),
        made.lines().count(),
        "run `cargo xtask vectors` to add new vectors to vectors/wire.json"
    );
}

#[test]
fn each_vector_decodes_and_encodes_to_the_same_bytes() {
    let mut names = BTreeSet::new();
    for example in all() {
        assert_eq!((example.recode)(&example.cbor).as_ref(), Ok(&example.cbor), "{}", example.name);
        assert!(names.insert(example.name.clone()), "two vectors are called {}", example.name);
    }
}

#[test]
fn each_hash_is_sha256_over_its_documented_parts() {
    for example in hashes() {
        assert_eq!(Sha256::digest(example.parts.concat())[..], example.sha256, "{}", example.name);
    }
}

#[test]
fn each_signature_is_over_its_documented_bytes() {
    for example in signatures() {
        let key = SigningKey::from_bytes(&example.secret).verifying_key();
        let signed = [example.label.as_bytes(), &example.body].concat();
        assert!(key.verify_strict(&signed, &Signature::from_bytes(&example.signature)).is_ok(), "{}", example.name);
    }
    let login = &signatures()[0];
    assert_eq!(login_bytes(), [login.label.as_bytes(), &login.body].concat());
}

#[test]
fn the_account_log_of_the_vectors_verifies() {
    let state = AccountState::verify(&AccountLog(list(chain())), Some(account())).unwrap();
    assert_eq!((state.devices().len(), state.head().0), (1, 4));
}

#[test]
fn every_variant_has_a_vector() {
    let enums: [(&str, BTreeSet<u8>); 8] = [
        ("server-frame", variants::<ServerFrame>()),
        ("request", variants::<Request>()),
        ("reply", variants::<Reply>()),
        ("push", variants::<Push>()),
        ("admission", variants::<Admission>()),
        ("entry-kind", variants::<EntryKind>()),
        ("log-body", variants::<LogBody>()),
        ("signer", variants::<Signer>()),
    ];
    for (rule, known) in enums {
        // array(2), the variant's number (below 24 in one byte, else in two)
        let shown = all()
            .iter()
            .filter(|e| e.rule == rule)
            .map(|e| if e.cbor[1] == 0x18 { e.cbor[2] } else { e.cbor[1] })
            .collect();
        assert_eq!(known, shown, "variants of {rule}: known to the decoder, and with a vector");
    }
    assert_eq!(numbers::<Lane>().len(), all().iter().filter(|e| e.rule == "lane").count());
    assert_eq!(numbers::<ErrorCode>().len(), examples::error_codes().len());
}

/// The variants that the decoder of an enum with fields knows: all that it does not call unknown.
fn variants<T: for<'b> Decode<'b, ()>>() -> BTreeSet<u8> {
    known::<T>(&[0x82, 0x18])
}

/// The same, for an enum that is only a number.
fn numbers<T: for<'b> Decode<'b, ()>>() -> BTreeSet<u8> {
    known::<T>(&[0x18])
}

fn known<T: for<'b> Decode<'b, ()>>(before: &[u8]) -> BTreeSet<u8> {
    let is_known = |n: &u8| match minicbor::decode::<T>(&[before, &[*n, 0x80]].concat()) {
        Ok(_) => true,
        Err(why) => !why.is_unknown_variant(),
    };
    (0..=u8::MAX).filter(is_known).collect()
}

fn render() -> String {
    let section = |title: &str, rows: Vec<String>| format!("  \"{title}\": [\n    {}\n  ]", rows.join(",\n    "));
    let messages =
        all().iter().map(|e| row(&[("name", &e.name), ("rule", e.rule), ("cbor", &hex::encode(&e.cbor))])).collect();
    let hashes = hashes()
        .iter()
        .map(|e| {
            let input = e.parts.iter().map(hex::encode).collect::<Vec<_>>().join(" ");
            row(&[("name", e.name), ("input", &input), ("sha256", &hex::encode(e.sha256))])
        })
        .collect();
    let signatures = signatures()
        .iter()
        .map(|e| {
            row(&[
                ("name", &e.name),
                ("secret_key", &hex::encode(e.secret)),
                ("public_key", &hex::encode(SigningKey::from_bytes(&e.secret).verifying_key())),
                ("label", e.label),
                ("rule", e.rule),
                ("body", &hex::encode(&e.body)),
                ("signature", &hex::encode(e.signature)),
            ])
        })
        .collect();
    let sections = [section("messages", messages), section("hashes", hashes), section("signatures", signatures)];
    format!("{{\n{}\n}}\n", sections.join(",\n"))
}

/// One object on one line. Names and values hold no character that JSON escapes.
fn row(fields: &[(&str, &str)]) -> String {
    let mut out = String::from("{");
    for (index, (key, value)) in fields.iter().enumerate() {
        assert!(!value.contains(['"', '\\']) && !value.contains(char::is_control));
        let comma = if index == 0 { " " } else { ", " };
        write!(out, "{comma}\"{key}\": \"{value}\"").unwrap();
    }
    out + " }"
}
