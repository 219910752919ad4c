//! Jobs that were over long ago, and their files: after a week those that can be had again by asking again, and whatever
//! there is once the job itself goes.

use crate::{
    error::Result,
    ids::{JobId, OrgId},
    jobs::files,
    state::AppState,
};
use time::{Duration, OffsetDateTime};

/// Of one status, in one transaction.
const BATCH: i64 = 1_000;
/// So many at most each time, for each status: the rest waits for ten minutes.
const BATCHES: usize = 100;
/// How long files are kept that no job is written down of (yet).
const JOBLESS: Duration = Duration::days(1);
/// And those of jobs that are over.
const FILES: Duration = Duration::days(7);

/// Files first: what is not written down any more, nobody finds. A job whose file the storage does not let go of stays.
pub async fn sweep_jobs(state: &AppState) -> Result<()> {
    let now = state.clock.now();
    let days = |days: u32| now - Duration::days(i64::from(days));
    let kept = &state.config.jobs;
    sweep_files(state, now, [days(kept.retention_days), days(kept.failed_retention_days)]).await?;
    for (status, until) in [
        ("succeeded", days(kept.retention_days)),
        ("cancelled", days(kept.retention_days)),
        ("failed", days(kept.failed_retention_days)),
    ] {
        for _ in 0..BATCHES {
            if sweep_batch(state, status, until).await? < BATCH.unsigned_abs() {
                break;
            }
        }
    }
    Ok(())
}

/// Deletes the first that were over before `until`, with what was wrong with their rows; answers how many. One that is
/// being retried is left alone.
async fn sweep_batch(state: &AppState, status: &str, until: OffsetDateTime) -> Result<u64> {
    let mut tx = state.platform.begin().await?;
    let gone = sqlx::query!(
        "with due as (
             select j.org_id, j.id from jobs j
             where j.status = $1 and j.created_at < $2 and j.finished_at < $2
               and not exists (select from job_files f where f.org_id = j.org_id and f.job_id = j.id)
             order by j.created_at limit $3 for update skip locked
         ),
         unsaid as (
             delete from import_errors e using due where e.org_id = due.org_id and e.job_id = due.id
         )
         delete from jobs j using due where j.org_id = due.org_id and j.id = due.id",
        status,
        until,
        BATCH
    );
    let gone = gone.execute(&mut *tx).await?.rows_affected();
    tx.commit().await?;
    Ok(gone)
}

/// Files of jobs that were asked for a week ago, those whose job goes now, and those whose job never came or is gone,
/// after a day; with what was wrong with their rows.
async fn sweep_files(
    state: &AppState,
    now: OffsetDateTime,
    [over, failed]: [OffsetDateTime; 2],
) -> Result<()> {
    let mut tx = state.platform.begin().await?;
    let due = sqlx::query!(
        r#"select o.id as "org: OrgId", d.job_id as "job: JobId"
           from orgs o, lateral (
               select f.job_id from job_files f left join jobs j on j.org_id = o.id and j.id = f.job_id
               where f.org_id = o.id and f.created_at < $1
                 and (j.id is null
                      or j.status not in ('queued', 'running')
                         and (f.created_at < $2 or j.finished_at < case j.status when 'failed' then $4::timestamptz else $3 end))
               order by f.created_at limit 100
           ) d"#,
        now - JOBLESS,
        now - FILES,
        over,
        failed
    );
    let due = due.fetch_all(&mut *tx).await?;
    tx.commit().await?;
    for file in due {
        if let Err(error) = state.storage.delete(&files::key(file.org, file.job)).await {
            tracing::warn!(%error, org = %file.org, job = %file.job, "the file of a job can't be deleted");
            continue;
        }
        let mut tx = state.platform.begin().await?;
        let (org, job) = (file.org.uuid(), file.job.uuid());
        sqlx::query!("delete from import_errors where org_id = $1 and job_id = $2", org, job)
            .execute(&mut *tx)
            .await?;
        sqlx::query!("delete from job_files where org_id = $1 and job_id = $2", org, job)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
    }
    Ok(())
}
