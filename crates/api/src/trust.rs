//! How far others are verified: locks and what stands behind them, safety numbers, devices, alarms.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use stonechat_wire::{DeviceId, Handle, Timestamp};

use crate::id::AlarmId;
use crate::reasons::Distrust;

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
pub enum AlarmKind {
    /// This account's log has a device that this device did not add.
    #[n(0)]
    Device,
    /// This account's log says something else that this device did not write: a revocation, another recovery key.
    #[n(1)]
    Log,
    /// The directory names another log for an account than the account's own.
    #[n(2)]
    OtherLog,
    /// The directory took back what it had said about an account.
    #[n(3)]
    TakenBack,
    /// What this account said is not published.
    #[n(4)]
    Unpublished,
    /// A handle went from one account to another.
    #[n(5)]
    HandleMoved,
    /// The directory showed different people different logs, or cannot show that it did not.
    #[n(6)]
    Fork,
    /// The directory shows an old state.
    #[n(7)]
    Stale,
    /// The server gives out another policy than the one that was pinned.
    #[n(8)]
    Policy,
    /// What the directory said is not signed, or does not prove what it should.
    #[n(9)]
    Proof,
    /// The directory shows no state that enough witnesses confirm.
    #[n(10)]
    Unwitnessed,
}

impl AlarmKind {
    /// A word for file names and programs; never changes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Log => "log",
            Self::OtherLog => "other-log",
            Self::TakenBack => "taken-back",
            Self::Unpublished => "unpublished",
            Self::HandleMoved => "handle-moved",
            Self::Fork => "fork",
            Self::Stale => "stale",
            Self::Policy => "policy",
            Self::Proof => "proof",
            Self::Unwitnessed => "unwitnessed",
        }
    }
}

/// Something that an honest directory, or an honest owner of this account's keys, does not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Which.
    pub id: AlarmId,
    /// What about.
    pub kind: AlarmKind,
    /// What was found.
    pub finding: Finding,
    /// When it was first found.
    pub at: Timestamp,
    /// The device that may be revoked, if it is about one.
    pub device: Option<DeviceId>,
    /// What anybody can check with `stonechat audit --evidence FILE`, as JSON, where there is such a thing.
    pub evidence: Option<String>,
    /// The person has seen it.
    pub dismissed: bool,
}

impl Alarm {
    /// What the file with its evidence is called.
    pub fn evidence_name(&self) -> String {
        format!("{}-{}.json", self.kind.name(), self.id)
    }
}

/// What was found. Stored with the alarm: a number never changes its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// An older version of the app found it and put it into words that this one does not know. The alarm's kind says what it is about.
    #[n(0)]
    Unrecorded,
    /// A device was added to this account, and not by this one.
    #[n(1)]
    DeviceAdded {
        /// Which.
        #[n(0)]
        device: DeviceId,
    },
    /// A device of this account was revoked, and not by this one.
    #[n(2)]
    DeviceRevoked {
        /// Which.
        #[n(0)]
        device: DeviceId,
    },
    /// This device was revoked by another one of this account.
    #[n(3)]
    ThisDeviceRevoked,
    /// The recovery words were replaced, and not by this device.
    #[n(4)]
    RecoveryReplaced,
    /// The directory names an account log for this account that its keys did not sign.
    #[n(5)]
    OwnLogForged,
    /// It did so once.
    #[n(6)]
    OwnLogWasForged {
        /// In which epoch of the key directory.
        #[n(0)]
        epoch: u64,
    },
    /// It took back a part of this account's log.
    #[n(7)]
    OwnLogTakenBack,
    /// The server took a change of this account's devices and does not publish it.
    #[n(8)]
    OwnLogUnpublished,
    /// The directory gives this account's handle to another account.
    #[n(9)]
    OwnHandleGiven {
        /// The handle.
        #[n(0)]
        handle: Handle,
    },
    /// What the directory says of this account does not hold.
    #[n(10)]
    OwnProofFails {
        /// Why.
        #[n(0)]
        why: Distrust,
    },
    /// The directory shows another account log for somebody than before.
    #[n(11)]
    OtherLog {
        /// Whose.
        #[n(0)]
        who: Handle,
    },
    /// Somebody's log is another for them than for this account.
    #[n(12)]
    OtherLogForThem {
        /// Whose; `None` when nobody can say.
        #[n(0)]
        who: Option<Handle>,
    },
    /// What the server says about somebody does not hold.
    #[n(13)]
    ProofFails {
        /// About whom, when they were asked for by name.
        #[n(0)]
        who: Option<Handle>,
        /// Why.
        #[n(1)]
        why: Distrust,
    },
    /// The directory took back what it had said about somebody's account.
    #[n(14)]
    TakenBack {
        /// Whose.
        #[n(0)]
        who: Handle,
    },
    /// A handle belongs to another account than before.
    #[n(15)]
    HandleMoved {
        /// Which.
        #[n(0)]
        handle: Handle,
    },
    /// Somebody says that their log is longer than the directory shows.
    #[n(16)]
    KeptBack {
        /// Whose.
        #[n(0)]
        who: Handle,
    },
    /// The directory shows an old state, or this machine's clock is ahead.
    #[n(17)]
    Stale,
    /// The directory shows a state of the future, or this machine's clock is behind.
    #[n(18)]
    Future,
    /// The directory shows different people different states, or cannot show that it does not.
    #[n(19)]
    Forked,
    /// It shows no state that enough of its witnesses confirm.
    #[n(20)]
    Unwitnessed {
        /// Good cosignatures.
        #[n(0)]
        have: u32,
        /// How many there must be.
        #[n(1)]
        need: u32,
    },
    /// The server's directory policy cannot be read.
    #[n(21)]
    PolicyUnreadable,
    /// The server gives out another directory policy than the one that was pinned.
    #[n(22)]
    OtherPolicy,
}

