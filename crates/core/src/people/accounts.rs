//! This account: sign-up, the keys of this device, and what is known of others.
//!
//! A log of somebody else is stored only after it verified from entry 0 and, if one was stored before, starts with all of
//! that. Nothing else may write [`Table::Account`].

use ed25519_dalek::SigningKey;
use rand_core::CryptoRngCore;
use stonechat_wire::{
    AccountId, AccountLog, AccountState, Capability, DeviceId, Handle, List, LogBody, LogEntry, Signer, Timestamp,
};
use zeroize::Zeroizing;

use crate::CoreError;
use crate::api::{Doubt, Me};
use crate::content::Notice;
use crate::crypto::Secret;
use crate::crypto::keys::{self, DeviceSecrets};
use crate::step::Ctx;
use crate::store::records::{ContactRecord, ME, MeRecord, POLICY, Read, Write, check_key, handle_key};
use crate::store::vault::{Change, Table, Txn, VaultError, VaultRead};

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
    let policy = stonechat_directory::DirectoryPolicy::from_json(json)?;
    Ok(Change { table: Table::Meta, key: POLICY.to_vec(), value: Some(policy.to_json().into_bytes()) })
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
    if let Some(old) = vault.me()?.filter(|me| me.registered) {
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
    txn.save(Table::Meta, ME, &record);
    let log = AccountLog(List::new(vec![record.genesis.clone()]).expect("one entry"));
    // One place knows everybody's log, one's own included.
    txn.save(Table::Account, &account.0, &ContactRecord { accepted: true, ..ContactRecord::new(log) });
    txn.put(Table::Meta, handle_key(&record.handle), account.0);
    Ok(SignUp {
        changes: txn.into_changes(),
        recovery_phrase: keys::recovery_phrase(entropy.danger_bytes()),
        me: record.public(),
    })
}

impl MeRecord {
    /// The seeds of this device, as what is derived from them.
    pub(crate) fn secrets(&self) -> DeviceSecrets {
        DeviceSecrets::from_seeds(*self.signature_seed.danger_bytes(), *self.inbox_seed.danger_bytes())
    }

    pub(crate) fn public(&self) -> Me {
        Me {
            account: self.account,
            handle: self.handle.clone(),
            device: self.device,
            server: self.server.clone(),
            registered: self.registered,
        }
    }
}

/// This account's record with its keys made usable.
pub(crate) struct Identity {
    pub record: MeRecord,
    pub secrets: DeviceSecrets,
    pub signer: crate::mls::Signer,
    pub signing: SigningKey,
    pub log: AccountLog,
}

impl Identity {
    pub(crate) fn load(vault: &dyn VaultRead) -> Result<Option<Self>, CoreError> {
        let Some(record) = vault.me()? else { return Ok(None) };
        let log = AccountLog(List::new(vec![record.genesis.clone()]).expect("one entry"));
        AccountState::verify(&log, Some(record.account))
            .map_err(|e| VaultError { detail: format!("this account's own log does not verify: {e}") })?;
        let secrets = record.secrets();
        let signing = secrets.signing_key();
        let signer = crate::mls::Signer::from_seed(record.signature_seed.danger_bytes());
        Ok(Some(Self { record, secrets, signer, signing, log }))
    }

    pub(crate) fn account(&self) -> AccountId {
        self.record.account
    }

    pub(crate) fn leaf(&self) -> crate::mls::LeafIdentity {
        crate::mls::LeafIdentity { account: self.record.account, device: self.record.device }
    }

    /// What opens the contact lane of this account's inbox.
    pub(crate) fn contact_capability(&self) -> Capability {
        Capability::from_bytes(*self.record.contact.danger_bytes())
    }
}

/// What became of a log that somebody showed us.
pub(crate) enum Learned {
    /// Verified; stored unless the stored one was longer.
    Known(AccountState),
    /// It does not verify, or it contradicts the one that is stored.
    Untrusted(String),
}

/// Verifies a log and stores it if it is new or longer. `expected`: whose it must be.
pub(crate) fn learn(ctx: &mut Ctx<'_>, log: &AccountLog, expected: Option<AccountId>) -> Result<Learned, CoreError> {
    let state = match AccountState::verify(log, expected) {
        Ok(state) => state,
        Err(error) => return Ok(Learned::Untrusted(error.to_string())),
    };
    let id = state.id();
    match ctx.txn.contact(&id)? {
        None => {
            ctx.txn.save(Table::Account, &id.0, &ContactRecord::new(log.clone()));
            // The log is what somebody says of themselves: whose handle it is, only the server's answer to us may say.
            ctx.txn.put(Table::Meta, check_key(state.handle(), &id), Vec::new());
            Ok(Learned::Known(state))
        }
        Some(mut stored) if log.extends(&stored.log) => {
            if log != &stored.log {
                let before = AccountState::verify(&stored.log, Some(id))
                    .map_err(|e| VaultError { detail: format!("a stored account log: {e}") })?;
                stored.log = log.clone();
                ctx.txn.save(Table::Account, &id.0, &stored);
                devices_changed(ctx, &before, &state)?;
            }
            Ok(Learned::Known(state))
        }
        Some(stored) if stored.log.extends(log) => {
            known(ctx, &id)?.map(Learned::Known).ok_or_else(|| CoreError::Bug("stored log vanished".into()))
        }
        Some(mut stored) => {
            let why = Doubt::OtherThanFirst;
            stored.doubt = Some(why);
            ctx.txn.save(Table::Account, &id.0, &stored);
            Ok(Learned::Untrusted(why.to_string()))
        }
    }
}

/// A quiet line for those who talk with them; what was revoked is to be removed from conversations.
fn devices_changed(ctx: &mut Ctx<'_>, before: &AccountState, after: &AccountState) -> Result<(), CoreError> {
    let (id, handle) = (after.id(), after.handle());
    for _ in after.devices().iter().filter(|device| before.device(&device.id).is_none()) {
        crate::people::directory::notice(ctx, &id, &Notice::DeviceAdded(handle.clone()))?;
    }
    for _ in before.devices().iter().filter(|device| after.device(&device.id).is_none()) {
        crate::people::directory::notice(ctx, &id, &Notice::DeviceRevoked(handle.clone()))?;
        ctx.revoked.insert(id);
    }
    Ok(())
}

/// What the stored log of somebody says, verified again from entry 0.
pub(crate) fn known(ctx: &Ctx<'_>, id: &AccountId) -> Result<Option<AccountState>, CoreError> {
    let Some(record) = ctx.txn.contact(id)? else { return Ok(None) };
    let state = AccountState::verify(&record.log, Some(*id))
        .map_err(|e| VaultError { detail: format!("a stored account log: {e}") })?;
    Ok(Some(state))
}

/// Remembers that a handle is this account's.
pub(crate) fn remember_handle(ctx: &mut Ctx<'_>, handle: &Handle, id: AccountId) {
    ctx.txn.put(Table::Meta, handle_key(handle), id.0);
}

/// Marks somebody as accepted: their further invitations join at once.
pub(crate) fn accept(ctx: &mut Ctx<'_>, id: &AccountId) -> Result<(), CoreError> {
    if let Some(mut record) = ctx.txn.contact(id)?.filter(|record| !record.accepted) {
        record.accepted = true;
        ctx.txn.save(Table::Account, &id.0, &record);
    }
    Ok(())
}
