//! Writes down what each org asked for.

use crate::state::AppState;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Who is killed loses no more than this.
const EACH: Duration = Duration::from_secs(1);

/// Every second, and once more when it is over.
pub async fn keep_usage(state: AppState, until: CancellationToken) {
    let mut each = interval(EACH);
    each.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let over = tokio::select! {
            () = until.cancelled() => true,
            _ = each.tick() => false,
        };
        if let Err(error) = state.usage.flush(&state.platform).await {
            tracing::warn!(%error, "what orgs asked for can't be written down; trying again");
        }
        if over {
            return;
        }
    }
}
