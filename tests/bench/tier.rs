//! A tier for benchmarks.

use insula::{
    clock::Clock,
    limits::{Mode, Policy, Scope, Tier, TierPlan, Unit},
};
use std::sync::Arc;

/// `quota` units a minute, all of which may come at once.
pub fn policy(name: &str, scope: Scope, quota: u32) -> Policy {
    Policy {
        name: name.into(),
        scope,
        quota,
        window_seconds: 60,
        burst: quota,
        period: None,
        unit: Unit::Requests,
        mode: Mode::Enforce,
        strict: false,
    }
}

/// In effect since it is `clock`'s time.
pub fn plan(clock: &Clock, policies: Vec<Policy>) -> Arc<TierPlan> {
    let tier =
        Tier { slug: "bench".into(), name: "Bench".into(), version: 1, policies, effective_at: clock.now() };
    Arc::new(TierPlan::new(&tier, &[]).unwrap_or_else(|faults| panic!("{faults:?}")))
}
