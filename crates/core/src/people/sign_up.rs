//! A new account, and what other devices of it ask of this vault before there is a client.

use rand_core::CryptoRngCore;
use stonechat_wire::{AccountId, AccountLog, DeviceId, DeviceKeys, Handle, List, LogBody, LogEntry, Signer, Timestamp};
use zeroize::Zeroizing;

use super::accounts::{Contact, Holder};
use super::belief::pinned;
use crate::api::Me;
use crate::crypto::Secret;
use crate::crypto::keys::{self, DeviceSecrets};
use crate::identity::MeRecord;
use crate::store::{Change, Read as _, Txn, VaultError, VaultRead};

/// A new account, not yet known to any server.
pub struct SignUp {
    /// For the vault, before anything else.
    pub changes: Vec<Change>,
    /// 24 words. Shown once, kept nowhere.
    pub recovery_phrase: Zeroizing<String>,
    /// What was made.
    pub me: Me,
}

/// Why no account can be made here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SignUpError {
    /// The vault has an account that the server knows.
    #[error("this home belongs to {0} already; choose another home for another account")]
    AlreadySignedUp(Handle),
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Pins a directory's policy, as JSON, before any server could name another: commit the change with the account.
///
/// # Errors
/// [`stonechat_directory::PolicyError`] when it is not a policy.
pub fn pin_policy(json: &[u8]) -> Result<Change, stonechat_directory::PolicyError> {
    stonechat_directory::DirectoryPolicy::from_json(json).map(|policy| pinned(&policy))
}

/// Makes an account: the keys of its first device, its recovery phrase and entry 0 of its log. An earlier attempt in this
/// vault that no server accepted is replaced.
///
/// # Errors
/// [`SignUpError`].
pub fn sign_up(
    vault: &dyn VaultRead,
    rng: &mut dyn CryptoRngCore,
    now: Timestamp,
    handle: Handle,
    server: String,
) -> Result<SignUp, SignUpError> {
    if let Some(old) = vault.load::<MeRecord>(&())?.filter(|me| me.registered) {
        return Err(SignUpError::AlreadySignedUp(old.handle));
    }
    let mut secret = || Secret::random(rng);
    let (signature_seed, inbox_seed, contact, entropy) = (secret(), secret(), secret(), secret());
    let mut device = DeviceId([0; 16]);
    rng.fill_bytes(&mut device.0);
    let recovery = keys::recovery_signing_key(entropy.danger_bytes());
    let secrets = DeviceSecrets::from_seeds(*signature_seed.danger_bytes(), *inbox_seed.danger_bytes());
    let signing = secrets.signing_key();
    let body = LogBody::Genesis {
        handle: handle.clone(),
        device: secrets.device_keys(device),
        recovery: recovery.verifying_key().to_bytes(),
        at: now,
    };
    let genesis = LogEntry::sign(&body, &[(Signer::Device(device), &signing), (Signer::Recovery, &recovery)]);
    let account = AccountId(genesis.hash());
    let record =
        MeRecord { account, handle, device, signature_seed, inbox_seed, contact, genesis, server, registered: false };
    let mut txn = Txn::new(vault);
    txn.store(&(), &record);
    let log = AccountLog(List::new(vec![record.genesis.clone()]).expect("one entry"));
    // One place knows everybody's log, one's own included.
    txn.store(&account, &Contact { accepted: true, ..Contact::new(log) });
    txn.store(&record.handle, &Holder(account));
    let recovery_phrase = keys::recovery_phrase(entropy.danger_bytes());
    Ok(SignUp { changes: txn.into_changes(), recovery_phrase, me: record.public() })
}

/// The entry that adds a device to this vault's account: what a linked device and the one that links it sign together.
///
/// # Errors
/// When the vault cannot be read or has no account.
pub fn add_device_entry(
    vault: &dyn VaultRead,
    now: Timestamp,
    device: DeviceKeys,
    new: &ed25519_dalek::SigningKey,
) -> Result<(AccountId, LogEntry), VaultError> {
    let missing = |detail: &str| VaultError { detail: detail.to_owned() };
    let me = vault.load::<MeRecord>(&())?.ok_or_else(|| missing("nobody is signed up here"))?;
    let log = vault.load::<Contact>(&me.account)?.ok_or_else(|| missing("this account's log is missing"))?.log;
    let previous = log.0.last().ok_or_else(|| missing("this account's log is empty"))?.hash();
    let signing = me.secrets().signing_key();
    let added = Signer::Device(device.id);
    let body = LogBody::AddDevice { previous, device, at: now };
    Ok((me.account, LogEntry::sign(&body, &[(Signer::Device(me.device), &signing), (added, new)])))
}

/// The account log of this vault's account, as far as it is known here.
///
/// # Errors
/// When the vault cannot be read.
pub fn own_log(vault: &dyn VaultRead) -> Result<Option<AccountLog>, VaultError> {
    let Some(me) = vault.load::<MeRecord>(&())? else { return Ok(None) };
    Ok(vault.load::<Contact>(&me.account)?.map(|contact| contact.log))
}
