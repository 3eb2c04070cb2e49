//! About trust: why a lock is what it is, safety numbers, devices, alarms, and what is noticed about people.

use serde::{Deserialize, Serialize};

use super::{AlarmId, DeviceId, Lock};

/// Why a lock is closed or open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The lock.
    pub lock: Lock,
    /// Everything that was checked. The lock is closed when all of it holds.
    pub checks: Vec<Check>,
    /// Handles (with `@`) of those with whom safety numbers were compared. The lock does not need it.
    pub compared: Vec<String>,
}

/// One link of the chain between "these keys" and "this person".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked; for a page's own words.
    pub what: CheckKind,
    /// Whether it holds.
    pub holds: bool,
}

/// What is checked, as the client has it. `who` is a member's handle, with `@`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckKind {
    /// The directory's keys are pinned.
    Pinned {
        /// The directory's name.
        origin: String,
        /// How many witnesses must have cosigned a head.
        threshold: u32,
        /// How many there are.
        witnesses: u32,
    },
    /// All heads that were seen are of one log.
    OneLog {
        /// Its size.
        records: u64,
    },
    /// There was no alarm; holds never.
    NoAlarm {
        /// Of which kind.
        kind: AlarmKind,
        /// What it says; English.
        text: String,
    },
    /// The account log of a member verifies; holds never.
    Member,
    /// Every entry of a member's account log is signed by their own keys.
    Log {
        /// Whose.
        who: String,
        /// How many there are.
        entries: u64,
    },
    /// The directory proved that this is their whole log.
    Proven {
        /// Whose.
        who: String,
        /// The size of the directory's log when it did.
        records: u64,
    },
    /// That state of the directory is of one log with the others.
    Connected {
        /// Whose.
        who: String,
    },
    /// The directory proved that the handle is that account's.
    Handle {
        /// Which.
        who: String,
    },
    /// Their devices in here are in their account log.
    Devices {
        /// Whose.
        who: String,
        /// How many are in here.
        count: u64,
    },
    /// Nothing speaks against them; holds never.
    NoDoubt {
        /// Against whom.
        who: String,
        /// What.
        doubt: Doubt,
    },
    /// This account's own devices in here are in its account log.
    OwnDevices,
}

/// What speaks against somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Doubt {
    /// Their account log contradicts the one that was seen first.
    OtherThanFirst,
    /// The server says that the handle is not theirs.
    HandleDenied,
    /// The directory took back what it had said about them.
    TakenBack,
    /// Their handle belongs to another account now.
    StartedOver,
    /// The directory keeps back what they say about their devices.
    KeptBack,
    /// Their account log is another for them than here.
    OtherForThem,
}

/// What two people compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Safety {
    /// With whom; with `@`.
    pub handle: String,
    /// 60 digits.
    pub digits: String,
    /// What this side's QR code says.
    pub code: String,
    /// When it was compared last and matched.
    pub compared_at_ms: Option<u64>,
}

/// One device of this account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnDevice {
    /// Which.
    pub id: DeviceId,
    /// When it was added, by the clock of the device that added it.
    pub added_at_ms: u64,
    /// Whether it is this one.
    pub is_this: bool,
    /// The alarm about it that stands.
    pub alarm: Option<AlarmId>,
}

/// Something that an honest directory, or an honest owner of this account's keys, does not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Which.
    pub id: AlarmId,
    /// For a page's own words.
    pub kind: AlarmKind,
    /// What happened, what it means, what to do; English.
    pub text: String,
    /// When it was first found.
    pub at_ms: u64,
    /// The device that may be revoked, if it is about one.
    pub device: Option<DeviceId>,
    /// What anybody can check, where there is such a thing.
    pub evidence: Option<EvidenceFile>,
    /// The person has seen it, and settled what it was about.
    pub dismissed: bool,
}

/// A file that proves an alarm to anybody: `stonechat audit --evidence FILE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceFile {
    /// What it is called.
    pub name: String,
    /// What is in it.
    pub json: String,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlarmKind {
    /// This account has a device that this device did not add.
    Device,
    /// This account's log says something else that this device did not write.
    Log,
    /// The directory names another log for an account than the account's own.
    OtherLog,
    /// The directory took back what it had said about an account.
    TakenBack,
    /// What an account said is not published.
    Unpublished,
    /// A handle went from one account to another.
    HandleMoved,
    /// The directory showed different people different logs, or cannot show that it did not.
    Fork,
    /// The directory shows an old state.
    Stale,
    /// The server gives out another policy than the one that was pinned.
    Policy,
    /// What the directory said is not signed, or does not prove what it should.
    Proof,
    /// The directory shows no state that enough witnesses confirm.
    Unwitnessed,
}

/// Something that this device noticed about somebody, in the place where it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What.
    pub kind: NoticeKind,
    /// About whom; with `@`.
    pub who: String,
}

/// What was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoticeKind {
    /// They added a device. Usual.
    DeviceAdded,
    /// They removed a device. Usual.
    DeviceRevoked,
    /// Their handle belongs to another account now.
    StartedOver,
}

impl NoticeKind {
    /// Whether it must not be overlooked.
    pub const fn is_loud(self) -> bool {
        matches!(self, Self::StartedOver)
    }
}
