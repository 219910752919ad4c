//! What the tests of this room start from: a frozen clock, one org, and tiers in a line each.

use super::{Decision, Limiter, Mode, Policy, Reading, Scope, Subject, Tier, TierPlan, Unit};
use crate::{
    clock::Clock,
    ids::{ApiKeyId, OrgId, UserId},
};
use std::{sync::Arc, time::Duration};

pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_mins(1);
pub const HOUR: Duration = Duration::from_hours(1);

pub fn policy(name: &str, scope: Scope, quota: u32, window: Duration) -> Policy {
    Policy {
        name: name.into(),
        scope,
        quota,
        window_seconds: window.as_secs().try_into().unwrap(),
        burst: quota,
        period: None,
        unit: Unit::Requests,
        mode: Mode::Enforce,
        strict: false,
    }
}

pub fn shadow(policy: Policy) -> Policy {
    Policy { mode: Mode::Shadow, ..policy }
}

pub fn concurrent(name: &str, scope: Scope, quota: u32) -> Policy {
    Policy { unit: Unit::Concurrent, ..policy(name, scope, quota, SECOND) }
}

/// One org under a limiter whose time the test moves.
pub struct World {
    pub clock: Clock,
    pub limiter: Limiter,
    pub org: OrgId,
    pub user: Subject,
    pub key: Subject,
    version: i64,
}

impl World {
    pub fn new() -> Self {
        Self::at(Clock::frozen())
    }

    pub fn at(clock: Clock) -> Self {
        Self {
            limiter: Limiter::new(clock.clone()),
            clock,
            org: OrgId::new(),
            user: Subject::User(UserId::new()),
            key: Subject::ApiKey(ApiKeyId::new()),
            version: 0,
        }
    }

    /// The next version of the tier, in effect from now.
    pub fn tier(&mut self, policies: impl IntoIterator<Item = Policy>) -> Tier {
        self.version += 1;
        Tier {
            slug: "free".into(),
            name: "Free".into(),
            version: self.version,
            policies: policies.into_iter().collect(),
            effective_at: self.clock.now(),
        }
    }

    pub fn plan(&mut self, policies: impl IntoIterator<Item = Policy>) -> Arc<TierPlan> {
        Arc::new(TierPlan::new(&self.tier(policies), &[]).unwrap())
    }

    pub fn ask(&self, plan: &Arc<TierPlan>, cost: u32) -> Decision {
        self.limiter.decide(self.org, self.user, plan, cost)
    }

    /// How many of `calls` by the user pass.
    pub fn passing(&self, plan: &Arc<TierPlan>, calls: u32) -> usize {
        (0..calls).filter(|_| self.ask(plan, 1).admitted).count()
    }

    /// How the policy of that name stands for the user.
    pub fn reading(&self, plan: &TierPlan, name: &str) -> Reading {
        let readings = self.limiter.peek(self.org, self.user, plan, 1);
        readings.into_iter().find(|reading| reading.policy == name).unwrap()
    }
}
