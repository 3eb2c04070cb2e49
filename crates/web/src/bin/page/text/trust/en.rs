//! English.

use super::{AlarmKind, TrustWords};

pub(in super::super) static ENGLISH: TrustWords = TrustWords {
    why_closed: "Why is this locked?",
    why_open: "Why is this not locked?",
    all_hold: "The lock is closed, because all of this holds:",
    not_all_hold: "The lock is open, because not all of this holds:",
    holds: "Holds:",
    fails: "Does not hold:",
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
