//! The commands about trust: safety numbers, why a lock is what it is, this account's devices, alarms.

use jiff::tz::TimeZone;
use qrcode::QrCode;
use qrcode::types::{Color, EcLevel};
use serde_json::json;
use stonechat_client::{Alarm, AlarmId, Client, DeviceId, Handle, Lock, OwnDevice, Safety, Why};

use crate::error::{Exit, Failure};
use crate::output::Output;
use crate::text::one_line;
use crate::time;

/// One of these commands, its words in order.
pub(crate) enum Trust {
    /// Shows the safety number with somebody.
    Safety(Handle),
    /// Compares what they show.
    Verify(Handle, String),
    /// Explains a lock.
    Why(String),
    /// Lists this account's devices.
    Devices,
    /// Revokes one.
    Revoke(DeviceId),
    /// Lists alarms.
    Alarms,
    /// Puts one away.
    Dismiss(AlarmId),
}

impl Trust {
    /// Runs it, after what waits at the server was taken.
    ///
    /// # Errors
    /// [`Failure`]; what it says was not done, was not.
    pub(crate) async fn run(self, client: &Client, out: Output, unicode: bool) -> Result<(), Failure> {
        match self {
            Self::Safety(handle) => {
                let safety = client.safety_number(&handle).await?;
                out.print(&safety_json(&safety), || safety_human(&safety, unicode))?;
            }
            Self::Verify(handle, shown) => {
                client.verify(&handle, shown).await?;
                out.print(&json!({ "verified": handle.to_string() }), || {
                    format!("It matches. {handle} is who they say, and is marked as verified.")
                })?;
            }
            Self::Why(target) => {
                let target = client.target(&target).await?;
                let why = client.why(&target).await?;
                out.print(&why_json(&why), || why_human(&why))?;
            }
            Self::Devices => {
                let zone = TimeZone::system();
                for device in client.devices().await? {
                    out.print(&device_json(&device), || device_human(&device, &zone))?;
                }
            }
            Self::Revoke(device) => {
                client.revoke_device(device).await?;
                out.print(&json!({ "revoked": device.to_string() }), || {
                    format!("Revoked {device}. It reads nothing that is written once your contacts' apps have seen it.")
                })?;
            }
            Self::Alarms => {
                let alarms = client.alarms().await?;
                let zone = TimeZone::system();
                for alarm in &alarms {
                    let file = client.evidence_file(alarm)?.map(|path| path.display().to_string());
                    out.print(&alarm_json(alarm, file.as_deref()), || alarm_human(alarm, file.as_deref(), &zone))?;
                }
                if !out.json && alarms.is_empty() {
                    out.notice("none", "No alarms.");
                }
            }
            Self::Dismiss(alarm) => {
                client.dismiss_alarm(alarm).await?;
                out.print(&json!({ "dismissed": alarm.to_string() }), || "Dismissed.".into())?;
            }
        }
        Ok(())
    }
}

/// Says on the side what is alarming, whatever was asked.
pub(crate) async fn tell_alarms(client: &Client, out: Output) {
    let Ok(alarms) = client.alarms().await else { return };
    for alarm in alarms.iter().filter(|alarm| !alarm.dismissed) {
        let message = format!("ALARM: {} {}", alarm.finding, next_step(alarm));
        out.notice_of("alarm", &message, &alarm.finding);
    }
}

fn next_step(alarm: &Alarm) -> String {
    match alarm.device {
        Some(device) => format!("Type: stonechat device revoke {device}, or stonechat alarms --dismiss {}", alarm.id),
        None => "Type: stonechat alarms".to_owned(),
    }
}

fn safety_json(safety: &Safety) -> serde_json::Value {
    json!({
        "handle": safety.handle.to_string(),
        "digits": safety.digits,
        "code": safety.code,
        "verified_at": safety.compared.map(time::rfc3339),
    })
}

fn safety_human(safety: &Safety, unicode: bool) -> String {
    let handle = &safety.handle;
    let mark = if safety.compared.is_some() { "You have compared it before, and it matched.\n\n" } else { "" };
    format!(
        "Your safety number with {handle}:\n\n{}\n{}\n{mark}{handle} sees the same 60 digits. Compare them in person or on a \
         call, then type:\n  stonechat verify {handle} DIGITS\nor scan each other's code:\n  stonechat verify {handle} --scan TEXT",
        digits_in_groups(&safety.digits),
        qr(&safety.code, unicode).map(|code| format!("\n{code}")).unwrap_or_default(),
    )
}

/// Three lines of four groups of five.
pub(crate) fn digits_in_groups(digits: &str) -> String {
    let bytes: Vec<char> = digits.chars().collect();
    let groups: Vec<String> = bytes.chunks(5).map(|five| five.iter().collect()).collect();
    groups.chunks(4).map(|line| format!("  {}\n", line.join(" "))).collect()
}

