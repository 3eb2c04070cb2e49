//! What the SDK offers about trust: safety numbers, why a lock is what it is, this account's devices, alarms and their
//! evidence.

use std::path::{Path, PathBuf};

use stonechat_core::api::{Alarm, AlarmId, Command, CommandError, Invalid, OwnDevice, Safety, Target, Why};
use stonechat_core::trust;
use stonechat_wire::{DeviceId, Handle};

use crate::client::Client;
use crate::error::ClientError;

impl Client {
    /// What this account and another compare, by voice or by camera. Looks the other one up where nobody here knows them.
    ///
    /// # Errors
    /// [`CommandError::UnknownHandle`], [`CommandError::Untrusted`] or [`CommandError::Directory`] when it is not proven who
    /// that is, and as for [`Client::accept`].
    pub async fn safety_number(&self, handle: &Handle) -> Result<Safety, ClientError> {
        self.command(Command::LookUp { handle: handle.clone() }, self.patience()).await?;
        let wanted = handle.clone();
        let found = self.query(move |vault| trust::safety(vault, &wanted)).await?;
        found.ok_or_else(|| ClientError::Command(CommandError::UnknownHandle(handle.clone())))
    }

    /// Compares what the other person reads out (60 digits) or shows (the text of their QR code), and remembers that it
    /// matched.
    ///
    /// # Errors
    /// [`CommandError::Mismatch`] when it does not match; otherwise as for [`Client::safety_number`].
    pub async fn verify(&self, handle: &Handle, shown: impl Into<String>) -> Result<(), ClientError> {
        let command = Command::Verify { handle: handle.clone(), shown: shown.into() };
        self.command(command, self.patience()).await.map(drop)
    }

    /// Why the lock of a conversation is closed or open: everything that was checked, in words.
    ///
    /// # Errors
    /// [`CommandError::UnknownConversation`], and as for [`Client::me`].
    pub async fn why(&self, target: &Target) -> Result<Why, ClientError> {
        let unknown = || ClientError::Command(CommandError::UnknownConversation);
        let id = self.find(target).await?.ok_or_else(unknown)?;
        self.query(move |vault| trust::why(vault, &id)).await?.ok_or_else(unknown)
    }

    /// The devices of this account.
    ///
    /// # Errors
    /// As for [`Client::me`].
    pub async fn devices(&self) -> Result<Vec<OwnDevice>, ClientError> {
        self.query(|vault| trust::devices(vault)).await
    }

    /// Takes a device out of this account for good. Everybody removes it from their conversations.
    ///
    /// # Errors
    /// [`CommandError::UnknownDevice`], [`CommandError::ThisDevice`], and as for [`Client::accept`].
    pub async fn revoke_device(&self, device: DeviceId) -> Result<(), ClientError> {
        self.command(Command::RevokeDevice { device }, self.patience()).await.map(drop)
    }

    /// Everything alarming that was found: what is not dismissed first, then the latest.
    ///
    /// # Errors
    /// As for [`Client::me`].
    pub async fn alarms(&self) -> Result<Vec<Alarm>, ClientError> {
        self.query(|vault| trust::alarms(vault)).await
    }

    /// The person has seen an alarm, and settled what it was about.
    ///
    /// # Errors
    /// [`CommandError::UnknownAlarm`], and as for [`Client::me`].
    pub async fn dismiss_alarm(&self, alarm: AlarmId) -> Result<(), ClientError> {
        self.command(Command::DismissAlarm { alarm }, self.patience()).await.map(drop)
    }

    /// Pins the directory's policy (JSON, as the operator publishes it), in place of the one that the server gave out.
    /// Returns whether that was the same. Best right after sign-up.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] when it is not a policy, and as for [`Client::me`].
    pub async fn pin_directory_policy(&self, json: &[u8]) -> Result<bool, ClientError> {
        let change = stonechat_core::pin_policy(json)
            .map_err(|_| ClientError::Command(CommandError::Invalid(Invalid::Policy)))?;
        let pin = move |vault: &mut crate::vault::SqliteVault| {
            let same = trust::pinned_policy(&*vault).ok().flatten().is_none_or(|old| Some(old) == change.value);
            vault.commit(&[change]).map(|()| same)
        };
        Ok(self.job(pin).await??)
    }

    /// Where the evidence of an alarm lies, if it has any: a file that anybody can check with
    /// `stonechat audit --evidence FILE`. Written again if it is gone.
    ///
    /// # Errors
    /// When it cannot be written, as text for people.
    pub fn evidence_file(&self, alarm: &Alarm) -> Result<Option<PathBuf>, std::io::Error> {
        keep_evidence(self.home(), alarm)
    }
}

/// In a browser there is no folder: the vault has the evidence, and the page gives it out.
#[cfg(target_arch = "wasm32")]
pub(crate) fn keep_evidence(_: &Path, _: &Alarm) -> Result<Option<PathBuf>, std::io::Error> {
    Ok(None)
}

/// Writes the evidence of an alarm into the home, once.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn keep_evidence(home: &Path, alarm: &Alarm) -> Result<Option<PathBuf>, std::io::Error> {
    let Some(evidence) = &alarm.evidence else { return Ok(None) };
    let dir = home.join(EVIDENCE_DIR);
    std::fs::create_dir_all(&dir)?;
    let path = dir.join(alarm.evidence_name());
    if !path.exists() {
        crate::home::write_private(&path, evidence.as_bytes())?;
    }
    Ok(Some(path))
}

#[cfg(not(target_arch = "wasm32"))]
const EVIDENCE_DIR: &str = "evidence";
