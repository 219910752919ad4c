//! One limit for several replicas: each decision is one call to Redis, which holds the cells and tells the time.
//!
//! A cell is a hash: what is `owed` (nanoseconds until all of it is back), `at` what microsecond of the server's `TIME`
//! it was, and the `interval` of a unit under the rule it was written by. `at` and `owed` together are GCRA's theoretical
//! arrival time; in one number of microseconds it would be rounded to a quarter of one, and seven units a minute would
//! lose count. `decide.lua` does with it what the local cells do.
//!
//! **Redis gone.** A call that fails or takes longer than `redis.timeout_milliseconds` opens the breaker. From then on,
//! and while others wait for nothing, each replica decides by a local limiter over its share: rate and burst divided by
//! the replicas last counted. Every 250 ms a heartbeat tries a new connection; the first that comes through closes the
//! breaker. What is admitted through Redis is charged to the local share as well, as far as it fits, so that an outage
//! does not hand out again what was just used. What is admitted meanwhile is not charged to Redis afterwards: however
//! often Redis comes and goes, Redis and the shares each keep the limit, so that at most twice the limit passes.
//!
//! **Data lost** (restart without persistence, `FLUSHALL`, an empty replica promoted): `rl:born` is missing and made
//! anew. When the first Redis was born stands in Postgres; for any later one, a count that is not known, of an org, user
//! or key older than it, starts as used up at its birth. So a loss admits nothing twice, and costs who is older one
//! window without a burst. Eviction is not seen: set `maxmemory-policy noeviction`.
//!
//! Places among concurrent requests (`concurrent` policies) are counted by each replica for itself. A tier's change
//! reaches the replicas within a second of each other; until then a count is carried back and forth between the rules,
//! and who has used more than a smaller burst owes that burst only.
//!
//! **Redis Cluster** (`redis.cluster`). All of an org's keys are in one hash slot. A node can lose its data alone, so each
//! slot says for itself when it was born: all of them when the installation's first Redis is, so that one that is missing
//! later has been lost. A node that is gone opens the breaker as a single Redis does, for all orgs, whenever one of its
//! own is asked for: nobody fails, and its own orgs find their shares.

mod births;
mod breaker;
mod call;
mod keys;
mod link;
#[cfg(test)]
mod model;
mod replicas;
mod wire;

use super::{
    accuracy::Counting,
    decision::{Decision, Judged, Marks},
    engine::Limiter,
    tier::{Subject, TierPlan, View},
};
use crate::{config, db::Pools, ids::OrgId, tenancy::gate};
use anyhow::ensure;
use link::{Beat, Link};
use replicas::{BEAT, Replicas};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long Redis is left alone after a failure.
const OPEN: Duration = Duration::from_millis(250);

/// The cells in Redis, and what stands in for them.
pub(super) struct Shared {
    link: Link,
    replicas: Replicas,
    pools: Pools,
    /// When the first Redis of this installation was born, in its microseconds. 0 until the first heartbeat, before
    /// which nobody asks.
    first_born: AtomicU64,
}

impl Shared {
    /// Starts without Redis, and says so, where it does not answer.
    pub async fn open(config: &config::Redis, pools: Pools) -> anyhow::Result<Self> {
        let (link, replicas) = (Link::new(config)?, Replicas::new(config.assumed_replicas));
        let shared = Self { link, replicas, pools, first_born: AtomicU64::default() };
        if let Err(error) = shared.beat().await {
            tracing::warn!(
                "Redis: {error:#}; until it answers, this replica limits to its share of {} replicas \
                 (INSULA_REDIS__ASSUMED_REPLICAS)",
                shared.replicas.count()
            );
        }
        Ok(shared)
    }

    /// Says that this replica lives, and finds Redis again when it was lost, until `until` is cancelled.
    pub async fn keep(&self, until: CancellationToken) {
        let tended = async {
            loop {
                if self.link.is_up() {
                    timeout(BEAT, self.link.tripped()).await.ok();
                }
                let away = !self.link.is_up();
                if away {
                    sleep(OPEN).await;
                }
                if self.beat().await.is_ok() && away {
                    tracing::info!(
                        replicas = self.replicas.count(),
                        "Redis answers: limits are shared again"
                    );
                }
            }
        };
        until.run_until_cancelled(tended).await;
        self.link.leave(&self.replicas.id).await;
    }

