//! One or more examples of every type that travels or is stored, from fixed keys and fixed bytes.

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};
use stonechat_wire::limits::{ENTRY_BYTES_MAX, INBOX_KEY_BYTES, LOOKUP_PROOF_BYTES_MAX};
use stonechat_wire::message::{DeviceKeyPackage, Element, Page};
use stonechat_wire::{
    AccountHistory, AccountId, AccountLog, AccountProof, Admission, AuthChallenge, BlobId, Bytes, Capability,
    ClientFrame, ConversationId, DecodeError, DeviceId, DeviceKeys, DirectoryRecord, Entry, EntryKind, Envelope,
    EpochCaps, EpochId, ErrorCode, Failure, Handle, Hello, HelloReply, InviteCode, Lane, List, LogBody, LogEntry,
    LogHead, LogRecord, LogSignature, PROTOCOL_VERSION, ProvenAccount, Push, Reply, Request, Seq, ServerFrame,
    SignedHead, Signer, Timestamp, Token, TreeHash, decode, encode, epoch_id, first_epoch_id,
};

/// A value's bytes, and how to read them back.
pub(crate) struct Example {
    /// `type/variant`, unique.
    pub(crate) name: String,
    /// The rule of `docs/wire.cddl` that describes it.
    pub(crate) rule: &'static str,
    /// Its encoding.
    pub(crate) cbor: Vec<u8>,
    /// Decodes bytes as this example's type and encodes what came out.
    pub(crate) recode: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
}

/// A SHA-256 that the protocol defines: what goes in, part by part, and what our code makes of it.
pub(crate) struct HashExample {
    pub(crate) name: &'static str,
    pub(crate) parts: Vec<Vec<u8>>,
    pub(crate) sha256: [u8; 32],
}

/// An Ed25519 signature that the protocol defines.
pub(crate) struct SignatureExample {
    pub(crate) name: String,
    pub(crate) secret: [u8; 32],
    pub(crate) label: &'static str,
    /// What follows the label.
    pub(crate) body: Vec<u8>,
    pub(crate) rule: &'static str,
    pub(crate) signature: [u8; 64],
}

/// Every example, in the order of the vectors' file.
pub(crate) fn all() -> Vec<Example> {
    let mut out = Vec::new();
    frames(&mut out);
    requests(&mut out);
    replies(&mut out);
    pushes(&mut out);
    failures(&mut out);
    accounts(&mut out);
    records(&mut out);
    out
}

fn put<T: Encode<()> + for<'b> Decode<'b, ()>>(out: &mut Vec<Example>, rule: &'static str, variant: &str, value: &T) {
    let name = if variant.is_empty() { rule.to_owned() } else { format!("{rule}/{variant}") };
    out.push(Example {
        name,
        rule,
        cbor: encode(value),
        recode: |bytes| decode::<T>(bytes).map(|value| encode(&value)),
    });
}

fn frames(out: &mut Vec<Example>) {
    put(out, "hello", "", &Hello { version: PROTOCOL_VERSION });
    put(out, "client-frame", "", &ClientFrame { id: 7, request: Request::Ping });
    put(out, "server-frame", "hello", &ServerFrame::Hello(hello_reply()));
    put(out, "server-frame", "reply", &ServerFrame::Reply(7, Reply::Done));
    put(out, "server-frame", "refused", &ServerFrame::Refused(u32::MAX, Failure::new(ErrorCode::EpochOver)));
    put(out, "server-frame", "push", &ServerFrame::Push(Push::Envelopes(list([envelope(Lane::Contacts)]))));
    put(out, "server-frame", "closing", &ServerFrame::Closing(Failure::new(ErrorCode::Unavailable)));
    put(out, "hello-reply", "", &hello_reply());
}

