//! Alarms: what an honest directory, or an honest owner of this account's keys, does not do.

use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};
use stonechat_directory::Evidence;
use stonechat_wire::{AccountId, DeviceId, Timestamp};

use super::monitor::MonitorRecord;
use crate::api::{Alarm, AlarmId, AlarmKind, CommandError, Event, Finding, Outcome};
use crate::error::{Answer, CoreError};
use crate::step::Ctx;
use crate::store::{Listed, Read as _, Record, Table};

/// Something that was found out. Under its id.
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct AlarmRecord {
    #[n(0)]
    pub kind: crate::api::AlarmKind,
    // 1 was what it said, in English, until version 2 of the vault.
    #[n(2)]
    pub at: Timestamp,
    #[n(3)]
    pub device: Option<DeviceId>,
    #[n(4)]
    pub evidence: Option<String>,
    #[n(5)]
    pub dismissed: bool,
    /// The contact whom it is about, if it is about one: the other locks stay as they are.
    #[n(6)]
    pub about: Option<AccountId>,
    /// What was found.
    #[n(7)]
    pub finding: Finding,
}

impl Record for AlarmRecord {
    const TABLE: Table = Table::Meta;
    type Key = AlarmId;
    fn key(id: &AlarmId) -> Vec<u8> {
        [Self::PREFIX, &id.0].concat()
    }
}

impl Listed for AlarmRecord {
    const PREFIX: &'static [u8] = b"directory/alarm/";
    fn parse_key(rest: &[u8]) -> Option<AlarmId> {
        rest.try_into().ok().map(AlarmId)
    }
}

impl AlarmRecord {
    pub(crate) fn public(&self, id: AlarmId) -> Alarm {
        Alarm {
            id,
            kind: self.kind,
            finding: self.finding.clone(),
            at: self.at,
            device: self.device,
            evidence: self.evidence.clone(),
            dismissed: self.dismissed,
        }
    }
}

/// What an alarm is raised about.
pub(crate) struct Raised {
    id: AlarmId,
    record: AlarmRecord,
}

impl Raised {
    /// The same kind and subject is the same alarm.
    pub(crate) fn new(kind: AlarmKind, subject: &[u8], finding: Finding, evidence: Option<Evidence>) -> Self {
        let digest = Sha256::new_with_prefix(kind.name()).chain_update(subject).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        let evidence = evidence.map(|evidence| evidence.to_json());
        let at = Timestamp(0);
        let record = AlarmRecord { kind, finding, at, device: None, evidence, dismissed: false, about: None };
        Self { id: AlarmId(id), record }
    }

    /// It is about one contact; otherwise about everybody.
    pub(crate) fn about(mut self, contact: AccountId) -> Self {
        self.record.about = Some(contact);
        self
    }

    /// It is about a device that can be revoked.
    pub(crate) fn device(mut self, device: Option<DeviceId>) -> Self {
        self.record.device = device;
        self
    }
}

/// Raises an alarm, once for each kind and subject. Evidence that comes later is added.
pub(super) fn raise(ctx: &mut Ctx<'_>, raised: Raised) {
    let Raised { id, record } = raised;
    let record = match ctx.txn.load::<AlarmRecord>(&id).ok().flatten() {
        // What a person settled about this account is settled; what the directory does again is news again.
        Some(old) if old.dismissed && !matches!(old.kind, AlarmKind::Device | AlarmKind::Log) => {
            AlarmRecord { dismissed: false, evidence: record.evidence.or(old.evidence), ..old }
        }
        Some(old) if old.evidence.is_some() || record.evidence.is_none() => return,
        Some(old) => AlarmRecord { evidence: record.evidence, ..old },
        None => AlarmRecord { at: ctx.now, ..record },
    };
    ctx.txn.store(&id, &record);
    ctx.event(Event::Alarm(record.public(id)));
}

pub(crate) fn dismiss(ctx: &mut Ctx<'_>, alarm: AlarmId) -> Answer<Outcome> {
    let mut record = ctx.txn.load::<AlarmRecord>(&alarm)?.ok_or(CommandError::UnknownAlarm)?;
    record.dismissed = true;
    ctx.txn.store(&alarm, &record);
    ctx.mail.all_changed = true;
    Ok(Outcome::Done)
}

/// The directory answered with a head that too few of its witnesses confirm: that gets better, or it is an alarm.
pub(super) fn unwitnessed(ctx: &mut Ctx<'_>, have: u32, need: u32) -> Result<(), CoreError> {
    let mut record = ctx.txn.load::<MonitorRecord>(&())?.unwrap_or_default();
    record.unwitnessed = record.unwitnessed.saturating_add(1);
    ctx.txn.store(&(), &record);
    if record.unwitnessed >= UNWITNESSED_MAX {
        raise(ctx, Raised::new(AlarmKind::Unwitnessed, b"", Finding::Unwitnessed { have, need }, None));
    }
    Ok(())
}

/// It answered with one that enough of them confirm.
pub(super) fn witnessed(ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
    let record = ctx.txn.load::<MonitorRecord>(&())?;
    if let Some(record) = record.filter(|record| record.unwitnessed > 0) {
        ctx.txn.store(&(), &MonitorRecord { unwitnessed: 0, ..record });
    }
    Ok(())
}

/// Answers in a row without enough witnesses before that is an alarm. A look at this account brings two.
const UNWITNESSED_MAX: u32 = super::lookup::LOOK_UP_TRIES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::heads::see_head;
    use crate::testing::{Directory, Home};

    /// The directory shows a second state of the same size: the same alarm each time. Returns how many were told.
    fn fork(home: &mut Home, directory: &Directory, size: u64) -> usize {
        let out = home.step(|ctx| {
            for root in [1, 2] {
                // What was seen is forgotten, so that it is found again.
                see_head(ctx, &directory.policy, directory.head(size, root)).unwrap();
            }
            let head = directory.head(size, 2);
            ctx.txn.remove::<crate::people::heads::HeadRecord>(&(head.size, head.root));
        });
        out.events().iter().filter(|event| matches!(event, Event::Alarm(_))).count()
    }

    fn stored(home: &mut Home) -> Vec<(AlarmId, bool)> {
        let list = home.step(|ctx| ctx.txn.list::<AlarmRecord>(9).unwrap()).value;
        list.into_iter().map(|(id, record)| (id, record.dismissed)).collect()
    }

    #[test]
    fn the_same_finding_is_one_alarm_until_it_is_settled_and_comes_again() {
        let (mut home, directory) = (Home::of("alice"), Directory::new());
        assert_eq!(fork(&mut home, &directory, 5), 1);
        assert_eq!(fork(&mut home, &directory, 5), 0);
        let id = stored(&mut home)[0].0;
        let dismissed = home.step(|ctx| {
            crate::error::refusal_of(dismiss(ctx, id)).unwrap().unwrap();
            ctx.mail.all_changed
        });
        assert!(dismissed.value);
        assert_eq!(stored(&mut home), [(id, true)]);
        assert_eq!(fork(&mut home, &directory, 5), 1, "what the directory does again is news again");
        assert_eq!(stored(&mut home), [(id, false)]);
    }

    #[test]
    fn an_alarm_that_nobody_raised_is_not_dismissed() {
        let mut home = Home::of("alice");
        let out = home.step(|ctx| crate::error::refusal_of(dismiss(ctx, AlarmId([1; 16]))).unwrap());
        assert_eq!(out.value, Err(CommandError::UnknownAlarm));
    }
}
