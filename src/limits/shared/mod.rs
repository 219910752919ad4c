//! One limit for several replicas: Redis holds the counts and tells the time, replicas lease units of them and decide by
//! what they have leased.
//!
//! A count is a hash: what is `owed` (nanoseconds until all of it is back), `at` what microsecond of the server's `TIME`
//! it was, and the `interval` of a unit and the `depth` of the bucket under the rule it was written by. `at` and `owed`
//! together are GCRA's theoretical arrival time; in one number of microseconds it would be rounded to a quarter of one,
//! and seven units a minute would lose count. `lease.lua` does with it what the local cells do.
//!
//! **Leases.** One question asks for all counts of a caller, and is granted of all or of none: what requests wait for, and
//! ahead of that at most a part in 2N of what is left, N being the replicas that were last counted. So leases are large
//! and rare far from a limit, and single units near it. Units that are not used within a fifth of a second are handed back. A
//! caller has one question under way, and it is asked by a task of its own; a refusal is remembered for at most a fifth
//! of a second, so that a flood does not reach Redis.
//!
//! **Credit.** While enough was left when Redis last spoke, or if it never did, one request at a time is admitted before
//! Redis is asked, and charged with the question that follows; policies that are `strict` have none.
//!
//! **Bound.** Of a policy with rate r, burst B and N replicas, in any span of time W no more is admitted than
//! `B + r (W + 0.5 s) + N ceil(B / 4N)`, and without the last part if the policy is strict. What was admitted beyond B + r W is
//! owed like all else, so it does not add up. Each outage of Redis adds the last part once more, and each replica that is
//! killed its own credit. The half second is twice a lease's length and some: units are used that much later than they
//! were charged, and what is handed back gives no time back in which nothing was owed. At most `ceil(B / 2)` lie unused for
//! a quarter of a second while another replica is refused.
//!
//! **Redis gone.** A question that fails or takes longer than `redis.timeout_milliseconds` opens the breaker. From then on,
//! and while others wait for nothing, each replica uses up what it has leased, and then decides by its share: rate and
//! burst divided by N, beginning with `ceil(B / 4N)` units, for it can't know what the others have left. Every 250 ms a
//! heartbeat tries a new connection; the first that comes through closes the breaker. For another 400 ms shares hold on, so
//! that every replica has told what it admitted, as far as that is still owed, before anybody leases again.
//!
//! **Data lost** (restart without persistence, `FLUSHALL`, an empty replica promoted): `rl:born` is missing and made
//! anew. When the first Redis was born stands in Postgres; for any later one, a count that is not known, of an org, user
//! or key older than it, starts as used up at its birth. So a loss admits nothing twice, and costs who is older one
//! window without a burst. What an earlier Redis leased is not handed back to a later one. Eviction is not seen: set
//! `maxmemory-policy noeviction`.
//!
//! **Clocks.** No clock of one machine is compared with that of another. Counts are in the time of Redis, and a lease
//! lasts by the steady clock of its replica. If the clock of Redis is put back by d nobody is admitted for at most d or a
//! window; if it is put forward, what would have come back in that time is there at once.
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
#[cfg(test)]
mod bound;
mod breaker;
mod call;
#[cfg(test)]
mod fleet;
mod holder;
mod keys;
mod lease;
mod leases;
mod link;
#[cfg(test)]
mod model;
mod pace;
mod question;
mod replicas;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod together;
mod tokens;
mod wire;

use super::{
    accuracy::{Accuracy, Counting},
    decision::{Decision, Judged, Marks},
    engine::Limiter,
    tier::{Subject, TierPlan},
};
use crate::{clock::Clock, config, db::Pools, ids::OrgId, telemetry, tenancy::gate};
use anyhow::ensure;
use call::{Asked, Told};
use futures::{StreamExt as _, stream};
use lease::Ask;
use leases::Leases;
use link::{Beat, Link};
use question::{Call, Decided, Moment, Question, Verdict};
use replicas::{BEAT, Replicas};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// How long Redis is left alone after a failure.
const OPEN: Duration = Duration::from_millis(250);
/// How long replicas that find Redis again go on with their shares and tell what they admitted by them: all of them find
/// it within this time, and by then it knows of everything.
const SETTLING: Duration = Duration::from_millis(400);
/// How often Redis hears of what no request tells it.
const NEWS: Duration = Duration::from_millis(50);
/// Such tellings at once: they must not make requests wait.
const TELLINGS: usize = 64;

/// The counts in Redis, what is leased of them, and what stands in for them.
pub(super) struct Shared {
    link: Link,
    leases: Leases,
    replicas: Replicas,
    clock: Clock,
    pools: Pools,
    accuracy: Arc<Accuracy>,
    /// When the first Redis of this installation was born, in its microseconds. 0 until the first heartbeat, before
    /// which nobody asks.
    first_born: AtomicU64,
    /// In steady nanoseconds.
    settled_at: AtomicU64,
}