fn requests(out: &mut Vec<Example>) {
    let rule = "request";
    put(out, rule, "ping", &Request::Ping);
    put(out, rule, "get-head", &Request::GetHead);
    put(out, rule, "get-consistency", &Request::GetConsistency { from: 3, to: 70_000 });
    put(out, rule, "get-directory-policy", &Request::GetDirectoryPolicy);
    put(out, rule, "create-account", &Request::CreateAccount { genesis: chain()[0].clone(), invite: None });
    let invited = Request::CreateAccount { genesis: chain()[0].clone(), invite: Some(InviteCode([0x77; 10])) };
    put(out, rule, "create-account with an invitation", &invited);
    let signature = login_signature();
    put(out, rule, "authenticate", &Request::Authenticate { account: account(), device: DEVICE, signature });
    let package = || bytes(b"an MLS key package");
    put(
        out,
        rule,
        "publish-key-packages",
        &Request::PublishKeyPackages { packages: list([package()]), last_resort: None },
    );
    let both = Request::PublishKeyPackages { packages: list([package(), package()]), last_resort: Some(package()) };
    put(out, rule, "publish-key-packages with a last resort", &both);
    let contacts = list([capability(1).hash(), capability(2).hash()]);
    put(out, rule, "configure-inbox", &Request::ConfigureInbox { contacts, strangers: true });
    put(out, rule, "ack-inbox", &Request::AckInbox { lane: Lane::Strangers, upto: Seq(300) });
    put(out, rule, "issue-tokens", &Request::IssueTokens { blinded: list([Element([0x61; 32]), Element([0x62; 32])]) });
    put(out, rule, "extend-account", &Request::ExtendAccount { account: account(), entry: chain()[1].clone() });
    put(out, rule, "get-own-history", &Request::GetOwnHistory { versions: 16 });

    put(out, rule, "look-up-handle", &Request::LookUpHandle { handle: alice() });
    put(out, rule, "get-account", &Request::GetAccount { account: account() });
    put(out, rule, "take-key-packages", &Request::TakeKeyPackages { account: account(), token: token() });
    let first = caps(1);
    put(
        out,
        rule,
        "create-conversation",
        &Request::CreateConversation { conversation: CONVERSATION, first, token: token() },
    );
    let append = |kind, skip, ttl_secs| Request::Append {
        conversation: CONVERSATION,
        epoch: Seq(1),
        epoch_id: first_epoch(),
        write: capability(2),
        kind,
        skip,
        ttl_secs,
        blob: blob(),
    };
    put(out, rule, "append an application entry", &append(EntryKind::Application, None, None));
    put(out, rule, "append an application entry for an hour", &append(EntryKind::Application, None, Some(3_600)));
    put(out, rule, "append a commit", &append(EntryKind::Commit(caps(3)), None, None));
    put(out, rule, "append a commit that skips others", &append(EntryKind::Commit(caps(3)), Some(Seq(65_536)), None));
    let follow =
        Request::Follow { conversation: CONVERSATION, epoch: Seq(24), read: capability(1), after: Seq(u64::MAX) };
    put(out, rule, "follow", &follow);
    put(out, rule, "unfollow", &Request::Unfollow { conversation: CONVERSATION });
    let post =
        |admission| Request::PostEnvelope { account: account(), device: DEVICE, admission, sealed: bytes(b"sealed") };
    put(out, rule, "post-envelope as a contact", &post(Admission::Contact(capability(4))));
    put(out, rule, "post-envelope as a stranger", &post(Admission::Token(token())));
    let chunk =
        |token, chunk| Request::AppendBlob { write: capability(5), token, chunk: Seq(chunk), bytes: bytes(b"chunk") };
    put(out, rule, "append-blob, the first chunk", &chunk(Some(token()), 1));
    put(out, rule, "append-blob, the second chunk", &chunk(None, 2));
    put(out, rule, "read-blob", &Request::ReadBlob { blob: BlobId::of(&capability(5)), chunk: Seq(1) });

    put(out, "admission", "contact", &Admission::Contact(capability(4)));
    put(out, "admission", "token", &Admission::Token(token()));
    put(out, "lane", "contacts", &Lane::Contacts);
    put(out, "lane", "strangers", &Lane::Strangers);
}

fn replies(out: &mut Vec<Example>) {
    let rule = "reply";
    put(out, rule, "done", &Reply::Done);
    let authenticated = Reply::Authenticated { key_packages: 100, last_resort: true, tokens: 1_024, envelopes: 0 };
    put(out, rule, "authenticated", &authenticated);
    put(out, rule, "key-package-count", &Reply::KeyPackageCount(24));
    put(out, rule, "tokens", &Reply::Tokens { evaluated: list([Element([0x71; 32])]), proof: [0x72; 64] });
    put(out, rule, "account", &Reply::Account(proven_account(Some(bytes(b"a look-up proof")))));
    put(out, rule, "account, asked for by id", &Reply::Account(proven_account(None)));
    let package = DeviceKeyPackage { device: DEVICE, package: bytes(b"an MLS key package") };
    put(out, rule, "key-packages", &Reply::KeyPackages(list([package])));
    put(out, rule, "appended", &Reply::Appended { seq: Seq(2), time: NOW });
    put(out, rule, "following", &Reply::Following(page()));
    put(out, rule, "following, nothing there", &Reply::Following(Page::default()));
    put(out, rule, "chunk", &Reply::Chunk { bytes: bytes(b"chunk") });
    let (account, handle) = (bytes(b"a history proof"), bytes(b"a history proof"));
    put(out, rule, "history", &Reply::History(AccountHistory { head: signed_head(), account, handle }));
    put(out, rule, "head", &Reply::Head(signed_head()));
    put(out, rule, "consistency", &Reply::Consistency(list([TreeHash([0x42; 32]), TreeHash([0x43; 32])])));
    put(out, rule, "directory-policy", &Reply::DirectoryPolicy(bytes(b"{}")));
}

