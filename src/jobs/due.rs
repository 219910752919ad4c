//! Schedules whose time has come: each due time becomes one job, whoever asks and however many do.

use super::{
    CHANNEL,
    exports::{self, ExportArgs},
    files,
};
use crate::{
    cron::Cron,
    db::Pools,
    error::{Error, Result},
    events::{self, Doer, Entry},
    ids::{JobId, OrgId, ScheduleId},
    tenancy::{Mode, PlatformTx, Status, TenantTx},
    trail::Trail,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// What can be scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum ScheduleKind {
    Export,
}

impl ScheduleKind {
    /// Only these are looked at: another release may know others.
    const ALL: [&str; 1] = ["export"];

    /// The kind of job, and what it is told.
    fn job(self, args: Value) -> serde_json::Result<(&'static str, Value)> {
        match self {
            Self::Export => {
                let args = ExportArgs::of_schedule(serde_json::from_value(args)?);
                Ok((exports::KIND, serde_json::to_value(args)?))
            }
        }
    }
}

/// How many are looked up at a time.
const MOST: i64 = 500;
const ATTEMPTS: i32 = 5;

/// Those that are due in orgs that are active: what is due in another waits until it is.
pub async fn due(tx: &mut PlatformTx, now: OffsetDateTime) -> Result<Vec<(OrgId, ScheduleId)>> {
    let kinds = ScheduleKind::ALL.map(str::to_owned);
    let due = sqlx::query!(
        r#"select s.org_id as "org: OrgId", s.id as "id: ScheduleId" from schedules s
           join org_control c on c.org_id = s.org_id and c.status = 'active'
           where s.next_run_at <= $1 and s.kind = any($2)
           order by s.next_run_at limit $3"#,
        now,
        &kinds[..],
        MOST
    );
    Ok(due.fetch_all(&mut **tx).await?.into_iter().map(|due| (due.org, due.id)).collect())
}

/// Enqueues the job of the time that is due and passes on to the next after `now`, both or neither. Whatever was due in
/// between is part of that one job. None where somebody else was first.
pub async fn enqueue_due(
    pools: &Pools,
    org: OrgId,
    id: ScheduleId,
    now: OffsetDateTime,
) -> Result<Option<JobId>> {
    let (mut tx, opening) = TenantTx::begin(pools, org, Mode::Write).await?;
    if opening.status != Status::Active {
        return Ok(None);
    }
    let schedule = sqlx::query!(
        r#"select kind as "kind: ScheduleKind", args, cron, timezone, next_run_at as "due_at!" from schedules
           where org_id = $1 and id = $2 and next_run_at <= $3 for no key update skip locked"#,
        org.uuid(),
        id.uuid(),
        now
    );
    let Some(schedule) = schedule.fetch_optional(&mut *tx).await? else { return Ok(None) };
    let (kind, args) = schedule.kind.job(schedule.args).map_err(|error| Error::Internal(error.into()))?;
    let next = Cron::parse(&schedule.cron, &schedule.timezone)
        .ok()
        .and_then(|cron| cron.next_after(now.max(schedule.due_at)));
    if next.is_none() {
        tracing::warn!(%org, schedule = %id, "a schedule is never due again");
    }
    let job = JobId::new();
    insert(&mut tx, id, job, (kind, &args), schedule.due_at).await?;
    let told =
        Entry::new("export.requested", "job", job.uuid().to_string()).after(json!({"schedule_id": id}));
    events::record(&mut tx, Doer::SYSTEM, &Trail::of_the_house(now), told).await?;
    sqlx::query!(
        "update schedules set next_run_at = $3, last_run_at = $4, last_job_id = $5 where org_id = $1 and id = $2",
        org.uuid(),
        id.uuid(),
        next,
        now,
        job.uuid()
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("select pg_notify($1, '')", CHANNEL).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(Some(job))
}

/// A time that has its job already has no other: `jobs_due_once` would refuse it.
async fn insert(
    tx: &mut TenantTx,
    schedule: ScheduleId,
    job: JobId,
    (kind, args): (&str, &Value),
    due_at: OffsetDateTime,
) -> Result<()> {
    files::note(tx, job).await?;
    sqlx::query!(
        "insert into jobs (org_id, id, kind, args, max_attempts, created_by_user, created_by_key, schedule_id, due_at)
         select $1, $3, $4, $5, $6, created_by_user, created_by_key, id, $7 from schedules where org_id = $1 and id = $2",
        tx.org().uuid(),
        schedule.uuid(),
        job.uuid(),
        kind,
        args,
        ATTEMPTS,
        due_at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
