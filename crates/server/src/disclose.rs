//! `stonechatd disclose @handle`: everything that the server could be forced to hand over about an account, and what it
//! could not, because it does not have it.

use std::fmt::Write as _;

use serde::Serialize;
use stonechat_directory::proof::{account_label, handle_label};
use stonechat_wire::limits::{CONVERSATION_TTL_SECS, ENVELOPE_TTL_SECS};
use stonechat_wire::{AccountId, DeviceId, Handle, Lane, LogBody, LogEntry, LogSignature, Signer, decode};

use crate::directory::read_value;
use crate::services::{InboxConfig, QUOTA_TTL_SECS, drawn, keys};
use crate::store::{Entry as Stored, Key, SqliteLog, StoreError, Whole};

/// Everything that a store holds about an account, also what is due and not deleted yet.
#[derive(Debug, Serialize)]
pub struct Disclosure {
    /// The handle, with its sign.
    pub handle: String,
    /// Where it says whose the handle is.
    pub handle_record: Place,
    /// The account's id, hex.
    pub account: String,
    /// The account log, entry by entry.
    pub account_log: Vec<DisclosedEntry>,
    /// Its places in the list of all accounts, which is in the order in which they signed up.
    pub listed: Vec<Place>,
    /// What the operator said about a suspension: the last record counts.
    pub suspension: DisclosedLog,
    /// Whether strangers may write to the inbox, and the hashes of the capabilities that contacts present.
    pub inbox: DisclosedInbox,
    /// What lies on the server for each device that the account ever had.
    pub devices: Vec<DisclosedDevice>,
    /// What the directory says of the account and its handle. The log head is public to whoever asks for the account; the
    /// rest of the public directory names nobody: positions in it come from a secret of the server.
    pub directory: Vec<DisclosedVersion>,
    /// Draws of tokens. Not what they were spent on: that cannot be told.
    pub tokens_drawn: Vec<DisclosedDraw>,
    /// What the numbers beside the records let one work out.
    pub may_be_inferred: &'static [&'static str],
    /// What is not above, and why.
    pub not_held: &'static [&'static str],
}

/// What the database keeps beside a record's bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    /// Its number in its log. Numbers are not used again.
    pub seq: u64,
    /// Its row among everything that the server ever stored, for anybody: rows are numbered in order of arrival.
    pub row: u64,
    /// When it is deleted, in milliseconds since 1970-01-01. `None` stays.
    pub expires_at_millis: Option<u64>,
    /// When it was stored, worked out from that.
    pub stored_at_millis: Option<u64>,
}

/// One entry of an account log.
#[derive(Debug, Serialize)]
pub struct DisclosedEntry {
    /// Where it lies.
    #[serde(flatten)]
    pub place: Place,
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
    /// Where it stands.
    pub place: Place,
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
    /// The records that say so: the last counts.
    pub records: DisclosedLog,
}

/// Records under one name, and how many there ever were.
#[derive(Debug, Serialize)]
pub struct DisclosedLog {
    /// The last number that was given: so many were ever stored.
    pub last_seq: u64,
    /// Those that are still there.
    pub records: Vec<DisclosedRecord>,
}

/// A record.
#[derive(Debug, Serialize)]
pub struct DisclosedRecord {
    /// Where it lies.
    #[serde(flatten)]
    pub place: Place,
    /// What is stored, hex.
    pub bytes: String,
}

/// What lies on the server for a device.
#[derive(Debug, Serialize)]
pub struct DisclosedDevice {
    /// The device's id, hex.
    pub device: String,
    /// Key packages that nobody took yet: public keys.
    pub key_packages: DisclosedLog,
    /// The key package of last resort.
    pub last_resort: DisclosedLog,
    /// Sealed envelopes from contacts that the device has not fetched: ciphertext. No sender is stored with them.
    pub envelopes_from_contacts: DisclosedLog,
    /// The same from strangers.
    pub envelopes_from_strangers: DisclosedLog,
}

/// A draw of tokens.
#[derive(Debug, Serialize)]
pub struct DisclosedDraw {
    /// Days since 1970-01-01.
    pub day: u64,
    /// Where it lies; `stored_at_millis` is when the tokens were drawn.
    #[serde(flatten)]
    pub place: Place,
    /// How many were drawn on that day up to and with this draw.
    pub tokens_so_far: u32,
}

/// What can be worked out from what is stored, though no record says it.
const MAY_BE_INFERRED: &[&str] = &[
    "Times of use: `stored_at_millis` says when somebody wrote to this account, when one of its devices published key packages, and when one drew tokens. At the last two, a device of this account was connected.",
    "Counts: `last_seq` says how many records there ever were. Key packages that are missing were taken, nearly always by somebody who began or extended a conversation with this account; envelopes that are missing were fetched, or have expired.",
    "Neighbours: rows are numbered in order of arrival, over everything that the server stores for anybody. A token that was spent and a conversation that was begun in the rows just before an envelope suggest that this conversation was opened with this account, and tokens drawn by another account shortly before suggest by whom. These are guesses: the more people use the server at one time, the worse. Rows of others are not printed here.",
];

