//! How the queue of deliveries stands, over all orgs.

use crate::{error::Result, tenancy::PlatformTx};

pub struct DeliveryFigures {
    /// That wait for their turn, or for their next attempt.
    pub waiting: i64,
    pub running: i64,
    /// How long the one has been waiting whose turn was the first to come; 0 where none is due.
    pub oldest_wait_seconds: f64,
}

/// Each count walks an index of the deliveries in that state.
pub async fn figures(tx: &mut PlatformTx) -> Result<DeliveryFigures> {
    let figures = sqlx::query_as!(
        DeliveryFigures,
        r#"select w.many as "waiting!", r.many as "running!", w.oldest as "oldest_wait_seconds!"
           from (
               select count(*) as many,
                      coalesce(greatest(extract(epoch from clock_timestamp() - min(due_at)), 0), 0)::float8 as oldest
               from webhook_deliveries where status = 'waiting'
           ) w,
           (select count(*) as many from webhook_deliveries where status = 'running') r"#
    );
    Ok(figures.fetch_one(&mut **tx).await?)
}