/// A QR code in text: two rows of modules a line, dark on light whatever the terminal's colours are.
pub(crate) fn qr(text: &str, unicode: bool) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let (width, colors) = (code.width(), code.to_colors());
    let light = |x: usize, y: usize| {
        let inside = (QUIET..width + QUIET).contains(&x) && (QUIET..width + QUIET).contains(&y);
        !inside || colors[(y - QUIET) * width + (x - QUIET)] == Color::Light
    };
    let side = width + 2 * QUIET;
    let mut lines = String::new();
    for y in (0..side).step_by(if unicode { 2 } else { 1 }) {
        for x in 0..side {
            lines.push_str(match (unicode, light(x, y), y + 1 >= side || light(x, y + 1)) {
                (true, true, true) => "█",
                (true, true, false) => "▀",
                (true, false, true) => "▄",
                (true, false, false) => " ",
                (false, true, _) => "##",
                (false, false, _) => "  ",
            });
        }
        lines.push('\n');
    }
    Some(lines)
}

fn why_json(why: &Why) -> serde_json::Value {
    let line = |holds: bool, what: String| json!({ "holds": holds, "what": what });
    let problems = why.problems.iter().map(|problem| line(false, problem.to_string()));
    let checks: Vec<_> = problems.chain(why.checks.iter().map(|check| line(true, check.to_string()))).collect();
    json!({
        "lock": if why.lock() == Lock::Closed { "closed" } else { "open" },
        "checks": checks,
        "verified": why.compared.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn why_human(why: &Why) -> String {
    let mut lines = vec![match why.lock() {
        Lock::Closed => "The lock is closed, because all of this holds:".to_owned(),
        Lock::Open(_) => "The lock is OPEN, because not all of this holds:".to_owned(),
    }];
    lines.extend(why_lines(why));
    lines.join("\n")
}

/// The chain of checks, a line each.
pub(crate) fn why_lines(why: &Why) -> Vec<String> {
    let problems = why.problems.iter().map(|problem| format!("  NO  {}", one_line(&problem.to_string())));
    let checks = why.checks.iter().map(|check| format!("  yes {}", one_line(&check.to_string())));
    let mut lines: Vec<_> = problems.chain(checks).collect();
    let compared: Vec<_> = why.compared.iter().map(ToString::to_string).collect();
    lines.push(if compared.is_empty() {
        "  You have compared no safety numbers in here. The lock does not need it; type: stonechat safety @handle"
            .into()
    } else {
        format!("  You have compared safety numbers with {}.", compared.join(", "))
    });
    lines
}

fn device_json(device: &OwnDevice) -> serde_json::Value {
    json!({
        "device": device.id.to_string(),
        "added_at": time::rfc3339(device.added_at),
        "this": device.this,
        "alarm": device.alarm.map(|alarm| alarm.to_string()),
    })
}

fn device_human(device: &OwnDevice, zone: &TimeZone) -> String {
    let tail = match (device.this, device.alarm) {
        (true, _) => "  this device".to_owned(),
        (false, Some(_)) => format!("  NOT ADDED BY THIS DEVICE. Revoke: stonechat device revoke {}", device.id),
        (false, None) => String::new(),
    };
    format!("{}  added {}{tail}", device.id, time::short(device.added_at, zone))
}

fn alarm_json(alarm: &Alarm, file: Option<&str>) -> serde_json::Value {
    json!({
        "id": alarm.id.to_string(),
        "kind": alarm.kind.name(),
        "what": alarm.finding.to_string(),
        "finding": alarm.finding,
        "at": time::rfc3339(alarm.at),
        "device": alarm.device.map(|device| device.to_string()),
        "evidence": file,
        "dismissed": alarm.dismissed,
    })
}

fn alarm_human(alarm: &Alarm, file: Option<&str>, zone: &TimeZone) -> String {
    let mut lines = format!(
        "{}  {}{}",
        time::short(alarm.at, zone),
        if alarm.dismissed { "(dismissed) " } else { "" },
        one_line(&alarm.finding.to_string())
    );
    if let Some(device) = alarm.device {
        lines.push_str(&format!("\n   stonechat device revoke {device}"));
    }
    if let Some(file) = file {
        lines.push_str(&format!("\n   Evidence, for anybody: stonechat audit --evidence {}", one_line(file)));
    }
    if !alarm.dismissed {
        lines.push_str(&format!("\n   Settled? stonechat alarms --dismiss {}", alarm.id));
    }
    lines
}

/// A device as it is typed: its whole id.
///
/// # Errors
/// When it is not an id.
pub(crate) fn parse_device(text: &str) -> Result<DeviceId, Failure> {
    text.parse().map_err(|_| {
        Failure::new("bad_device", Exit::Input, format!("{text:?} is no device; the ids are in: stonechat devices"))
    })
}

/// Light modules around a code.
const QUIET: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_square_and_its_corner_is_dark() {
        let ascii = qr("STONECHAT:1:00:11", false).unwrap();
        let lines: Vec<_> = ascii.lines().collect();
        assert!(lines.iter().all(|line| line.len() == 2 * lines.len()));
        // The finder pattern behind the quiet zone: seven dark modules.
        assert!(lines[QUIET].starts_with("####              ##"));
        let blocks = qr("STONECHAT:1:00:11", true).unwrap();
        assert_eq!(blocks.lines().count(), lines.len().div_ceil(2));
    }

    #[test]
    fn digits_are_read_in_twelve_groups_of_five() {
        let groups = digits_in_groups(&"0123456789".repeat(6));
        assert_eq!(groups.lines().count(), 3);
        assert_eq!(groups.split_whitespace().count(), 12);
        assert!(groups.starts_with("  01234 56789 01234 56789\n"));
    }
}