fn pushes(out: &mut Vec<Example>) {
    put(out, "push", "entries", &Push::Entries { conversation: CONVERSATION, epoch: Seq(1), page: page() });
    put(out, "push", "envelopes", &Push::Envelopes(list([envelope(Lane::Contacts), envelope(Lane::Strangers)])));
}

fn failures(out: &mut Vec<Example>) {
    let every = Failure { code: ErrorCode::Full, retry_after_secs: Some(60), detail: Some("the lane holds 64".into()) };
    put(out, "failure", "with every field", &every);
    let longest = Failure { detail: Some("ä".repeat(128)), ..Failure::new(ErrorCode::Unavailable) };
    put(out, "failure", "with the longest detail", &longest);
    for code in error_codes() {
        put(out, "failure", &format!("{code:?}"), &Failure::new(code));
    }
}

fn accounts(out: &mut Vec<Example>) {
    put(out, "account-log", "", &AccountLog(list(chain())));
    for (entry, kind) in chain().iter().zip(["genesis", "add-device", "revoke-device", "rotate-recovery"]) {
        put(out, "log-entry", kind, entry);
        put(out, "log-body", kind, &decode::<LogBody>(&entry.body).unwrap());
    }
    put(out, "log-head", "", &LogHead { length: 4, hash: chain()[3].hash() });
    put(out, "directory-record", "", &record_of_the_directory());
    put(out, "signer", "device", &Signer::Device(DEVICE));
    put(out, "signer", "recovery", &Signer::Recovery);
}

fn records(out: &mut Vec<Example>) {
    put(out, "entry-kind", "application", &EntryKind::Application);
    put(out, "entry-kind", "commit", &EntryKind::Commit(caps(3)));
    let record = |epoch, kind, opens, live: &[u64], blob| LogRecord {
        time: NOW,
        epoch: Seq(epoch),
        kind,
        opens,
        live: list(live.iter().copied().map(Seq)),
        blob,
    };
    let first = record(1, EntryKind::Commit(caps(1)), Some(first_epoch()), &[1], Bytes::default());
    put(out, "log-record", "the first", &first);
    put(out, "log-record", "application", &record(1, EntryKind::Application, None, &[1], blob()));
    let next = caps(3);
    let opens = epoch_id(&first_epoch(), &blob(), &next);
    put(out, "log-record", "commit", &record(1, EntryKind::Commit(next), Some(opens), &[3], blob()));
    put(
        out,
        "log-record",
        "commit, two branches live",
        &record(1, EntryKind::Commit(next), Some(opens), &[3, 4], blob()),
    );
}

/// The hashes of the protocol.
pub(crate) fn hashes() -> Vec<HashExample> {
    let (first, next) = (caps(1), caps(3));
    let part = <[u8]>::to_vec;
    let entry = &chain()[0];
    vec![
        HashExample {
            name: "account id",
            parts: vec![part(b"stonechat v1 account"), part(&entry.body)],
            sha256: entry.hash(),
        },
        HashExample {
            name: "capability hash",
            parts: vec![part(b"stonechat v1 capability"), part(capability(1).danger_bytes())],
            sha256: capability(1).hash().0,
        },
        HashExample {
            name: "blob id",
            parts: vec![part(b"stonechat v1 blob id"), part(capability(5).danger_bytes())],
            sha256: BlobId::of(&capability(5)).0,
        },
        HashExample { name: "blob hash of an empty blob", parts: vec![], sha256: EMPTY_SHA256 },
        HashExample {
            name: "first epoch id",
            parts: vec![
                part(b"stonechat v1 epoch"),
                part(&CONVERSATION.0),
                part(&EMPTY_SHA256),
                part(&first.read.0),
                part(&first.write.0),
            ],
            sha256: first_epoch().0,
        },
        HashExample { name: "blob hash", parts: vec![part(&blob())], sha256: BLOB_SHA256 },
        HashExample {
            name: "epoch id",
            parts: vec![
                part(b"stonechat v1 epoch"),
                part(&first_epoch().0),
                part(&BLOB_SHA256),
                part(&next.read.0),
                part(&next.write.0),
            ],
            sha256: epoch_id(&first_epoch(), &blob(), &next).0,
        },
    ]
}

