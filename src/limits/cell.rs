//! What one policy has counted for one user, key or org, and how it survives a change of the policy.

use super::{
    bucket::Refusal,
    permit::Permit,
    rule::{Meter, Rule},
    tier::TierPlan,
};
use smallvec::SmallVec;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// A wait that never ends: the cost is above the burst.
pub(super) const NEVER: u64 = u64::MAX;
/// When a place among concurrent requests comes free nobody knows; a second is polite.
const ANY_MOMENT: u64 = 1_000_000_000;

/// What a cell answers: what is owed now, what would be after the charge, and how long until the charge fits.
/// Nanoseconds for buckets; requests in flight for gauges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub owed: u64,
    pub after: u64,
    pub wait: u64,
    /// Which of the cells answered.
    place: usize,
}

impl Mark {
    /// What somebody else's cell answers.
    pub fn told(owed: u64, after: u64, wait: u64) -> Self {
        Self { owed, after, wait, place: 0 }
    }

    pub fn fits(&self) -> bool {
        self.wait == 0
    }
}

/// A count and the rule it was written under. Times are nanoseconds since 1970.
#[derive(Clone, Debug)]
struct Cell {
    rule: Arc<Rule>,
    /// GCRA's theoretical arrival time: when nothing is owed any more.
    tat: u64,
    /// When it was last charged or carried over to another rule.
    written: u64,
    in_flight: Option<Arc<AtomicU32>>,
}

impl Cell {
    fn new(rule: &Arc<Rule>) -> Self {
        Self { rule: Arc::clone(rule), tat: 0, written: 0, in_flight: None }
    }

    /// Whether forgetting it changes nothing.
    fn is_idle(&self, now: u64) -> bool {
        self.tat <= now && self.in_flight() == 0
    }

    fn weigh(&mut self, now: u64, cost: u32) -> Mark {
        match &self.rule.meter {
            Meter::Bucket(bucket) => {
                // More than an empty bucket is owed only after the clock was set back.
                self.tat = self.tat.min(now.saturating_add(bucket.depth));
                let owed = self.tat.saturating_sub(now);
                match bucket.take(owed, cost) {
                    Ok(after) => Mark { owed, after, wait: 0, place: 0 },
                    Err(Refusal::Until(wait)) => Mark { owed, after: owed, wait, place: 0 },
                    Err(Refusal::Never) => Mark { owed, after: owed, wait: NEVER, place: 0 },
                }
            }
            // No cell is asked about a month: it would be counted nowhere.
            Meter::Month => Mark { owed: 0, after: 0, wait: 0, place: 0 },
            Meter::Gauge => {
                let busy = self.in_flight();
                let fits = cost == 0 || busy < self.rule.policy.quota;
                let after = u64::from(busy) + u64::from(fits && cost > 0);
                Mark { owed: busy.into(), after, wait: if fits { 0 } else { ANY_MOMENT }, place: 0 }
            }
        }
    }

    fn charge(&mut self, now: u64, mark: &Mark) -> Option<Permit> {
        if mark.after == mark.owed {
            return None;
        }
        match self.rule.meter {
            Meter::Bucket(_) => {
                self.tat = now.saturating_add(mark.after);
                self.written = now;
                None
            }
            Meter::Month => None,
            Meter::Gauge => Some(Permit::take(self.in_flight.get_or_insert_default())),
        }
    }

    fn in_flight(&self) -> u32 {
        self.in_flight.as_ref().map_or(0, |count| count.load(Ordering::Acquire))
    }

    /// Carries the count over to `rule`: the units that were used stay used, whatever a unit takes to come back now,
    /// and nobody owes more than an empty bucket.
    ///
    /// A change counts from the moment it took effect, but not from before the last charge: a charge that came
    /// after was still judged by the old rule. Changes that the cell slept through are replayed in order.
    fn carry(&mut self, rule: &Arc<Rule>, now: u64) {
        let mut interval = self.rule.step.interval;
        let first_missed = match rule.past.iter().rposition(|step| *step == self.rule.step) {
            Some(own) => own + 1,
            // It comes from another tier: what changed here before the last charge never held for it.
            None => rule.past.partition_point(|step| step.at <= self.written),
        };
        let missed = &rule.past[first_missed..];
        for step in missed.iter().chain([&rule.step]) {
            let at = step.at.max(self.written).min(now);
            let owed =
                u128::from(self.tat.saturating_sub(at)) * u128::from(step.interval) / u128::from(interval);
            let owed = u64::try_from(owed).unwrap_or(u64::MAX).min(step.depth);
            if self.tat > at {
                self.tat = at.saturating_add(owed);
            }
            self.written = at;
            interval = step.interval;
        }
        self.rule = Arc::clone(rule);
    }
}

/// The few cells of one user, key or org.
#[derive(Debug, Default)]
pub(super) struct Cells(SmallVec<[Cell; 2]>);

impl Cells {
    /// Judges `cost` by the cell of `rule`, carried over if it was written under another version of it.
    pub fn weigh(&mut self, rule: &Arc<Rule>, now: u64, cost: u32) -> Mark {
        let place = self.place(rule, now).unwrap_or_else(|| {
            self.0.push(Cell::new(rule));
            self.0.len() - 1
        });
        Mark { place, ..self.0[place].weigh(now, cost) }
    }

    /// The same for who may have no cell, and gets none.
    pub fn foresee(cells: Option<&mut Self>, rule: &Arc<Rule>, now: u64, cost: u32) -> Mark {
        let known = cells.and_then(|cells| cells.place(rule, now).map(|place| &mut cells.0[place]));
        known.map_or_else(|| Cell::new(rule).weigh(now, cost), |cell| cell.weigh(now, cost))
    }

    /// Writes what [`weigh`](Self::weigh) foresaw, under the same lock. A gauge hands out a place.
    pub fn charge(&mut self, now: u64, mark: &Mark) -> Option<Permit> {
        self.0[mark.place].charge(now, mark)
    }

    fn place(&mut self, rule: &Arc<Rule>, now: u64) -> Option<usize> {
        let same = self.0.iter().position(|cell| Arc::ptr_eq(&cell.rule, rule));
        same.or_else(|| {
            let place = self.0.iter().position(|cell| rule.continues(&cell.rule))?;
            self.0[place].carry(rule, now);
            Some(place)
        })
    }

    /// Drops idle cells; whether any are left. What is repaid under the rule it was made under may still be owed under
    /// the one that holds now, so that is asked for first.
    pub fn retain_busy(&mut self, now: u64, plan: impl FnOnce() -> Option<Arc<TierPlan>>) -> bool {
        if self.0.iter().any(|cell| cell.is_idle(now)) {
            for rule in plan().iter().flat_map(|plan| plan.rules()) {
                self.place(rule, now);
            }
            self.0.retain(|cell| !cell.is_idle(now));
        }
        !self.0.is_empty()
    }
}
