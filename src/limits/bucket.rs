//! governor as a pure function: what a bucket owes before, what it owes after.
//!
//! Time stays outside: the evaluator's clock stands at zero for ever and a cell is shown to it as the debt it has
//! *now*. A limiter made later therefore judges old cells right, which governor's own stores don't (their times
//! count from each limiter's birth).

use governor::{
    Quota, RateLimiter, clock::Clock, middleware::NoOpMiddleware, nanos::Nanos, state::StateStore,
};
use std::{
    cell::Cell,
    hash::{Hash, Hasher},
    num::NonZeroU32,
    time::Duration,
};

/// Why a cost does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It fits after so many nanoseconds.
    Until(u64),
    /// It is larger than the burst.
    Never,
}

/// The immutable half of a limit. All times are nanoseconds.
#[derive(Debug)]
pub(super) struct Bucket {
    gcra: RateLimiter<Slot, Slots, Standstill, NoOpMiddleware<Nanos>>,
    /// What one unit owes: the time in which it comes back.
    pub interval: u64,
    /// What an empty bucket owes: `burst` times `interval`.
    pub depth: u64,
    burst: u32,
}

impl Bucket {
    /// The caller has validated the policy: `interval * burst` stays below 366 days.
    pub fn new(interval: u64, burst: u32) -> Self {
        let interval = interval.max(1);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(Duration::from_nanos(interval))
            .unwrap_or(Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst);
        let depth = interval.saturating_mul(u64::from(burst.get()));
        Self { gcra: RateLimiter::new(quota, Slots, Standstill), interval, depth, burst: burst.get() }
    }

    /// What is owed after `cost` more units, or why they don't fit. Charges nothing: the caller keeps the answer.
    pub fn take(&self, debt: u64, cost: u32) -> Result<u64, Refusal> {
        let Some(units) = NonZeroU32::new(cost) else { return Ok(debt) };
        // Beyond the burst governor's `t * (n - 1)` wraps in release builds, and admits.
        if cost > self.burst {
            return Err(Refusal::Never);
        }
        let slot = Slot { before: debt, after: Cell::new(debt) };
        match self.gcra.check_key_n(&slot, units) {
            Ok(Ok(())) => Ok(slot.after.get()),
            Ok(Err(not_until)) => {
                let wait = not_until.wait_time_from(Nanos::default());
                Err(Refusal::Until(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
            }
            Err(_) => Err(Refusal::Never),
        }
    }

    /// How long until `cost` fits; `None` if it never does.
    pub fn wait(&self, debt: u64, cost: u32) -> Option<u64> {
        let more = self.interval.saturating_mul(u64::from(cost));
        (cost <= self.burst).then(|| debt.saturating_add(more).saturating_sub(self.depth))
    }

    /// Units that are gone, a unit that is partly back included.
    pub fn used(&self, debt: u64) -> u32 {
        u32::try_from(debt.div_ceil(self.interval)).unwrap_or(u32::MAX).min(self.burst)
    }

    /// How long until one more unit is there; 0 when all are.
    pub fn next_unit(&self, debt: u64) -> u64 {
        debt - debt.saturating_sub(1) / self.interval * self.interval
    }
}

/// One evaluation: what governor reads, and what it would write.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    before: u64,
    after: Cell<u64>,
}

/// governor asks for a hashable key; nothing ever hashes it.
impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.before.hash(state);
    }
}

#[derive(Debug)]
struct Slots;

impl StateStore for Slots {
    type Key = Slot;

    fn measure_and_replace<T, F, E>(&self, slot: &Slot, judge: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, after) = judge(Some(slot.before.into()))?;
        slot.after.set(after.into());
        Ok(outcome)
    }
}

#[derive(Clone, Debug)]
struct Standstill;

impl Clock for Standstill {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 86_400_000_000_000;

    #[test]
    fn a_cost_that_would_wrap_inside_governor_is_refused() {
        let bucket = Bucket::new(DAY, 10);
        for cost in [11, 213_505, 213_506, u32::MAX] {
            assert_eq!(bucket.take(0, cost), Err(Refusal::Never));
        }
        assert_eq!(bucket.take(0, 10), Ok(10 * DAY));
    }

    #[test]
    fn a_refusal_says_exactly_how_long() {
        let bucket = Bucket::new(1_000, 10);
        assert_eq!(bucket.take(10_000, 1), Err(Refusal::Until(1_000)));
        assert_eq!(bucket.take(9_000, 1), Ok(10_000));
        assert_eq!(bucket.take(9_001, 1), Err(Refusal::Until(1)));
    }

    #[test]
    fn the_next_unit_comes_when_one_fewer_is_owed() {
        let bucket = Bucket::new(1_000, 10);
        assert_eq!(
            [0, 1, 999, 1_000, 1_001, 2_000].map(|debt| bucket.next_unit(debt)),
            [0, 1, 999, 1_000, 1, 1_000]
        );
        assert_eq!([0, 1, 1_000, 1_001, 10_000].map(|debt| bucket.used(debt)), [0, 1, 1, 2, 10]);
    }

    proptest! {
        #[test]
        fn our_wait_is_governors(interval in 1..=DAY, burst in 1..=366_u32, part in 0.0..=1.0, cost in 0..400_u32) {
            let bucket = Bucket::new(interval, burst);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "any debt will do")]
            let debt = ((bucket.depth as f64 * part) as u64).min(bucket.depth);
            match bucket.take(debt, cost) {
                Ok(after) => {
                    prop_assert_eq!(after, debt + interval * u64::from(cost));
                    prop_assert_eq!(bucket.wait(debt, cost), Some(0));
                }
                Err(Refusal::Until(wait)) => prop_assert_eq!(bucket.wait(debt, cost), Some(wait)),
                Err(Refusal::Never) => prop_assert_eq!(bucket.wait(debt, cost), None),
            }
        }
    }
}
