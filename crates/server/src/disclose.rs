//! `stonechatd disclose @handle`: everything that the server could be forced to hand over about an account, and what it
//! could not, because it does not have it.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use stonechat_wire::{
    AccountId, DeviceId, Handle, Lane, LogBody, LogEntry, LogSignature, Seq, Signer, Timestamp, decode,
};

use crate::directory::said_of;
use crate::services::{InboxConfig, drawn, keys, quota_days};
use crate::store::{Entry as Stored, Key, KeyedLog, StoreError};

/// Everything that a store holds about an account.
#[derive(Debug, Serialize)]
pub struct Disclosure {
    /// The handle, with its sign.
    pub handle: String,
    /// The account's id, hex.
    pub account: String,
    /// The account log, entry by entry.
    pub account_log: Vec<DisclosedEntry>,
    /// Whether strangers may write to the inbox, and the hashes of the capabilities that contacts present.
    pub inbox: DisclosedInbox,
    /// What lies on the server for each device that the account ever had.
    pub devices: Vec<DisclosedDevice>,
    /// What the directory says of the account and its handle. The log head is public to whoever asks for the account; the
    /// rest of the public directory names nobody: positions in it come from a secret of the server.
    pub directory: Vec<DisclosedVersion>,
    /// Tokens drawn, by day (days since 1970-01-01). Not what they were spent on: that cannot be told.
    pub tokens_drawn: Vec<DisclosedQuota>,
    /// What is not above, and why.
    pub not_held: &'static [&'static str],
}

/// One entry of an account log.
#[derive(Debug, Serialize)]
pub struct DisclosedEntry {
    /// What it says.
    pub says: &'static str,
    /// Every field of it, by name. Bytes in hex.
    pub fields: Vec<(&'static str, String)>,
    /// Who signed, and the signatures in hex.
    pub signatures: Vec<(String, String)>,
    /// The stored bytes, hex.
    pub bytes: String,
}

/// One version of what the directory says.
#[derive(Debug, Serialize)]
pub struct DisclosedVersion {
    /// `account` (the head of its log) or `handle` (whose it is).
    pub label: &'static str,
    /// Counted from 1.
    pub version: u64,
    /// The epoch in which it was published; the public log has its time.
    pub epoch: u64,
    /// The stored value, hex.
    pub value: String,
}

/// An inbox's configuration.
#[derive(Debug, Serialize)]
pub struct DisclosedInbox {
    /// Hashes, hex.
    pub contact_capability_hashes: Vec<String>,
    /// Whether strangers may write.
    pub strangers: bool,
}

/// What lies on the server for a device.
#[derive(Debug, Serialize)]
pub struct DisclosedDevice {
    /// The device's id, hex.
    pub device: String,
    /// Key packages that nobody took yet, hex.
    pub key_packages: Vec<String>,
    /// The key package of last resort, hex.
    pub last_resort: Option<String>,
    /// Sealed envelopes that the device has not fetched.
    pub envelopes: Vec<DisclosedEnvelope>,
}

/// A sealed envelope.
#[derive(Debug, Serialize)]
pub struct DisclosedEnvelope {
    /// `contacts` or `strangers`.
    pub lane: &'static str,
    /// Its number there.
    pub seq: u64,
    /// HPKE ciphertext, hex. Only the device can open it. No sender is stored with it.
    pub sealed: String,
}

/// Tokens drawn on a day.
#[derive(Debug, Serialize)]
pub struct DisclosedQuota {
    /// Days since 1970-01-01.
    pub day: u64,
    /// How many.
    pub tokens: u32,
}

/// What no record of a server says.
const NOT_HELD: &[&str] = &[
    "No conversations: conversation logs lie under random ids, and no record links one to an account.",
    "No contacts: who wrote to this account, or whom it wrote to, is not stored. Envelopes carry no sender.",
    "No messages, names of groups or names of devices in readable form: they exist as ciphertext only, and its keys are on the devices.",
    "No addresses and no times of use: the server stores neither where nor when the account connected.",
    "No use of tokens: a spent token cannot be linked to the account that drew it.",
];

/// Collects everything about the account behind a handle. `None` when nobody holds it.
///
/// # Errors
/// When the store cannot be read.
pub async fn disclose<S: KeyedLog>(store: &S, handle: &Handle) -> Result<Option<Disclosure>, StoreError> {
    let now = Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64);
    let Some(holder) = store.last(&keys::handle(handle), now).await? else { return Ok(None) };
    let Ok(account) = holder.bytes.as_slice().try_into().map(AccountId) else { return Ok(None) };

