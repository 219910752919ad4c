//! What people do to a job that is there: cancel it, or have it tried again.

use super::CHANNEL;
use crate::{
    error::{Error, Result, SqlExt as _},
    ids::{JobId, OrgId},
};
use sqlx::PgConnection;

/// Cancels a job of `org` that waits, and tells one that runs to stop.
///
/// # Errors
/// 409 `finished`, 404.
pub async fn cancel(tx: &mut PgConnection, org: OrgId, id: JobId) -> Result<()> {
    let cancelled = sqlx::query!(
        "update jobs
         set cancel_requested = true,
             status = case status when 'queued' then 'cancelled' else status end,
             finished_at = case status when 'queued' then clock_timestamp() end
         where org_id = $1 and id = $2 and status in ('queued', 'running')",
        org.uuid(),
        id.uuid()
    );
    if cancelled.execute(&mut *tx).await?.rows_affected() > 0 {
        return Ok(());
    }
    there_is(tx, org, id).await?;
    Err(Error::conflict("finished", "it is over already: there is nothing to cancel"))
}

/// Has a job of `org` that has failed or was cancelled wait for its turn again, with as many attempts as at first.
///
/// # Errors
/// 409 `not_failed` or `under_way`, 404.
pub async fn retry(tx: &mut PgConnection, org: OrgId, id: JobId) -> Result<()> {
    let retried = sqlx::query!(
        "update jobs set status = 'queued', attempts = 0, cancel_requested = false, finished_at = null, run_at = now()
         where org_id = $1 and id = $2 and status in ('failed', 'cancelled')",
        org.uuid(),
        id.uuid()
    );
    let retried = retried
        .execute(&mut *tx)
        .await
        .on_constraint("jobs_unique_key", || {
            Error::conflict("under_way", "another like it waits or runs already")
        })?
        .rows_affected();
    if retried == 0 {
        there_is(tx, org, id).await?;
        return Err(Error::conflict("not_failed", "only what has failed or was cancelled can be retried"));
    }
    sqlx::query!("select pg_notify($1, '')", CHANNEL).execute(tx).await?;
    Ok(())
}

async fn there_is(tx: &mut PgConnection, org: OrgId, id: JobId) -> Result<()> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from jobs where org_id = $1 and id = $2) as "found!""#,
        org.uuid(),
        id.uuid()
    );
    if found.fetch_one(tx).await? { Ok(()) } else { Err(Error::NotFound) }
}
