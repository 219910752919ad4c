//! What was decided, and how each policy stands after it. Only marks are kept; words are made when asked for.

use super::{
    accuracy::Counting,
    cell::{Mark, NEVER},
    month::MonthMark,
    permit::Permit,
    policy::{Scope, Unit},
    rule::{Meter, Rule},
    tier::{Subject, TierPlan, View},
};
use smallvec::SmallVec;
use std::sync::Arc;
use time::OffsetDateTime;

pub(super) type Marks = SmallVec<[Mark; 4]>;

/// What some rules say, one mark for each, and what was charged if none that is enforced refused.
#[derive(Debug)]
pub(super) struct Judged {
    pub admitted: bool,
    /// Nanoseconds since 1970.
    pub now: u64,
    pub marks: Marks,
    pub permits: Vec<Permit>,
}

/// The answer to one request: admitted and charged everywhere, or refused and charged nowhere.
#[derive(Debug)]
pub struct Decision {
    pub admitted: bool,
    /// The units that were asked for.
    pub cost: u32,
    plan: Arc<TierPlan>,
    who: Subject,
    now: u64,
    /// One for each rule of the view.
    marks: Marks,
    permits: Vec<Permit>,
    /// The monthly quotas of the view.
    months: Vec<MonthMark>,
    counting: Counting,
}

impl Decision {
    /// `judged` has a mark for each rule of the plan's view.
    pub(super) fn new(plan: Arc<TierPlan>, who: Subject, cost: u32, judged: Judged) -> Self {
        let Judged { admitted, now, mut marks, permits } = judged;
        if admitted {
            for mark in &mut marks {
                mark.owed = mark.after;
            }
        }
        let (months, counting) = (Vec::new(), Counting::Exact);
        Self { admitted, cost, plan, who, now, marks, permits, months, counting }
    }

    /// The same, and how the monthly quotas stand.
    pub(super) fn with_months(mut self, months: Vec<MonthMark>) -> Self {
        self.months = months;
        if self.admitted {
            for month in &mut self.months {
                month.mark.owed = month.mark.after;
            }
        }
        self
    }

    /// The same, made by another count than the one whole one.
    pub(super) fn counted(self, counting: Counting) -> Self {
        Self { counting, ..self }
    }

    /// By what count it was made.
    pub fn counting(&self) -> Counting {
        self.counting
    }

    /// When it was made: microseconds since 1970.
    pub fn at_micros(&self) -> u64 {
        self.now / 1_000
    }

    /// The enforced policies that refused; none if admitted.
    pub fn violated(&self) -> impl Iterator<Item = &str> {
        self.refusing(false)
    }

    /// The shadow policies that would have refused.
    pub fn violated_in_shadow(&self) -> impl Iterator<Item = &str> {
        self.refusing(true)
    }

    /// Whether waiting does not help: the cost is above the burst of an enforced policy.
    pub fn cost_exceeds_burst(&self) -> bool {
        self.each().any(|(rule, mark)| !rule.is_shadow() && mark.wait == NEVER)
    }

    /// Whole seconds, at least 1, until the same cost is admitted if nothing else is used meanwhile. `None` if it
    /// was admitted, or never will be.
    pub fn retry_after(&self) -> Option<u32> {
        let wait = self.each().filter(|(rule, _)| !rule.is_shadow()).map(|(_, mark)| mark.wait).max()?;
        (wait > 0 && wait != NEVER).then(|| whole_seconds(wait))
    }

    /// How each policy that applies stands, tightest first; what refused comes before, shadows after all others.
    pub fn readings(&self) -> Vec<Reading> {
        readings(self.view(), &self.marks, &self.months, self.now, self.cost)
    }

    /// The places among concurrent requests that were taken: each is free again when its permit is dropped, or the
    /// decision with those that were not moved out.
    pub fn take_permits(&mut self) -> Vec<Permit> {
        std::mem::take(&mut self.permits)
    }

    /// The slug of the org's tier.
    pub(super) fn tier(&self) -> &str {
        &self.plan.slug
    }