/// What no record of a server says.
const NOT_HELD: &[&str] = &[
    "No conversations: conversation logs lie under random ids, and no record links one to an account.",
    "No contacts: who wrote to this account, or whom it wrote to, is not stored. Envelopes carry no sender.",
    "No messages, names of groups or names of devices in readable form: they exist as ciphertext only, and its keys are on the devices.",
    "No addresses, and no record of connections: the server does not store where from or when the account connected. Some times of use follow from the times of records, as said above.",
    "No use of tokens: a spent token cannot be linked to the account that drew it.",
];

/// Collects everything about the account behind a handle. `None` when nobody holds it.
///
/// # Errors
/// When the store cannot be read.
pub async fn disclose(store: &SqliteLog, handle: &Handle) -> Result<Option<Disclosure>, StoreError> {
    let Some((row, holder)) = store.whole(&keys::handle(handle)).await?.records.pop() else { return Ok(None) };
    let Ok(account) = holder.bytes.as_slice().try_into().map(AccountId) else { return Ok(None) };

    let (mut account_log, mut ids) = (Vec::new(), Vec::new());
    for (row, stored) in &store.whole(&keys::account(&account)).await?.records {
        account_log.push(entry(*row, stored, &mut ids));
    }
    let config = store.whole(&keys::inbox_config(&account)).await?;
    let last = config.records.last().and_then(|(_, stored)| decode::<InboxConfig>(&stored.bytes).ok());
    let InboxConfig { contacts, strangers } = last.unwrap_or_default();
    let suspension = records(&store.whole(&keys::suspension(&account)).await?, None);
    let listed = store.whole(&keys::accounts()).await?.records;
    let listed = listed.iter().filter(|(_, entry)| entry.bytes == account.0);
    let listed = listed.map(|(row, entry)| place(*row, entry, None)).collect();
    let mut devices = Vec::new();
    for id in ids {
        devices.push(device(store, &account, &id).await?);
    }
    let mut tokens_drawn = Vec::new();
    for key in store.keys(keys::quotas(&account).as_bytes(), QUOTA_DAYS_MAX).await? {
        let day = key.as_bytes().last_chunk().map_or(0, |day| u64::from_be_bytes(*day));
        for (row, stored) in &store.whole(&key).await?.records {
            let place = place(*row, stored, Some(QUOTA_TTL_SECS));
            tokens_drawn.push(DisclosedDraw { day, place, tokens_so_far: drawn(&stored.bytes) });
        }
    }
    let mut directory = Vec::new();
    for (label, bytes) in [("account", account_label(&account)), ("handle", handle_label(handle))] {
        for (row, stored) in &store.whole(&keys::directory_values(&bytes)).await?.records {
            let Some((version, epoch, value)) = read_value(&stored.bytes) else { continue };
            let place = place(*row, stored, None);
            directory.push(DisclosedVersion { place, label, version, epoch, value: hex::encode(value) });
        }
    }
    Ok(Some(Disclosure {
        handle: handle.to_string(),
        handle_record: place(row, &holder, None),
        account: account.to_string(),
        account_log,
        listed,
        suspension,
        inbox: DisclosedInbox {
            contact_capability_hashes: contacts.iter().map(ToString::to_string).collect(),
            strangers,
            records: records(&config, None),
        },
        devices,
        directory,
        tokens_drawn,
        may_be_inferred: MAY_BE_INFERRED,
        not_held: NOT_HELD,
    }))
}

async fn device(store: &SqliteLog, account: &AccountId, id: &DeviceId) -> Result<DisclosedDevice, StoreError> {
    let log = async |key: Key, ttl_secs| Ok::<_, StoreError>(records(&store.whole(&key).await?, ttl_secs));
    Ok(DisclosedDevice {
        device: id.to_string(),
        key_packages: log(keys::key_packages(account, id), Some(CONVERSATION_TTL_SECS)).await?,
        last_resort: log(keys::last_resort(account, id), None).await?,
        envelopes_from_contacts: log(keys::inbox(account, id, Lane::Contacts), Some(ENVELOPE_TTL_SECS)).await?,
        envelopes_from_strangers: log(keys::inbox(account, id, Lane::Strangers), Some(ENVELOPE_TTL_SECS)).await?,
    })
}

