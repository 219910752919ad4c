//! What a client is told with every answer, in the words of draft-ietf-httpapi-ratelimit-headers-10.

use super::{
    decision::{Decision, Level, whole_seconds},
    month::MonthMark,
    policy::Unit,
    rule::Rule,
};
use smallvec::SmallVec;
use std::{borrow::Cow, fmt::Write as _};

/// Never suggest more than so many times the rate that a policy sustains (draft 10, 8.5).
const PACE: u64 = 4;

/// The header values of one answer; an empty one is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers<'d> {
    /// `RateLimit-Policy`: made once per plan, but for monthly quotas.
    pub policy: Cow<'d, str>,
    /// `RateLimit`: tightest first.
    pub limit: String,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// `RateLimit-Notice`: lower limits to come, and from when; made once per plan.
    pub notice: &'d str,
}

impl<'d> Headers<'d> {
    /// Names, in lower case, and values of the headers to send.
    pub fn pairs(self) -> impl Iterator<Item = (&'static str, Cow<'d, str>)> {
        let fields = [
            ("ratelimit-policy", self.policy),
            ("ratelimit", Cow::Owned(self.limit)),
            ("retry-after", self.retry_after.map_or(Cow::Borrowed(""), |seconds| seconds.to_string().into())),
            ("ratelimit-notice", Cow::Borrowed(self.notice)),
        ];
        fields.into_iter().filter(|(_, value)| !value.is_empty())
    }
}

impl Decision {
    /// What to tell the client; shadow policies are left out.
    pub fn headers(&self) -> Headers<'_> {
        let mut levels: SmallVec<[(bool, u32, &Rule, u64); 4]> = self
            .each()
            .filter(|(rule, _)| !rule.is_shadow())
            .map(|(rule, mark)| (rule, mark.fits(), Level::of(rule, mark)))
            .map(|(rule, fits, level)| (fits, level.remaining, rule, level.next))
            .collect();
        levels.sort_by_key(|(fits, remaining, ..)| (*fits, *remaining));
        let mut limit = String::with_capacity(levels.len() * 32);
        for (_, remaining, rule, next) in levels {
            let month = self.month_of(rule);
            if !limit.is_empty() {
                limit.push_str(", ");
            }
            limit.push_str(&rule.label);
            push_number(&mut limit, remaining.into());
            if rule.policy.unit == Unit::Requests {
                limit.push_str(";t=");
                let seconds = month.map_or_else(
                    || self.seconds_to_more(rule, remaining, next),
                    |month| whole_seconds(month.left).into(),
                );
                push_number(&mut limit, seconds);
            }
        }
        let notice = &self.view().notice;
        Headers { policy: self.policies(), limit, retry_after: self.retry_after(), notice }
    }

    fn policies(&self) -> Cow<'_, str> {
        let header = &self.view().header;
        if self.months().is_empty() {
            return Cow::Borrowed(header);
        }
        let mut header = header.clone();
        for month in self.months().iter().filter(|month| !month.rule.is_shadow()) {
            let comma = if header.is_empty() { "" } else { ", " };
            let super::Policy { name, quota, .. } = &month.rule.policy;
            let _ = write!(header, "{comma}\"{name}\";q={quota};w={}", month.period.seconds());
        }
        Cow::Owned(header)
    }

    fn month_of(&self, rule: &Rule) -> Option<&MonthMark> {
        self.months().iter().find(|month| std::ptr::eq(month.rule.as_ref(), rule))
    }

    /// A nearly full bucket gets its next unit at once, and `r=99;t=1` would invite a herd: so `t` is stretched while
    /// requests are admitted. Once one is refused `t` is the truth, and `Retry-After` never earlier.
    fn seconds_to_more(&self, rule: &Rule, remaining: u32, next: u64) -> u64 {
        let next = if next == 0 { 0 } else { u64::from(whole_seconds(next)) };
        let units = u64::from(remaining) * u64::from(rule.policy.window_seconds);
        let paced = units.div_ceil(PACE * u64::from(rule.policy.quota.max(1)));
        if self.admitted { next.max(paced) } else { next }
    }
}

