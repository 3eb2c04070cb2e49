//! The client's words about trust in the protocol's.

use stonechat_client::{self as client, Client};
use stonechat_web::protocol::{
    Alarm, AlarmId, AlarmKind, Check, CheckKind, DeviceId, Doubt, EvidenceFile, Fault, Lock, Notice, NoticeKind,
    OwnDevice, Safety, Why,
};

use crate::convert;

pub(crate) fn lock(from: client::Lock) -> Lock {
    match from {
        client::Lock::Closed => Lock::Closed,
        client::Lock::Open(why) => Lock::Open(Box::new(check(why))),
    }
}

pub(crate) fn why(from: client::Why) -> Why {
    Why {
        lock: lock(from.lock),
        checks: from.checks.into_iter().map(check).collect(),
        compared: from.compared.iter().map(ToString::to_string).collect(),
    }
}

fn check(client::Check { what, holds }: client::Check) -> Check {
    use client::CheckKind as From;
    let who = |handle: client::Handle| handle.to_string();
    let what = match what {
        From::Pinned { origin, threshold, witnesses } => CheckKind::Pinned { origin, threshold, witnesses },
        From::OneLog { records } => CheckKind::OneLog { records },
        From::NoAlarm { kind, text } => CheckKind::NoAlarm { kind: alarm_kind(kind), text },
        From::Member => CheckKind::Member,
        From::Log { who: of, entries } => CheckKind::Log { who: who(of), entries },
        From::Proven { who: of, records } => CheckKind::Proven { who: who(of), records },
        From::Connected { who: of } => CheckKind::Connected { who: who(of) },
        From::Handle { who: of } => CheckKind::Handle { who: who(of) },
        From::Devices { who: of, count } => CheckKind::Devices { who: who(of), count },
        From::NoDoubt { who: of, doubt } => {
            let doubt = match doubt {
                client::Doubt::OtherThanFirst => Doubt::OtherThanFirst,
                client::Doubt::HandleDenied => Doubt::HandleDenied,
                client::Doubt::TakenBack => Doubt::TakenBack,
                client::Doubt::StartedOver => Doubt::StartedOver,
                client::Doubt::KeptBack => Doubt::KeptBack,
                client::Doubt::OtherForThem => Doubt::OtherForThem,
            };
            CheckKind::NoDoubt { who: who(of), doubt }
        }
        From::OwnDevices => CheckKind::OwnDevices,
    };
    Check { what, holds }
}

pub(crate) fn safety(from: client::Safety) -> Safety {
    Safety {
        handle: from.handle.to_string(),
        digits: from.digits,
        code: from.code,
        compared_at_ms: from.compared.map(|at| at.0),
    }
}

pub(crate) async fn devices(client: &Client) -> Result<Vec<OwnDevice>, Fault> {
    let devices = client.devices().await.map_err(|error| convert::client_fault(&error))?;
    let device = |from: client::OwnDevice| OwnDevice {
        id: DeviceId(from.id.to_string()),
        added_at_ms: from.added_at.0,
        is_this: from.this,
        alarm: from.alarm.map(|alarm| AlarmId(alarm.to_string())),
    };
    Ok(devices.into_iter().map(device).collect())
}

/// What is not dismissed first, then the latest.
pub(crate) async fn alarms(client: &Client) -> Result<Vec<Alarm>, Fault> {
    let alarms = client.alarms().await.map_err(|error| convert::client_fault(&error))?;
    Ok(alarms.into_iter().map(alarm).collect())
}

fn alarm(from: client::Alarm) -> Alarm {
    // As the terminal calls its file.
    let name = format!("{}-{}.json", from.kind.name(), from.id);
    Alarm {
        id: AlarmId(from.id.to_string()),
        kind: alarm_kind(from.kind),
        text: convert::sentence(&from.what),
        at_ms: from.at.0,
        device: from.device.map(|device| DeviceId(device.to_string())),
        evidence: from.evidence.map(|json| EvidenceFile { name, json }),
        dismissed: from.dismissed,
    }
}

pub(crate) fn notice(from: client::Notice) -> Notice {
    let (kind, who) = match from {
        client::Notice::DeviceAdded(who) => (NoticeKind::DeviceAdded, who),
        client::Notice::DeviceRevoked(who) => (NoticeKind::DeviceRevoked, who),
        client::Notice::StartedOver(who) => (NoticeKind::StartedOver, who),
    };
    Notice { kind, who: who.to_string() }
}

fn alarm_kind(from: client::AlarmKind) -> AlarmKind {
    match from {
        client::AlarmKind::Device => AlarmKind::Device,
        client::AlarmKind::Log => AlarmKind::Log,
        client::AlarmKind::OtherLog => AlarmKind::OtherLog,
        client::AlarmKind::TakenBack => AlarmKind::TakenBack,
        client::AlarmKind::Unpublished => AlarmKind::Unpublished,
        client::AlarmKind::HandleMoved => AlarmKind::HandleMoved,
        client::AlarmKind::Fork => AlarmKind::Fork,
        client::AlarmKind::Stale => AlarmKind::Stale,
        client::AlarmKind::Policy => AlarmKind::Policy,
        client::AlarmKind::Proof => AlarmKind::Proof,
        client::AlarmKind::Unwitnessed => AlarmKind::Unwitnessed,
    }
}
