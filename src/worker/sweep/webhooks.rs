//! Deliveries of long ago, with their attempts, secrets that sign nothing any more, and what is left of webhooks that were
//! deleted.

use crate::{error::Result, state::AppState};
use time::{Duration, OffsetDateTime};

/// Of each endpoint, in one transaction.
const BATCH: i64 = 1_000;
/// So many at most each time: the rest waits for ten minutes.
const BATCHES: usize = 100;

pub async fn sweep_webhooks(state: &AppState) -> Result<()> {
    let now = state.clock.now();
    let until = now - Duration::days(i64::from(state.config.webhooks.retention_days));
    let mut tx = state.platform.begin().await?;
    sqlx::query!("delete from webhook_secrets where expires_at < $1", now).execute(&mut *tx).await?;
    tx.commit().await?;
    for _ in 0..BATCHES {
        if sweep_batch(state, until).await? == 0 {
            break;
        }
    }
    let mut tx = state.platform.begin().await?;
    sqlx::query!(
        "delete from webhook_endpoints w
         where w.deleted_at is not null and not exists (
             select from webhook_deliveries d where d.org_id = w.org_id and d.endpoint_id = w.id
         )"
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Endpoint by endpoint, as the index has them; answers how many deliveries that were.
async fn sweep_batch(state: &AppState, until: OffsetDateTime) -> Result<u64> {
    let mut tx = state.platform.begin().await?;
    let gone = sqlx::query!(
        "with old as (
             select w.org_id, d.id
             from webhook_endpoints w, lateral (
                 select d.id from webhook_deliveries d
                 where d.org_id = w.org_id and d.endpoint_id = w.id
                   and d.created_at < case when w.deleted_at is null then $1::timestamptz else 'infinity' end and d.status <> 'running'
                 order by d.created_at limit $2 for update skip locked
             ) d
             limit $2
         )
         delete from webhook_deliveries d using old where d.org_id = old.org_id and d.id = old.id",
        until,
        BATCH
    );
    let gone = gone.execute(&mut *tx).await?.rows_affected();
    tx.commit().await?;
    Ok(gone)
}
