//! What the fuzz targets begin from: the vectors, and one of everything that no vector shows, from fixed keys.
//!
//! The files in `seeds/` are these; `cargo xtask vectors` rewrites them, and `tests/smoke.rs` compares.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde_json::Value;
use stonechat_core::Role;
use stonechat_core::content::{Body, Content, LogView, MessageId, ToldHead};
use stonechat_core::envelope::{Letter, LetterBody, Welcome, seal};
use stonechat_core::keys::{DeviceSecrets, Secret};
use stonechat_core::policy::GroupState;
use stonechat_directory::evidence::LookUp;
use stonechat_directory::note::KeyKind;
use stonechat_directory::{Checkpoint, DirectoryPolicy, Evidence, SignedNote, VerifierKey, tlog};
use stonechat_wire::{
    AccountId, AccountLog, AccountState, BlobId, Bytes, ConversationId, DeviceId, DeviceKeys, DirectoryRecord, EpochId,
    Handle, List, LogBody, LogEntry, LogHead, Seq, SignedHead, Signer, Timestamp, TreeHash, encode,
};

/// A name and bytes.
type Seeds = Vec<(String, Vec<u8>)>;

/// Somebody with one device, always the same.
pub struct Person {
    secrets: DeviceSecrets,
    device: DeviceId,
    log: AccountLog,
    state: AccountState,
}

impl Person {
    /// Who writes.
    pub fn alice() -> &'static Self {
        static ALICE: LazyLock<Person> = LazyLock::new(|| Person::new("alice", 10));
        &ALICE
    }

    /// Who reads.
    pub fn bob() -> &'static Self {
        static BOB: LazyLock<Person> = LazyLock::new(|| Person::new("bob", 20));
        &BOB
    }

    fn new(handle: &str, n: u8) -> Self {
        let secrets = DeviceSecrets::from_seeds([n; 32], [n + 1; 32]);
        let (device, recovery) = (DeviceId([n; 16]), SigningKey::from_bytes(&[n + 2; 32]));
        let body = LogBody::Genesis {
            handle: Handle::parse(handle).expect("a handle"),
            device: secrets.device_keys(device),
            recovery: recovery.verifying_key().to_bytes(),
            at: Timestamp(1),
        };
        let signers: [(Signer, &SigningKey); 2] =
            [(Signer::Device(device), &secrets.signing_key()), (Signer::Recovery, &recovery)];
        let log = AccountLog(List::new(vec![LogEntry::sign(&body, &signers)]).expect("one entry"));
        let state = AccountState::verify(&log, None).expect("an account log");
        Self { secrets, device, log, state }
    }

    /// The account.
    pub fn id(&self) -> AccountId {
        self.state.id()
    }

    /// Its state.
    pub fn state(&self) -> &AccountState {
        &self.state
    }

    /// The device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// Its secret keys.
    pub fn secrets(&self) -> &DeviceSecrets {
        &self.secrets
    }

    /// Its public keys.
    pub fn keys(&self) -> &DeviceKeys {
        self.state.device(&self.device).expect("its device")
    }
}

/// Randomness that is always the same.
pub fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([4; 32])
}

/// Frames that a client sends.
pub fn client_frame() -> Seeds {
    // A frame is an array of a number and a request.
    let requests = vectors_of("request/").into_iter().map(|(name, bytes)| (name, [&[0x82, 0x07], &bytes[..]].concat()));
    vectors_of("client-frame").into_iter().chain(requests).collect()
}

/// Frames that a server sends.
pub fn server_frame() -> Seeds {
    let reply = |(name, bytes): (String, Vec<u8>)| (name, [&[0x82, 0x01, 0x82, 0x07], &bytes[..]].concat());
    let push = |(name, bytes): (String, Vec<u8>)| (name, [&[0x82, 0x03, 0x81], &bytes[..]].concat());
    let replies = vectors_of("reply/").into_iter().map(reply);
    vectors_of("server-frame/").into_iter().chain(replies).chain(vectors_of("push/").into_iter().map(push)).collect()
}

/// Records of the store.
pub fn log_record() -> Seeds {
    vectors_of("log-record/")
}

/// Account logs, and the bodies of their entries.
pub fn account_log() -> Seeds {
    vectors_of("account-log").into_iter().chain(vectors_of("log-body/")).collect()
}

