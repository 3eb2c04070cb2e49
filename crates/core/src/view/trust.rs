//! How far others are verified, in words: the chain of checks behind a lock, safety numbers, alarms and this account's devices.
//!
//! Everything here is read from the committed state of a vault. The lock is derived from the same checks that are shown.

use stonechat_directory::{SafetyNumber, ScannedCode, safety};
use stonechat_wire::{AccountId, AccountState, ConversationId, Handle, LogBody, decode_canonical};

use crate::api::{Alarm, AlarmId, Check, CheckKind, CommandError, Lock, Outcome, OwnDevice, Safety, Why};
use crate::step::Ctx;
use crate::store::records::{ALARMS, AlarmRecord, Info, NEWEST, POLICY, Read, Write};
use crate::store::vault::{Table, VaultError, VaultRead};
use crate::{Core, CoreError};

/// Why the lock of a conversation is closed or open: everything that was checked.
///
/// # Errors
/// When the vault cannot be read; so for every function here.
pub fn why(vault: &dyn VaultRead, id: &ConversationId) -> Result<Option<Why>, VaultError> {
    let Some(info) = vault.info(id)? else { return Ok(None) };
    let checks = checks(&vault, &info)?;
    let mut compared = Vec::new();
    for account in others(&vault, &info)? {
        if let Some(contact) = vault.contact(&account)?.filter(|contact| contact.compared.is_some()) {
            compared.extend(AccountState::verify(&contact.log, Some(account)).map(|state| state.handle().clone()));
        }
    }
    Ok(Some(Why { lock: lock(&checks), checks, compared }))
}

/// What this account and another compare. `None` when nobody is known under the handle.
///
/// # Errors
/// As for [`why`].
pub fn safety(vault: &dyn VaultRead, handle: &Handle) -> Result<Option<Safety>, VaultError> {
    let (Some(me), Some(other)) = (Read::me(&vault)?, vault.account_of(handle)?) else { return Ok(None) };
    let compared = vault.contact(&other)?.and_then(|contact| contact.compared);
    Ok(Some(Safety {
        handle: handle.clone(),
        digits: SafetyNumber::of(&me.account, &other).digits().to_owned(),
        code: safety::code(&me.account, &other),
        compared,
    }))
}

/// The devices of this account, as its log has them.
///
/// # Errors
/// As for [`why`].
pub fn devices(vault: &dyn VaultRead) -> Result<Vec<OwnDevice>, VaultError> {
    let Some(me) = Read::me(&vault)? else { return Ok(Vec::new()) };
    let Some(contact) = vault.contact(&me.account)? else { return Ok(Vec::new()) };
    let state = AccountState::verify(&contact.log, Some(me.account))
        .map_err(|e| VaultError { detail: format!("the own account log: {e}") })?;
    let alarms = alarms(vault)?;
    let bodies = contact.log.0.iter().filter_map(|entry| decode_canonical::<LogBody>(&entry.body).ok());
    let added = bodies.filter_map(|body| match body {
        LogBody::Genesis { device, at, .. } | LogBody::AddDevice { device, at, .. } => Some((device.id, at)),
        LogBody::RevokeDevice { .. } | LogBody::RotateRecovery { .. } => None,
    });
    Ok(added
        .filter(|(id, _)| state.device(id).is_some())
        .map(|(id, added_at)| OwnDevice {
            id,
            added_at,
            this: id == me.device,
            alarm: alarms.iter().find(|alarm| alarm.device == Some(id) && !alarm.dismissed).map(|alarm| alarm.id),
        })
        .collect())
}

/// Everything alarming that was found, the latest first.
///
/// # Errors
/// As for [`why`].
pub fn alarms(vault: &dyn VaultRead) -> Result<Vec<Alarm>, VaultError> {
    let mut alarms: Vec<_> = records(&vault)?.into_iter().map(|(id, record)| record.public(id)).collect();
    alarms.sort_by_key(|alarm| (alarm.dismissed, std::cmp::Reverse(alarm.at)));
    Ok(alarms)
}

/// The pinned policy of the directory, as JSON.
///
/// # Errors
/// As for [`why`].
pub fn pinned_policy(vault: &dyn VaultRead) -> Result<Option<Vec<u8>>, VaultError> {
    vault.get(Table::Meta, POLICY)
}

fn records<R: Read + ?Sized>(reader: &R) -> Result<Vec<(AlarmId, AlarmRecord)>, VaultError> {
    let rows = reader.prefixed(Table::Meta, ALARMS, usize::MAX)?;
    let read = |(key, value): (Vec<u8>, Vec<u8>)| {
        let id = key[ALARMS.len()..].try_into().map(AlarmId);
        let id = id.map_err(|_| VaultError { detail: "an alarm without its id".into() })?;
        Ok((id, crate::store::records::parse(&value)?))
    };
    rows.into_iter().map(read).collect()
}

/// The lock that these checks make.
pub(crate) fn lock(checks: &[Check]) -> Lock {
    checks.iter().find(|check| !check.holds).map_or(Lock::Closed, |check| Lock::Open(check.clone()))
}

