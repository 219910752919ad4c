//! When what recurs is due: a cron expression, in a time zone.

use crate::error::{Error, Flaw, Result};
use croner::parser::{CronParser, Seconds, Year};
use jiff::{Timestamp, tz::TimeZone};
use time::OffsetDateTime;

/// Characters of an expression, and of a time zone's name.
pub const LONGEST: usize = 100;

/// Due at most once a minute: an expression has no field for seconds.
pub struct Cron {
    expression: croner::Cron,
    zone: TimeZone,
}

impl Cron {
    /// `expression` has five fields, `zone` is a name of the IANA's.
    ///
    /// # Errors
    /// 422 that points at `/cron` or `/timezone`, also where it would never be due.
    pub fn parse(expression: &str, zone: &str) -> Result<Self> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let expression = parser.parse(expression).map_err(|error| {
            Flaw::new("/cron", "invalid_cron", format!("is no cron expression of five fields: {error}"))
        });
        let zone = TimeZone::get(zone).map_err(|_| {
            Flaw::new("/timezone", "unknown_timezone", "is no time zone's name, like Europe/Vienna or UTC")
        });
        match (expression, zone) {
            (Ok(expression), Ok(zone)) => Ok(Self { expression, zone }),
            (expression, zone) => {
                Err(Error::Invalid(expression.err().into_iter().chain(zone.err()).collect()))
            }
        }
    }

    /// The first time after `at` that it is due, in whole seconds; none where there is none in sight.
    pub fn next_after(&self, at: OffsetDateTime) -> Option<OffsetDateTime> {
        let from = Timestamp::from_second(at.unix_timestamp()).ok()?.to_zoned(self.zone.clone());
        let next = self.expression.find_next_occurrence(&from, false).ok()?;
        OffsetDateTime::from_unix_timestamp(next.timestamp().as_second()).ok()
    }

    /// The name of its time zone as the IANA writes it.
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn due(expression: &str, zone: &str, after: OffsetDateTime, times: usize) -> Vec<OffsetDateTime> {
        let cron = Cron::parse(expression, zone).unwrap();
        let next = |at: &OffsetDateTime| cron.next_after(*at);
        std::iter::successors(next(&after), next).take(times).collect()
    }

    #[test]
    fn it_is_due_by_the_clocks_of_its_time_zone() {
        let noon = datetime!(2026-06-01 12:00:00.7 UTC);
        assert_eq!(due("* * * * *", "UTC", noon, 1), [datetime!(2026-06-01 12:01 UTC)]);
        assert_eq!(due("30 6 * * MON", "Europe/Vienna", noon, 1), [datetime!(2026-06-08 04:30 UTC)]);
        assert_eq!(due("@daily", "asia/kathmandu", noon, 1), [datetime!(2026-06-01 18:15 UTC)]);
        assert_eq!(Cron::parse("@daily", "asia/kathmandu").unwrap().zone(), "Asia/Kathmandu");
        assert_eq!(due("0 0 29 2 *", "UTC", noon, 1), [datetime!(2028-02-29 0:00 UTC)]);
    }

    /// In Vienna, 2026-03-29 has no 02:30, and 2026-10-25 has two.
    #[test]
    fn a_fixed_time_is_due_once_a_day_when_clocks_change_and_an_interval_each_time() {
        let forward = due("30 2 * * *", "Europe/Vienna", datetime!(2026-03-28 2:00 UTC), 2);
        assert_eq!(forward, [datetime!(2026-03-29 1:00 UTC), datetime!(2026-03-30 0:30 UTC)]);
        let back = due("30 2 * * *", "Europe/Vienna", datetime!(2026-10-24 23:00 UTC), 2);
        assert_eq!(back, [datetime!(2026-10-25 0:30 UTC), datetime!(2026-10-26 1:30 UTC)]);

        let hourly = |after| due("30 * * * *", "Europe/Vienna", after, 3);
        let [a, b, c] = [0, 1, 2].map(|hour| datetime!(2026-10-25 0:30 UTC) + time::Duration::hours(hour));
        assert_eq!(hourly(datetime!(2026-10-25 0:00 UTC)), [a, b, c]);
    }

    #[test]
    fn what_cannot_be_read_is_pointed_at_and_seconds_are_no_field() {
        let pointers = |expression, zone| match Cron::parse(expression, zone).err() {
            Some(Error::Invalid(flaws)) => flaws.into_iter().map(|flaw| flaw.pointer).collect(),
            _ => Vec::new(),
        };
        for expression in
            ["", "* * * *", "* * * * * *", "0 25 * * *", "@reboot", "every day", "*/0 * * * *", "é"]
        {
            assert_eq!(pointers(expression, "UTC"), ["/cron"], "{expression}");
        }
        for zone in ["", "Mars/Olympus", "+02:00", "../etc/passwd"] {
            assert_eq!(pointers("* * * * *", zone), ["/timezone"], "{zone}");
        }
        assert_eq!(pointers("*", "Mars/Olympus"), ["/cron", "/timezone"]);
    }

    #[test]
    fn what_is_never_due_is_found_out_soon() {
        assert!(due("0 0 30 2 *", "UTC", datetime!(2026-01-01 0:00 UTC), 1).is_empty());
    }
}
