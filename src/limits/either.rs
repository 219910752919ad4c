//! `Limits`: the one thing that decides, in this process, or where a Redis is configured together with the others.

use super::{
    Counting, Decision, Limiter, Reading, Subject, Tally, TierPlan, shared::Shared, tally::Counters,
};
use crate::{clock::Clock, config, db::Pools, ids::OrgId};
use secrecy::ExposeSecret as _;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub struct Limits {
    local: Limiter,
    /// None for one replica.
    shared: Option<Shared>,
    counters: Counters,
}

impl Limits {
    /// Fails only if what is configured can't be an address: a Redis that is away is waited for by nobody.
    pub async fn open(config: &config::Redis, clock: Clock, pools: Pools) -> anyhow::Result<Self> {
        let shared = if config.url.expose_secret().is_empty() {
            None
        } else {
            Some(Shared::open(config, pools).await?)
        };
        Ok(Self { local: Limiter::new(clock), shared, counters: Counters::default() })
    }

    /// Judges `cost` by every policy of `plan` that applies to `who`, and charges all of them if none that is enforced
    /// refuses. A cost of 0 is always admitted and charges nothing.
    pub async fn decide(&self, org: OrgId, who: Subject, plan: &Arc<TierPlan>, cost: u32) -> Decision {
        let decision = match &self.shared {
            None => self.local.decide(org, who, plan, cost),
            Some(shared) => shared.decide(&self.local, org, who, plan, cost).await,
        };
        self.counters.count(&decision, cost);
        decision
    }

    /// How each policy stands, and whether `cost` would fit it; charges nothing.
    pub async fn peek(&self, org: OrgId, who: Subject, plan: &TierPlan, cost: u32) -> Vec<Reading> {
        match &self.shared {
            None => self.local.peek(org, who, plan, cost),
            Some(shared) => shared.peek(&self.local, org, who, plan, cost).await,
        }
    }

    /// What was decided here since the start.
    pub fn tally(&self) -> Tally {
        let (mode, redis_calls) =
            self.shared.as_ref().map_or((Counting::Exact, 0), |shared| (shared.counting(), shared.calls()));
        self.counters.read(mode, redis_calls)
    }

    /// Forgets who owes nothing here; see [`Limiter::sweep`].
    pub fn sweep(&self, plan_of: impl Fn(OrgId, Option<Subject>) -> Option<Arc<TierPlan>>) -> usize {
        self.local.sweep(|org, who| {
            let plan = plan_of(org, who)?;
            Some(self.shared.as_ref().map_or(Arc::clone(&plan), |shared| shared.share(&plan)))
        })
    }

    /// Keeps in touch with the other replicas until `until` is cancelled.
    pub async fn keep(&self, until: CancellationToken) {
        match &self.shared {
            None => until.cancelled().await,
            Some(shared) => shared.keep(until).await,
        }
    }
}
