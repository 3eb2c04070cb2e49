//! What the page says about trust: locks, safety numbers, devices, alarms.

use stonechat_api::AlarmKind;

mod de;
mod en;

pub(super) use de::GERMAN;
pub(super) use en::ENGLISH;

/// One language.
pub(crate) struct TrustWords {
    // Why a lock is what it is.
    pub(crate) why_closed: &'static str,
    pub(crate) why_open: &'static str,
    pub(crate) all_hold: &'static str,
    pub(crate) not_all_hold: &'static str,
    pub(crate) holds: &'static str,
    pub(crate) fails: &'static str,
    pub(crate) compared_with: fn(&str) -> String,
    pub(crate) compared_none: &'static str,
    pub(crate) compare_with: fn(&str) -> String,

    // Safety numbers.
    pub(crate) compared: &'static str,
    pub(crate) safety: &'static str,
    pub(crate) safety_lead: fn(&str) -> String,
    pub(crate) code: fn(&str) -> String,
    pub(crate) compared_at: fn(&str) -> String,
    pub(crate) not_compared: &'static str,
    pub(crate) theirs: &'static str,
    pub(crate) theirs_hint: &'static str,
    pub(crate) compare: &'static str,
    pub(crate) scan: &'static str,
    pub(crate) scan_stop: &'static str,
    pub(crate) scan_lead: &'static str,
    pub(crate) camera_waits: &'static str,
    pub(crate) camera_none: &'static str,
    pub(crate) camera_refused: &'static str,
    pub(crate) camera_fails: &'static str,
    pub(crate) matches: fn(&str) -> String,

    // Requests.
    pub(crate) request_started_over: &'static str,

    // Alarms.
    pub(crate) alarm_count: fn(usize) -> String,
    pub(crate) alarm_open: &'static str,
    pub(crate) alarms: &'static str,
    pub(crate) alarms_none: &'static str,
    pub(crate) alarm: fn(AlarmKind) -> &'static str,
    pub(crate) evidence: &'static str,
    pub(crate) evidence_hint: &'static str,
    pub(crate) settle: &'static str,
    pub(crate) settle_question: &'static str,
    pub(crate) settle_now: &'static str,
    pub(crate) settled: &'static str,

    // Devices.
    pub(crate) own_devices: &'static str,
    pub(crate) this_device: &'static str,
    pub(crate) added_at: fn(&str) -> String,
    pub(crate) not_added_here: &'static str,
    pub(crate) revoke: &'static str,
    pub(crate) revoke_question: &'static str,
    pub(crate) revoke_now: &'static str,
    pub(crate) revoked: &'static str,
}
