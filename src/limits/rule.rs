//! A compiled policy: immutable, shared by every cell that was written under it.

use super::{
    bucket::Bucket,
    policy::{Mode, Period, Policy, Unit},
};
use std::sync::Arc;
use time::OffsetDateTime;

/// A policy ready to be judged by.
#[derive(Debug)]
pub(super) struct Rule {
    pub policy: Policy,
    /// Where it stands written: `tier:free@v7`.
    pub source: Arc<str>,
    /// Begins its item in the `RateLimit` header: `"user";r=`.
    pub label: String,
    pub meter: Meter,
    /// What held before, oldest first, for cells that slept through it.
    pub past: Box<[Step]>,
    pub step: Step,
    /// Its item in `RateLimit-Notice`, while a lower limit of its name is announced.
    pub notice: Option<Box<str>>,
}

/// What is read off a cell.
#[derive(Debug)]
pub(super) enum Meter {
    Bucket(Bucket),
    /// At most `quota` at the same moment.
    Gauge,
    /// At most `quota` in a billing month, which no cell counts.
    Month,
}

/// One change of a limit. Nanoseconds, `at` since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub at: u64,
    pub interval: u64,
    pub depth: u64,
}

impl Step {
    pub fn new(policy: &Policy, at: OffsetDateTime) -> Self {
        let interval = policy.interval();
        Self { at: nanos(at), interval, depth: interval.saturating_mul(u64::from(policy.burst)) }
    }
}

impl Rule {
    /// The caller has validated `policy`.
    pub fn new(policy: Policy, source: Arc<str>, at: OffsetDateTime, past: Box<[Step]>) -> Self {
        let step = Step::new(&policy, at);
        Self::at_step(policy, source, step, past)
    }

    /// `step` is what the policy says, since it does.
    pub fn at_step(policy: Policy, source: Arc<str>, step: Step, past: Box<[Step]>) -> Self {
        let meter = match (policy.period, policy.unit) {
            (Some(Period::Month), _) => Meter::Month,
            (None, Unit::Requests) => Meter::Bucket(Bucket::new(policy.interval(), policy.burst)),
            (None, Unit::Concurrent) => Meter::Gauge,
        };
        let label = format!("\"{}\";r=", policy.name);
        Self { policy, source, label, meter, past, step, notice: None }
    }

    /// The bucket of a rule that counts requests over time.
    pub fn bucket(&self) -> Option<&Bucket> {
        match &self.meter {
            Meter::Bucket(bucket) => Some(bucket),
            Meter::Gauge | Meter::Month => None,
        }
    }

    /// What one of `replicas` may admit by itself, so that all of them together keep the limit: a part of the rate, and
    /// of the burst, at least 1. `None` for places among concurrent requests, which each replica counts for itself
    /// anyway, and for months, which are counted elsewhere.
    pub fn share(&self, replicas: u32) -> Option<Self> {
        let part = |whole: u32| (whole / replicas).max(1);
        let Policy { quota, burst, .. } = self.policy;
        let policy = Policy { quota: part(quota), burst: part(burst), ..self.policy.clone() };
        // Not by the rounded quota: the parts of a small one would add up to more than the whole.
        let bucket = Bucket::new(self.bucket()?.interval.saturating_mul(replicas.into()), policy.burst);
        let step = Step { at: self.step.at, interval: bucket.interval, depth: bucket.depth };
        let (source, label) = (Arc::clone(&self.source), self.label.clone());
        let notice = self.notice.clone();
        let meter = Meter::Bucket(bucket);
        Some(Self { policy, source, label, meter, past: Box::default(), step, notice })
    }

    /// Whether a cell of `other` carries over: same name, counted for the same, in the same unit.
    pub fn continues(&self, other: &Self) -> bool {
        self.policy.continues(&other.policy)
    }

    pub fn is_shadow(&self) -> bool {
        self.policy.mode == Mode::Shadow
    }
}

impl Policy {
    pub(super) fn continues(&self, other: &Self) -> bool {
        let alike = |policy: &Self| (policy.scope, policy.unit, policy.period);
        alike(self) == alike(other) && self.name == other.name
    }
}

pub(super) fn nanos(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp_nanos().max(0)).unwrap_or(u64::MAX)
}
