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

/// A conversation's log.
pub(crate) fn conversation(id: &ConversationId) -> Key {
    Key::new(CONVERSATION, &[&id.0])
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

/// An account log.
pub(crate) fn account(id: &AccountId) -> Key {
    Key::new(ACCOUNT, &[&id.0])
}

/// Which account holds a handle.
pub(crate) fn handle(handle: &Handle) -> Key {
    Key::new(HANDLE, &[handle.as_str().as_bytes()])
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

/// Which conversation's log a key names, if it names one.
pub(crate) fn conversation_of(key: &Key) -> Option<ConversationId> {
    let (&CONVERSATION, id) = key.as_bytes().split_first()? else { return None };
    id.try_into().ok().map(ConversationId)
}
