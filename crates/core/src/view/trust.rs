//! How far others are verified, in words: the chain of checks behind a lock, safety numbers, alarms and this account's devices.
//!
//! Everything here is read from the committed state of a vault. The lock is derived from the same checks that are shown.

use stonechat_directory::{SafetyNumber, safety};
use stonechat_wire::{AccountId, AccountState, ConversationId, Handle, LogBody, decode_canonical};

use crate::api::{Alarm, Check, OwnDevice, Problem, Safety, Why};
use crate::identity::MeRecord;
use crate::log::rows::Info;
use crate::people::accounts::{Contact, account_of};
use crate::people::alarms::AlarmRecord;
use crate::people::belief::policy;
use crate::people::heads::{newest, pending};
use crate::store::{Read, VaultError, VaultRead};

/// Why the lock of a conversation is closed or open: everything that was checked.
///
/// # Errors
/// When the vault cannot be read; so for every function here.
pub fn why(vault: &dyn VaultRead, id: &ConversationId) -> Result<Option<Why>, VaultError> {
    let Some(info) = vault.load::<Info>(id)? else { return Ok(None) };
    let mut why = checked(&vault, &info)?;
    for account in others(&vault, &info)? {
        if let Some(contact) = vault.load::<Contact>(&account)?.filter(|contact| contact.compared.is_some()) {
            why.compared.extend(AccountState::verify(&contact.log, Some(account)).map(|state| state.handle().clone()));
        }
    }
    Ok(Some(why))
}

/// What this account and another compare. `None` when nobody is known under the handle.
///
/// # Errors
/// As for [`why`].
pub fn safety(vault: &dyn VaultRead, handle: &Handle) -> Result<Option<Safety>, VaultError> {
    let (Some(me), Some(other)) = (vault.load::<MeRecord>(&())?, account_of(&vault, handle)?) else { return Ok(None) };
    let compared = vault.load::<Contact>(&other)?.and_then(|contact| contact.compared);
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
    let Some(me) = vault.load::<MeRecord>(&())? else { return Ok(Vec::new()) };
    let Some(contact) = vault.load::<Contact>(&me.account)? else { return Ok(Vec::new()) };
    let state = AccountState::verify(&contact.log, Some(me.account))
        .map_err(|e| VaultError { detail: format!("this account's log: {e}") })?;
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
    let mut alarms: Vec<_> =
        vault.list::<AlarmRecord>(usize::MAX)?.into_iter().map(|(id, record)| record.public(id)).collect();
    alarms.sort_by_key(|alarm| (alarm.dismissed, std::cmp::Reverse(alarm.at)));
    Ok(alarms)
}

/// The pinned policy of the directory, as JSON.
///
/// # Errors
/// As for [`why`].
pub fn pinned_policy(vault: &dyn VaultRead) -> Result<Option<Vec<u8>>, VaultError> {
    Ok(policy(&vault)?.map(|policy| policy.to_json().into_bytes()))
}

/// What must hold for the lock of a conversation, and what of it does not. Whose safety numbers were compared is left out.
pub(crate) fn checked<R: Read + ?Sized>(reader: &R, info: &Info) -> Result<Why, VaultError> {
    let mut why = Why { checks: Vec::new(), problems: Vec::new(), compared: Vec::new() };
    let own = reader.load::<MeRecord>(&())?.map(|me| me.account);
    let accounts = others(reader, info)?;
    match policy(reader)? {
        Some(policy) => why.checks.push(Check::Pinned {
            origin: policy.origin().to_owned(),
            threshold: policy.threshold(),
            witnesses: policy.witnesses().len() as u32,
        }),
        None => why.problems.push(Problem::NotPinned),
    }
    let forked = pending(reader)?.iter().any(|head| head.failed);
    let newest = newest(reader)?;
    why.note(!forked, Check::OneLog { records: newest.map_or(0, |head| head.size) }, Problem::Forked);
    for (alarm, record) in reader.list::<AlarmRecord>(usize::MAX)? {
        if !record.dismissed && record.about.is_none_or(|about| accounts.contains(&about)) {
            why.problems.push(Problem::Alarm { alarm, kind: record.kind, finding: record.finding });
        }
    }
    for account in accounts {
        person(reader, info, account, &mut why)?;
    }
    if let Some(own) = own {
        let log = reader.load::<Contact>(&own)?.map(|contact| AccountState::verify(&contact.log, Some(own)));
        let all_known = match &log {
            Some(Ok(state)) => leaves(info, &own).all(|device| state.device(&device).is_some()),
            _ => false,
        };
        why.note(all_known, Check::OwnDevices, Problem::StrangeOwnDevice);
    }
    Ok(why)
}

