//! Moments for people and for programs. The sender's clock is the sender's claim: any number is turned into some date.

use jiff::Zoned;
use jiff::tz::TimeZone;
use stonechat_client::Timestamp;

/// `2026-11-23T09:15:00.123Z`: RFC 3339 in UTC, always with milliseconds.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    format!("{:.3}", moment(at))
}

/// The moment on a clock in this zone.
pub(crate) fn local(at: Timestamp, zone: &TimeZone) -> Zoned {
    moment(at).to_zoned(zone.clone())
}

/// `2026-11-23 09:15` in this zone.
pub(crate) fn short(at: Timestamp, zone: &TimeZone) -> String {
    local(at, zone).strftime("%Y-%m-%d %H:%M").to_string()
}

fn moment(at: Timestamp) -> jiff::Timestamp {
    // The largest moments of the library overflow when a zone is added: stay two days below.
    let last = jiff::Timestamp::MAX.as_millisecond() - 2 * 86_400_000;
    let millis = i64::try_from(at.0).unwrap_or(last).min(last);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_milliseconds_and_is_utc() {
        assert_eq!(rfc3339(Timestamp(1_700_000_000_000)), "2023-11-14T22:13:20.000Z");
        assert_eq!(rfc3339(Timestamp(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn no_claim_of_a_sender_breaks_a_clock() {
        for claim in [u64::MAX, i64::MAX as u64, 253_402_300_799_999] {
            assert!(rfc3339(Timestamp(claim)).starts_with("9999-"));
            for hours in [-12, 0, 14] {
                let zone = TimeZone::fixed(jiff::tz::offset(hours));
                assert!(short(Timestamp(claim), &zone).starts_with("9999-"), "{}", short(Timestamp(claim), &zone));
            }
        }
    }
}
