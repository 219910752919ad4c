//! What calls that are still to be made will meet: when they pass, what they wait for, how fast they may come.

use super::{
    course::{Course, Row},
    decision::{Marks, moment},
    month::MonthMark,
    policy::{Scope, Unit},
    rule::{Meter, Rule},
    tier::View,
};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Equal calls in a row.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    pub cost: u32,
    pub count: u32,
}

/// What becomes of calls that are made one after another, each as soon as it fits, while nobody else uses the same limits.
#[derive(Debug, Serialize, ToSchema)]
pub struct Forecast {
    /// Whether all of them pass now.
    pub passes_now: bool,
    /// When the last passes at the earliest; null if some never fit, or all take longer than ten years.
    #[serde(with = "time::serde::rfc3339::option")]
    pub done_at: Option<OffsetDateTime>,
    /// The policy that the last wait is for; null if nothing is waited for.
    #[schema(max_length = 40)]
    pub binding_policy: Option<String>,
    /// As asked, in the same order.
    #[schema(max_items = 100)]
    pub calls: Vec<CallsForecast>,
    /// What each policy alone would make of them; those that may not refuse are left out.
    #[schema(max_items = 16)]
    pub policies: Vec<PolicyForecast>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CallsForecast {
    /// Units that each takes.
    pub cost: u32,
    pub count: u32,
    /// How many pass together with the first; null if none ever does.
    pub at_once: Option<u32>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub first_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_at: Option<OffsetDateTime>,
    /// Evenly so far apart, none waits for anything that comes back over time; 0 if such policies don't matter.
    #[schema(minimum = 0, example = 1.5)]
    pub seconds_between: f64,
    /// Policies that never hold as many units as one call takes.
    #[schema(max_items = 16)]
    pub never_fits: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PolicyForecast {
    #[schema(max_length = 40)]
    pub policy: String,
    pub scope: Scope,
    pub unit: Unit,
    /// Units that all take together; for `concurrent` the places that one takes.
    pub needed: u64,
    /// Units that may come at once now.
    pub remaining: u32,
    /// Seconds until the first call fits; null if nobody knows, or it never does.
    #[schema(minimum = 0, example = 0.5)]
    pub first_wait_seconds: Option<f64>,
    /// How fast units come back; null for months, which come back whole, and for places.
    #[schema(minimum = 0, example = 2.0)]
    pub units_per_second: Option<f64>,
    /// So far apart, calls of the largest cost go on for ever.
    #[schema(minimum = 0, example = 1.5)]
    pub seconds_between_calls: Option<f64>,
    /// When the last would pass, were this the only policy.
    #[serde(with = "time::serde::rfc3339::option")]
    pub done_at: Option<OffsetDateTime>,
    /// Where the policy stands written: `tier:free@v7`.
    #[schema(max_length = 100)]
    pub source: String,
}

/// What is enforced of somebody's policies, as it stands now.
struct Standing<'r> {
    now: u64,
    /// What is owed to each, of those that cells count.
    counted: Vec<(&'r Arc<Rule>, u64)>,
    months: Vec<&'r MonthMark>,
}

impl Forecast {
    pub(super) fn new(view: &View, marks: &Marks, months: &[MonthMark], now: u64, calls: &[Batch]) -> Self {
        let counted = view.rules.iter().zip(marks).filter(|(rule, _)| !rule.is_shadow());
        let standing = Standing {
            now,
            counted: counted.map(|(rule, mark)| (rule, mark.owed)).collect(),
            months: months.iter().filter(|month| !month.rule.is_shadow()).collect(),
        };
        let (rows, binding) = standing.rows(calls, |_| true);
        let done = done(now, &rows);
        let passes_now =
            done == Some(now) && (calls.iter().all(|batch| batch.is_free()) || standing.has_places());
        Self {
            passes_now,
            done_at: done.map(whole_micros),
            binding_policy: binding,
            calls: calls.iter().zip(rows).map(|(batch, row)| standing.of_calls(*batch, row)).collect(),
            policies: standing.rules().map(|rule| standing.of_policy(rule, calls)).collect(),
        }
    }
}

impl Batch {
    fn is_free(self) -> bool {
        self.cost == 0 || self.count == 0
    }
}

impl Standing<'_> {
    fn rules(&self) -> impl Iterator<Item = &Rule> {
        let months = self.months.iter().map(|month| month.rule.as_ref());
        self.counted.iter().map(|(rule, _)| rule.as_ref()).chain(months)
    }

    fn buckets(&self) -> impl Iterator<Item = &Rule> {
        self.rules().filter(|rule| rule.bucket().is_some())
    }

    /// When each batch passes by the rules that are `meant`, and what the last wait is for. What never fits is left out.
    fn rows(&self, calls: &[Batch], meant: impl Fn(&Rule) -> bool) -> (Vec<Option<Row>>, Option<String>) {
        let counted = self.counted.iter().filter(|(rule, _)| meant(rule)).copied();
        let months = self.months.iter().filter(|month| meant(&month.rule)).copied();
        let mut course = Course::new(self.now, counted, months);
        let mut is_over = false;
        let mut row = |batch: &Batch| {
            let never = self.rules().filter(|rule| meant(rule)).any(|rule| exceeds(*batch, rule));
            if never || is_over {
                return None;
            }
            let row = course.make(batch.count, batch.cost);
            is_over = row.is_none();
            row
        };
        let rows = calls.iter().map(&mut row).collect();
        (rows, course.binding.map(|rule| rule.policy.name.clone()))
    }

    /// Whether one more request may be served now, whatever else.
    fn has_places(&self) -> bool {
        let gauges = self.counted.iter().filter(|(rule, _)| matches!(rule.meter, Meter::Gauge));
        gauges.into_iter().all(|(rule, busy)| *busy < rule.policy.quota.into())
    }

    fn of_calls(&self, batch: Batch, row: Option<Row>) -> CallsForecast {
        let never = self.rules().filter(|rule| exceeds(batch, rule));
        CallsForecast {
            cost: batch.cost,
            count: batch.count,
            at_once: row.map(|row| row.at_once),
            first_at: row.map(|row| whole_micros(row.first)),
            last_at: row.map(|row| whole_micros(row.last)),
            seconds_between: self.buckets().filter_map(|rule| pace(rule, batch.cost)).fold(0.0, f64::max),
            never_fits: never.map(|rule| rule.policy.name.clone()).collect(),
        }
    }

    fn of_policy(&self, rule: &Rule, calls: &[Batch]) -> PolicyForecast {
        let is_gauge = matches!(rule.meter, Meter::Gauge);
        let (rows, _) = self.rows(calls, |other| std::ptr::eq(other, rule));
        let paying = calls.iter().position(|batch| !batch.is_free());
        let first = match paying {
            None => Some(self.now),
            Some(_) if is_gauge => None,
            Some(place) => rows[place].map(|row| row.first),
        };
        let units = |batch: &Batch| u64::from(batch.cost) * u64::from(batch.count);
        let dearest = calls.iter().map(|batch| batch.cost).max().unwrap_or(0);
        PolicyForecast {
            policy: rule.policy.name.clone(),
            scope: rule.policy.scope,
            unit: rule.policy.unit,
            needed: if is_gauge { u64::from(paying.is_some()) } else { calls.iter().map(units).sum() },
            remaining: self.remaining(rule),
            first_wait_seconds: first.map(|first| seconds(first - self.now)),
            units_per_second: pace(rule, 1).map(f64::recip),
            seconds_between_calls: pace(rule, dearest),
            done_at: done(self.now, &rows).filter(|_| !is_gauge).map(whole_micros),
            source: rule.source.as_ref().into(),
        }
    }

    fn remaining(&self, rule: &Rule) -> u32 {
        let counted = self.counted.iter().find(|(other, _)| std::ptr::eq(other.as_ref(), rule));
        let month = self.months.iter().find(|month| std::ptr::eq(month.rule.as_ref(), rule));
        let owed = counted.map(|(_, owed)| *owed).or(month.map(|month| month.mark.owed)).unwrap_or(0);
        let (most, used) = match rule.bucket() {
            Some(bucket) => (rule.policy.burst, bucket.used(owed)),
            None => (rule.policy.quota, u32::try_from(owed).unwrap_or(u32::MAX)),
        };
        most.saturating_sub(used)
    }
}

/// When the last passes; `None` if some don't.
fn done(now: u64, rows: &[Option<Row>]) -> Option<u64> {
    rows.iter().try_fold(now, |last, row| row.map(|row| last.max(row.last)))
}

/// Whether one call takes more than the rule ever holds.
fn exceeds(batch: Batch, rule: &Rule) -> bool {
    let most = match rule.meter {
        Meter::Bucket(_) => rule.policy.burst,
        Meter::Month => rule.policy.quota,
        Meter::Gauge => u32::MAX,
    };
    batch.count > 0 && batch.cost > most
}

/// Seconds for `cost` units to come back.
fn pace(rule: &Rule, cost: u32) -> Option<f64> {
    let bucket = rule.bucket()?;
    Some(Duration::from_nanos(bucket.interval.saturating_mul(cost.into())).as_secs_f64())
}

/// Rounded up to microseconds, which clocks tell.
fn seconds(nanos: u64) -> f64 {
    Duration::from_micros(nanos.div_ceil(1_000)).as_secs_f64()
}

fn whole_micros(nanos: u64) -> OffsetDateTime {
    moment(nanos.div_ceil(1_000).saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Period, Policy, TierPlan,
            cell::Mark,
            fixture::{HOUR, MINUTE, SECOND, World, concurrent, policy, shadow},
            month,
        },
        *,
    };

