//! Every bound of the protocol, in one place. Names end in their unit.

/// A frame: what one WebSocket binary message may hold, both ways.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// What a refusal says for a person, in bytes of UTF-8.
pub const FAILURE_DETAIL_BYTES_MAX: usize = 256;

/// A handle, in ASCII characters.
pub const HANDLE_BYTES_MAX: usize = 15;

/// One entry of an account log, encoded: a device entry carries an X-Wing key of 1,216 bytes.
pub const ACCOUNT_ENTRY_BYTES_MAX: usize = 2_048;
/// Entries of one account log.
pub const ACCOUNT_ENTRIES_MAX: usize = 256;
/// An account log, encoded.
pub const ACCOUNT_LOG_BYTES_MAX: usize = ACCOUNT_ENTRIES_MAX * (ACCOUNT_ENTRY_BYTES_MAX + 16);
/// Devices that an account has at one time.
pub const DEVICES_MAX: usize = 128;
/// The HPKE public key of an inbox: X-Wing, draft-connolly-cfrg-xwing-kem (ML-KEM-768 1,184 bytes, X25519 32 bytes).
pub const INBOX_KEY_BYTES: usize = 1_216;

/// The blob of one entry of a conversation's log, outer encryption included. Leaves room for the frame around it.
pub const ENTRY_BYTES_MAX: usize = FRAME_BYTES_MAX - 4_096;
/// Entries in one page.
pub const PAGE_ENTRIES_MAX: usize = 256;
/// Blob bytes in one page; a single larger entry travels alone.
pub const PAGE_BYTES_MAX: usize = 256 * 1024;
/// Epochs of one conversation that are live at one time (more than one only after a malicious commit).
pub const BRANCHES_MAX: usize = 16;
/// Conversations that one connection follows.
pub const SUBSCRIPTIONS_MAX: usize = 4_096;
/// Requests that one connection may have unanswered; the server reads no further until it has answered.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 64;

/// How long an application entry stays on the server unless the operator or the entry asks for less.
pub const ENTRY_TTL_SECS: u64 = 30 * 24 * 3_600;
/// How long a conversation stays that nobody touches.
pub const CONVERSATION_TTL_SECS: u64 = 400 * 24 * 3_600;

/// A key package, encoded.
pub const KEY_PACKAGE_BYTES_MAX: usize = 16 * 1024;
/// Key packages of one device in the pool, the last-resort one not counted.
pub const KEY_PACKAGES_MAX: usize = 100;

/// A sealed envelope.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;
/// Envelopes waiting in the lane for accepted contacts.
pub const CONTACT_LANE_ENVELOPES_MAX: usize = 1_024;
/// Envelopes waiting in the lane for strangers.
pub const STRANGER_LANE_ENVELOPES_MAX: usize = 64;
/// How long an envelope waits for its device.
pub const ENVELOPE_TTL_SECS: u64 = 30 * 24 * 3_600;
/// Contact capabilities that an account accepts at one time: the live one, and the one before while contacts learn the new.
pub const CONTACT_CAPABILITIES_MAX: usize = 2;

/// One chunk of a blob.
pub const BLOB_CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Chunks of one blob.
pub const BLOB_CHUNKS_MAX: usize = 64;
/// How long a blob stays.
pub const BLOB_TTL_SECS: u64 = 30 * 24 * 3_600;

/// Tokens in one issue request.
pub const TOKENS_PER_REQUEST_MAX: usize = 64;
/// Tokens that an account draws in a day unless the operator says otherwise.
pub const TOKENS_PER_DAY: u32 = 1_024;

/// A checkpoint of the directory with its signatures: 32 witnesses and some room.
pub const CHECKPOINT_BYTES_MAX: usize = 8 * 1024;
/// One leaf of the directory's Merkle log.
pub const RECORD_BYTES_MAX: usize = 1_024;
/// Hashes in one proof of the directory's Merkle log: its size is a 64-bit number.
pub const TREE_PROOF_HASHES_MAX: usize = 65;
/// A look-up proof of the directory. Some 8 KiB with a million labels.
pub const LOOKUP_PROOF_BYTES_MAX: usize = 32 * 1024;
/// A proof over several versions of one label.
pub const HISTORY_PROOF_BYTES_MAX: usize = 384 * 1024;
/// Versions in one history proof.
pub const HISTORY_VERSIONS_MAX: u32 = 16;
/// The directory's policy, as JSON.
pub const DIRECTORY_POLICY_BYTES_MAX: usize = 16 * 1024;
/// Witnesses that a policy names.
pub const WITNESSES_MAX: usize = 32;

/// How long a connection may stay silent before its first frame.
pub const HELLO_TIMEOUT_SECS: u64 = 10;