impl Shared {
    /// Starts without Redis, and says so, where it does not answer.
    pub async fn open(
        config: &config::Redis,
        clock: Clock,
        pools: Pools,
        accuracy: Arc<Accuracy>,
    ) -> anyhow::Result<Self> {
        let (link, replicas) = (Link::new(config)?, Replicas::new(config.assumed_replicas));
        let (first_born, settled_at) = (AtomicU64::default(), AtomicU64::default());
        let leases = Leases::new();
        let shared = Self { link, leases, replicas, clock, pools, accuracy, first_born, settled_at };
        if let Err(error) = shared.beat().await {
            tracing::warn!(
                "Redis: {error:#}; until it answers, this replica limits to its share of {} replicas \
                 (INSULA_REDIS__ASSUMED_REPLICAS)",
                shared.replicas.count()
            );
        }
        // Nothing was admitted yet.
        shared.settled_at.store(0, Ordering::Relaxed);
        Ok(shared)
    }

    /// Says that this replica lives, hands back what rests, and finds Redis again when it was lost, until `until` is
    /// cancelled.
    pub async fn keep(&self, until: CancellationToken) {
        let tended = async { tokio::join!(self.beat_on(), self.tell_on()) };
        until.run_until_cancelled(tended).await;
        self.tell_news(true).await;
        self.link.leave(&self.replicas.id).await;
    }

    async fn beat_on(&self) {
        loop {
            if self.link.is_up() {
                timeout(BEAT, self.link.tripped()).await.ok();
            }
            let away = !self.link.is_up();
            if away {
                sleep(OPEN).await;
            }
            if self.beat().await.is_ok() && away {
                tracing::info!(replicas = self.replicas.count(), "Redis answers: limits are shared again");
            }
        }
    }

    async fn tell_on(&self) {
        let mut ticks = interval(NEWS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.tell_news(false).await;
        }
    }

