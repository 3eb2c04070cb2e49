//! Days and bubbles: where a line with the date goes, and which messages hang together.

/// Messages of one person this close together are drawn as one group.
pub const GROUP_MS: u64 = 5 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A day where the reader is: days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

impl Day {
    /// The day of a moment. `offset_minutes` is what the reader's clock is ahead of UTC at that moment.
    pub fn of(at_ms: u64, offset_minutes: i32) -> Self {
        let local = i64::try_from(at_ms).unwrap_or(i64::MAX).saturating_add(i64::from(offset_minutes) * 60_000);
        Self(local.div_euclid(DAY_MS))
    }

    /// How a reader of `today` calls it.
    pub fn name(self, today: Self) -> DayName {
        match today.0 - self.0 {
            0 => DayName::Today,
            1 => DayName::Yesterday,
            2..=6 => DayName::Weekday,
            _ => DayName::Date,
        }
    }
}

/// How to call a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayName {
    /// This one.
    Today,
    /// The one before.
    Yesterday,
    /// By its weekday: less than a week ago.
    Weekday,
    /// By its date.
    Date,
}

/// What decides how a message hangs together with its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp<T> {
    /// Who wrote it.
    pub sender: T,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// On which day.
    pub day: Day,
}

impl<T: PartialEq> Stamp<T> {
    /// Whether a line with the date stands before this message.
    pub fn starts_day(&self, before: Option<&Self>) -> bool {
        before.is_none_or(|before| before.day != self.day)
    }

    /// Whether this message goes on with the group of the one before.
    pub fn goes_on(&self, before: Option<&Self>) -> bool {
        before.is_some_and(|before| {
            before.sender == self.sender && before.day == self.day && self.at_ms.abs_diff(before.at_ms) <= GROUP_MS
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(sender: &str, at_ms: u64) -> Stamp<&str> {
        Stamp { sender, at_ms, day: Day::of(at_ms, 0) }
    }

    #[test]
    fn days_turn_where_the_reader_is() {
        let late = 20_000 * 86_400_000 - 1;
        assert_eq!(Day::of(late, 0), Day(19_999));
        assert_eq!(Day::of(late, 60), Day(20_000));
        assert_eq!(Day::of(20_000 * 86_400_000, -60), Day(19_999));
        assert_eq!(Day::of(0, -60), Day(-1));
    }

    #[test]
    fn days_have_names() {
        let today = Day(100);
        let names = [100, 99, 98, 94, 93, 101].map(|day| Day(day).name(today));
        use DayName::{Date, Today, Weekday, Yesterday};
        assert_eq!(names, [Today, Yesterday, Weekday, Weekday, Date, Date]);
    }

    #[test]
    fn one_persons_messages_hang_together_for_a_while() {
        let first = stamp("a", 1_000);
        assert!(first.starts_day(None) && !first.goes_on(None));
        assert!(stamp("a", 1_000 + GROUP_MS).goes_on(Some(&first)));
        assert!(!stamp("a", 1_001 + GROUP_MS).goes_on(Some(&first)));
        assert!(!stamp("b", 2_000).goes_on(Some(&first)));
        let midnight = stamp("a", 86_400_000);
        assert!(!midnight.goes_on(Some(&stamp("a", 86_399_999))) && midnight.starts_day(Some(&first)));
    }
}