/// The signatures of the protocol.
pub(crate) fn signatures() -> Vec<SignatureExample> {
    let login = SignatureExample {
        name: "log-in".into(),
        secret: device_secret(1).to_bytes(),
        label: "stonechat v1 log-in",
        body: encode(&challenge()),
        rule: "auth-challenge",
        signature: login_signature(),
    };
    let signers = [
        ("genesis, by the first device", 0, 0, device_secret(1)),
        ("genesis, by the recovery key", 0, 1, recovery_secret(1)),
        ("add-device, by the first device", 1, 0, device_secret(1)),
        ("add-device, by the new device", 1, 1, device_secret(2)),
        ("revoke-device, by the second device", 2, 0, device_secret(2)),
        ("rotate-recovery, by the old recovery key", 3, 0, recovery_secret(1)),
        ("rotate-recovery, by the new recovery key", 3, 1, recovery_secret(2)),
    ];
    let chain = chain();
    let entries = signers.into_iter().map(|(name, entry, signature, secret)| SignatureExample {
        name: name.into(),
        secret: secret.to_bytes(),
        label: "stonechat v1 account entry",
        body: chain[entry].body.to_vec(),
        rule: "log-body",
        signature: chain[entry].signatures[signature].signature,
    });
    std::iter::once(login).chain(entries).collect()
}

/// The bytes under the log-in signature, as our code makes them.
pub(crate) fn login_bytes() -> Vec<u8> {
    challenge().signed_bytes()
}

/// An account log of every kind of entry.
pub(crate) fn chain() -> Vec<LogEntry> {
    let (first, second) = (Signer::Device(DEVICE), Signer::Device(SECOND_DEVICE));
    let genesis = LogEntry::sign(
        &LogBody::Genesis {
            handle: alice(),
            device: device(1, DEVICE),
            recovery: public(&recovery_secret(1)),
            at: NOW,
        },
        &[(first, &device_secret(1)), (Signer::Recovery, &recovery_secret(1))],
    );
    let add = LogEntry::sign(
        &LogBody::AddDevice { previous: genesis.hash(), device: device(2, SECOND_DEVICE), at: NOW.plus_secs(1) },
        &[(first, &device_secret(1)), (second, &device_secret(2))],
    );
    let revoke = LogEntry::sign(
        &LogBody::RevokeDevice { previous: add.hash(), device: DEVICE, at: NOW.plus_secs(2) },
        &[(second, &device_secret(2))],
    );
    let rotate = LogEntry::sign(
        &LogBody::RotateRecovery {
            previous: revoke.hash(),
            recovery: public(&recovery_secret(2)),
            at: NOW.plus_secs(3),
        },
        &[(Signer::Recovery, &recovery_secret(1)), (Signer::Recovery, &recovery_secret(2))],
    );
    vec![genesis, add, revoke, rotate]
}

/// Every error code. A new one does not compile until it stands here.
pub(crate) fn error_codes() -> Vec<ErrorCode> {
    use ErrorCode::{
        Closed, Conflict, EpochOver, Full, HandleTaken, InvalidAccount, InvalidToken, InviteNeeded, Malformed,
        NotAuthenticated, NotFound, Quota, Slow, Suspended, Unavailable, Unpublished, Version, WrongConnection,
    };
    let next = |code| match code {
        Malformed => Some(Version),
        Version => Some(WrongConnection),
        WrongConnection => Some(NotAuthenticated),
        NotAuthenticated => Some(NotFound),
        NotFound => Some(HandleTaken),
        HandleTaken => Some(InvalidAccount),
        InvalidAccount => Some(EpochOver),
        EpochOver => Some(Conflict),
        Conflict => Some(InvalidToken),
        InvalidToken => Some(Quota),
        Quota => Some(Full),
        Full => Some(Closed),
        Closed => Some(Slow),
        Slow => Some(Unavailable),
        Unavailable => Some(Unpublished),
        Unpublished => Some(InviteNeeded),
        InviteNeeded => Some(Suspended),
        Suspended => None,
    };
    std::iter::successors(Some(Malformed), |code| next(*code)).collect()
}

