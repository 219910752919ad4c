//! What this replica has decided since it started, and how far that can be from one exact count.

use super::decision::Decision;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use utoipa::ToSchema;

/// By what count decisions are made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counting {
    /// By the one whole count: no Redis is configured, or each decision asks it.
    Exact,
    /// By units that were leased from the whole count.
    Leased,
    /// By this replica's share: Redis is away.
    Degraded,
}

/// Cumulative since the start of this replica. Units are those of each request, not of each of its policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tally {
    pub mode: Counting,
    pub decisions: u64,
    pub admitted_units: u64,
    pub refused_decisions: u64,
    /// Calls that decisions and readings made; heartbeats are none.
    pub redis_calls: u64,
    /// Measured where it is known: units by which what was admitted ahead went beyond the limit.
    pub over_units: u64,
    /// Units that were refused here while another replica held as many unused.
    pub under_units: u64,
    /// Units admitted without Redis that it was told of afterwards.
    pub settled_units: u64,
}

/// Counts for the [`Tally`]. Each number is right by itself; read together they may be some decisions apart.
#[derive(Debug, Default)]
pub(super) struct Counters {
    decisions: AtomicU64,
    admitted_units: AtomicU64,
    refused_decisions: AtomicU64,
}

impl Counters {
    /// `cost` is what was asked for: a share of a limit may have been charged less.
    pub fn count(&self, decision: &Decision, cost: u32) {
        self.decisions.fetch_add(1, Ordering::Relaxed);
        if decision.admitted {
            self.admitted_units.fetch_add(cost.into(), Ordering::Relaxed);
        } else {
            self.refused_decisions.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn read(&self, mode: Counting, redis_calls: u64) -> Tally {
        Tally {
            mode,
            decisions: self.decisions.load(Ordering::Relaxed),
            admitted_units: self.admitted_units.load(Ordering::Relaxed),
            refused_decisions: self.refused_decisions.load(Ordering::Relaxed),
            redis_calls,
            // Nothing is leased or settled yet.
            over_units: 0,
            under_units: 0,
            settled_units: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Scope,
        fixture::{HOUR, World, policy},
    };
    use super::*;

    #[test]
    fn units_are_counted_once_for_all_policies_and_refusals_count_none() {
        let mut world = World::new();
        let plan = world.plan([policy("user", Scope::User, 5, HOUR), policy("org", Scope::Org, 9, HOUR)]);
        let counters = Counters::default();
        for cost in [3, 3, 2, 0] {
            counters.count(&world.ask(&plan, cost), cost);
        }
        let tally = counters.read(Counting::Exact, 0);
        assert_eq!((tally.decisions, tally.admitted_units, tally.refused_decisions), (4, 5, 1));
    }
}