/// What `write!` does, in a tenth of the time: this runs with every answer.
fn push_number(text: &mut String, number: u64) {
    let mut power = 10_u64.pow(number.checked_ilog10().unwrap_or(0));
    while power > 0 {
        text.push(char::from(b'0' + (number / power % 10) as u8));
        power /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Scope,
        fixture::{MINUTE, World, concurrent, policy, shadow},
    };
    use proptest::prelude::*;

    fn sent(decision: &super::Decision) -> Vec<String> {
        decision.headers().pairs().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    #[test]
    fn the_tightest_comes_first_and_shadows_stay_in_the_dark() {
        let mut world = World::new();
        let plan = world.plan([
            policy("org", Scope::Org, 600, MINUTE),
            policy("user", Scope::User, 120, MINUTE),
            shadow(policy("trial", Scope::User, 1, MINUTE)),
        ]);
        assert!(world.ask(&plan, 110).admitted);
        assert_eq!(
            sent(&world.ask(&plan, 1)),
            [
                r#"ratelimit-policy: "org";q=600;w=60, "user";q=120;w=60"#,
                r#"ratelimit: "user";r=9;t=2, "org";r=489;t=13"#
            ]
        );
    }

    #[test]
    fn a_refusal_says_when_and_never_before_the_next_unit() {
        let mut world = World::new();
        let plan =
            world.plan([policy("org", Scope::Org, 600, MINUTE), policy("user", Scope::User, 6, MINUTE)]);
        assert!(world.ask(&plan, 4).admitted);
        assert_eq!(
            sent(&world.ask(&plan, 4)),
            [
                r#"ratelimit-policy: "org";q=600;w=60, "user";q=6;w=60"#,
                r#"ratelimit: "user";r=2;t=10, "org";r=596;t=1"#,
                "retry-after: 20",
            ]
        );
    }

    #[test]
    fn a_count_of_places_names_its_unit_and_no_time() {
        let mut world = World::new();
        let plan = world.plan([concurrent("busy", Scope::Org, 4)]);
        assert_eq!(
            sent(&world.ask(&plan, 1)),
            [r#"ratelimit-policy: "busy";q=4;qu="concurrent-requests""#, r#"ratelimit: "busy";r=3"#]
        );
    }

    proptest! {
        #[test]
        fn whatever_the_policies_a_parser_of_rfc_9651_reads_them(
            odd in proptest::collection::vec(("[a-z0-9][a-z0-9_-]{0,30}", 1..=u32::MAX, 1..=2_678_400_u32, any::<bool>()), 1..8),
            cost in 0..=u32::MAX,
        ) {
            let mut world = World::new();
            let odd = odd.into_iter().enumerate().map(|(place, (name, quota, seconds, gauge))| {
                let name = format!("{place}-{name}");
                let window = std::time::Duration::from_secs(seconds.into());
                if gauge { concurrent(&name, Scope::Org, quota) } else { policy(&name, Scope::User, quota, window) }
            });
            let tier = world.tier(odd);
            prop_assume!(tier.validate().is_empty());
            let plan = std::sync::Arc::new(super::super::TierPlan::new(&tier, &[]).unwrap());
            let decision = world.ask(&plan, cost);
            let headers = decision.headers();
            let names = |text: &str| {
                let list: sfv::List = sfv::Parser::new(text).parse().unwrap();
                let name = |entry: &sfv::ListEntry| match entry {
                    sfv::ListEntry::Item(sfv::Item { bare_item: sfv::BareItem::String(name), .. }) => name.to_string(),
                    _ => panic!("no string: {text}"),
                };
                list.iter().map(name).collect::<std::collections::BTreeSet<_>>()
            };
            prop_assert_eq!(names(&headers.policy).len(), tier.policies.len());
            prop_assert_eq!(names(&headers.policy), names(&headers.limit));
        }
    }

    #[test]
    fn without_limits_nothing_is_said() {
        let mut world = World::new();
        let plan = world.plan([]);
        assert_eq!(sent(&world.ask(&plan, 1_000)), [""; 0]);
    }
}