    async fn tell_news(&self, at_the_end: bool) {
        if !self.link.is_up() {
            return;
        }
        let news = self.leases.news(self.moment(), at_the_end);
        let tell = |question: Question| async move {
            let told = self.ask(question.org, &question.cells).await;
            self.leases.hear(&question, told.as_deref(), None, self.moment());
        };
        stream::iter(news).for_each_concurrent(TELLINGS, tell).await;
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
            let settling = u64::try_from(SETTLING.as_nanos()).unwrap_or(u64::MAX);
            self.settled_at.store(self.clock.steady().saturating_add(settling), Ordering::Relaxed);
            self.link.mended(connection);
        }
        Ok(())
    }

    /// As [`Limiter::decide`]. `local` counts what is in flight.
    pub async fn decide(
        self: &Arc<Self>,
        local: &Limiter,
        org: OrgId,
        who: Subject,
        plan: &Arc<TierPlan>,
        cost: u32,
    ) -> Decision {
        let view = plan.view(who);
        if cost == 0 || cost > view.largest_cost() {
            let (plan, now, marks) = self.foresee(local, org, who, plan, cost).await;
            let mut rules = plan.view(who).rules.iter().zip(&marks);
            let admitted = rules.all(|(rule, mark)| mark.fits() || rule.is_shadow());
            let judged = Judged { admitted, now, marks, permits: Vec::new() };
            return Decision::new(plan, who, cost, judged).counted(self.mode());
        }
        let call = Call { org, who, plan: Arc::clone(plan), cost };
        // Before anything is charged, for a place can be given back: dropping the permits does.
        let held = if view.gauges().next().is_some() {
            local.judge(org, who, view.gauges(), cost)
        } else {
            Judged { admitted: true, now: 0, marks: Marks::new(), permits: Vec::new() }
        };
        let (plan, cost, decided, counting) = if !held.admitted {
            let marks = self.leases.foresee(&call, self.moment());
            (call.plan, cost, Decided { admitted: false, marks }, self.mode())
        } else if let Some(decided) = self.decide_leased(&call).await {
            (call.plan, cost, decided, Counting::Leased)
        } else {
            let (share, cost, decided) = self.decide_alone(&call);
            (share, cost, decided, Counting::Degraded)
        };
        let (admitted, now) = (decided.admitted, self.clock.micros().saturating_mul(1_000));
        let marks = call::merge(plan.view(who), held.marks, decided.marks);
        let permits = if admitted { held.permits } else { Vec::new() };
        Decision::new(plan, who, cost, Judged { admitted, now, marks, permits }).counted(counting)
    }

    /// `None` while Redis is away and not all of it is leased.
    async fn decide_leased(self: &Arc<Self>, call: &Call) -> Option<Decided> {
        while self.is_shared() {
            match self.leases.judge(call, self.moment()) {
                Verdict::Decided(decided, more) => {
                    if let Some(question) = more {
                        self.send(question, None);
                    }
                    return Some(decided);
                }
                Verdict::Ask(question) => {
                    let (tell, told) = oneshot::channel();
                    self.send(question, Some((call.clone(), tell)));
                    if let Ok(decided) = told.await {
                        return Some(decided);
                    }
                }
                Verdict::Wait(landed) => {
                    let _waiting = Waiting { leases: &self.leases, call };
                    landed.await;
                }
            }
        }
        self.leases.judge_leased(call, self.moment())
    }

    fn decide_alone(&self, call: &Call) -> (Arc<TierPlan>, u32, Decided) {
        let share = call.plan.share(self.replicas.count());
        let view = share.view(call.who);
        // A share is too small for some costs that the whole would hold; they are not refused for Redis' sake.
        let cost = call.cost.min(view.largest_cost());
        let decided = self.leases.judge_alone(call, view, cost, self.moment());
        (share, cost, decided)
    }

    /// Asks by itself: who hangs up meanwhile takes nobody's answer along.
    fn send(self: &Arc<Self>, question: Question, mut of: Option<(Call, oneshot::Sender<Decided>)>) {
        let shared = Arc::clone(self);
        let asking = async move {
            let mut next = Some(question);
            while let Some(question) = next {
                let told = shared.ask(question.org, &question.cells).await;
                let call = of.as_ref().map(|(call, _)| call);
                next = match shared.leases.hear(&question, told.as_deref(), call, shared.moment()) {
                    Some(Verdict::Decided(decided, more)) => {
                        if let Some((call, tell)) = of.take()
                            && let Err(decided) = tell.send(decided)
                        {
                            shared.leases.put_back(&call, &decided);
                        }
                        more
                    }
                    Some(Verdict::Ask(more)) => Some(more),
                    Some(Verdict::Wait(_)) | None => None,
                };
            }
        };
        tokio::spawn(asking.instrument(telemetry::apart("lease")));
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
        let call = Call { org, who, plan: Arc::clone(plan), cost };
        let look = |rule| Asked::new(org, Some(who), &plan.slug, rule, Ask::default());
        let cells: Vec<Asked> = call.view().buckets().map(look).collect();
        let told = if self.is_shared() { self.ask(org, &cells).await } else { None };
        let (plan, buckets): (_, Marks) = if let Some(told) = told {
            let owed = self.leases.correct(&call, &told);
            let each = call.view().buckets().zip(owed);
            let marks = each.map(|(rule, owed)| call::foresee(rule, owed, cost)).collect();
            (Arc::clone(plan), marks)
        } else {
            let share = plan.share(self.replicas.count());
            let marks = self.leases.foresee_alone(&call, share.view(who), self.moment());
            (share, marks)
        };
        let view = plan.view(who);
        let (now, gauges) = local.foresee(org, who, view.gauges(), cost);
        (Arc::clone(&plan), now, call::merge(view, gauges, buckets))
    }

    /// Forgets who owes nothing, as far as this replica knows; see [`Limiter::sweep`].
    pub fn sweep(&self) -> usize {
        self.leases.sweep(self.clock.steady())
    }

    /// An answer for each cell; `None` while Redis is away.
    async fn ask(&self, org: OrgId, cells: &[Asked]) -> Option<Vec<Told>> {
        if cells.is_empty() {
            return Some(Vec::new());
        }
        let mut call = self.link.leasing();
        let parts = self.replicas.count().saturating_mul(2);
        let first = self.first_born.load(Ordering::Relaxed);
        call::fill(&mut call, self.link.births(), org, (parts, first), cells);
        let told = call::read(&self.link.ask::<Vec<u64>>(&call).await?, cells.len())?;
        for (asked, told) in cells.iter().zip(&told).filter(|(asked, _)| !asked.rule.is_shadow()) {
            self.accuracy.misjudged(&asked.tier, &asked.rule.policy.name, told.over, told.under);
        }
        Some(told)
    }

    /// By what count the next decision is made.
    pub fn mode(&self) -> Counting {
        if self.is_shared() { Counting::Leased } else { Counting::Degraded }
    }

    pub fn replicas(&self) -> u32 {
        self.replicas.count()
    }

    /// Whether Redis answers and has been told of everything.
    fn is_shared(&self) -> bool {
        self.link.is_up() && self.settled_at.load(Ordering::Relaxed) <= self.clock.steady()
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock.steady(), replicas: self.replicas.count() }
    }
}

/// Until it is dropped, by an answer or because its client has hung up.
struct Waiting<'s> {
    leases: &'s Leases,
    call: &'s Call,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.leases.waited(self.call);
    }
}
