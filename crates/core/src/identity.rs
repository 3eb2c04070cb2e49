//! This account and this device: the record with their secrets, and what is derived from it.
//!
//! Loaded once, at the entrance: below it there always is one. What others may know of this account stands with everybody
//! else's, in [`crate::people`].

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};
use stonechat_wire::{AccountId, AccountLog, AccountState, Capability, DeviceId, Handle, List, LogEntry};

use crate::api::Me;
use crate::crypto::Secret;
use crate::crypto::keys::DeviceSecrets;
use crate::error::CoreError;
use crate::mls;
use crate::store::{Read as _, Record, Table, VaultError, VaultRead};

/// This account and device. Under `"me"`.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct MeRecord {
    #[n(0)]
    pub account: AccountId,
    #[n(1)]
    pub handle: Handle,
    #[n(2)]
    pub device: DeviceId,
    /// Seed of the device's Ed25519 key.
    #[n(3)]
    pub signature_seed: Secret,
    /// Seed of the inbox's X-Wing key.
    #[n(4)]
    pub inbox_seed: Secret,
    /// What this account hands to its contacts so that they reach its inbox.
    #[n(5)]
    pub contact: Secret,
    #[n(6)]
    pub genesis: LogEntry,
    #[n(7)]
    pub server: String,
    #[n(8)]
    pub registered: bool,
}

impl Record for MeRecord {
    const TABLE: Table = Table::Meta;
    type Key = ();
    fn key((): &()) -> Vec<u8> {
        b"me".to_vec()
    }
}

impl MeRecord {
    pub(crate) fn public(&self) -> Me {
        Me {
            account: self.account,
            handle: self.handle.clone(),
            device: self.device,
            server: self.server.clone(),
            registered: self.registered,
        }
    }

    /// The seeds of this device, as what is derived from them.
    pub(crate) fn secrets(&self) -> DeviceSecrets {
        DeviceSecrets::from_seeds(*self.signature_seed.danger_bytes(), *self.inbox_seed.danger_bytes())
    }
}

/// This account's record with its keys made usable.
pub(crate) struct Identity {
    pub record: MeRecord,
    pub secrets: DeviceSecrets,
    pub signer: mls::Signer,
    pub signing: SigningKey,
    /// The account log as it began.
    pub log: AccountLog,
}

impl Identity {
    pub(crate) fn load(vault: &dyn VaultRead) -> Result<Option<Self>, CoreError> {
        let Some(record) = vault.load::<MeRecord>(&())? else { return Ok(None) };
        let log = AccountLog(List::new(vec![record.genesis.clone()]).expect("one entry"));
        AccountState::verify(&log, Some(record.account))
            .map_err(|e| VaultError { detail: format!("this account's own log does not verify: {e}") })?;
        let secrets = record.secrets();
        let signing = secrets.signing_key();
        let signer = mls::Signer::from_seed(record.signature_seed.danger_bytes());
        Ok(Some(Self { record, secrets, signer, signing, log }))
    }

    pub(crate) fn account(&self) -> AccountId {
        self.record.account
    }

    pub(crate) fn leaf(&self) -> mls::LeafIdentity {
        mls::LeafIdentity { account: self.record.account, device: self.record.device }
    }

    /// What opens the contact lane of this account's inbox.
    pub(crate) fn contact_capability(&self) -> Capability {
        Capability::from_bytes(*self.record.contact.danger_bytes())
    }
}
