//! The queue as workers see it: whose turn it is, who is still alive, and what became of an attempt.

use super::{
    run::{Claimed, Run},
    told::{JobStatus, told},
};
use crate::{
    clock::Clock,
    db::Pools,
    error::Result,
    events,
    ids::{JobId, OrgId},
    tenancy::{PlatformDb, PlatformTx},
    trail::Trail,
};
use std::time::Duration;

/// Where it is said that there may be something to do.
pub const CHANNEL: &str = "insula_jobs";
/// For how long a worker that is not heard of keeps its job.
pub const LEASE: Duration = Duration::from_secs(5);
/// The first wait after a failed attempt; each is twice the one before, and by chance up to half longer.
const BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_hours(1);

/// What a worker is to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    GoOn,
    Cancel,
    Lost,
}

#[derive(Clone)]
pub struct Queue {
    pools: Pools,
    platform: PlatformDb,
    clock: Clock,
}

impl Queue {
    pub fn new(pools: Pools, platform: PlatformDb, clock: Clock) -> Self {
        Self { pools, platform, clock }
    }

    /// Takes the next job of the org that has the fewest running, and of those the one that was served longest ago: how
    /// many jobs an org has waiting is nothing to the others. It costs some index look-ups for each org that waits.
    pub async fn claim(&self, kinds: &[String]) -> Result<Option<Run>> {
        let mut tx = self.platform.begin().await?;
        // One at a time: who is served next depends on who was served last.
        sqlx::query!("select pg_advisory_xact_lock(hashtext('insula jobs'))").execute(&mut *tx).await?;
        let job = sqlx::query_as!(
            Claimed,
            r#"with recursive waiting as (
                   (select org_id from jobs where status = 'queued' order by org_id limit 1)
                   union all
                   select (select j.org_id from jobs j where j.status = 'queued' and j.org_id > w.org_id
                           order by j.org_id limit 1)
                   from waiting w where w.org_id is not null
               ),
               next as (
                   select w.org_id, first.id
                   from waiting w
                   join org_control c on c.org_id = w.org_id and c.status = 'active'
                   cross join lateral (
                       select j.id from jobs j
                       where j.org_id = w.org_id and j.status = 'queued' and j.run_at <= clock_timestamp()
                         and j.kind = any($1)
                       order by j.run_at, j.id limit 1
                   ) first
                   order by
                       (select count(*) from jobs r where r.org_id = w.org_id and r.status = 'running'),
                       (select s.started_at from jobs s where s.org_id = w.org_id and s.started_at is not null
                        order by s.started_at desc limit 1) nulls first,
                       w.org_id
                   limit 1
               )
               update jobs j
               set status = 'running', attempts = attempts + 1, claim = gen_random_uuid(),
                   started_at = clock_timestamp(), locked_until = clock_timestamp() + make_interval(secs => $2)
               from next where j.org_id = next.org_id and j.id = next.id and j.status = 'queued'
               returning j.org_id as "org: _", j.id as "id: _", j.kind, j.args, j.attempts, j.max_attempts,
                         j.claim as "claim!", j.done, j.state, j.created_by_user, j.created_by_key,
                         j.traceparent"#,
            kinds,
            LEASE.as_secs_f64()
        )
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(job.map(|job| Run { pools: self.pools.clone(), clock: self.clock.clone(), job }))
    }

    /// Says that it is under way. A row that is locked is in a transaction of a living attempt, and left alone.
    pub async fn beat(&self, job: &Claimed) -> Result<Beat> {
        let mut tx = self.platform.begin().await?;
        let cancel = sqlx::query_scalar!(
            "select cancel_requested from jobs where org_id = $1 and id = $2 and claim = $3 and status = 'running'",
            job.org.uuid(),
            job.id.uuid(),
            job.claim
        );
        let beat = match cancel.fetch_optional(&mut *tx).await? {
            None => Beat::Lost,
            Some(true) => Beat::Cancel,
            Some(false) => Beat::GoOn,
        };
        if beat == Beat::GoOn {
            sqlx::query!(
                "update jobs set locked_until = clock_timestamp() + make_interval(secs => $4)
                 where (org_id, id) in (
                     select org_id, id from jobs
                     where org_id = $1 and id = $2 and claim = $3 and status = 'running' for update skip locked
                 )",
                job.org.uuid(),
                job.id.uuid(),
                job.claim,
                LEASE.as_secs_f64()
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(beat)
    }

    /// Hands on what nobody is heard of any more; how many jobs that were.
    pub async fn take_back(&self) -> Result<usize> {
        let mut tx = self.platform.begin().await?;
        let taken = sqlx::query!(
            r#"update jobs j
             set status = case when cancel_requested then 'cancelled' when attempts < max_attempts then 'queued'
                               else 'failed' end,
                 finished_at = case when cancel_requested or attempts >= max_attempts then clock_timestamp() end,
                 error = case when not cancel_requested and attempts >= max_attempts
                              then 'its workers died at it, as often as it may be tried' else error end,
                 claim = null, locked_until = null
             where (org_id, id) in (
                 select org_id, id from jobs where status = 'running' and locked_until < clock_timestamp()
                 for update skip locked
             )
             returning org_id as "org: OrgId", id as "id: JobId", kind, status as "status: JobStatus", error"#
        );
        let taken = taken.fetch_all(&mut *tx).await?;
        for job in taken.iter().filter(|job| job.status == JobStatus::Failed) {
            self.tell_failure(&mut tx, job.org, (job.id, &job.kind), job.error.as_deref()).await?;
        }
        tx.commit().await?;
        Ok(taken.len())
    }

    /// Leaves it to whoever comes first, as if it had not been begun.
    pub async fn give_back(&self, job: &Claimed) -> Result<()> {
        let mut tx = self.platform.begin().await?;
        sqlx::query!(
            "update jobs set status = 'queued', attempts = attempts - 1, claim = null, locked_until = null
             where org_id = $1 and id = $2 and claim = $3 and status = 'running'",
            job.org.uuid(),
            job.id.uuid(),
            job.claim
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!("select pg_notify($1, '')", CHANNEL).execute(&mut *tx).await?;
        tx.commit().await
    }

    /// Has it tried again later, or lays it with the failed ones, which are kept, and can be retried by hand.
    pub async fn fail(&self, job: &Claimed, why: &str, for_good: bool) -> Result<()> {
        let over = for_good || job.attempts >= job.max_attempts;
        let doublings = u32::try_from(job.attempts - 1).unwrap_or(0).min(20);
        let wait = (BACKOFF * 2_u32.pow(doublings)).min(LONGEST_BACKOFF);
        let mut tx = self.platform.begin().await?;
        let ended = sqlx::query!(
            "update jobs
             set status = case when $4 then 'failed' else 'queued' end, error = $5,
                 finished_at = case when $4 then clock_timestamp() end,
                 run_at = case when $4 then run_at
                               else clock_timestamp() + make_interval(secs => $6 * (1 + random() / 2)) end,
                 claim = null, locked_until = null
             where org_id = $1 and id = $2 and claim = $3 and status = 'running'",
            job.org.uuid(),
            job.id.uuid(),
            job.claim,
            over,
            why,
            wait.as_secs_f64()
        )
        .execute(&mut *tx)
        .await?;
        if over && ended.rows_affected() > 0 {
            self.tell_failure(&mut tx, job.org, (job.id, &job.kind), Some(why)).await?;
        }
        tx.commit().await
    }

    async fn tell_failure(
        &self,
        tx: &mut PlatformTx,
        org: OrgId,
        (id, kind): (JobId, &str),
        why: Option<&str>,
    ) -> Result<()> {
        let entry = told("job.failed", id, kind, JobStatus::Failed, ("error", why.into()));
        events::record_by_platform(tx, org, None, &Trail::of_the_house(self.clock.now()), entry).await
    }

    pub async fn cancelled(&self, job: &Claimed) -> Result<()> {
        let mut tx = self.platform.begin().await?;
        sqlx::query!(
            "update jobs set status = 'cancelled', finished_at = clock_timestamp(), claim = null, locked_until = null
             where org_id = $1 and id = $2 and claim = $3 and status = 'running'",
            job.org.uuid(),
            job.id.uuid(),
            job.claim
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }
}
