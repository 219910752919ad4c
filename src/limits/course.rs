//! When calls that are made one after another pass, each as soon as it fits: worked out, not stepped.
//!
//! A bucket admits a call when `tat + cost * interval - depth` is over, and moves `tat` to `max(tat, now) + cost *
//! interval`. Of equal calls in a row, every bucket's times are the larger of straight lines, so that how often there is
//! one does not matter: only the first and the last of a row can find a bucket full, which moves its `tat`. To be earlier
//! with any call makes no later one later, so that each as soon as it fits is also all of them as soon as they can.

use super::{
    bucket::Bucket,
    month::{MonthMark, Period},
    rule::Rule,
};
use smallvec::SmallVec;
use std::{cmp::max, sync::Arc};

/// What would take longer is not looked into: ten years, in nanoseconds.
const HORIZON: u64 = 3_653 * 86_400_000_000_000;

/// The buckets and months of somebody, as they stand at some moment of what is to come.
#[derive(Clone, Debug)]
pub(super) struct Course<'r> {
    /// Nanoseconds since 1970: when the last call so far passes.
    pub at: u64,
    until: u64,
    buckets: SmallVec<[Fill<'r>; 4]>,
    months: SmallVec<[Rest<'r>; 1]>,
    /// What the last wait was for.
    pub binding: Option<&'r Rule>,
}

#[derive(Clone, Debug)]
struct Fill<'r> {
    rule: &'r Rule,
    bucket: &'r Bucket,
    tat: u64,
}

#[derive(Clone, Debug)]
struct Rest<'r> {
    rule: &'r Rule,
    left: u64,
    period: Period,
}

/// How equal calls in a row fare. Nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub first: u64,
    pub last: u64,
    /// How many pass together with the first.
    pub at_once: u32,
}

impl<'r> Course<'r> {
    /// From `now`, when so much is owed to each rule.
    pub fn new(
        now: u64,
        owed: impl Iterator<Item = (&'r Arc<Rule>, u64)>,
        months: impl Iterator<Item = &'r MonthMark>,
    ) -> Self {
        let fill = |(rule, owed): (&'r Arc<Rule>, u64)| {
            Some(Fill { rule, bucket: rule.bucket()?, tat: now.saturating_add(owed) })
        };
        let rest = |month: &'r MonthMark| Rest {
            rule: &month.rule,
            left: u64::from(month.rule.policy.quota).saturating_sub(month.mark.owed),
            period: month.period,
        };
        let (buckets, months) = (owed.filter_map(fill).collect(), months.map(rest).collect());
        Self { at: now, until: now.saturating_add(HORIZON), buckets, months, binding: None }
    }

    /// Makes `count` calls of `cost`, of which each fits by itself; `None` if they are not done within ten years.
    pub fn make(&mut self, count: u32, cost: u32) -> Option<Row> {
        if cost == 0 || count == 0 {
            return Some(Row { first: self.at, last: self.at, at_once: count });
        }
        let mut left = count;
        let mut row: Option<Row> = None;
        while left > 0 {
            let fitting = left.min(self.within_months(cost));
            let end = self.months.iter().map(|month| month.period.ends()).min().unwrap_or(u64::MAX);
            let passing = self.before(end, fitting, cost);
            if passing > 0 {
                let first = self.first(cost).0;
                let next = Row { first, last: first, at_once: self.together(first, cost).min(passing) };
                let row = row.get_or_insert(next);
                self.go(passing, cost);
                row.last = self.at;
                left -= passing;
            } else {
                self.turn_month(end, cost);
            }
            if self.at > self.until || self.months.iter().any(|month| month.period.ends() > self.until) {
                return None;
            }
        }
        row
    }

    /// When the first call of `cost` fits, and the rule that it waits for.
    fn first(&self, cost: u32) -> (u64, Option<&'r Rule>) {
        self.latest(self.at, |fill| fill.fits(fill.tat, 1, cost))
    }

