//! English.

use super::{AlarmKind, Check, CheckKind, Doubt, NoticeKind, TrustWords};

pub(in super::super) static ENGLISH: TrustWords = TrustWords {
    why_closed: "Why is this locked?",
    why_open: "Why is this not locked?",
    all_hold: "The lock is closed, because all of this holds:",
    not_all_hold: "The lock is open, because not all of this holds:",
    holds: "Holds:",
    fails: "Does not hold:",
    check,
    compared_with: |handles| format!("You have compared safety numbers with {handles}."),
    compared_none: "You have compared no safety numbers in here. The lock does not need it.",
    compare_with: |handle| format!("Compare safety numbers with {handle}"),

    compared: "Safety number compared",
    safety: "Safety number",
    safety_lead: |handle| {
        format!(
            "{handle} sees the same 60 digits. Compare them in person or on a call, or scan each other’s code: nobody between you can \
             make them match."
        )
    },
    code: |handle| format!("QR code of your safety number with {handle}"),
    compared_at: |when| format!("You compared it, and it matched: {when}."),
    not_compared: "You have not compared it yet.",
    theirs: "Their digits",
    theirs_hint: "Type or paste the 60 digits that they read to you.",
    compare: "Compare",
    scan: "Scan their code",
    scan_stop: "Stop the camera",
    scan_lead: "Hold their code in front of the camera. The picture stays in this page.",
    camera_waits: "Waiting for the camera…",
    camera_none: "There is no camera here. Compare the digits instead.",
    camera_refused: "The browser does not let this page use the camera. Allow it in the browser’s settings for this page, or compare the \
                     digits instead.",
    camera_fails: "The camera does not start; another program may be using it. Close that one, or compare the digits instead.",
    matches: |handle| format!("It matches. {handle} is who they say, and is marked as verified."),

    notice: |kind, who| match kind {
        NoticeKind::DeviceAdded => format!("{who} added a device."),
        NoticeKind::DeviceRevoked => format!("{who} removed a device."),
        NoticeKind::StartedOver => format!(
            "{who} has started over with another account. Whoever holds the handle now is not the account that you know. Ask them by \
             another way before you accept them, and compare safety numbers."
        ),
    },
    request_started_over: "You know another account under this handle: they started over, or somebody else has it now. Ask them by \
                           another way before you accept.",

    alarm_count: |count| if count == 1 { "Alarm".into() } else { format!("{count} alarms") },
    alarm_open: "What happened, and what to do",
    alarms: "Alarms",
    alarms_none: "No alarms.",
    alarm: |kind| match kind {
        AlarmKind::Device => "Your account has a device that you did not add here",
        AlarmKind::Log => "Your account was changed, and not from here",
        AlarmKind::OtherLog => "The server shows another account than the real one",
        AlarmKind::TakenBack => "The server took back what it had said about an account",
        AlarmKind::Unpublished => "The server hides what somebody said about their devices",
        AlarmKind::HandleMoved => "A handle belongs to another account now",
        AlarmKind::Fork => "The server shows different people different things",
        AlarmKind::Stale => "The server shows an old state",
        AlarmKind::Policy => "The server’s keys are not those that were pinned",
        AlarmKind::Proof => "The server’s proof does not hold",
        AlarmKind::Unwitnessed => "No witness confirms what the server shows",
    },
    alarm_detail: |_| None,
    evidence: "Save the evidence",
    evidence_hint: "Anybody can check that file with:",
    settle: "This is settled",
    settle_question: "Is this settled? The alarm is put away; its evidence stays.",
    settle_now: "Put it away",
    settled: "Put away",

    own_devices: "Devices of this account",
    this_device: "This device",
    added_at: |when| format!("Added {when}"),
    not_added_here: "Not added by this device",
    revoke: "Revoke this device",
    revoke_question: "Revoke it? It can read nothing that is written once your contacts’ apps have seen it. This cannot be undone.",
    revoke_now: "Revoke it",
    revoked: "Revoked. It reads nothing that is written once your contacts’ apps have seen it.",
};

fn check(Check { what, holds }: &Check) -> String {
    match (what, holds) {
        (CheckKind::Pinned { origin, threshold, witnesses }, true) => format!(
            "The directory’s keys were pinned when this account was made: {origin}, with {threshold} of {witnesses} witnesses."
        ),
        (CheckKind::Pinned { .. }, false) => "The directory’s keys are not known here yet.".into(),
        (CheckKind::OneLog { records }, true) => {
            let records = count(*records, "record");
            format!(
                "All states of the directory that you and your contacts saw are consistent: one log, now of {records}."
            )
        }
        (CheckKind::OneLog { .. }, false) => {
            "The directory shows different people different states: nobody’s keys can be checked.".into()
        }
        (CheckKind::NoAlarm { text, .. }, _) => text.clone(),
        (CheckKind::Member, _) => "The account log of a member does not verify.".into(),
        (CheckKind::Log { who, entries: 1 }, _) => {
            format!("{who}: the one entry of their account log is signed by keys of theirs.")
        }
        (CheckKind::Log { who, entries }, _) => {
            format!("{who}: each of the {entries} entries of their account log is signed by keys of theirs.")
        }
        (CheckKind::Proven { who, records }, true) => {
            let records = count(*records, "record");
            format!("{who}: the directory proved that this is their whole log, in its state of {records}.")
        }
        (CheckKind::Proven { who, .. }, false) => {
            format!("{who}: the directory has not proved yet that this is their account log.")
        }
        (CheckKind::Connected { who }, true) => format!("{who}: that state is consistent with those that you saw."),
        (CheckKind::Connected { who }, false) => {
            format!("{who}: the directory has not shown yet that their state is consistent with yours.")
        }
        (CheckKind::Handle { who }, true) => format!("{who}: the directory proved that the handle is this account’s."),
        (CheckKind::Handle { who }, false) => {
            format!("That {who} is who they say has not been proved by the directory.")
        }
        (CheckKind::Devices { who, count: 1 }, true) => {
            format!("{who}: one device of theirs is in here, and it is in their account log.")
        }
        (CheckKind::Devices { who, count }, true) => {
            format!("{who}: {count} of their devices are in here, each in their account log.")
        }
        (CheckKind::Devices { who, .. }, false) => {
            format!("{who} has a device in here that their account log does not have.")
        }
        (CheckKind::NoDoubt { who, doubt }, _) => match doubt {
            Doubt::OtherThanFirst => format!("{who}: their account log contradicts the one first seen."),
            Doubt::HandleDenied => format!("{who}: the server says that this handle is not theirs."),
            Doubt::TakenBack => format!("{who}: the directory took back what it had said about their account."),
            Doubt::StartedOver => {
                format!("{who}: their handle belongs to another account now; ask them by another way.")
            }
            Doubt::KeptBack => format!("{who}: the directory keeps back what they say about their own devices."),
            Doubt::OtherForThem => format!("{who}: their account log is another for them than for you."),
        },
        (CheckKind::OwnDevices, true) => "Every device of yours in here is in your own account log.".into(),
        (CheckKind::OwnDevices, false) => "A device in here passes for yours, and is not in your account log.".into(),
    }
}

/// `1 record`, `2 records`.
fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