    async fn beat(&self) -> anyhow::Result<()> {
        let (Beat { replicas, born }, mut fresh) = self.link.beat(&self.replicas.id).await?;
        if self.first_born.load(Ordering::Relaxed) == 0 {
            ensure!(born > 0, "its clock stands before 1970");
            let (first, is_new) = gate::first_redis_born(&self.pools, born.cast_signed()).await?;
            if is_new && let Some(connection) = &mut fresh {
                self.link.tell_births(connection, born).await?;
            }
            self.first_born.store(first.cast_unsigned(), Ordering::Relaxed);
        }
        self.replicas.counted(replicas);
        if let Some(connection) = fresh {
            self.link.mended(connection);
        }
        Ok(())
    }

    /// As [`Limiter::decide`]. `local` counts what is in flight, and stands in for Redis.
    pub async fn decide(
        &self,
        local: &Limiter,
        org: OrgId,
        who: Subject,
        plan: &Arc<TierPlan>,
        cost: u32,
    ) -> Decision {
        let view = plan.view(who);
        let share = plan.share(self.replicas.count());
        // Before Redis is asked, for a place can be given back. Dropping the permits does.
        let held = local.judge(org, who, view.gauges(), cost);
        let fits = cost > 0 && cost <= view.largest_cost() && held.admitted;
        let Some((now, told)) = self.ask(org, who, view, cost, fits).await else {
            drop(held);
            // A share is too small for some costs that the whole would hold; they are not refused for Redis' sake.
            let most = share.view(who).largest_cost();
            let cost = if cost <= view.largest_cost() { cost.min(most) } else { cost };
            return local.decide(org, who, &share, cost).counted(Counting::Degraded);
        };
        let marks = call::merge(view, held.marks, told);
        let admitted = view.rules.iter().zip(&marks).all(|(rule, mark)| mark.fits() || rule.is_shadow());
        if admitted && cost > 0 {
            local.judge(org, who, share.view(who).buckets(), cost);
        }
        let permits = if admitted { held.permits } else { Vec::new() };
        let judged = Judged { admitted, now, marks, permits };
        Decision::new(Arc::clone(plan), who, cost, judged).counted(Counting::Leased)
    }

    /// As [`Limiter::foresee`], by the rules of a plan: which one, when, and a mark for each.
    pub async fn foresee(
        &self,
        local: &Limiter,
        org: OrgId,
        who: Subject,
        plan: &Arc<TierPlan>,
        cost: u32,
    ) -> (Arc<TierPlan>, u64, Marks) {
        let view = plan.view(who);
        let Some((now, told)) = self.ask(org, who, view, cost, false).await else {
            let share = plan.share(self.replicas.count());
            let (now, marks) = local.foresee(org, who, share.view(who).rules.iter(), cost);
            return (share, now, marks);
        };
        let (_, held) = local.foresee(org, who, view.gauges(), cost);
        (Arc::clone(plan), now, call::merge(view, held, told))
    }

    /// By what count the next decision is made.
    pub fn mode(&self) -> Counting {
        if self.link.is_up() { Counting::Leased } else { Counting::Degraded }
    }

    pub fn replicas(&self) -> u32 {
        self.replicas.count()
    }

    /// What stands in for `plan` while Redis is away.
    pub fn share(&self, plan: &TierPlan) -> Arc<TierPlan> {
        plan.share(self.replicas.count())
    }

    /// The time of Redis, in nanoseconds, and a mark for each bucket of the view.
    async fn ask(
        &self,
        org: OrgId,
        who: Subject,
        view: &View,
        cost: u32,
        charge: bool,
    ) -> Option<(u64, Marks)> {
        let mut call = self.link.decision();
        let (first, charge) = (self.first_born.load(Ordering::Relaxed), u8::from(charge));
        call::fill(&mut call, self.link.births(), org, who, view, &[charge.into(), cost.into(), first]);
        call::read(view, cost, &self.link.ask::<Vec<u64>>(&call).await?)
    }
}
