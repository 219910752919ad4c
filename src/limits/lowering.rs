//! Which limits get lower from one version of a tier to the next, and how clients are told ahead.

use super::policy::{Mode, Period, Policy, Unit};
use std::fmt::Write as _;
use time::OffsetDateTime;

/// The policies of `new` that allow less than those of `old`, or appear. Shadows refuse nobody, so they lower nothing.
pub fn lowered<'p>(old: &[Policy], new: &'p [Policy]) -> Vec<&'p Policy> {
    let is_lowered = |policy: &&Policy| {
        let before = old.iter().find(|old| old.continues(policy));
        policy.allows_less_than(before)
    };
    new.iter().filter(is_lowered).collect()
}

impl Policy {
    /// Whether something passes under `before` that this one would refuse.
    pub(super) fn allows_less_than(&self, before: Option<&Self>) -> bool {
        let Some(before) = before.filter(|before| before.mode == Mode::Enforce) else {
            return self.mode == Mode::Enforce;
        };
        if self.mode == Mode::Shadow {
            return false;
        }
        match self.unit {
            Unit::Concurrent => self.quota < before.quota,
            Unit::Requests => {
                let rate = |of: &Self, window: &Self| u64::from(of.quota) * u64::from(window.window_seconds);
                self.burst < before.burst || rate(self, before) < rate(before, self)
            }
        }
    }

    /// Its item in `RateLimit-Notice`, a list of RFC 9651: as in `RateLimit-Policy`, with `b` for a burst that is not
    /// the quota and `at` for the date from which it holds.
    pub(super) fn notice(&self, at: OffsetDateTime) -> String {
        let Self { name, quota, window_seconds, burst, unit, period, .. } = self;
        let mut item = format!("\"{name}\";q={quota}");
        let _ = match (period, unit) {
            // How long it is depends on the month.
            (Some(Period::Month), _) => Ok(()),
            (None, Unit::Requests) => write!(item, ";w={window_seconds}"),
            (None, Unit::Concurrent) => write!(item, ";qu=\"concurrent-requests\""),
        };
        if *unit == Unit::Requests && burst != quota {
            let _ = write!(item, ";b={burst}");
        }
        let _ = write!(item, ";at=@{}", at.unix_timestamp());
        item
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Scope,
        fixture::{HOUR, MINUTE, concurrent, policy, shadow},
    };
    use super::*;

    #[test]
    fn what_allows_less_in_rate_or_burst_or_appears_is_lowered_and_nothing_else() {
        let old = [
            policy("slower", Scope::User, 60, MINUTE),
            policy("same", Scope::User, 60, MINUTE),
            policy("flatter", Scope::User, 60, MINUTE),
            concurrent("busy", Scope::Org, 4),
            shadow(policy("trial", Scope::Org, 60, MINUTE)),
            policy("faster", Scope::Org, 60, MINUTE),
        ];
        let new = [
            Policy { burst: 60, ..policy("slower", Scope::User, 3_599, HOUR) },
            Policy { burst: 60, ..policy("same", Scope::User, 3_600, HOUR) },
            Policy { burst: 59, ..policy("flatter", Scope::User, 60, MINUTE) },
            concurrent("busy", Scope::Org, 3),
            policy("trial", Scope::Org, 60, MINUTE),
            policy("faster", Scope::Org, 61, MINUTE),
            policy("fresh", Scope::Org, 60, MINUTE),
            shadow(policy("unseen", Scope::Org, 1, HOUR)),
        ];
        let names: Vec<_> = lowered(&old, &new).into_iter().map(|policy| policy.name.as_str()).collect();
        assert_eq!(names, ["slower", "flatter", "busy", "trial", "fresh"]);
    }

    #[test]
    fn a_notice_names_the_burst_where_it_is_not_the_quota_and_the_date() {
        let at = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
        let bursty = Policy { burst: 5, ..policy("user", Scope::User, 60, MINUTE) };
        assert_eq!(bursty.notice(at), r#""user";q=60;w=60;b=5;at=@1767225600"#);
        assert_eq!(
            concurrent("busy", Scope::Org, 4).notice(at),
            r#""busy";q=4;qu="concurrent-requests";at=@1767225600"#
        );
    }
}
