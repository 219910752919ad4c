//! Writes down which permissions people make use of, and forgets what was long ago.

use crate::{error::Result, state::AppState};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

const EACH: Duration = Duration::from_secs(10);
const FORGET: Duration = Duration::from_hours(24);

/// Every ten seconds, and once more when it is over.
pub async fn keep_uses(state: AppState, until: CancellationToken) {
    let (mut each, mut forget) = (interval(EACH), interval(FORGET));
    each.set_missed_tick_behavior(MissedTickBehavior::Delay);
    forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let kept = tokio::select! {
            () = until.cancelled() => break,
            _ = each.tick() => state.authz.uses().flush(&state.platform).await.map(|_| ()),
            _ = forget.tick() => forget_old(&state).await,
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "uses of permissions can't be written down; trying again");
        }
    }
    if let Err(error) = state.authz.uses().flush(&state.platform).await {
        tracing::warn!(%error, "the last uses of permissions are lost");
    }
}

/// Nobody asks beyond 30 days.
async fn forget_old(state: &AppState) -> Result<()> {
    let mut tx = state.platform.begin().await?;
    sqlx::query!("delete from permission_uses where last_used_at < now() - interval '60 days'")
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}