    /// When the last of `count` passes, as far as the buckets say, and the rule that it waits for.
    fn last(&self, count: u32, cost: u32) -> (u64, Option<&'r Rule>) {
        let (first, rule) = self.first(cost);
        let (last, later) = self.latest(first, |fill| fill.fits(max(fill.tat, first), count, cost));
        if count > 1 { (last, later.or(rule)) } else { (first, rule) }
    }

    fn latest(&self, at_least: u64, when: impl Fn(&Fill<'r>) -> u64) -> (u64, Option<&'r Rule>) {
        self.buckets.iter().fold((at_least, None), |latest, fill| {
            let at = when(fill);
            if at > latest.0 { (at, Some(fill.rule)) } else { latest }
        })
    }

    /// How many of the calls pass at the moment of the first.
    fn together(&self, first: u64, cost: u32) -> u32 {
        let room = |fill: &Fill<'_>| {
            let most = first.saturating_add(fill.bucket.depth).saturating_sub(max(fill.tat, first));
            u32::try_from(most / fill.owes(1, cost).max(1)).unwrap_or(u32::MAX)
        };
        self.buckets.iter().map(room).min().unwrap_or(u32::MAX)
    }

    /// How many of `count` pass before `end`.
    fn before(&self, end: u64, count: u32, cost: u32) -> u32 {
        if count == 0 || self.last(count, cost).0 < end {
            return count;
        }
        let (mut pass, mut late) = (0, count);
        while late - pass > 1 {
            let middle = pass + (late - pass) / 2;
            if self.last(middle, cost).0 < end { pass = middle } else { late = middle }
        }
        pass
    }

    fn go(&mut self, count: u32, cost: u32) {
        let ((first, _), (last, rule)) = (self.first(cost), self.last(count, cost));
        for fill in &mut self.buckets {
            let all = max(fill.tat, first).saturating_add(fill.owes(count, cost));
            fill.tat = all.max(last.saturating_add(fill.owes(1, cost)));
        }
        for month in &mut self.months {
            month.left -= u64::from(count) * u64::from(cost);
        }
        if last > self.at {
            (self.at, self.binding) = (last, rule);
        }
    }

    fn within_months(&self, cost: u32) -> u32 {
        let calls = |month: &Rest<'_>| u32::try_from(month.left / u64::from(cost)).unwrap_or(u32::MAX);
        self.months.iter().map(calls).min().unwrap_or(u32::MAX)
    }

    /// Goes into the next of the months that end at `end`; at once, unless one has too little left and is waited for.
    fn turn_month(&mut self, end: u64, cost: u32) {
        for month in self.months.iter_mut().filter(|month| month.period.ends() == end) {
            if month.left < cost.into() && end > self.at {
                (self.at, self.binding) = (end, Some(month.rule));
            }
            (month.left, month.period) = (month.rule.policy.quota.into(), month.period.following());
        }
    }
}