/// Everything that must hold for the lock of a conversation.
pub(crate) fn checks<R: Read + ?Sized>(reader: &R, info: &Info) -> Result<Vec<Check>, VaultError> {
    let mut checks = Vec::new();
    let mut check = |holds, what| checks.push(Check { what, holds });
    let own = reader.me()?.map(|me| me.account);
    let accounts = others(reader, info)?;
    let policy = reader.policy()?;
    let (threshold, witnesses) = policy.as_ref().map_or((0, 0), |p| (p.threshold(), p.witnesses().len()));
    let origin = policy.as_ref().map_or_else(String::new, |policy| policy.origin().to_owned());
    check(policy.is_some(), CheckKind::Pinned { origin, threshold, witnesses: witnesses as u32 });
    let forked = reader.pending_heads()?.iter().any(|head| head.failed);
    let newest: Option<crate::store::records::HeadRecord> = reader.record(Table::Meta, NEWEST)?;
    check(!forked, CheckKind::OneLog { records: newest.map_or(0, |head| head.size) });
    for (_, alarm) in records(reader)? {
        if !alarm.dismissed && alarm.about.is_none_or(|about| accounts.contains(&about)) {
            check(false, CheckKind::NoAlarm { kind: alarm.kind, text: alarm.what });
        }
    }
    for account in accounts {
        person(reader, info, account, &mut check)?;
    }
    if let Some(own) = own {
        let log = reader.contact(&own)?.map(|contact| AccountState::verify(&contact.log, Some(own)));
        let strange = match &log {
            Some(Ok(state)) => leaves(info, &own).any(|device| state.device(&device).is_none()),
            _ => true,
        };
        check(!strange, CheckKind::OwnDevices);
    }
    Ok(checks)
}

fn person<R: Read + ?Sized>(
    reader: &R,
    info: &Info,
    account: AccountId,
    check: &mut impl FnMut(bool, CheckKind),
) -> Result<(), VaultError> {
    let contact = reader.contact(&account)?;
    let verified = contact.as_ref().and_then(|contact| AccountState::verify(&contact.log, Some(account)).ok());
    let (Some(contact), Some(state)) = (contact, verified) else {
        check(false, CheckKind::Member);
        return Ok(());
    };
    let who = || state.handle().clone();
    let entries = state.head().0 as u64;
    check(true, CheckKind::Log { who: who(), entries });
    let checked = contact.checked;
    let proven = checked.is_some_and(|checked| checked.length >= entries);
    check(proven, CheckKind::Proven { who: who(), records: checked.map_or(0, |checked| checked.size) });
    check(checked.is_some_and(|checked| checked.connected), CheckKind::Connected { who: who() });
    let is_theirs =
        checked.is_some_and(|checked| checked.handle) && reader.account_of(state.handle())? == Some(account);
    check(is_theirs, CheckKind::Handle { who: who() });
    let strange = leaves(info, &account).any(|device| state.device(&device).is_none());
    check(!strange, CheckKind::Devices { who: who(), count: leaves(info, &account).count() as u64 });
    if let Some(doubt) = contact.doubt {
        check(false, CheckKind::NoDoubt { who: who(), doubt });
    }
    Ok(())
}

fn leaves<'a>(info: &'a Info, account: &'a AccountId) -> impl Iterator<Item = stonechat_wire::DeviceId> + 'a {
    info.leaves.iter().filter(move |leaf| leaf.account == *account).map(|leaf| leaf.device)
}

/// Who else is in it; in direct messages the other one, also while they have no device in it.
fn others<R: Read + ?Sized>(reader: &R, info: &Info) -> Result<Vec<AccountId>, VaultError> {
    let own = reader.me()?.map(|me| me.account);
    let mut accounts: Vec<_> = info.leaves.iter().map(|leaf| leaf.account).chain(info.peer).collect();
    accounts.sort_unstable();
    accounts.dedup();
    accounts.retain(|account| Some(*account) != own);
    Ok(accounts)
}

impl Core {
    /// Compares what the other person shows, and remembers that it matched.
    pub(crate) fn compare(
        &mut self,
        ctx: &mut Ctx<'_>,
        handle: &Handle,
        shown: &str,
    ) -> Result<Result<Outcome, CommandError>, CoreError> {
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody compares".into()))?.account();
        let Some(other) = ctx.txn.account_of(handle)? else {
            return Ok(Err(CommandError::UnknownHandle(handle.clone())));
        };
        let digits: String = shown.chars().filter(|c| !c.is_whitespace()).collect();
        let matches = if digits.len() == SAFETY_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            SafetyNumber::of(&me, &other).digits() == digits
        } else {
            match ScannedCode::compare(&me, &other, shown) {
                ScannedCode::Match => true,
                ScannedCode::Mismatch => false,
                ScannedCode::Unreadable => {
                    let what =
                        "that is neither a safety number (60 digits) nor the text of its code; nothing was compared";
                    return Ok(Err(CommandError::Invalid(what.into())));
                }
            }
        };
        let Some(mut contact) = ctx.txn.contact(&other)? else {
            return Ok(Err(CommandError::UnknownHandle(handle.clone())));
        };
        contact.compared = matches.then_some(ctx.now);
        ctx.txn.save(Table::Account, &other.0, &contact);
        self.touch_conversations(ctx, &other)?;
        Ok(if matches { Ok(Outcome::Done) } else { Err(CommandError::Mismatch(handle.clone())) })
    }

    pub(crate) fn dismiss(
        &mut self,
        ctx: &mut Ctx<'_>,
        alarm: AlarmId,
    ) -> Result<Result<Outcome, CommandError>, CoreError> {
        let key = [ALARMS, &alarm.0].concat();
        let Some(mut record) = ctx.txn.record::<AlarmRecord>(Table::Meta, &key)? else {
            return Ok(Err(CommandError::UnknownAlarm));
        };
        record.dismissed = true;
        ctx.txn.save(Table::Meta, &key, &record);
        for id in ctx.txn.conversation_ids()? {
            ctx.event(crate::api::Event::Conversation(id));
        }
        Ok(Ok(Outcome::Done))
    }
}

const SAFETY_DIGITS: usize = 60;