/// Messages.
pub fn content() -> Seeds {
    let content = |body| Content::new(MessageId([7; 16]), Timestamp(1_700_000_000_000), body);
    let mut full = content(Body::Text("with all that it can have".to_owned()));
    full.view = Some(LogView { seq: Seq(3), hash: [1; 32] });
    let own = LogHead { length: 2, hash: [3; 32] };
    full.told = Some(ToldHead { size: 9, root: TreeHash([2; 32]), signature: [4; 64], own });
    let card = Body::ContactCard { capability: Secret::from_bytes([5; 32]) };
    let unknown = Body::Unknown { kind: 77, raw: vec![0xa2, 0x00, 0x41, 0xff, 0x01, 0x82, 0x01, 0x02] };
    let bodies = [
        ("text", content(Body::Text("hi".to_owned()))),
        ("everything", full),
        ("contact-card", content(card)),
        ("receipt", content(Body::Receipt { since: Seq(70_000) })),
        ("from-a-newer-app", content(unknown)),
    ];
    bodies.into_iter().map(|(name, content)| (name.to_owned(), content.encode())).collect()
}

/// Letters: as they travel, and as they are once they are opened.
pub fn letter() -> Seeds {
    let (alice, bob) = (Person::alice(), Person::bob());
    let letter = |log, body| Letter {
        id: [5; 16],
        sent_at: Timestamp(9),
        sender: alice.id(),
        device: alice.device(),
        log,
        body,
        proof: None,
    };
    let invite = |welcome| LetterBody::Invite {
        conversation: ConversationId([1; 32]),
        epoch: Seq(2),
        epoch_id: EpochId([3; 32]),
        is_group: true,
        welcome,
    };
    let inline = Welcome::Inline(Bytes::new(vec![7; 40]).expect("short"));
    let blob = Welcome::Blob { id: BlobId([6; 32]), key: Secret::from_bytes([8; 32]), chunks: 3, hash: [9; 32] };
    let readd = LetterBody::Readd {
        conversation: ConversationId([1; 32]),
        epoch_id: EpochId([3; 32]),
        refused: Some(EpochId([4; 32])),
        key_package: Bytes::new(vec![7; 40]).expect("short"),
    };
    let letters = [
        ("invite", letter(Some(alice.log.clone()), invite(inline))),
        ("invite-by-blob", letter(None, invite(blob))),
        ("readd", letter(None, readd)),
    ];
    let mut seeds: Seeds = letters.iter().map(|(name, letter)| (format!("{name}-opened"), encode(letter))).collect();
    for (name, letter) in &letters {
        let sealed = seal(&mut rng(), bob.id(), bob.keys(), letter, &alice.secrets.signing_key());
        seeds.push(((*name).to_owned(), sealed.expect("it fits").into_vec()));
    }
    seeds
}

/// States of a group.
pub fn group_state() -> Seeds {
    let [alice, bob, carol] = [1, 2, 3].map(|n| AccountId([n; 32]));
    let mut group = GroupState::group("Walkers".into(), alice);
    let small = group.encode();
    group.set_role(alice, bob, Role::Admin);
    group.set_role(alice, carol, Role::Admin);
    let states =
        [("direct", GroupState::direct(bob, alice).encode()), ("group", small), ("group-with-admins", group.encode())];
    states.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// Notes, verifier keys, policies.
pub fn note() -> Seeds {
    let head = vector("head", "checkpoint");
    let policy = policy();
    let texts = [
        ("checkpoint", head),
        ("of-the-log-alone", checkpoint(5, [7; 32]).to_string()),
        ("log-key", policy.log().to_string()),
        ("witness-key", policy.witnesses()[0].to_string()),
        ("policy", policy.to_json()),
    ];
    texts.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect()
}

/// Files of evidence: those whose name begins with `harmless` show nothing wrong.
pub fn evidence() -> Seeds {
    let policy = policy();
    let newest = SignedNote::parse(vector("head", "checkpoint").as_bytes()).expect("a note");
    let head = signed_head();
    let proof = hex::decode(vector("account", "proof")).expect("hex");
    let account = AccountId(array(&vector("account", "account")));
    let look_up = LookUp { head: &head, proof: &proof };
    let handle_proof = hex::decode(vector("handle", "proof")).expect("hex");
    let (handle, of_handle) = (Handle::parse("bob").expect("a handle"), LookUp { head: &head, proof: &handle_proof });
    let older = checkpoint(5, array(&vector("consistency", "root")));
    let answer: Vec<TreeHash> = hashes("consistency", "proof");
    let refusal = Evidence::refusal(policy, Some(&newest), "it did not answer");
    let files = [
        ("harmless-same-head", Evidence::notes(policy, &newest, &newest, &[])),
        ("harmless-continued", Evidence::notes(policy, &older, &newest, &answer)),
        ("harmless-account", Evidence::account_taken_back(policy, &account, &look_up, &look_up)),
        ("harmless-handle", Evidence::handle_moved(policy, &handle, &of_handle, &of_handle)),
        ("unanswered", Evidence::notes(policy, &older, &newest, &[])),
        ("refusal", refusal),
        ("fork", Evidence::notes(policy, &older, &checkpoint(5, [7; 32]), &[])),
        ("account", Evidence::account(policy, &account, &look_up, &Person::alice().log)),
        ("leaves", bad_leaves(policy)),
    ];
    files.into_iter().map(|(name, evidence)| (name.to_owned(), evidence.to_json().into_bytes())).collect()
}

/// A proof that an epoch took nothing back.
pub fn append_only() -> Seeds {
    vec![("one-account".to_owned(), append_only_epoch().2.clone())]
}

/// The root before an epoch, its record, and the proof that leads from the one to the other.
pub fn append_only_epoch() -> &'static ([u8; 32], DirectoryRecord, Vec<u8>) {
    static EPOCH: LazyLock<([u8; 32], DirectoryRecord, Vec<u8>)> = LazyLock::new(|| {
        let epoch = vectors("directory.json")["append_only"]["epoch"].as_u64().expect("a number");
        let record = DirectoryRecord { epoch, root: array(&vector("append_only", "after")), time: Timestamp(1) };
        let proof = hex::decode(vector("append_only", "proof")).expect("hex");
        (array(&vector("append_only", "before")), record, proof)
    });
    &EPOCH
}