pub(crate) fn bytes<const MAX: usize>(content: &[u8]) -> Bytes<MAX> {
    Bytes::new(content.to_vec()).unwrap()
}

pub(crate) fn list<T, const MAX: usize>(items: impl IntoIterator<Item = T>) -> List<T, MAX> {
    List::new(items.into_iter().collect()).unwrap()
}

pub(crate) fn alice() -> Handle {
    Handle::parse("alice").unwrap()
}

pub(crate) fn capability(n: u8) -> Capability {
    Capability::from_bytes([n; 32])
}

/// Guarded by the capabilities `n` (read) and `n + 1` (write).
pub(crate) fn caps(n: u8) -> EpochCaps {
    EpochCaps { read: capability(n).hash(), write: capability(n + 1).hash() }
}

pub(crate) fn token() -> Token {
    Token { nonce: [0x51; 32], output: [0x52; 64] }
}

pub(crate) fn signature() -> LogSignature {
    LogSignature { by: Signer::Recovery, signature: [0x11; 64] }
}

pub(crate) fn entry() -> Entry {
    Entry { seq: Seq(2), time: NOW, kind: EntryKind::Application, blob: blob() }
}

pub(crate) fn envelope(lane: Lane) -> Envelope {
    Envelope { lane, seq: Seq(1), sealed: bytes(b"sealed") }
}

pub(crate) fn account() -> AccountId {
    AccountId(chain()[0].hash())
}

pub(crate) fn signed_head() -> SignedHead {
    SignedHead {
        checkpoint: bytes(b"a signed note"),
        record: bytes(&encode(&record_of_the_directory())),
        inclusion: list([TreeHash([0x41; 32])]),
    }
}

fn proven_account(handle: Option<Bytes<LOOKUP_PROOF_BYTES_MAX>>) -> ProvenAccount {
    let proof = AccountProof { head: signed_head(), account: bytes(b"a look-up proof"), handle };
    ProvenAccount { log: AccountLog(list(chain())), proof }
}

fn record_of_the_directory() -> DirectoryRecord {
    DirectoryRecord { epoch: 300, root: [0x40; 32], time: NOW }
}

fn page() -> Page {
    let commit = Entry { seq: Seq(3), time: NOW, kind: EntryKind::Commit(caps(3)), blob: blob() };
    Page { entries: list([entry(), commit]), more: true }
}

fn hello_reply() -> HelloReply {
    HelloReply { nonce: [0x21; 32], now: NOW, token_key: [0x22; 32] }
}

fn challenge() -> AuthChallenge<'static> {
    AuthChallenge { host: "chat.example:8443", nonce: [0x21; 32], account: account(), device: DEVICE }
}

fn login_signature() -> [u8; 64] {
    use ed25519_dalek::Signer as _;
    device_secret(1).sign(&challenge().signed_bytes()).to_bytes()
}

fn first_epoch() -> EpochId {
    first_epoch_id(&CONVERSATION, &caps(1))
}

fn device(n: u8, id: DeviceId) -> DeviceKeys {
    DeviceKeys { id, signature: public(&device_secret(n)), inbox: [n; INBOX_KEY_BYTES] }
}

fn device_secret(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn recovery_secret(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[0xf0 + n; 32])
}

fn public(secret: &SigningKey) -> [u8; 32] {
    secret.verifying_key().to_bytes()
}

fn blob() -> Bytes<ENTRY_BYTES_MAX> {
    bytes(b"an MLS message under the outer encryption")
}

const NOW: Timestamp = Timestamp(1_700_000_000_000);
pub(crate) const CONVERSATION: ConversationId = ConversationId([0x0c; 32]);
pub(crate) const DEVICE: DeviceId = DeviceId([0xd1; 16]);
const SECOND_DEVICE: DeviceId = DeviceId([0xd2; 16]);

/// Written out, so that the vectors check our hashes against numbers that our code did not make.
const EMPTY_SHA256: [u8; 32] = hex32("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
const BLOB_SHA256: [u8; 32] = hex32("cd287d8c19715b78bf859b8a136cb5fb50776b950578dce0b89b456cc44043b9");

const fn hex32(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    let mut at = 0;
    while at < 32 {
        out[at] = digit(text.as_bytes()[2 * at]) << 4 | digit(text.as_bytes()[2 * at + 1]);
        at += 1;
    }
    out
}

const fn digit(b: u8) -> u8 {
    if b.is_ascii_digit() { b - b'0' } else { b - b'a' + 10 }
}
