//! Billing months: they begin on an org's billing day at 00:00 UTC, or on the last day of a shorter month.

use super::super::rule::nanos;
use time::{Date, Month, OffsetDateTime};

/// The billing month that holds at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its first day.
    pub start: Date,
    /// The first day of the next.
    pub end: Date,
}

impl Period {
    /// The one that `at` is in, for an org billed on `day` (1 to 31).
    pub fn at(at: OffsetDateTime, day: u8) -> Self {
        let today = at.to_offset(time::UtcOffset::UTC).date();
        let (year, month) = (today.year(), today.month());
        let here = begins(year, month, day);
        if here <= today {
            let (year, month) = after(year, month);
            Self { start: here, end: begins(year, month, day) }
        } else {
            let (year, month) = before(year, month);
            Self { start: begins(year, month, day), end: here }
        }
    }

    /// The next one of the same org. Of two months in a row one is long enough for its day.
    pub(in crate::limits) fn following(self) -> Self {
        let day = self.start.day().max(self.end.day());
        Self::at(self.end.midnight().assume_utc(), day)
    }

    pub(in crate::limits) fn begins(self) -> u64 {
        nanos(self.start.midnight().assume_utc())
    }

    pub(in crate::limits) fn ends(self) -> u64 {
        nanos(self.end.midnight().assume_utc())
    }

    pub(in crate::limits) fn holds(self, now: u64) -> bool {
        (self.begins()..self.ends()).contains(&now)
    }

    pub(in crate::limits) fn seconds(self) -> u32 {
        u32::try_from((self.end - self.start).whole_seconds()).unwrap_or(u32::MAX)
    }
}

fn begins(year: i32, month: Month, day: u8) -> Date {
    let day = day.clamp(1, month.length(year));
    Date::from_calendar_date(year, month, day).unwrap_or(Date::MIN)
}

fn after(year: i32, month: Month) -> (i32, Month) {
    (if month == Month::December { year + 1 } else { year }, month.next())
}

fn before(year: i32, month: Month) -> (i32, Month) {
    (if month == Month::January { year - 1 } else { year }, month.previous())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    fn period(at: OffsetDateTime, day: u8) -> (String, String) {
        let Period { start, end } = Period::at(at, day);
        (start.to_string(), end.to_string())
    }

    fn days(start: &str, end: &str) -> (String, String) {
        (start.into(), end.into())
    }

    #[test]
    fn day_31_is_the_last_of_a_shorter_month() {
        assert_eq!(period(datetime!(2026-01-31 0:00 UTC), 31), days("2026-01-31", "2026-02-28"));
        assert_eq!(period(datetime!(2026-02-27 23:59:59 UTC), 31), days("2026-01-31", "2026-02-28"));
        assert_eq!(period(datetime!(2026-02-28 0:00 UTC), 31), days("2026-02-28", "2026-03-31"));
        assert_eq!(period(datetime!(2026-04-30 0:00 UTC), 31), days("2026-04-30", "2026-05-31"));
    }

    #[test]
    fn a_leap_year_has_its_29th() {
        assert_eq!(period(datetime!(2028-02-29 12:00 UTC), 30), days("2028-02-29", "2028-03-30"));
        assert_eq!(period(datetime!(2028-02-28 12:00 UTC), 29), days("2028-01-29", "2028-02-29"));
        assert_eq!(period(datetime!(2027-02-28 12:00 UTC), 29), days("2027-02-28", "2027-03-29"));
    }

    #[test]
    fn a_month_goes_over_the_end_of_the_year() {
        assert_eq!(period(datetime!(2026-12-15 0:00 UTC), 15), days("2026-12-15", "2027-01-15"));
        assert_eq!(period(datetime!(2027-01-14 23:59:59 UTC), 15), days("2026-12-15", "2027-01-15"));
        assert_eq!(period(datetime!(2027-01-01 1:00 +2), 1), days("2026-12-01", "2027-01-01"));
    }

    proptest! {
        #[test]
        fn months_follow_one_another_without_gap_or_overlap(second in 0..4_000_000_000_i64, day in 1..=31_u8) {
            let at = OffsetDateTime::from_unix_timestamp(second).unwrap();
            let period = Period::at(at, day);
            prop_assert!(period.holds(nanos(at)));
            prop_assert!((28..=31).contains(&(period.end - period.start).whole_days()));
            prop_assert_eq!(Period::at(period.end.midnight().assume_utc(), day).start, period.end);
            let last = period.start.midnight().assume_utc() - time::Duration::NANOSECOND;
            prop_assert_eq!(Period::at(last, day).end, period.start);
            prop_assert_eq!(period.following(), Period::at(period.end.midnight().assume_utc(), day));
        }
    }
}