/// The policy of the vectors' directory.
pub fn policy() -> &'static DirectoryPolicy {
    static POLICY: LazyLock<DirectoryPolicy> = LazyLock::new(|| {
        DirectoryPolicy::from_json(vectors("directory.json")["policy"].to_string().as_bytes()).expect("a policy")
    });
    &POLICY
}

/// Two leaves of a log of the vectors' key, the second older than the first.
fn bad_leaves(policy: &DirectoryPolicy) -> Evidence {
    let record = |time| encode(&DirectoryRecord { epoch: 0, root: [1; 32], time: Timestamp(time) });
    let (one, two) = (record(9), record(8));
    let (first, second) = (tlog::leaf_hash(&one), tlog::leaf_hash(&two));
    let note = checkpoint(2, tlog::node_hash(&first, &second).0);
    let head = SignedHead {
        checkpoint: note.to_string().into_bytes().try_into().expect("short"),
        record: two.clone().try_into().expect("short"),
        inclusion: vec![first].try_into().expect("short"),
    };
    Evidence::leaves(policy, &head, 0, (&one, &[second]), (&two, &[first]))
}

/// A checkpoint that the vectors' directory signs.
fn checkpoint(size: u64, root: [u8; 32]) -> SignedNote {
    let key = SigningKey::from_bytes(&[1; 32]);
    let log = policy().log();
    let made = VerifierKey::new(log.name(), KeyKind::Log, key.verifying_key().to_bytes());
    assert_eq!(made.as_ref(), Ok(log), "the key of the vectors' directory");
    let text = Checkpoint { origin: log.name().to_owned(), size, root: TreeHash(root) }.to_text();
    SignedNote::sign(text, log.name(), &key)
}

fn signed_head() -> SignedHead {
    SignedHead {
        checkpoint: vector("head", "checkpoint").into_bytes().try_into().expect("short"),
        record: hex::decode(vector("head", "record")).expect("hex").try_into().expect("short"),
        inclusion: hashes("head", "inclusion").try_into().expect("short"),
    }
}

fn hashes(of: &str, name: &str) -> Vec<TreeHash> {
    let list = vectors("directory.json")[of][name].as_array().expect("a list").clone();
    list.iter().map(|hash| TreeHash(array(hash.as_str().expect("hex")))).collect()
}

fn array(text: &str) -> [u8; 32] {
    hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).expect("32 bytes in hex")
}

/// A text of `vectors/directory.json`.
fn vector(of: &str, name: &str) -> String {
    vectors("directory.json")[of][name].as_str().expect("a text").to_owned()
}

/// The wire's vectors whose names begin so.
fn vectors_of(prefix: &str) -> Seeds {
    let vectors = vectors("wire.json");
    let messages = vectors["messages"].as_array().expect("a list").iter().map(|message| {
        let field = |name: &str| message[name].as_str().expect("a text").to_owned();
        (field("name"), hex::decode(field("cbor")).expect("hex"))
    });
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let chosen = messages.filter(|(name, _)| name.starts_with(prefix));
    chosen.map(|(name, bytes)| (name.chars().map(plain).collect(), bytes)).collect()
}

fn vectors(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    serde_json::from_str(&text).expect("vectors are JSON")
}