fn person<R: Read + ?Sized>(reader: &R, info: &Info, account: AccountId, why: &mut Why) -> Result<(), VaultError> {
    let contact = reader.load::<Contact>(&account)?;
    let verified = contact.as_ref().and_then(|contact| AccountState::verify(&contact.log, Some(account)).ok());
    let (Some(contact), Some(state)) = (contact, verified) else {
        why.problems.push(Problem::Log);
        return Ok(());
    };
    let who = || state.handle().clone();
    let entries = state.head().0 as u64;
    why.checks.push(Check::Log { who: who(), entries });
    let checked = contact.checked;
    let proven = checked.is_some_and(|checked| checked.length >= entries);
    let records = checked.map_or(0, |checked| checked.size);
    why.note(proven, Check::Proven { who: who(), records }, Problem::NotProven { who: who() });
    let connected = checked.is_some_and(|checked| checked.connected);
    why.note(connected, Check::Connected { who: who() }, Problem::NotConnected { who: who() });
    let is_theirs =
        checked.is_some_and(|checked| checked.handle) && account_of(reader, state.handle())? == Some(account);
    why.note(is_theirs, Check::Handle { who: who() }, Problem::NotTheirHandle { who: who() });
    let all_known = leaves(info, &account).all(|device| state.device(&device).is_some());
    let count = leaves(info, &account).count() as u64;
    why.note(all_known, Check::Devices { who: who(), count }, Problem::StrangeDevice { who: who() });
    if let Some(doubt) = contact.doubt {
        why.problems.push(Problem::Doubt { who: who(), doubt });
    }
    Ok(())
}

fn leaves<'a>(info: &'a Info, account: &'a AccountId) -> impl Iterator<Item = stonechat_wire::DeviceId> + 'a {
    info.leaves.iter().filter(move |leaf| leaf.account == *account).map(|leaf| leaf.device)
}

/// Who else is in it; in direct messages the other one, also while they have no device in it.
fn others<R: Read + ?Sized>(reader: &R, info: &Info) -> Result<Vec<AccountId>, VaultError> {
    let own = reader.load::<MeRecord>(&())?.map(|me| me.account);
    let mut accounts: Vec<_> = info.leaves.iter().map(|leaf| leaf.account).chain(info.peer).collect();
    accounts.sort_unstable();
    accounts.dedup();
    accounts.retain(|account| Some(*account) != own);
    Ok(accounts)
}

#[cfg(test)]
mod tests {
    use stonechat_wire::{Timestamp, TreeHash};

    use super::*;
    use crate::api::Lock;
    use crate::people::accounts::{Checked, remember_handle};
    use crate::people::heads::see_head;
    use crate::testing::{Directory, Home, Person};

    /// Direct messages with somebody about whom everything is proven.
    fn proven() -> (Home, Person, ConversationId) {
        let (mut home, directory) = (Home::of("alice"), Directory::new());
        home.pin(&directory);
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        home.step(|ctx| {
            see_head(ctx, &directory.policy, directory.head(5, 1)).unwrap();
            let mut contact: Contact = ctx.txn.need(&bob.id()).unwrap();
            let (size, root) = (5, TreeHash([1; 32]));
            contact.checked =
                Some(Checked { length: 1, size, root, time: Timestamp(1), handle: true, connected: true });
            ctx.txn.store(&bob.id(), &contact);
        });
        (home, bob, id)
    }

    fn is_closed(home: &Home, id: &ConversationId) -> bool {
        why(&home.vault, id).unwrap().unwrap().lock() == Lock::Closed
    }

    #[test]
    fn a_lock_is_closed_when_everything_is_proven_and_open_without_any_one_of_it() {
        let (home, _, id) = proven();
        assert!(is_closed(&home, &id));
        let changes: [fn(&mut Contact); 4] = [
            |contact| contact.checked = None,
            |contact| contact.checked.as_mut().unwrap().connected = false,
            |contact| contact.checked.as_mut().unwrap().handle = false,
            |contact| contact.doubt = Some(crate::api::Doubt::TakenBack),
        ];
        for change in changes {
            let (mut home, bob, id) = proven();
            home.step(|ctx| {
                let mut contact: Contact = ctx.txn.need(&bob.id()).unwrap();
                change(&mut contact);
                ctx.txn.store(&bob.id(), &contact);
            });
            assert!(!is_closed(&home, &id));
        }
    }

    #[test]
    fn a_lock_is_open_for_a_device_that_is_in_nobodys_log() {
        let (mut home, _, id) = proven();
        home.step(|ctx| {
            let mut info: Info = ctx.txn.need(&id).unwrap();
            info.leaves[1].device = stonechat_wire::DeviceId([99; 16]);
            ctx.txn.store(&id, &info);
        });
        assert!(!is_closed(&home, &id));
    }

    #[test]
    fn a_lock_is_open_when_the_handle_is_somebody_elses_and_without_a_pinned_policy() {
        let (mut home, bob, id) = proven();
        home.step(|ctx| remember_handle(ctx, &bob.handle(), Person::of("bob", 20).id()));
        assert!(!is_closed(&home, &id));
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        assert!(!is_closed(&home, &id));
    }

    #[test]
    fn a_safety_number_is_the_same_on_both_sides_and_there_is_none_for_somebody_unknown() {
        let (alice, bob, _) = proven();
        let mine = safety(&alice.vault, &bob.handle()).unwrap().unwrap();
        let theirs = SafetyNumber::of(&bob.id(), &alice.identity.account());
        assert_eq!(mine.digits, theirs.digits());
        assert!(safety(&alice.vault, &Handle::parse("carol").unwrap()).unwrap().is_none());
    }

    #[test]
    fn the_devices_of_this_account_are_those_of_its_log() {
        let (home, _, _) = proven();
        let devices = devices(&home.vault).unwrap();
        assert!(matches!(&devices[..], [device] if device.this && device.id == home.identity.record.device));
    }
}