    let (mut account_log, mut ids) = (Vec::new(), Vec::new());
    for stored in all(store, &keys::account(&account), now).await? {
        account_log.push(entry(&stored, &mut ids));
    }
    let config = match store.last(&keys::inbox_config(&account), now).await? {
        Some(stored) => decode(&stored.bytes).unwrap_or_default(),
        None => InboxConfig::default(),
    };
    let mut devices = Vec::new();
    for id in ids {
        devices.push(device(store, &account, &id, now).await?);
    }
    let mut tokens_drawn = Vec::new();
    for day in quota_days(now) {
        if let Some(stored) = store.last(&keys::quota(&account, day), now).await? {
            tokens_drawn.push(DisclosedQuota { day, tokens: drawn(&stored.bytes) });
        }
    }
    let said = said_of(store, &account, handle).await?;
    let directory = said
        .into_iter()
        .map(|(label, version, epoch, value)| DisclosedVersion { label, version, epoch, value: hex::encode(value) })
        .collect();
    Ok(Some(Disclosure {
        handle: handle.to_string(),
        account: account.to_string(),
        account_log,
        inbox: DisclosedInbox {
            contact_capability_hashes: config.contacts.iter().map(ToString::to_string).collect(),
            strangers: config.strangers,
        },
        devices,
        directory,
        tokens_drawn,
        not_held: NOT_HELD,
    }))
}

async fn device<S: KeyedLog>(
    store: &S,
    account: &AccountId,
    id: &DeviceId,
    now: Timestamp,
) -> Result<DisclosedDevice, StoreError> {
    let key_packages = all(store, &keys::key_packages(account, id), now).await?;
    let last_resort = store.last(&keys::last_resort(account, id), now).await?;
    let mut envelopes = Vec::new();
    for (lane, name) in [(Lane::Contacts, "contacts"), (Lane::Strangers, "strangers")] {
        for stored in all(store, &keys::inbox(account, id, lane), now).await? {
            envelopes.push(DisclosedEnvelope { lane: name, seq: stored.seq.0, sealed: hex::encode(&stored.bytes) });
        }
    }
    Ok(DisclosedDevice {
        device: id.to_string(),
        key_packages: key_packages.iter().map(|stored| hex::encode(&stored.bytes)).collect(),
        last_resort: last_resort.map(|stored| hex::encode(&stored.bytes)),
        envelopes,
    })
}

async fn all<S: KeyedLog>(store: &S, key: &Key, now: Timestamp) -> Result<Vec<Stored>, StoreError> {
    let mut entries: Vec<Stored> = Vec::new();
    loop {
        let page =
            store.read(key, entries.last().map_or(Seq(0), |entry| entry.seq), READ_ENTRIES, usize::MAX, now).await?;
        if page.is_empty() {
            return Ok(entries);
        }
        entries.extend(page);
    }
}

