//! `vectors/directory.json`: one of everything, from fixed keys. `UPDATE_VECTORS=1` rewrites it; `tests/directory/verify.py`
//! verifies it by the protocol's text alone.

use std::path::Path;

use serde_json::{Value, json};
use stonechat_directory::proof::{account_label, handle_label};
use stonechat_directory::safety::{SafetyNumber, code};
use stonechat_directory::tlog;

use crate::made::{Made, Person};

#[test]
fn vectors_are_what_the_code_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/directory.json");
    let made = serde_json::to_string_pretty(&vectors()).unwrap() + "\n";
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "what the directory's formats make has changed; `cargo xtask vectors` rewrites the file");
}

#[test]
fn akds_published_look_up_verifies() {
    let vector = published();
    let bytes = |field: &str| hex::decode(vector[field].as_str().unwrap()).unwrap();
    let (root, label, epoch) = (bytes("root"), bytes("label"), vector["epoch"].as_u64().unwrap());
    let verify = |proof: &[u8], label: Vec<u8>, epoch: u64| {
        use protobuf::Message as _;
        let proof = akd_core::proto::specs::types::LookupProof::parse_from_bytes(proof).unwrap();
        let proof = akd_core::LookupProof::try_from(&proof).unwrap();
        akd_core::verify::lookup_verify::<stonechat_directory::proof::Configuration>(
            &bytes("vrf"),
            root.as_slice().try_into().unwrap(),
            epoch,
            akd_core::AkdLabel(label),
            proof,
        )
    };
    let found = verify(&bytes("proof"), label.clone(), epoch).unwrap();
    assert_eq!((found.value.0, found.version, found.epoch), (b"16,48".to_vec(), 3, 48));
    assert!(verify(&bytes("proof"), b"17".to_vec(), epoch).is_err());
    assert!(verify(&bytes("proof"), label, 2).is_err());
}

fn vectors() -> Value {
    let mut made = Made::new();
    let (alice, bob) = (Person::new("alice", 10), Person::new("bob", 20));
    made.publish_account(&alice);
    made.publish_account(&bob);
    for n in 0..9 {
        made.publish_account(&Person::new(&format!("p{n}"), 30 + n));
    }
    let alice = alice.add(10, 11).add(11, 12);
    made.publish_account(&alice);
    let (head, signed, older) = (made.verified(), made.head(), 5);
    let hashes = |list: &[stonechat_wire::TreeHash]| list.iter().map(|hash| hex::encode(hash.0)).collect::<Vec<_>>();
    let before: stonechat_wire::DirectoryRecord = stonechat_wire::decode(&made.leaves[made.leaves.len() - 2]).unwrap();
    let root = made.range_hashes(&[tlog::Range { start: 0, end: older }])[0];
    json!({
        "policy": made.policy,
        "head": {
            "checkpoint": String::from_utf8(signed.checkpoint.to_vec()).unwrap(),
            "record": hex::encode(&signed.record[..]),
            "inclusion": hashes(&signed.inclusion),
            "size": head.size(),
            "epoch": head.epoch(),
        },
        "consistency": {
            "size": older,
            "root": hex::encode(root.0),
            "proof": hashes(&made.range_hashes(&tlog::consistency_ranges(older, head.size()))),
        },
        "account": {
            "account": alice.id().to_string(),
            "proof": hex::encode(made.look_up(account_label(&alice.id()))),
            "length": alice.head().length,
            "hash": hex::encode(alice.head().hash),
            "version": 2,
        },
        "handle": {
            "handle": "bob",
            "proof": hex::encode(made.look_up(handle_label(&bob.handle()))),
            "account": bob.id().to_string(),
            "version": 1,
        },
        "append_only": {
            "before": hex::encode(before.root),
            "after": hex::encode(head.akd_root()),
            "epoch": head.epoch(),
            "proof": hex::encode(made.proofs.last().unwrap()),
        },
        "safety_number": {
            "one": alice.id().to_string(),
            "other": bob.id().to_string(),
            "digits": SafetyNumber::of(&alice.id(), &bob.id()).digits(),
            "code": code(&alice.id(), &bob.id()),
        },
        "akd": published(),
    })
}

/// akd's published vector: `examples/src/test_vectors/whatsapp_v1.yaml` of github.com/facebook/akd.
fn published() -> Value {
    json!({
        "vrf": "f6ec49c8085f4d4be69db8e248bf11ce288026f5b8c5f6599defe58303d0702d",
        "root": "51f48b4d0e0b6200fcf75a14f959cd5430e3ed27a31144ca545b9c76a23481f0",
        "epoch": 49,
        "label": "3136",
        "proof": include_str!("akd-look-up.hex").replace('\n', ""),
    })
}