fn records(log: &Whole, ttl_secs: Option<u64>) -> DisclosedLog {
    let records = log.records.iter().map(|(row, stored)| DisclosedRecord {
        place: place(*row, stored, ttl_secs),
        bytes: hex::encode(&stored.bytes),
    });
    DisclosedLog { records: records.collect(), last_seq: log.last.map_or(0, |last| last.0) }
}

/// `ttl_secs`: how long such records are kept, always.
fn place(row: u64, stored: &Stored, ttl_secs: Option<u64>) -> Place {
    let expires_at_millis = stored.expires_at.map(|at| at.0);
    let stored_at_millis = expires_at_millis.zip(ttl_secs).map(|(at, secs)| at.saturating_sub(secs * 1_000));
    Place { seq: stored.seq.0, row, expires_at_millis, stored_at_millis }
}

fn entry(row: u64, stored: &Stored, devices: &mut Vec<DeviceId>) -> DisclosedEntry {
    let place = place(row, stored, None);
    let bytes = hex::encode(&stored.bytes);
    let decoded = decode::<LogEntry>(&stored.bytes).ok().and_then(|entry| Some((decode(&entry.body).ok()?, entry)));
    let Some((body, entry)) = decoded else {
        return DisclosedEntry { place, says: "unreadable", fields: Vec::new(), signatures: Vec::new(), bytes };
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
    DisclosedEntry { place, says, fields, signatures: signatures.collect(), bytes }
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
        writeln!(
            out,
            "Times are in milliseconds since 1970-01-01. Rows are numbered in order of arrival, for everybody.\n"
        )?;
        writeln!(out, "account {}, said by {}\n", self.account, self.handle_record)?;
        for (index, entry) in self.account_log.iter().enumerate() {
            writeln!(out, "account log, entry {index}: {}; {}", entry.says, entry.place)?;
            for (name, value) in &entry.fields {
                writeln!(out, "  {name}: {value}")?;
            }
            for (by, signature) in &entry.signatures {
                writeln!(out, "  signed by {by}: {signature}")?;
            }
            writeln!(out, "  stored as: {}", entry.bytes)?;
        }
        for place in &self.listed {
            writeln!(out, "in the list of all accounts: {place}")?;
        }
        self.suspension.write_text(out, "words of the operator about a suspension", raw)?;
        let strangers = if self.inbox.strangers { "may" } else { "may not" };
        writeln!(out, "\ninbox: strangers {strangers} write")?;
        for hash in &self.inbox.contact_capability_hashes {
            writeln!(out, "  contact capability with hash {hash}")?;
        }
        for version in &self.directory {
            let DisclosedVersion { place, label, version, epoch, value } = version;
            writeln!(out, "  directory: {label}, version {version}, published in epoch {epoch}: {value}; {place}")?;
        }
        self.inbox.records.write_text(out, "settings", raw)?;
        for device in &self.devices {
            writeln!(out, "\ndevice {}", device.device)?;
            device.key_packages.write_text(out, "key packages that nobody took yet", raw)?;
            device.last_resort.write_text(out, "key packages of last resort", raw)?;
            device.envelopes_from_contacts.write_text(out, "sealed envelopes from contacts, not fetched", raw)?;
            device.envelopes_from_strangers.write_text(out, "sealed envelopes from strangers, not fetched", raw)?;
        }
        writeln!(out, "\n{} draws of tokens", self.tokens_drawn.len())?;
        for draw in &self.tokens_drawn {
            writeln!(
                out,
                "  {} drawn so far on day {} since 1970-01-01; {}",
                draw.tokens_so_far, draw.day, draw.place
            )?;
        }
        writeln!(out, "\nWhat follows from these numbers, though no record says it:")?;
        for sentence in self.may_be_inferred {
            writeln!(out, "  {sentence}")?;
        }
        writeln!(out, "\nWhat the server does not hold, and so cannot hand over:")?;
        for sentence in self.not_held {
            writeln!(out, "  {sentence}")?;
        }
        Ok(())
    }
}

impl DisclosedLog {
    fn write_text(&self, out: &mut String, name: &str, raw: bool) -> std::fmt::Result {
        writeln!(out, "  {} {name}; {} were ever stored", self.records.len(), self.last_seq)?;
        for DisclosedRecord { place, bytes } in &self.records {
            write!(out, "    {} bytes; {place}", bytes.len() / 2)?;
            if raw {
                write!(out, ": {bytes}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "number {}, row {}", self.seq, self.row)?;
        if let Some(at) = self.stored_at_millis {
            write!(f, ", stored at {at}")?;
        }
        match self.expires_at_millis {
            Some(at) => write!(f, ", until {at}"),
            None => write!(f, ", kept"),
        }
    }
}

/// More than are kept: two days, and what expiry has not come to yet.
const QUOTA_DAYS_MAX: usize = 400;
