//! Writes down the receipts of refusals, so that any replica can explain them.

use crate::state::AppState;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

const FLUSH: Duration = Duration::from_secs(1);

pub async fn keep_decisions(state: AppState, until: CancellationToken) {
    let mut flush = interval(FLUSH);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = until.cancelled() => return,
            _ = flush.tick() => {
                if let Err(error) = state.decisions.flush(&state.platform).await {
                    tracing::warn!(%error, "receipts of refusals can't be written down; trying again");
                }
            }
        }
    }
}
