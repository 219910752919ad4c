//! Writes down when API keys were last used.

use crate::state::AppState;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

const EACH: Duration = Duration::from_secs(10);

/// Every ten seconds, and once more when it is over.
pub async fn write_key_uses(state: AppState, until: CancellationToken) {
    let mut each = interval(EACH);
    each.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let over = tokio::select! {
            () = until.cancelled() => true,
            _ = each.tick() => false,
        };
        if let Err(error) = state.api_keys.write_uses().await {
            tracing::warn!(%error, "when API keys were last used can't be written down; trying again");
        }
        if over {
            return;
        }
    }
}