/// One device of this account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnDevice {
    /// Which.
    pub id: DeviceId,
    /// When it was added, by the clock of the device that added it.
    pub added_at: Timestamp,
    /// Whether it is this one.
    pub this: bool,
    /// Whether an alarm about it stands.
    pub alarm: Option<AlarmId>,
}

/// Whether what a person sees about another is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lock {
    /// For everybody in it, the directory proved against a head that satisfies the pinned policy whose handle it is and what
    /// their account log says; every device in it is of that log; nothing that was seen since contradicts it.
    Closed,
    /// It does not: the first problem.
    Open(Problem),
}

/// Why a lock is closed or open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// What was checked and holds.
    pub checks: Vec<Check>,
    /// What is in the way, the first of which the lock names. The lock is closed when there is none.
    pub problems: Vec<Problem>,
    /// Whose safety numbers were compared by hand. The lock does not need it.
    pub compared: Vec<Handle>,
}

impl Why {
    /// Notes what was checked: as what holds, or as what is in the way.
    pub fn note(&mut self, holds: bool, check: Check, problem: Problem) {
        if holds {
            self.checks.push(check);
        } else {
            self.problems.push(problem);
        }
    }

    /// The lock that this makes.
    pub fn lock(&self) -> Lock {
        self.problems.first().map_or(Lock::Closed, |problem| Lock::Open(problem.clone()))
    }
}

/// One link of the chain between "these keys" and "this person", which holds. `who` is a member's handle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Check {
    /// The directory's keys are pinned.
    Pinned {
        /// The directory's name.
        origin: String,
        /// How many witnesses must have cosigned a head.
        threshold: u32,
        /// How many there are.
        witnesses: u32,
    },
    /// All heads that were seen are consistent: of one log.
    OneLog {
        /// Its size.
        records: u64,
    },
    /// Every entry of a member's account log is signed by their own keys.
    Log {
        /// Whose.
        who: Handle,
        /// How many there are.
        entries: u64,
    },
    /// The directory proved that this is their whole log.
    Proven {
        /// Whose.
        who: Handle,
        /// The size of the directory's log when it did.
        records: u64,
    },
    /// That state of the directory is consistent with the others.
    Connected {
        /// Whose.
        who: Handle,
    },
    /// The directory proved that the handle is that account's.
    Handle {
        /// Which.
        who: Handle,
    },
    /// Their devices in here are in their account log.
    Devices {
        /// Whose.
        who: Handle,
        /// How many are in here.
        count: u64,
    },
    /// This account's own devices in here are in its account log.
    OwnDevices,
}

/// What opens a lock. `who` is a member's handle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Problem {
    /// The directory's keys are not known here yet.
    NotPinned,
    /// The directory shows different people different states.
    Forked,
    /// An alarm stands.
    Alarm {
        /// Which.
        alarm: AlarmId,
        /// Of which kind.
        kind: AlarmKind,
        /// What was found.
        finding: Finding,
    },
    /// The account log of a member does not verify; else they would have a name.
    Log,
    /// The directory has not proved yet that this is their account log.
    NotProven {
        /// Whose.
        who: Handle,
    },
    /// It has not shown yet that their state of it is consistent with the others.
    NotConnected {
        /// Whose.
        who: Handle,
    },
    /// It has not proved that the handle is theirs.
    NotTheirHandle {
        /// Which.
        who: Handle,
    },
    /// They have a device in here that their account log does not have.
    StrangeDevice {
        /// Whose.
        who: Handle,
    },
    /// Something speaks against them.
    Doubt {
        /// Against whom.
        who: Handle,
        /// What.
        doubt: Doubt,
    },
    /// A device in here passes for one of this account, and is not in its log.
    StrangeOwnDevice,
}

/// What speaks against somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
pub enum Doubt {
    /// Their account log contradicts the one that was seen first.
    #[n(0)]
    OtherThanFirst,
    /// The server says that the handle is not theirs.
    #[n(1)]
    HandleDenied,
    /// The directory took back what it had said about them.
    #[n(2)]
    TakenBack,
    /// Their handle belongs to another account now.
    #[n(3)]
    StartedOver,
    /// The directory keeps back what they say about their devices.
    #[n(4)]
    KeptBack,
    /// Their account log is another for them than for us.
    #[n(5)]
    OtherForThem,
}

/// What two people compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Safety {
    /// With whom.
    pub handle: Handle,
    /// 60 digits.
    pub digits: String,
    /// What the QR code on this side says.
    pub code: String,
    /// When it was compared last and matched.
    pub compared: Option<Timestamp>,
}
