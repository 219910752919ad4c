//! The limiter of one process: one lock per org, one decision over all its policies, charged wholly or not at all.

use super::{
    cell::Cells,
    decision::{Decision, Judged, Marks, Reading, readings},
    mix::Mix,
    policy::Scope,
    rule::Rule,
    shelf::{Shelf, in_turns},
    tier::{Subject, TierPlan},
};
use crate::{clock::Clock, ids::OrgId};
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Orgs share a lock with about one in so many others; a decision holds it for less than a microsecond.
const SHARDS: usize = 256;
/// A sweep walks one in so many shards.
const SWEEPS_PER_LAP: usize = 64;

/// Decides how much each org, and each user and key in it, may do. Exact for one process; nothing is ever awaited.
#[derive(Debug)]
pub struct Limiter {
    clock: Clock,
    mix: Mix,
    shards: Box<[Mutex<Shard>]>,
    next_sweep: AtomicUsize,
}

/// Some orgs whole: everything a decision touches is under one lock. A cache line of its own for each.
#[derive(Debug)]
#[repr(align(64))]
struct Shard {
    orgs: Shelf<OrgId, Cells, Mix>,
    subjects: Shelf<(OrgId, Subject), Cells, Mix>,
}

impl Limiter {
    pub fn new(clock: Clock) -> Self {
        let mix = Mix::new();
        let shard = || Shard { orgs: Shelf::with_hasher(mix), subjects: Shelf::with_hasher(mix) };
        let shards = (0..SHARDS).map(|_| Mutex::new(shard())).collect();
        Self { clock, mix, shards, next_sweep: AtomicUsize::new(0) }
    }

    /// Judges `cost` by every policy of `plan` that applies to `who`, and charges all of them if none that is enforced
    /// refuses. A cost of 0 is always admitted and charges nothing.
    pub fn decide(&self, org: OrgId, who: Subject, plan: &Arc<TierPlan>, cost: u32) -> Decision {
        let judged = self.judge(org, who, plan.view(who).rules.iter(), cost);
        Decision::new(Arc::clone(plan), who, cost, judged)
    }

    /// The same by some rules only. Of what it charged the marks tell both before and after.
    pub(super) fn judge<'r>(
        &self,
        org: OrgId,
        who: Subject,
        rules: impl Iterator<Item = &'r Arc<Rule>> + Clone,
        cost: u32,
    ) -> Judged {
        let mut marks = Marks::new();
        let mut permits = Vec::new();
        let mut shard = self.shard(org).lock();
        // Read under the lock: decisions of an org are in the order of their times.
        let now = self.now();
        let Shard { orgs, subjects } = &mut *shard;
        let (common, own) = (orgs.get_or_default(org), subjects.get_or_default((org, who)));
        let mut admitted = true;
        for rule in rules.clone() {
            let cells = if rule.policy.scope == Scope::Org { &mut *common } else { &mut *own };
            let mark = cells.weigh(rule, now, cost);
            admitted &= mark.fits() || rule.is_shadow();
            marks.push(mark);
        }
        if admitted {
            for (rule, mark) in rules.zip(&marks) {
                let cells = if rule.policy.scope == Scope::Org { &mut *common } else { &mut *own };
                if let Some(permit) = cells.charge(now, mark) {
                    permits.push(permit);
                }
            }
        }
        drop(shard);
        Judged { admitted, now, marks, permits }
    }

    /// How each policy stands, and whether `cost` would fit it; charges nothing and remembers nobody.
    pub fn peek(&self, org: OrgId, who: Subject, plan: &TierPlan, cost: u32) -> Vec<Reading> {
        let view = plan.view(who);
        let (now, marks) = self.foresee(org, who, view.rules.iter(), cost);
        readings(view, &marks, &[], now, cost)
    }

    /// The same by some rules only; tells the time, too.
    pub(super) fn foresee<'r>(
        &self,
        org: OrgId,
        who: Subject,
        rules: impl Iterator<Item = &'r Arc<Rule>>,
        cost: u32,
    ) -> (u64, Marks) {
        let mut shard = self.shard(org).lock();
        let now = self.now();
        let Shard { orgs, subjects } = &mut *shard;
        let (mut common, mut own) = (orgs.get_mut(&org), subjects.get_mut(&(org, who)));
        let mut marks = Marks::new();
        for rule in rules {
            let cells = if rule.policy.scope == Scope::Org { &mut common } else { &mut own };
            marks.push(Cells::foresee(cells.as_deref_mut(), rule, now, cost));
        }
        (now, marks)
    }

    /// Forgets who owes nothing in the next 64th of the orgs; call it every few seconds. Returns how many users, keys
    /// and orgs were forgotten. No lock is held for more than some microseconds.
    ///
    /// `plan_of` tells the plan that holds now, if it is at hand: it is asked under a lock, so it must not wait. Without
    /// it, a count that is repaid under the plan it was made under is forgotten, though a slower one holds since.
    pub fn sweep(&self, plan_of: impl Fn(OrgId, Option<Subject>) -> Option<Arc<TierPlan>>) -> usize {
        let each = SHARDS / SWEEPS_PER_LAP;
        let first = self.next_sweep.fetch_add(each, Ordering::Relaxed);
        (first..first + each).map(|place| self.sweep_shard(&self.shards[place % SHARDS], &plan_of)).sum()
    }

    #[cfg(test)]
    pub(super) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// How many users, keys and orgs are remembered.
    pub fn remembered(&self) -> usize {
        let count = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            shard.orgs.len() + shard.subjects.len()
        };
        self.shards.iter().map(count).sum()
    }

    fn sweep_shard(
        &self,
        shard: &Mutex<Shard>,
        plan_of: impl Fn(OrgId, Option<Subject>) -> Option<Arc<TierPlan>>,
    ) -> usize {
        let sweep = |shard: &mut Shard, steps| {
            let now = self.now();
            shard.orgs.sweep(steps, |org, cells| cells.retain_busy(now, || plan_of(*org, None)))
                + shard
                    .subjects
                    .sweep(steps, |(org, who), cells| cells.retain_busy(now, || plan_of(*org, Some(*who))))
        };
        in_turns(shard, |shard| shard.orgs.len().max(shard.subjects.len()), sweep)
    }

    fn shard(&self, org: OrgId) -> &Mutex<Shard> {
        &self.shards[self.mix.shard(org.uuid().as_u128())]
    }

    /// Nanoseconds since 1970.
    fn now(&self) -> u64 {
        self.clock.micros().saturating_mul(1_000)
    }
}