    pub(super) fn view(&self) -> &View {
        self.plan.view(self.who)
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (&Rule, &Mark)> {
        let months = self.months.iter().map(|month| (month.rule.as_ref(), &month.mark));
        self.view().rules.iter().map(Arc::as_ref).zip(&self.marks).chain(months)
    }

    pub(super) fn months(&self) -> &[MonthMark] {
        &self.months
    }

    fn refusing(&self, shadow: bool) -> impl Iterator<Item = &str> {
        self.each()
            .filter(move |(rule, mark)| rule.is_shadow() == shadow && !mark.fits())
            .map(|(rule, _)| rule.policy.name.as_str())
    }
}

/// One policy, as it stands for one caller after a decision.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Reading {
    pub policy: String,
    pub scope: Scope,
    /// The quota.
    pub limit: u32,
    pub window_seconds: u32,
    pub burst: u32,
    pub unit: Unit,
    /// Units of the burst that are gone; requests in flight.
    pub used: u32,
    /// Units that may come at once now.
    pub remaining: u32,
    /// Seconds until more is there, rounded up; 0 if nothing is used, or nobody knows.
    pub reset_seconds: u32,
    /// When the decision's cost (1 if it was 0) fits this policy; `None` if it never does.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_at: Option<OffsetDateTime>,
    /// Whether this policy refused, or, in shadow, would have.
    pub violated: bool,
    pub shadow: bool,
    /// Where the policy stands written: `tier:free@v7`.
    pub source: String,
}

pub(super) fn readings(
    view: &View,
    marks: &[Mark],
    months: &[MonthMark],
    now: u64,
    cost: u32,
) -> Vec<Reading> {
    let counted = view.rules.iter().zip(marks).map(|(rule, mark)| Reading::of(rule, mark, now, cost));
    let mut readings: Vec<_> =
        counted.chain(months.iter().map(|month| Reading::of_month(month, now, cost))).collect();
    readings.sort_by_key(|reading| (reading.shadow, !reading.violated, reading.remaining));
    readings
}

impl Reading {
    fn of(rule: &Rule, mark: &Mark, now: u64, cost: u32) -> Self {
        let policy = &rule.policy;
        let Level { used, remaining, next } = Level::of(rule, mark);
        let wait = match &rule.meter {
            Meter::Bucket(bucket) => bucket.wait(mark.owed, cost.max(1)),
            Meter::Gauge | Meter::Month => Some(if remaining > 0 { 0 } else { mark.wait }),
        };
        Self {
            policy: policy.name.clone(),
            scope: policy.scope,
            limit: policy.quota,
            window_seconds: policy.window_seconds,
            burst: policy.burst,
            unit: policy.unit,
            used,
            remaining,
            reset_seconds: if next == 0 { 0 } else { whole_seconds(next) },
            next_at: wait.map(|wait| moment(now.saturating_add(wait))),
            violated: !mark.fits(),
            shadow: rule.is_shadow(),
            source: rule.source.as_ref().into(),
        }
    }

    fn of_month(month: &MonthMark, now: u64, cost: u32) -> Self {
        let MonthMark { rule, mark, period, left } = month;
        let reading = Self::of(rule, mark, now, cost);
        let wait = match cost.max(1) {
            cost if cost > rule.policy.quota => None,
            _ if !mark.fits() => Some(mark.wait),
            cost if cost <= reading.remaining => Some(0),
            _ => Some(*left),
        };
        Self {
            window_seconds: period.seconds(),
            reset_seconds: whole_seconds(*left),
            next_at: wait.map(|wait| moment(now.saturating_add(wait))),
            ..reading
        }
    }
}

/// A mark in units.
pub(super) struct Level {
    pub used: u32,
    pub remaining: u32,
    /// Nanoseconds until one more unit is there; 0 if all are, or nobody knows.
    pub next: u64,
}

impl Level {
    pub fn of(rule: &Rule, mark: &Mark) -> Self {
        let (used, most, next) = match &rule.meter {
            Meter::Bucket(bucket) => (bucket.used(mark.owed), rule.policy.burst, bucket.next_unit(mark.owed)),
            Meter::Gauge | Meter::Month => {
                (u32::try_from(mark.owed).unwrap_or(u32::MAX), rule.policy.quota, 0)
            }
        };
        Self { used, remaining: most.saturating_sub(used), next }
    }
}

/// At least one.
pub(super) fn whole_seconds(nanos: u64) -> u32 {
    u32::try_from(nanos.div_ceil(1_000_000_000).max(1)).unwrap_or(u32::MAX)
}

pub(super) fn moment(nanos: u64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::nanoseconds(i64::try_from(nanos).unwrap_or(i64::MAX))
}
