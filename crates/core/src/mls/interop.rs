//! RFC 9420 as a second implementation understands it: mls-rs, on the classical suite (it has no post-quantum one here).

use std::time::Duration;

use mls_rs::client_builder::MlsConfig;
use mls_rs::extension::ExtensionType;
use mls_rs::extension::built_in::RequiredCapabilitiesExt;
use mls_rs::group::ReceivedMessage;
use mls_rs::group::proposal::ProposalType;
use mls_rs::identity::basic::{BasicCredential, BasicIdentityProvider};
use mls_rs::identity::{CredentialType, SigningIdentity};
use mls_rs::time::MlsTime;
use mls_rs::{CipherSuite, CipherSuiteProvider, Client, CryptoProvider, Extension, ExtensionList, MlsMessage};
use mls_rs_crypto_rustcrypto::RustCryptoProvider;

use super::tests::{Device, GROUP, NOW_MS};
use super::{CommitPlan, EXPIRY_EXTENSION, LeafIdentity, STATE_EXTENSION};

const SELF_REMOVE: u16 = 0x000A;

/// The lifetime "always" as mls-rs is told it: from this moment, for this long.
fn start() -> Option<MlsTime> {
    Some(MlsTime::from(0_u64))
}

/// Our side, on the suite that both have.
fn ours() -> Device {
    Device { classical: true, ..Device::new(1) }
}

/// Their side, with an identity of our shape.
fn theirs() -> (Client<impl MlsConfig>, LeafIdentity) {
    let suite = CipherSuite::CURVE25519_AES128;
    let crypto = RustCryptoProvider::default();
    let (secret, public) = crypto.cipher_suite_provider(suite).unwrap().signature_key_generate().unwrap();
    let identity = Device::new(9).identity;
    let credential = BasicCredential::new(identity.to_bytes()).into_credential();
    let client = Client::builder()
        .crypto_provider(crypto)
        .identity_provider(BasicIdentityProvider)
        .extension_types([ExtensionType::new(STATE_EXTENSION), ExtensionType::new(EXPIRY_EXTENSION)])
        .custom_proposal_type(ProposalType::new(SELF_REMOVE))
        .key_package_lifetime(Duration::from_secs(u64::MAX))
        .signing_identity(SigningIdentity::new(credential, public), secret, suite)
        .build();
    (client, identity)
}

fn message(bytes: &[u8]) -> MlsMessage {
    MlsMessage::from_bytes(bytes).unwrap()
}

fn extensions(list: Vec<Extension>) -> ExtensionList {
    ExtensionList::from(list)
}

#[test]
fn mls_rs_joins_our_group_and_both_talk_and_commit() {
    let mut alice = ours();
    let (bob, identity) = theirs();
    alice.create();
    let expiry = Extension::new(ExtensionType::new(EXPIRY_EXTENSION), NOW_MS.to_be_bytes().to_vec());
    let package = bob.generate_key_package_message(extensions(vec![expiry]), ExtensionList::new(), start()).unwrap();
    let plan = CommitPlan { add: vec![package.to_bytes().unwrap()], ..CommitPlan::default() };
    let pending = alice.commit(plan);
    assert_eq!(pending.changes.adds[0].leaf.identity, identity);
    alice.merge_pending();
    let (mut group, _) = bob.join_group(None, &message(&pending.welcome.unwrap()), None).unwrap();
    let exported = |group: &mls_rs::Group<_>| group.export_secret(b"test", b"context", 32).unwrap().as_bytes().to_vec();
    assert_eq!(exported(&group), alice.export().danger_bytes().to_vec());
    let state = |group: &mls_rs::Group<_>| {
        group.context().extensions.get(ExtensionType::new(STATE_EXTENSION)).unwrap().extension_data
    };
    assert_eq!(state(&group), b"state 0");

    let hello = alice.encrypt(b"hello");
    let ReceivedMessage::ApplicationMessage(received) = group.process_incoming_message(message(&hello)).unwrap() else {
        panic!()
    };
    assert_eq!((received.data(), received.authenticated_data.as_slice()), (b"hello".as_slice(), b"aad".as_slice()));
    let answer = group.encrypt_application_message(b"answer", b"aad".to_vec()).unwrap();
    assert_eq!(alice.read(&answer.to_bytes().unwrap()), (identity, b"answer".to_vec()));

    let pending = alice.commit(CommitPlan { state: Some(b"state 1".to_vec()), ..CommitPlan::default() });
    alice.merge_pending();
    group.process_incoming_message(message(&pending.commit)).unwrap();
    assert_eq!((exported(&group), state(&group)), (alice.export().danger_bytes().to_vec(), b"state 1".to_vec()));

    let output = group.commit(Vec::new()).unwrap();
    group.apply_pending_commit().unwrap();
    let changes = alice.follow(&output.commit_message().to_bytes().unwrap());
    assert_eq!(changes.sender_update.unwrap().identity, identity);
    assert_eq!(exported(&group), alice.export().danger_bytes().to_vec());
    let last = alice.encrypt(b"last");
    assert!(matches!(group.process_incoming_message(message(&last)).unwrap(), ReceivedMessage::ApplicationMessage(_)));
}

#[test]
fn we_join_a_group_of_mls_rs_and_follow_its_commits() {
    let mut alice = ours();
    let (bob, identity) = theirs();
    let mut context = ExtensionList::new();
    let required = RequiredCapabilitiesExt::new(
        vec![ExtensionType::new(STATE_EXTENSION)],
        vec![ProposalType::new(SELF_REMOVE)],
        vec![CredentialType::BASIC],
    );
    context.set_from(required).unwrap();
    context.set(Extension::new(ExtensionType::new(STATE_EXTENSION), b"theirs".to_vec()));
    let mut group = bob.create_group_with_id(GROUP.to_vec(), context, ExtensionList::new(), start()).unwrap();
    let package = alice.key_package();
    let output = group.commit_builder().add_member(message(&package)).unwrap().build().unwrap();
    group.apply_pending_commit().unwrap();
    alice.join(&output.welcome_messages()[0].to_bytes().unwrap());
    assert_eq!(alice.look(|group| group.state().to_vec()), b"theirs");
    assert_eq!(alice.look(|group| group.members()[0].identity), identity);
    let exported = |group: &mls_rs::Group<_>| group.export_secret(b"test", b"context", 32).unwrap().as_bytes().to_vec();
    assert_eq!(exported(&group), alice.export().danger_bytes().to_vec());

    let hello = group.encrypt_application_message(b"hello", b"aad".to_vec()).unwrap();
    assert_eq!(alice.read(&hello.to_bytes().unwrap()).1, b"hello");
    let answer = alice.encrypt(b"answer");
    assert!(matches!(
        group.process_incoming_message(message(&answer)).unwrap(),
        ReceivedMessage::ApplicationMessage(_)
    ));

    let pending = alice.commit(CommitPlan { update_path: true, ..CommitPlan::default() });
    alice.merge_pending();
    group.process_incoming_message(message(&pending.commit)).unwrap();
    assert_eq!(exported(&group), alice.export().danger_bytes().to_vec());
    let removal = group.commit_builder().remove_member(1).unwrap().build().unwrap();
    group.apply_pending_commit().unwrap();
    let changes = alice.follow(&removal.commit_message().to_bytes().unwrap());
    assert_eq!(changes.removes[0].index, 1);
}
