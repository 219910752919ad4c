//! Takes away what nobody will ask for again: idle limits, old idempotency keys and receipts, changes long heard of.

use crate::{bus, decisions, error::Result, state::AppState};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Each sweep of the limiter walks a 64th of it.
const LIMITS: Duration = Duration::from_millis(150);
const ROWS: Duration = Duration::from_mins(10);

/// Every replica sweeps: what two delete at once is gone all the same.
pub async fn sweep(state: AppState, until: CancellationToken) {
    let (mut limits, mut rows) = (interval(LIMITS), interval(ROWS));
    limits.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rows.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = until.cancelled() => return,
            _ = limits.tick() => {
                state.limits.sweep(|org| state.plan_at_hand(org));
            }
            _ = rows.tick() => {
                if let Err(error) = sweep_rows(&state).await {
                    tracing::warn!(%error, "sweeping failed; trying again in 10 minutes");
                }
            }
        }
    }
}

async fn sweep_rows(state: &AppState) -> Result<()> {
    let mut tx = state.platform.begin().await?;
    sqlx::query!("delete from idempotency_keys where created_at < now() - interval '24 hours'")
        .execute(&mut *tx)
        .await?;
    decisions::sweep(&mut tx, state.clock.now()).await?;
    tx.commit().await?;
    Ok(bus::sweep(&state.pools).await?)
}
