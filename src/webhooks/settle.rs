//! What an attempt leaves behind: its record, what is next for the delivery, and what it says of the endpoint.

use super::{Attempt, Claimed, DisabledReason, Next, Queue, disable};
use crate::{error::Result, tenancy::PlatformTx};
use serde_json::json;
use time::Duration;

impl Queue {
    /// Writes an attempt down, with what is next. Answers whether it counted: where the delivery has been handed on
    /// meanwhile, or its endpoint is no more, nothing is written.
    ///
    /// An endpoint where nothing has succeeded for `patience`, and that fails again, is disabled.
    pub async fn settle(
        &self,
        claimed: &Claimed,
        attempt: &Attempt,
        next: Next,
        patience: Duration,
    ) -> Result<bool> {
        let mut tx = self.platform.begin().await?;
        // First, as whoever deletes it does: two that lock in one order never wait for each other.
        let there = sqlx::query_scalar!(
            "select id from webhook_endpoints where org_id = $1 and id = $2 for key share",
            claimed.org.uuid(),
            claimed.endpoint.uuid()
        );
        if there.fetch_optional(&mut *tx).await?.is_none() || !record(&mut tx, claimed, attempt, next).await?
        {
            return Ok(false);
        }
        if next == Next::Done {
            sqlx::query!(
                "update webhook_endpoints set failing_since = null, version = version + 1, updated_at = $3
                 where org_id = $1 and id = $2 and failing_since is not null",
                claimed.org.uuid(),
                claimed.endpoint.uuid(),
                attempt.at
            )
            .execute(&mut *tx)
            .await?;
        } else {
            sqlx::query!(
                "update webhook_endpoints set failing_since = $3, version = version + 1, updated_at = $3
                 where org_id = $1 and id = $2 and failing_since is null",
                claimed.org.uuid(),
                claimed.endpoint.uuid(),
                attempt.at
            )
            .execute(&mut *tx)
            .await?;
            let now = self.clock.now();
            let (why, since) = match next {
                Next::Gone => (DisabledReason::Gone, now),
                _ => (DisabledReason::Failing, now - patience),
            };
            disable::disable(&mut tx, (claimed.org, claimed.endpoint), attempt, why, (now, since)).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// Ends the delivery or has it wait, and keeps the attempt: both if the claim still holds, and neither if not.
async fn record(tx: &mut PlatformTx, claimed: &Claimed, attempt: &Attempt, next: Next) -> Result<bool> {
    let (status, wait) = match next {
        Next::Done => ("succeeded", None),
        Next::Retry(wait) => ("waiting", Some(wait.as_secs_f64())),
        Next::GiveUp | Next::Gone => ("failed", None),
    };
    let recorded = sqlx::query!(
        "with settled as (
             update webhook_deliveries
             set status = $4, attempts = attempts + 1, claim = null, locked_until = null,
                 due_at = coalesce(clock_timestamp() + make_interval(secs => $5::float8), due_at),
                 finished_at = case when $5::float8 is null then clock_timestamp() end
             where org_id = $1 and id = $2 and claim = $3 and status = 'running'
             returning org_id, id, endpoint_id, event_id, attempts
         )
         insert into webhook_attempts (org_id, id, delivery_id, endpoint_id, event_id, nth, at, duration_milliseconds,
                                       outcome, status_code, request_headers, response_headers, response_body, error)
         select org_id, $6, id, endpoint_id, event_id, attempts, $7, $8, $9, $10, $11, $12, $13, $14 from settled",
        claimed.org.uuid(),
        claimed.id.uuid(),
        claimed.claim,
        status,
        wait,
        attempt.id.uuid(),
        attempt.at,
        i32::try_from(attempt.took.as_millis()).unwrap_or(i32::MAX),
        attempt.outcome.as_str(),
        attempt.status.and_then(|status| i16::try_from(status).ok()),
        json!(attempt.request_headers),
        attempt.response_headers,
        attempt.response_body,
        attempt.error
    )
    .execute(&mut **tx)
    .await?;
    Ok(recorded.rows_affected() > 0)
}
