//! Writes down what the limiter decided, for simulations.

use crate::state::AppState;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

const FLUSH: Duration = Duration::from_secs(1);

/// Every second, and once more when it is over.
pub async fn keep_recorder(state: AppState, until: CancellationToken) {
    let mut flush = interval(FLUSH);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let over = tokio::select! {
            () = until.cancelled() => true,
            _ = flush.tick() => false,
        };
        if let Err(error) = state.recorder.flush(&state.platform).await {
            tracing::warn!(%error, "decisions can't be recorded; trying again");
        }
        if over {
            return;
        }
    }
}
