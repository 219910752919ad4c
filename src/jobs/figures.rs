//! How the queue stands, kind by kind and over all orgs.

use crate::{error::Result, tenancy::PlatformTx};
use serde::Serialize;
use utoipa::ToSchema;

/// Of one kind of jobs. Kinds are words of the program, so there are few.
#[derive(Serialize, ToSchema)]
pub struct KindFigures {
    #[schema(example = "products.export", max_length = 60)]
    pub kind: String,
    /// Jobs that wait for their turn, or for their next attempt.
    #[schema(example = 12, minimum = 0)]
    pub waiting: i64,
    /// How long the one has been waiting whose turn was the first to come; 0 where none is due.
    #[schema(example = 3.2, minimum = 0)]
    pub oldest_wait_seconds: f64,
    #[schema(example = 2, minimum = 0)]
    pub running: i64,
    /// Jobs that have failed and are still kept.
    #[schema(example = 1, minimum = 0)]
    pub failed: i64,
}

/// Those that have any. Each count walks an index of the jobs in that state, and nothing of what has succeeded.
pub async fn figures(tx: &mut PlatformTx) -> Result<Vec<KindFigures>> {
    let figures = sqlx::query_as!(
        KindFigures,
        r#"select kind as "kind!", sum(waiting)::bigint as "waiting!", sum(running)::bigint as "running!",
                  sum(failed)::bigint as "failed!", max(oldest)::float8 as "oldest_wait_seconds!"
           from (
               select kind, count(*) as waiting, 0 as running, 0 as failed,
                      greatest(extract(epoch from clock_timestamp() - min(run_at)), 0) as oldest
               from jobs where status = 'queued' group by kind
               union all
               select kind, 0, count(*) filter (where status = 'running'), count(*) filter (where status = 'failed'), 0
               from jobs where status in ('running', 'failed') group by kind
           ) counted
           group by kind order by kind limit 1000"#
    );
    Ok(figures.fetch_all(&mut **tx).await?)
}
