//! Where everything lies in the keyed log. The first byte of a key is its kind; no key holds both an account and a
//! conversation, so no record can link the two.

use sha2::{Digest, Sha256};
use stonechat_wire::{AccountId, BlobId, ConversationId, DeviceId, Handle, Lane};

use crate::store::Key;

const CONVERSATION: u8 = 1;
const INBOX: u8 = 2;
const KEY_PACKAGES: u8 = 3;
const LAST_RESORT: u8 = 4;
const ACCOUNT: u8 = 5;
const HANDLE: u8 = 6;
const INBOX_CONFIG: u8 = 7;
const BLOB: u8 = 8;
const SPENT: u8 = 9;
const QUOTA: u8 = 10;
const HEALTH: u8 = 11;
const DIRECTORY_NODE: u8 = 12;
const DIRECTORY_VALUES: u8 = 13;
const DIRECTORY: u8 = 14;
const DIRECTORY_AUDIT: u8 = 15;
const DIRECTORY_TILES: u8 = 16;
const COMMITS: u8 = 17;
const ACCOUNTS: u8 = 18;
const SUSPENSION: u8 = 19;
const INVITE: u8 = 20;
const INVITES: u8 = 21;
const IDENTITY: u8 = 22;

/// A conversation's log.
pub(crate) fn conversation(id: &ConversationId) -> Key {
    Key::new(CONVERSATION, &[&id.0])
}

/// A conversation's commits in a minute (since the Unix epoch): one entry each, for a short time.
pub(crate) fn commits(id: &ConversationId, minute: u64) -> Key {
    Key::new(COMMITS, &[&id.0, &minute.to_be_bytes()])
}

/// The public keys of the servers over this store.
pub(crate) fn identity() -> Key {
    Key::new(IDENTITY, &[])
}

/// One lane of a device's inbox.
pub(crate) fn inbox(account: &AccountId, device: &DeviceId, lane: Lane) -> Key {
    let lane = match lane {
        Lane::Contacts => 0,
        Lane::Strangers => 1,
    };
    Key::new(INBOX, &[&account.0, &device.0, &[lane]])
}

/// A device's pool of key packages.
pub(crate) fn key_packages(account: &AccountId, device: &DeviceId) -> Key {
    Key::new(KEY_PACKAGES, &[&account.0, &device.0])
}

/// A device's last-resort key package: the last entry counts.
pub(crate) fn last_resort(account: &AccountId, device: &DeviceId) -> Key {
    Key::new(LAST_RESORT, &[&account.0, &device.0])
}

/// Everything that lies under a device's own keys.
pub(crate) fn of_device(account: &AccountId, device: &DeviceId) -> [Key; 4] {
    [
        inbox(account, device, Lane::Contacts),
        inbox(account, device, Lane::Strangers),
        key_packages(account, device),
        last_resort(account, device),
    ]
}

/// An account log.
pub(crate) fn account(id: &AccountId) -> Key {
    Key::new(ACCOUNT, &[&id.0])
}

/// Whether a key is one of [`account`].
pub(crate) fn is_account(key: &Key) -> bool {
    key.as_bytes().first() == Some(&ACCOUNT)
}

/// Which account holds a handle.
pub(crate) fn handle(handle: &Handle) -> Key {
    Key::new(HANDLE, &[handle.as_str().as_bytes()])
}

/// Every account, in the order in which they signed up.
pub(crate) fn accounts() -> Key {
    Key::new(ACCOUNTS, &[])
}

/// Whether the operator has suspended an account: the last entry counts.
pub(crate) fn suspension(id: &AccountId) -> Key {
    Key::new(SUSPENSION, &[&id.0])
}

/// Whether a key is one of [`suspension`].
pub(crate) fn is_suspension(key: &Key) -> bool {
    key.as_bytes().first() == Some(&SUSPENSION)
}

/// An invitation: what it is, then its uses.
pub(crate) fn invite(id: &[u8; 16]) -> Key {
    Key::new(INVITE, &[id])
}

/// Every invitation.
pub(crate) fn invites() -> Key {
    Key::new(INVITES, &[])
}

/// Who may use an account's inbox: the last entry counts.
pub(crate) fn inbox_config(account: &AccountId) -> Key {
    Key::new(INBOX_CONFIG, &[&account.0])
}

/// A blob's chunks.
pub(crate) fn blob(id: &BlobId) -> Key {
    Key::new(BLOB, &[&id.0])
}

/// What a token was spent on. The nonce itself is not kept.
pub(crate) fn spent(token_key: &[u8; 8], nonce: &[u8; 32]) -> Key {
    let hash = Sha256::new_with_prefix(b"stonechat v1 spent token").chain_update(nonce).finalize();
    Key::new(SPENT, &[token_key, &hash])
}

/// How many tokens an account drew on a day (days since the Unix epoch).
pub(crate) fn quota(account: &AccountId, day: u64) -> Key {
    Key::new(QUOTA, &[&account.0, &day.to_be_bytes()])
}

/// What the keys of all days start with.
pub(crate) fn quotas(account: &AccountId) -> Key {
    Key::new(QUOTA, &[&account.0])
}

/// Where the health check writes.
pub(crate) fn health() -> Key {
    Key::new(HEALTH, &[])
}

/// A node of the key directory: the last entry counts.
pub(crate) fn directory_node(id: &[u8]) -> Key {
    Key::new(DIRECTORY_NODE, &[id])
}

/// Whether a key is one of [`directory_node`].
pub(crate) fn is_directory_node(key: &Key) -> bool {
    key.as_bytes().first() == Some(&DIRECTORY_NODE)
}

/// The values that a label of the key directory had, one entry each.
pub(crate) fn directory_values(label: &[u8]) -> Key {
    Key::new(DIRECTORY_VALUES, &[label])
}

/// What is to be published: account ids.
pub(crate) fn directory_queue() -> Key {
    Key::new(DIRECTORY, &[b"q"])
}

/// The epoch that is being written.
pub(crate) fn directory_journal() -> Key {
    Key::new(DIRECTORY, &[b"j"])
}

/// Who publishes.
pub(crate) fn directory_lease() -> Key {
    Key::new(DIRECTORY, &[b"l"])
}

/// The leaves of the directory's Merkle log: leaf n is entry n + 1.
pub(crate) fn directory_records() -> Key {
    Key::new(DIRECTORY, &[b"r"])
}

/// The signed checkpoints of the Merkle log: the one of size n is entry n.
pub(crate) fn directory_checkpoints() -> Key {
    Key::new(DIRECTORY, &[b"c"])
}

/// Cosignatures of witnesses.
pub(crate) fn directory_cosignatures() -> Key {
    Key::new(DIRECTORY, &[b"w"])
}

/// The append-only proof of an epoch, in pieces.
pub(crate) fn directory_audit(epoch: u64) -> Key {
    Key::new(DIRECTORY_AUDIT, &[&epoch.to_be_bytes()])
}

/// The roots of the full tiles below a tile level of the Merkle log: tile n is entry n + 1.
pub(crate) fn directory_tiles(level: u8) -> Key {
    Key::new(DIRECTORY_TILES, &[&[level]])
}

/// Which conversation's log a key names, if it names one.
pub(crate) fn conversation_of(key: &Key) -> Option<ConversationId> {
    let (&CONVERSATION, id) = key.as_bytes().split_first()? else { return None };
    id.try_into().ok().map(ConversationId)
}