    /// Of `(count, cost)`, for the world's user.
    fn forecast<const N: usize>(world: &World, plan: &TierPlan, calls: [(u32, u32); N]) -> Forecast {
        let view = plan.view(world.user);
        let (now, marks) = world.limiter.foresee(world.org, world.user, view.rules.iter(), 0);
        let used_up = |rule: &Arc<Rule>| MonthMark {
            rule: Arc::clone(rule),
            mark: Mark::told(rule.policy.quota.into(), rule.policy.quota.into(), 0),
            period: month::Period::at(world.clock.now(), 1),
            left: 0,
        };
        let months: Vec<_> = view.months.iter().map(used_up).collect();
        Forecast::new(view, &marks, &months, now, &calls.map(|(count, cost)| Batch { cost, count }))
    }

    #[test]
    fn it_tells_of_all_together_and_of_each_policy_alone() {
        let mut world = World::new();
        let plan = world.plan([
            Policy { burst: 10, ..policy("fast", Scope::User, 60, MINUTE) },
            Policy { burst: 30, ..policy("slow", Scope::User, 60, HOUR) },
        ]);
        let forecast = forecast(&world, &plan, [(4, 5), (3, 5)]);
        let after = |seconds| Some(world.clock.now() + time::Duration::seconds(seconds));
        assert!(!forecast.passes_now);
        assert_eq!((forecast.done_at, forecast.binding_policy.as_deref()), (after(300), Some("slow")));
        let rows = forecast.calls.iter().map(|row| (row.at_once, row.first_at, row.last_at));
        assert_eq!(
            rows.collect::<Vec<_>>(),
            [(Some(2), after(0), after(10)), (Some(1), after(15), after(300))]
        );
        assert!(forecast.calls.iter().all(|row| row.never_fits.is_empty()));
        let paces = forecast.calls.iter().map(|row| Duration::from_secs_f64(row.seconds_between));
        assert_eq!(paces.collect::<Vec<_>>(), [5 * MINUTE; 2]);
        let [fast, slow] = &forecast.policies[..] else { panic!("{:?}", forecast.policies) };
        assert_eq!((fast.needed, fast.remaining, fast.done_at), (35, 10, after(25)));
        assert_eq!((slow.needed, slow.remaining, slow.done_at), (35, 30, after(300)));
        assert_eq!((fast.units_per_second, fast.seconds_between_calls), (Some(1.0), Some(5.0)));
    }

