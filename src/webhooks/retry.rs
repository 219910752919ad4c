//! When a delivery that failed is tried again, and whether it is.

use super::{Attempt, Outcome};
use std::time::Duration;
use time::OffsetDateTime;

/// However long an endpoint wants to be left alone.
const LONGEST: Duration = Duration::from_hours(24);
const GONE: u16 = 410;

/// What is done after an attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    Done,
    Retry(Duration),
    /// It has failed, for good.
    GiveUp,
    /// It has failed, and nothing more is to be sent there.
    Gone,
}

/// `nth` is the attempt's number, from 1 on; `waits` are those of the settings, in seconds; `jitter`, about 1, keeps what
/// failed together from coming back together.
pub fn next(attempt: &Attempt, nth: i32, waits: &[f64], jitter: f64) -> Next {
    if attempt.outcome == Outcome::Succeeded {
        return Next::Done;
    }
    if attempt.status == Some(GONE) {
        return Next::Gone;
    }
    let place = usize::try_from(nth - 1).unwrap_or(0);
    let Some(seconds) = waits.get(place) else { return Next::GiveUp };
    let wait = Duration::try_from_secs_f64(seconds * jitter).unwrap_or(LONGEST);
    Next::Retry(attempt.retry_after.map_or(wait, |after| wait.max(after.min(LONGEST))))
}

/// What `Retry-After` says (RFC 9110, 10.2.3): seconds, or a date.
pub fn retry_after(header: &str, now: OffsetDateTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = OffsetDateTime::from(httpdate::parse_http_date(header).ok()?);
    Some(Duration::try_from(until - now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    fn answered(status: u16, retry_after: Option<u64>) -> Attempt {
        let at = OffsetDateTime::UNIX_EPOCH;
        let nothing = (Outcome::of(status), String::new());
        let attempt = Attempt::failed(at, Duration::ZERO, json!({}), nothing);
        Attempt { status: Some(status), retry_after: retry_after.map(Duration::from_secs), ..attempt }
    }

    const WAITS: [f64; 3] = [5.0, 300.0, 86_400.0];

    fn after(seconds: f64) -> Next {
        Next::Retry(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn what_fails_is_tried_again_after_each_wait_and_then_given_up() {
        let refused = answered(500, None);
        for (nth, wanted) in [(1, after(5.0)), (2, after(300.0)), (3, after(86_400.0)), (4, Next::GiveUp)] {
            assert_eq!(next(&refused, nth, &WAITS, 1.0), wanted, "{nth}");
        }
        assert_eq!(next(&refused, 1, &WAITS, 1.1), after(5.5));
        assert_eq!(next(&refused, 1, &[], 1.0), Next::GiveUp);
        assert_eq!(next(&answered(204, None), 1, &WAITS, 1.0), Next::Done);
        assert_eq!(next(&answered(301, None), 1, &WAITS, 1.0), after(5.0));
        assert_eq!(next(&answered(410, Some(60)), 1, &WAITS, 1.0), Next::Gone);
    }

    #[test]
    fn whoever_wants_to_be_left_alone_is_but_not_for_less_than_the_schedule_says_nor_for_more_than_a_day() {
        for (asked, wanted) in [(0, 5.0), (4, 5.0), (90, 90.0), (1_000_000, 86_400.0), (u64::MAX, 86_400.0)] {
            assert_eq!(next(&answered(429, Some(asked)), 1, &WAITS, 1.0), after(wanted), "{asked}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = datetime!(2015-10-21 07:27:00 UTC);
        for (header, wanted) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(60)),
            ("Wed, 21 Oct 2015 07:26:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(header, now), wanted.map(Duration::from_secs), "{header}");
        }
    }
}
