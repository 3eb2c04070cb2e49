//! The frames of a connection: what a client asks, what a server answers, what it pushes.
//!
//! Two kinds of connection speak the same frames. A **device** connection logs in and touches what belongs to an account:
//! its inbox, its key packages, its tokens. An **anonymous** connection never says who it is and presents capabilities and
//! tokens. A request on the wrong kind is refused, so that a client cannot link the two by mistake.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use minicbor::{Decode, Encode};

use crate::account::LogEntry;
use crate::codec::{Bytes, List, encode};
use crate::conversation::{EntryKind, EpochCaps};
use crate::directory::{AccountHistory, ProvenAccount, SignedHead, TreeProof};
use crate::ids::{
    AccountId, BlobId, Capability, CapabilityHash, ConversationId, DeviceId, EpochId, Handle, InviteCode, Seq,
    Timestamp,
};
use crate::limits::{
    BLOB_CHUNK_BYTES_MAX, CONTACT_CAPABILITIES_MAX, DEVICES_MAX, DIRECTORY_POLICY_BYTES_MAX, ENTRY_BYTES_MAX,
    ENVELOPE_BYTES_MAX, KEY_PACKAGE_BYTES_MAX, KEY_PACKAGES_MAX, PAGE_ENTRIES_MAX, TOKENS_PER_REQUEST_MAX,
};

/// The first frame of a connection, from the client. Its first field never moves, so that any two versions can tell.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// [`crate::PROTOCOL_VERSION`] of the client.
    #[n(0)]
    pub version: u32,
}

/// The server's answer to a [`Hello`] of its version.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HelloReply {
    /// What a log-in on this connection must sign.
    #[cbor(n(0), with = "crate::codec::fixed")]
    pub nonce: [u8; 32],
    /// The server's clock.
    #[n(1)]
    pub now: Timestamp,
    /// The VOPRF public key (RFC 9497, ristretto255-SHA512) that tokens are issued under. Clients reject a server that shows
    /// different keys on their two connections: the key would name them.
    #[cbor(n(2), with = "crate::codec::fixed")]
    pub token_key: [u8; 32],
}

/// What a device signs to log in: `"stonechat v1 log-in" || CBOR of this`.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct AuthChallenge<'a> {
    /// The `host[:port]` that the client dialled: a signature made for one server is useless at another.
    #[n(0)]
    pub host: &'a str,
    /// From [`HelloReply`].
    #[cbor(n(1), with = "crate::codec::fixed")]
    pub nonce: [u8; 32],
    /// Who logs in.
    #[n(2)]
    pub account: AccountId,
    /// With which device.
    #[n(3)]
    pub device: DeviceId,
}

impl AuthChallenge<'_> {
    /// The bytes under the signature.
    pub fn signed_bytes(&self) -> Vec<u8> {
        [b"stonechat v1 log-in".as_slice(), &encode(self)].concat()
    }
}

