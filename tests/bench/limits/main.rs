//! The limiter by itself: `cargo bench --bench limits`. What a decision costs, how much memory a flood of invented keys
//! takes, and how long a sweep makes anybody wait.

#![expect(clippy::unwrap_used, reason = "what can't go on stops")]

mod cost;
mod flood;
mod memory;
mod sweeps;
mod watch;

use insula::{
    clock::Clock,
    limits::{Mode, Policy, Scope, Tier, TierPlan, Unit},
};
use std::sync::Arc;

fn main() {
    flood::addresses();
    flood::ids();
    sweeps::measure();
    cost::measure();
}

/// `quota` units a minute, all of which may come at once.
fn policy(name: &str, scope: Scope, quota: u32) -> Policy {
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

fn plan(clock: &Clock, policies: Vec<Policy>) -> Arc<TierPlan> {
    let tier =
        Tier { slug: "bench".into(), name: "Bench".into(), version: 1, policies, effective_at: clock.now() };
    Arc::new(TierPlan::new(&tier, &[]).unwrap())
}