impl Fill<'_> {
    fn owes(&self, count: u32, cost: u32) -> u64 {
        self.bucket.interval.saturating_mul(u64::from(count) * u64::from(cost))
    }

    /// When the last of `count` fits that come as soon as they can, the first not before it does.
    fn fits(&self, tat: u64, count: u32, cost: u32) -> u64 {
        tat.saturating_add(self.owes(count, cost)).saturating_sub(self.bucket.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Mode, Policy, Scope, TierPlan,
        cell::{Cells, Mark},
        fixture::{World, policy},
    };
    use super::*;
    use proptest::{collection::vec, prelude::*, sample::select};
    use std::time::Duration;
    use time::macros::datetime;

    const TICK: u64 = 1_000;

    /// Each call by itself, through the cells that decide, at whatever nanosecond it fits; and what the last wait was for.
    fn stepped(
        (plan, world, used): (&TierPlan, &World, &[u32]),
        months: &[MonthMark],
        mut now: u64,
        asked: &[(u32, u32)],
    ) -> (Vec<Row>, Vec<String>) {
        let rules = &plan.view(world.user).rules;
        let mut cells = Cells::default();
        for (rule, used) in rules.iter().zip(used) {
            let mark = cells.weigh(rule, now, *used);
            cells.charge(now, &mark);
        }
        let left = |month: &MonthMark| u64::from(month.rule.policy.quota) - month.mark.owed;
        let mut months: Vec<_> =
            months.iter().map(|month| (&month.rule, left(month), month.period)).collect();
        let (mut rows, mut waited_for) = (Vec::new(), Vec::new());
        for &(count, cost) in asked {
            let mut row: Option<Row> = None;
            for _ in 0..count {
                loop {
                    let mut waits: Vec<_> =
                        rules.iter().map(|rule| (now + cells.weigh(rule, now, cost).wait, rule)).collect();
                    let used_up = months.iter().filter(|(_, left, _)| *left < cost.into());
                    waits.extend(used_up.map(|(rule, _, period)| (period.ends(), *rule)));
                    let next = waits.iter().map(|(at, _)| *at).max().unwrap_or(now);
                    if next == now {
                        break;
                    }
                    waits.retain(|(at, _)| *at == next);
                    waited_for = waits.iter().map(|(_, rule)| rule.policy.name.clone()).collect();
                    now = next;
                    for (rule, left, period) in &mut months {
                        while period.ends() <= now {
                            (*left, *period) = (rule.policy.quota.into(), period.following());
                        }
                    }
                }
                for rule in rules {
                    let mark = cells.weigh(rule, now, cost);
                    assert!(mark.fits());
                    cells.charge(now, &mark);
                }
                for (_, left, _) in &mut months {
                    *left -= u64::from(cost);
                }
                let row = row.get_or_insert(Row { first: now, last: now, at_once: 0 });
                row.last = now;
                row.at_once += u32::from(row.first == now);
            }
            rows.push(row.unwrap());
        }
        (rows, waited_for)
    }

    fn monthly(name: &'static str, quota: u32) -> Policy {
        let period = Some(super::super::Period::Month);
        Policy { window_seconds: 0, period, ..policy(name, Scope::User, quota, Duration::from_secs(1)) }
    }

    fn some_policy(name: &'static str) -> impl Strategy<Value = Policy> {
        let window = select(vec![1, 7, 60, 3_600]).prop_map(Duration::from_secs);
        (1..50_u32, window, 12..60_u32).prop_map(move |(quota, window, burst)| Policy {
            burst,
            ..policy(name, Scope::User, quota, window)
        })
    }

    fn owed(plan: &TierPlan, world: &World, used: &[u32]) -> Vec<u64> {
        let rules = plan.view(world.user).rules.iter();
        rules.zip(used).map(|(rule, used)| rule.bucket().unwrap().interval * u64::from(*used)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_worked_out_is_what_the_cells_do_one_call_after_another(
            policies in (some_policy("a"), some_policy("b"), some_policy("c")),
            many in 1..4_usize, used in vec(0..12_u32, 3), calls in vec((1..40_u32, 1..12_u32), 1..7),
            months in vec((150..1_500_u32, 0..150_u64, 1..=31_u8), 0..3),
        ) {
            let mut world = World::new();
            let rates = [policies.0, policies.1, policies.2].into_iter().take(many);
            let quotas = ["x", "y"].into_iter().zip(&months).map(|(name, (quota, ..))| monthly(name, *quota));
            let plan = world.plan(rates.chain(quotas));
            let view = plan.view(world.user);
            let months: Vec<_> = view.months.iter().zip(&months).map(|(rule, &(_, used, day))| MonthMark {
                rule: Arc::clone(rule),
                mark: Mark::told(used, used, 0),
                period: Period::at(world.clock.now(), day),
                left: 0,
            }).collect();
            let now = world.clock.micros() * TICK;
            let owed = owed(&plan, &world, &used);
            let mut course = Course::new(now, view.rules.iter().zip(owed), months.iter());
            let rows: Vec<_> = calls.iter().map(|&(count, cost)| course.make(count, cost).unwrap()).collect();
            let (stepped, waited_for) = stepped((&plan, &world, &used), &months, now, &calls);
            prop_assert_eq!(rows, stepped);
            let binding = course.binding.map(|rule| &rule.policy.name);
            prop_assert!(binding.map_or(waited_for.is_empty(), |name| waited_for.contains(name)), "{:?} {:?}", binding, waited_for);
        }

        #[test]
        fn the_limiter_admits_all_at_the_foretold_moment_and_not_a_microsecond_sooner(
            (quota, burst, used) in (select(vec![1, 2, 5, 8, 10]), 12..60_u32, 0..12_u32),
            calls in vec((1..1_000_000_u32, 1..12_u32), 1..5), last in 1..12_u32,
        ) {
            let mut world = World::new();
            let plan = world.plan([Policy { burst, ..policy("user", Scope::User, quota, Duration::from_secs(1)) }]);
            prop_assert!(world.ask(&plan, used).admitted);
            let rules = &plan.view(world.user).rules;
            let now = world.clock.micros() * TICK;
            let mut course = Course::new(now, rules.iter().zip(owed(&plan, &world, &[used])), [].iter());
            for (count, cost) in &calls {
                course.make(*count, *cost).unwrap();
            }
            let before = course.at;
            let row = course.make(1, last).unwrap();
            // A bucket that was waited for is empty, so that the limiter needs no million calls to be there.
            prop_assume!(before > now && row.first > before);
            world.clock.advance(Duration::from_nanos(before - now));
            while world.ask(&plan, 1).admitted {}
            world.clock.advance(Duration::from_nanos(row.first - before - TICK));
            prop_assert!(!world.ask(&plan, last).admitted);
            world.clock.advance(Duration::from_micros(1));
            prop_assert!(world.ask(&plan, last).admitted);
        }
    }

    #[test]
    fn what_a_month_has_no_more_of_is_done_in_the_next_and_the_rate_goes_on() {
        let mut world = World::new();
        let rate = Policy {
            burst: 2,
            mode: Mode::Enforce,
            ..policy("rate", Scope::User, 1, Duration::from_secs(1))
        };
        let plan = world.plan([monthly("month", 10), rate]);
        let view = plan.view(world.user);
        let start = datetime!(2026-01-31 23:59:57 UTC);
        let now = super::super::rule::nanos(start);
        let month = |used| MonthMark {
            rule: Arc::clone(&view.months[0]),
            mark: Mark::told(used, used, 0),
            period: Period::at(start, 1),
            left: 3_000_000_000,
        };
        let seconds = |months: [MonthMark; 1], count| {
            let mut course = Course::new(now, view.rules.iter().map(|rule| (rule, 0)), months.iter());
            let row = course.make(count, 1)?;
            let told = (row.first - now, row.last - now);
            Some((
                told.0 / 1_000_000_000,
                told.1 / 1_000_000_000,
                course.binding.unwrap().policy.name.clone(),
            ))
        };
        let told = |first, last, name: &str| Some((first, last, name.to_owned()));
        assert_eq!(seconds([month(0)], 4), told(0, 2, "rate"), "all within January");
        assert_eq!(seconds([month(8)], 3), told(0, 3, "month"), "one must wait for February");
        assert_eq!(seconds([month(10)], 2), told(3, 3, "month"));
        // At midnight it is February: four go in January and ten then, though January had more to give.
        assert_eq!(seconds([month(0)], 5), told(0, 3, "rate"));
        assert_eq!(seconds([month(0)], 14), told(0, 12, "rate"));
        let february = 28 * 86_400;
        assert_eq!(seconds([month(0)], 15), told(0, 3 + february, "month"));
        assert_eq!(seconds([month(5)], 15), told(0, 3 + february, "month"), "one of January's is lost");
        assert_eq!(seconds([month(0)], 1_000_000), None, "eight thousand years");
    }
}