/// A frame after [`Hello`], from the client.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub struct ClientFrame {
    /// Chosen by the client; its answer carries the same.
    #[n(0)]
    pub id: u32,
    /// What it asks.
    #[n(1)]
    pub request: Request,
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub enum ServerFrame {
    /// The first frame.
    #[n(0)]
    Hello(#[n(0)] HelloReply),
    /// The answer to a request.
    #[n(1)]
    Reply(#[n(0)] u32, #[n(1)] Reply),
    /// A request was refused.
    #[n(2)]
    Refused(#[n(0)] u32, #[n(1)] Failure),
    /// Something happened.
    #[n(3)]
    Push(#[n(0)] Push),
    /// The server ends the connection and says why.
    #[n(4)]
    Closing(#[n(0)] Failure),
}

/// What a client asks.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    // --- either kind of connection ---
    /// Nothing; keeps a connection through middle boxes.
    #[n(0)]
    Ping,
    /// Asks for the newest head of the directory.
    #[n(26)]
    GetHead,
    /// Asks that the directory's Merkle log of one size is the beginning of the one of another size.
    #[n(27)]
    GetConsistency {
        /// The smaller size, at least 1.
        #[n(0)]
        from: u64,
        /// The larger size, at most the newest.
        #[n(1)]
        to: u64,
    },
    /// Asks for the directory's policy, to be pinned.
    #[n(28)]
    GetDirectoryPolicy,

    // --- device connection ---
    /// Makes an account. Before [`Request::Authenticate`]; the same entry again is no error.
    #[n(1)]
    CreateAccount {
        /// Entry 0.
        #[n(0)]
        genesis: LogEntry,
        /// Where sign-up is closed: an invitation.
        #[n(1)]
        invite: Option<InviteCode>,
    },
    /// Logs this connection in as a device.
    #[n(2)]
    Authenticate {
        /// The account that logs in.
        #[n(0)]
        account: AccountId,
        /// With which device.
        #[n(1)]
        device: DeviceId,
        /// Ed25519 over [`AuthChallenge::signed_bytes`].
        #[cbor(n(2), with = "crate::codec::fixed")]
        signature: [u8; 64],
    },
    /// Adds to this device's pool of key packages.
    #[n(3)]
    PublishKeyPackages {
        /// New ones. Those over the pool's bound are refused as a whole.
        #[n(0)]
        packages: List<Bytes<KEY_PACKAGE_BYTES_MAX>, KEY_PACKAGES_MAX>,
        /// Replaces the one that is given out when the pool is empty.
        #[n(1)]
        last_resort: Option<Bytes<KEY_PACKAGE_BYTES_MAX>>,
    },
    /// Says who may use this account's inbox.
    #[n(4)]
    ConfigureInbox {
        /// Hashes of the contact capabilities that are accepted.
        #[n(0)]
        contacts: List<CapabilityHash, CONTACT_CAPABILITIES_MAX>,
        /// Whether strangers may pay a token to write.
        #[n(1)]
        strangers: bool,
    },
    /// Deletes envelopes that were handled.
    #[n(5)]
    AckInbox {
        /// The lane that was read.
        #[n(0)]
        lane: Lane,
        /// Up to and with this one.
        #[n(1)]
        upto: Seq,
    },
    /// Draws anonymous tokens: VOPRF evaluation of blinded elements.
    #[n(6)]
    IssueTokens {
        /// Blinded elements, ristretto255, 32 bytes each.
        #[n(0)]
        blinded: List<Element, TOKENS_PER_REQUEST_MAX>,
    },
    /// Adds the next entry to an account log. Before or after [`Request::Authenticate`]: the entry is signed by a key of
    /// the account. The same entry again is no error.
    #[n(7)]
    ExtendAccount {
        /// Whose log; after log-in, this device's account.
        #[n(0)]
        account: AccountId,
        /// The entry.
        #[n(1)]
        entry: LogEntry,
    },
    /// Asks what the directory said about this device's account, newest first.
    #[n(8)]
    GetOwnHistory {
        /// How many versions, 1 to [`crate::limits::HISTORY_VERSIONS_MAX`].
        #[n(0)]
        versions: u32,
    },

    // --- anonymous connection ---
    /// Asks for the account log behind a handle, with proof.
    #[n(16)]
    LookUpHandle {
        /// The handle.
        #[n(0)]
        handle: Handle,
    },
    /// Asks for an account log, with proof.
    #[n(17)]
    GetAccount {
        /// The account that is asked for.
        #[n(0)]
        account: AccountId,
    },
    /// Takes one key package of each device of an account; each is given out once.
    #[n(18)]
    TakeKeyPackages {
        /// The account that is asked for.
        #[n(0)]
        account: AccountId,
        /// The price.
        #[n(1)]
        token: Token,
    },
    /// Starts a conversation's log. The same request again is no error.
    #[n(19)]
    CreateConversation {
        /// Its id, random.
        #[n(0)]
        conversation: ConversationId,
        /// The hashes that guard its first epoch.
        #[n(1)]
        first: EpochCaps,
        /// The price.
        #[n(2)]
        token: Token,
    },
    /// Appends to a conversation's log.
    #[n(20)]
    Append {
        /// The conversation, whose log it is.
        #[n(0)]
        conversation: ConversationId,
        /// The number of the commit that opened the epoch it stands on.
        #[n(1)]
        epoch: Seq,
        /// That epoch. Both must agree.
        #[n(2)]
        epoch_id: EpochId,
        /// The epoch's write capability.
        #[n(3)]
        write: Capability,
        /// What it is.
        #[n(4)]
        kind: EntryKind,
        /// For a commit on an epoch that has commits already: the last of them that the client saw and rejected. Without it,
        /// and for an application entry, the epoch must be live.
        #[n(5)]
        skip: Option<Seq>,
        /// Less than the server's retention, if the sender wants that.
        #[n(6)]
        ttl_secs: Option<u64>,
        /// The MLS message under the outer encryption.
        #[n(7)]
        blob: Bytes<ENTRY_BYTES_MAX>,
    },
    /// Reads the entries that stand on an epoch and follows them: the answer is the first page, the rest and what is new
    /// comes as [`Push::Entries`]. Replaces what this connection followed of this conversation.
    #[n(21)]
    Follow {
        /// The conversation, whose log it is.
        #[n(0)]
        conversation: ConversationId,
        /// The number of the commit that opened the epoch.
        #[n(1)]
        epoch: Seq,
        /// The epoch's read capability.
        #[n(2)]
        read: Capability,
        /// The last entry that the client has.
        #[n(3)]
        after: Seq,
    },
    /// Ends [`Request::Follow`].
    #[n(22)]
    Unfollow {
        /// The conversation, whose log it is.
        #[n(0)]
        conversation: ConversationId,
    },
    /// Leaves a sealed envelope in a device's inbox.
    #[n(23)]
    PostEnvelope {
        /// The account that the inbox belongs to.
        #[n(0)]
        account: AccountId,
        /// The device that the letter is for.
        #[n(1)]
        device: DeviceId,
        /// What opens the inbox.
        #[n(2)]
        admission: Admission,
        /// HPKE ciphertext.
        #[n(3)]
        sealed: Bytes<ENVELOPE_BYTES_MAX>,
    },
    /// Appends a chunk to a blob. The same chunk again is no error.
    #[n(24)]
    AppendBlob {
        /// The secret whose hash is the blob's id.
        #[n(0)]
        write: Capability,
        /// The price, with the first chunk.
        #[n(1)]
        token: Option<Token>,
        /// Which chunk, from 1.
        #[n(2)]
        chunk: Seq,
        /// Ciphertext.
        #[n(3)]
        bytes: Bytes<BLOB_CHUNK_BYTES_MAX>,
    },
    /// Reads one chunk of a blob.
    #[n(25)]
    ReadBlob {
        /// The blob to read.
        #[n(0)]
        blob: BlobId,
        /// Which chunk, from 1.
        #[n(1)]
        chunk: Seq,
    },
}

/// The answer to the request of the same name.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// Done, nothing to say.
    #[n(0)]
    Done,
    /// To [`Request::Authenticate`].
    #[n(1)]
    Authenticated {
        /// Key packages left in this device's pool.
        #[n(0)]
        key_packages: u32,
        /// Whether it has a last-resort key package.
        #[n(1)]
        last_resort: bool,
        /// Tokens that the account may still draw today.
        #[n(2)]
        tokens: u32,
        /// Envelopes that wait in both lanes and are about to be pushed.
        #[n(3)]
        envelopes: u32,
    },
    /// To [`Request::PublishKeyPackages`]: how many are in the pool now.
    #[n(2)]
    KeyPackageCount(#[n(0)] u32),
    /// To [`Request::IssueTokens`]: one evaluated element for each blinded one, and the batch's DLEQ proof (64 bytes).
    #[n(3)]
    Tokens {
        /// In the order of the request.
        #[n(0)]
        evaluated: List<Element, TOKENS_PER_REQUEST_MAX>,
        /// RFC 9497 section 2.2: challenge and response scalars.
        #[cbor(n(1), with = "crate::codec::fixed")]
        proof: [u8; 64],
    },
    /// To [`Request::LookUpHandle`] and [`Request::GetAccount`]: unverified.
    #[n(4)]
    Account(#[n(0)] ProvenAccount),
    /// To [`Request::TakeKeyPackages`]: at most one a device.
    #[n(5)]
    KeyPackages(#[n(0)] List<DeviceKeyPackage, DEVICES_MAX>),
    /// To [`Request::Append`]: where the entry stands, durably.
    #[n(6)]
    Appended {
        /// Its number.
        #[n(0)]
        seq: Seq,
        /// The server's time of the entry.
        #[n(1)]
        time: Timestamp,
    },
    /// To [`Request::Follow`]: the first page.
    #[n(7)]
    Following(#[n(0)] Page),
    /// To [`Request::ReadBlob`].
    #[n(8)]
    Chunk {
        /// Ciphertext.
        #[n(0)]
        bytes: Bytes<BLOB_CHUNK_BYTES_MAX>,
    },
    /// To [`Request::GetOwnHistory`]: unverified.
    #[n(9)]
    History(#[n(0)] AccountHistory),
    /// To [`Request::GetHead`]: unverified.
    #[n(10)]
    Head(#[n(0)] SignedHead),
    /// To [`Request::GetConsistency`]: unverified.
    #[n(11)]
    Consistency(#[n(0)] TreeProof),
    /// To [`Request::GetDirectoryPolicy`]: JSON, as `GET /directory/policy` has it.
    #[n(12)]
    DirectoryPolicy(#[n(0)] Bytes<DIRECTORY_POLICY_BYTES_MAX>),
}

/// What a server says unasked.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub enum Push {
    /// Entries of a conversation that this connection follows, in order, each once.
    #[n(0)]
    Entries {
        /// The conversation, whose log it is.
        #[n(0)]
        conversation: ConversationId,
        /// The epoch that was followed when this was read.
        #[n(1)]
        epoch: Seq,
        /// The entries.
        #[n(2)]
        page: Page,
    },
    /// Envelopes in this device's inbox, in order within a lane. They stay until [`Request::AckInbox`].
    #[n(1)]
    Envelopes(#[n(0)] List<Envelope, PAGE_ENTRIES_MAX>),
}

/// Entries that stand on one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Default)]
#[cbor(map)]
pub struct Page {
    /// Ascending.
    #[n(0)]
    pub entries: List<Entry, PAGE_ENTRIES_MAX>,
    /// Whether more follow at once. When false, the reader has all there is now.
    #[n(1)]
    pub more: bool,
}

/// One entry as a reader gets it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// Its number.
    #[n(0)]
    pub seq: Seq,
    /// When the server took it.
    #[n(1)]
    pub time: Timestamp,
    /// What it is.
    #[n(2)]
    pub kind: EntryKind,
    /// MLS message under the outer encryption.
    #[n(3)]
    pub blob: Bytes<ENTRY_BYTES_MAX>,
}

/// The two lanes of an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Lane {
    /// For those who hold a contact capability.
    #[n(0)]
    Contacts,
    /// For those who paid a token. Small.
    #[n(1)]
    Strangers,
}

/// What opens an inbox to a sender.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub enum Admission {
    /// A capability that the receiver handed out.
    #[n(0)]
    Contact(#[n(0)] Capability),
    /// A token.
    #[n(1)]
    Token(#[n(0)] Token),
}

/// A sealed envelope in an inbox.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Envelope {
    /// Which lane it lies in.
    #[n(0)]
    pub lane: Lane,
    /// Its number there.
    #[n(1)]
    pub seq: Seq,
    /// HPKE ciphertext.
    #[n(2)]
    pub sealed: Bytes<ENVELOPE_BYTES_MAX>,
}

/// A key package and the device that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceKeyPackage {
    /// The device that the key package belongs to.
    #[n(0)]
    pub device: DeviceId,
    /// RFC 9420 section 10, as an `MLSMessage`.
    #[n(1)]
    pub package: Bytes<KEY_PACKAGE_BYTES_MAX>,
}

/// A ristretto255 element, 32 bytes (RFC 9496).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Element(#[cbor(n(0), with = "crate::codec::fixed")] pub [u8; 32]);

/// An anonymous token: a VOPRF input and its output (RFC 9497). Spending it says "somebody in good standing".
#[derive(PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Token {
    /// The input, random.
    #[cbor(n(0), with = "crate::codec::fixed")]
    pub nonce: [u8; 32],
    /// The output, 64 bytes.
    #[cbor(n(1), with = "crate::codec::fixed")]
    pub output: [u8; 64],
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Failure {
    /// What kind of failure, for programs.
    #[n(0)]
    pub code: ErrorCode,
    /// When to try again, where that helps.
    #[n(1)]
    pub retry_after_secs: Option<u32>,
    /// More for a person, where it gives nothing away: at most [`crate::limits::FAILURE_DETAIL_BYTES_MAX`] bytes, what is
    /// longer is cut as it is sent.
    #[cbor(n(2), with = "crate::codec::detail", has_nil)]
    pub detail: Option<String>,
}

impl Failure {
    /// A failure that its code says everything about.
    pub const fn new(code: ErrorCode) -> Self {
        Self { code, retry_after_secs: None, detail: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(secs) = self.retry_after_secs {
            write!(f, " (try again in {secs} s)")?;
        }
        Ok(())
    }
}

/// Kinds of failure. The texts are for people; the numbers are for programs and never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[cbor(index_only)]
pub enum ErrorCode {
    /// The frame is not one of this protocol.
    #[n(0)]
    #[error("the server could not read what was sent")]
    Malformed,
    /// The client speaks a version that the server does not; `detail` names the server's.
    #[n(1)]
    #[error("this app and the server speak different versions of the protocol; update the older one")]
    Version,
    /// The request belongs on the other kind of connection, or before or after log-in.
    #[n(2)]
    #[error("the request is not allowed on this connection")]
    WrongConnection,
    /// The signature, account or device is not one that may log in.
    #[n(3)]
    #[error("the server does not accept this device's log-in")]
    NotAuthenticated,
    /// Nothing is there under that name or capability. One code whatever the cause.
    #[n(4)]
    #[error("not found")]
    NotFound,
    /// The handle belongs to another account.
    #[n(5)]
    #[error("that handle is taken; choose another")]
    HandleTaken,
    /// The account log entry breaks a rule.
    #[n(6)]
    #[error("the account entry is not valid")]
    InvalidAccount,
    /// The epoch is over: read what came since and try again.
    #[n(7)]
    #[error("the conversation has moved on")]
    EpochOver,
    /// The id is in use for something else.
    #[n(8)]
    #[error("that id is in use")]
    Conflict,
    /// The token is not valid or was spent.
    #[n(9)]
    #[error("the anonymous token is not valid")]
    InvalidToken,
    /// No more tokens today.
    #[n(10)]
    #[error("today's allowance is used up")]
    Quota,
    /// The inbox lane, the pool or the blob is full.
    #[n(11)]
    #[error("there is no room; try again later")]
    Full,
    /// The inbox does not accept this sender's lane.
    #[n(12)]
    #[error("this person does not accept messages from strangers")]
    Closed,
    /// Too much at once.
    #[n(13)]
    #[error("too many requests; slow down")]
    Slow,
    /// The server cannot serve now: its store fails or it is going down. Nothing was acknowledged.
    #[n(14)]
    #[error("the server cannot do this now; try again later")]
    Unavailable,
    /// The directory has not published this yet. It does so within a second.
    #[n(15)]
    #[error("the directory has not published this yet; try again in a moment")]
    Unpublished,
    /// Sign-up is closed, and there is no invitation, or it is used up or over.
    #[n(16)]
    #[error("sign-up needs an invitation that is still good; ask whoever runs this server for one")]
    InviteNeeded,
    /// The operator has suspended the account; `detail` is their reason.
    #[n(17)]
    #[error("whoever runs this server has suspended this account")]
    Suspended,
}