    #[test]
    fn a_whole_burst_fits_and_a_unit_more_never_does() {
        let mut world = World::new();
        let plan = world.plan([policy("user", Scope::User, 10, MINUTE)]);
        let whole = forecast(&world, &plan, [(1, 10)]);
        assert!(whole.passes_now && whole.calls[0].never_fits.is_empty());
        let more = forecast(&world, &plan, [(1, 11), (1, 1)]);
        assert_eq!((more.done_at, more.calls[0].first_at), (None, None));
        assert_eq!(more.calls[0].never_fits, ["user"]);
        assert!(more.calls[1].first_at.is_some(), "the others are told of all the same");
    }

    #[test]
    fn what_takes_more_than_ten_years_keeps_back_what_comes_after() {
        let mut world = World::new();
        let plan = world.plan([policy("user", Scope::User, 1, 24 * HOUR)]);
        let forecast = forecast(&world, &plan, [(4_000, 1), (1, 1), (1, 0)]);
        assert!(forecast.done_at.is_none() && forecast.calls.iter().all(|row| row.first_at.is_none()));
    }

    #[test]
    fn without_a_place_nothing_passes_now_and_shadows_hold_nobody_back() {
        let mut world = World::new();
        let monthly = Policy {
            window_seconds: 0,
            period: Some(Period::Month),
            ..policy("month", Scope::Org, 1, SECOND)
        };
        let plan = world.plan([
            concurrent("busy", Scope::Org, 1),
            policy("user", Scope::User, 10, MINUTE),
            shadow(policy("trial", Scope::User, 1, HOUR)),
            shadow(monthly),
        ]);
        let free = forecast(&world, &plan, [(5, 1)]);
        assert!(free.passes_now && free.done_at == Some(world.clock.now()));
        assert_eq!(
            free.policies.iter().map(|policy| policy.policy.as_str()).collect::<Vec<_>>(),
            ["busy", "user"]
        );
        let _held = world.ask(&plan, 1);
        assert!(!forecast(&world, &plan, [(5, 1)]).passes_now);
        assert!(forecast(&world, &plan, [(5, 0)]).passes_now, "what is free takes no place");
    }

    #[test]
    fn no_moment_is_told_too_early() {
        let mut world = World::new();
        let plan = world.plan([Policy { burst: 1, ..policy("user", Scope::User, 7, SECOND) }]);
        let forecast = forecast(&world, &plan, [(2, 1)]);
        assert_eq!(forecast.done_at, Some(world.clock.now() + time::Duration::microseconds(142_858)));
    }
}
