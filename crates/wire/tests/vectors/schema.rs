//! `docs/wire.cddl` describes what this crate writes: each vector is checked against its rule, by a validator that
//! shares no code with ours.

use cddl_cat::validate_cbor_bytes;

use crate::examples::{all, signatures};

const CDDL: &str = include_str!("../../../../docs/wire.cddl");

#[test]
fn each_vector_is_valid_under_its_rule() {
    for example in all() {
        if let Err(why) = validate_cbor_bytes(example.rule, CDDL, &example.cbor) {
            panic!("{}: {why}", example.name);
        }
    }
    for example in signatures() {
        validate_cbor_bytes(example.rule, CDDL, &example.body).unwrap_or_else(|why| panic!("{}: {why}", example.name));
    }
}

#[test]
fn the_schema_tells_one_message_from_another() {
    let request = all().into_iter().find(|e| e.name == "request/follow").unwrap();
    for rule in ["reply", "push", "failure", "log-record"] {
        assert!(validate_cbor_bytes(rule, CDDL, &request.cbor).is_err(), "{rule}");
    }
    // The variant's number and its fields belong together.
    let mut other = request.cbor;
    other[1] = 0x16;
    assert!(validate_cbor_bytes("request", CDDL, &other).is_err());
}