fn entry(stored: &Stored, devices: &mut Vec<DeviceId>) -> DisclosedEntry {
    let bytes = hex::encode(&stored.bytes);
    let decoded = decode::<LogEntry>(&stored.bytes).ok().and_then(|entry| Some((decode(&entry.body).ok()?, entry)));
    let Some((body, entry)) = decoded else {
        return DisclosedEntry { says: "unreadable", fields: Vec::new(), signatures: Vec::new(), bytes };
    };
    let (says, fields) = match body {
        LogBody::Genesis { handle, device, recovery, at } => {
            devices.push(device.id);
            let fields = vec![
                ("handle", handle.to_string()),
                ("device", device.id.to_string()),
                ("device_signature_key", hex::encode(device.signature)),
                ("device_inbox_key", hex::encode(device.inbox)),
                ("recovery_key", hex::encode(recovery)),
                ("at_millis", at.0.to_string()),
            ];
            ("the account was made", fields)
        }
        LogBody::AddDevice { previous, device, at } => {
            devices.push(device.id);
            let fields = vec![
                ("previous", hex::encode(previous)),
                ("device", device.id.to_string()),
                ("device_signature_key", hex::encode(device.signature)),
                ("device_inbox_key", hex::encode(device.inbox)),
                ("at_millis", at.0.to_string()),
            ];
            ("a device joined", fields)
        }
        LogBody::RevokeDevice { previous, device, at } => {
            let fields = vec![
                ("previous", hex::encode(previous)),
                ("device", device.to_string()),
                ("at_millis", at.0.to_string()),
            ];
            ("a device left", fields)
        }
        LogBody::RotateRecovery { previous, recovery, at } => {
            let fields = vec![
                ("previous", hex::encode(previous)),
                ("recovery_key", hex::encode(recovery)),
                ("at_millis", at.0.to_string()),
            ];
            ("the recovery key changed", fields)
        }
    };
    let signatures = entry.signatures.iter().map(|LogSignature { by, signature }| (signer(by), hex::encode(signature)));
    DisclosedEntry { says, fields, signatures: signatures.collect(), bytes }
}

fn signer(by: &Signer) -> String {
    match by {
        Signer::Device(id) => format!("device {id}"),
        Signer::Recovery => "recovery key".to_owned(),
    }
}

impl Disclosure {
    /// For a person to read. Key packages and envelopes by their size; `raw` adds their bytes.
    pub fn to_text(&self, raw: bool) -> String {
        let mut out = String::new();
        self.write_text(&mut out, raw).expect("writing into a String is infallible");
        out
    }

    fn write_text(&self, out: &mut String, raw: bool) -> std::fmt::Result {
        writeln!(out, "Everything that this server holds about {}\n", self.handle)?;
        writeln!(out, "account {}\n", self.account)?;
        for (index, entry) in self.account_log.iter().enumerate() {
            writeln!(out, "account log, entry {index}: {}", entry.says)?;
            for (name, value) in &entry.fields {
                writeln!(out, "  {name}: {value}")?;
            }
            for (by, signature) in &entry.signatures {
                writeln!(out, "  signed by {by}: {signature}")?;
            }
            writeln!(out, "  stored as: {}", entry.bytes)?;
        }
        let strangers = if self.inbox.strangers { "may" } else { "may not" };
        writeln!(out, "\ninbox: strangers {strangers} write")?;
        for hash in &self.inbox.contact_capability_hashes {
            writeln!(out, "  contact capability with hash {hash}")?;
        }
        for version in &self.directory {
            let DisclosedVersion { label, version, epoch, value } = version;
            writeln!(out, "  directory: {label}, version {version}, published in epoch {epoch}: {value}")?;
        }
        for device in &self.devices {
            writeln!(out, "\ndevice {}", device.device)?;
            writeln!(out, "  {} key packages that nobody took yet", device.key_packages.len())?;
            for package in &device.key_packages {
                write_bytes(out, "key package", package, raw)?;
            }
            if let Some(package) = &device.last_resort {
                write_bytes(out, "key package of last resort", package, raw)?;
            }
            writeln!(out, "  {} sealed envelopes that it has not fetched", device.envelopes.len())?;
            for envelope in &device.envelopes {
                let name = format!("envelope {} from {}", envelope.seq, envelope.lane);
                write_bytes(out, &name, &envelope.sealed, raw)?;
            }
        }
        writeln!(out)?;
        for quota in &self.tokens_drawn {
            writeln!(out, "tokens drawn on day {} since 1970-01-01: {}", quota.day, quota.tokens)?;
        }
        writeln!(out, "\nWhat the server does not hold, and so cannot hand over:")?;
        for sentence in self.not_held {
            writeln!(out, "  {sentence}")?;
        }
        Ok(())
    }
}

fn write_bytes(out: &mut String, name: &str, hex: &str, raw: bool) -> std::fmt::Result {
    write!(out, "    {name}, {} bytes", hex.len() / 2)?;
    if raw {
        write!(out, ": {hex}")?;
    }
    writeln!(out)
}

const READ_ENTRIES: usize = 256;
