//! `Limits`: the one thing that decides, in this process, or where a Redis is configured together with the others.

use super::{
    Accuracy, Batch, Counting, Decision, Forecast, Limiter, Reading, Subject, TierPlan,
    decision::{Judged, Marks, readings},
    month::Months,
    shared::Shared,
};
use crate::{clock::Clock, config, db::Pools, ids::OrgId, metrics::Text};
use secrecy::ExposeSecret as _;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub struct Limits {
    local: Limiter,
    /// None for one replica.
    shared: Option<Arc<Shared>>,
    months: Months,
    accuracy: Arc<Accuracy>,
}

impl Limits {
    /// Fails only if what is configured can't be an address: a Redis that is away is waited for by nobody.
    pub async fn open(config: &config::Redis, clock: Clock, pools: Pools) -> anyhow::Result<Self> {
        let months = Months::new(clock.clone(), pools.clone(), config.assumed_replicas);
        let accuracy = Arc::new(Accuracy::new(clock.clone()));
        let shared = if config.url.expose_secret().is_empty() {
            None
        } else {
            Some(Arc::new(Shared::open(config, clock.clone(), pools, Arc::clone(&accuracy)).await?))
        };
        Ok(Self { local: Limiter::new(clock), shared, months, accuracy })
    }

    /// Judges `cost` by every policy of `plan` that applies to `who`, and charges all of them if none that is enforced
    /// refuses. A cost of 0 is always admitted and charges nothing.
    pub async fn decide(&self, org: OrgId, who: Subject, plan: &Arc<TierPlan>, cost: u32) -> Decision {
        let decision = self.judge(org, who, plan, cost).await;
        self.accuracy.count(org, &decision);
        decision
    }

    async fn judge(&self, org: OrgId, who: Subject, plan: &Arc<TierPlan>, cost: u32) -> Decision {
        let view = plan.view(who);
        if view.months.is_empty() {
            return self.decide_now(org, who, plan, cost).await;
        }
        // Taken first, and given back unless all others admit: those can't be undone.
        let taken = self.months.take(org, who, view, cost).await;
        if !taken.admitted() {
            let (plan, now, marks) = self.foresee(org, who, plan, cost).await;
            let refused = Judged { admitted: false, now, marks, permits: Vec::new() };
            let refused = Decision::new(plan, who, cost, refused).counted(self.mode());
            return refused.with_months(taken.give_back());
        }
        let decision = self.decide_now(org, who, plan, cost).await;
        let months = if decision.admitted { taken.spend() } else { taken.give_back() };
        decision.with_months(months)
    }

    async fn decide_now(&self, org: OrgId, who: Subject, plan: &Arc<TierPlan>, cost: u32) -> Decision {
        match &self.shared {
            None => self.local.decide(org, who, plan, cost),
            Some(shared) => shared.decide(&self.local, org, who, plan, cost).await,
        }
    }

    /// By what count decisions are made now.
    pub fn mode(&self) -> Counting {
        self.shared.as_ref().map_or(Counting::Exact, |shared| shared.mode())
    }

    /// How many replicas decide together, as far as this one knows.
    pub fn replicas(&self) -> u32 {
        self.shared.as_ref().map_or(1, |shared| shared.replicas())
    }

    /// How exactly the limits are kept.
    pub fn accuracy(&self) -> &Accuracy {
        &self.accuracy
    }

    /// Tells Prometheus what was decided, and how it is decided now.
    pub fn tell(&self, text: &mut Text) {
        self.accuracy.tell(text);
        let (name, mode) = ("insula_limit_mode", self.mode());
        text.family(name, "gauge", "By what count this replica decides: 1 for that one.");
        for counting in Counting::ALL {
            text.sample(name, &[("mode", counting.as_str())], u8::from(counting == mode));
        }
        let name = "insula_limit_replicas";
        text.family(name, "gauge", "How many replicas share the limits, as this one counts.");
        text.sample(name, &[], self.replicas());
    }

    /// How each policy stands, and whether `cost` would fit it; charges nothing.
    pub async fn peek(&self, org: OrgId, who: Subject, plan: &Arc<TierPlan>, cost: u32) -> Vec<Reading> {
        let (plan, now, marks) = self.foresee(org, who, plan, cost).await;
        let view = plan.view(who);
        let months = self.months.peek(org, who, view, cost).await;
        readings(view, &marks, &months, now, cost)
    }

    /// When calls that are made one after another pass, each as soon as it fits; charges nothing.
    pub async fn forecast(
        &self,
        org: OrgId,
        who: Subject,
        plan: &Arc<TierPlan>,
        calls: &[Batch],
    ) -> Forecast {
        let (held, now, marks) = self.foresee(org, who, plan, 0).await;
        let view = held.view(who);
        let months = self.months.peek(org, who, view, 0).await;
        // As a decision: what is too much for a share only is not refused for good.
        let (whole, share) = (plan.view(who).largest_cost(), view.largest_cost());
        let charged = |batch: &Batch| {
            let cost = if batch.cost <= whole { batch.cost.min(share) } else { batch.cost };
            Batch { cost, ..*batch }
        };
        let calls: Vec<Batch> = calls.iter().map(charged).collect();
        Forecast::new(view, &marks, &months, now, &calls)
    }

    async fn foresee(
        &self,
        org: OrgId,
        who: Subject,
        plan: &Arc<TierPlan>,
        cost: u32,
    ) -> (Arc<TierPlan>, u64, Marks) {
        match &self.shared {
            None => {
                let (now, marks) = self.local.foresee(org, who, plan.view(who).rules.iter(), cost);
                (Arc::clone(plan), now, marks)
            }
            Some(shared) => shared.foresee(&self.local, org, who, plan, cost).await,
        }
    }

    /// Forgets who owes nothing here; see [`Limiter::sweep`].
    pub fn sweep(&self, plan_of: impl Fn(OrgId, Option<Subject>) -> Option<Arc<TierPlan>>) -> usize {
        self.local.sweep(plan_of) + self.shared.as_ref().map_or(0, |shared| shared.sweep())
    }

    /// Keeps in touch with the other replicas, and hands back what rests, until `until` is cancelled.
    pub async fn keep(&self, until: CancellationToken) {
        let in_touch = async {
            if let Some(shared) = &self.shared {
                shared.keep(until.clone()).await;
            }
        };
        tokio::join!(in_touch, self.months.keep(until.clone()));
    }
}
