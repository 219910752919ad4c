//! Asks once a second whose time has come, and has their jobs enqueued.

use crate::{
    error::Result,
    jobs::{due, enqueue_due},
    state::AppState,
};
use futures::StreamExt as _;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

const POLL: Duration = Duration::from_secs(1);
/// So that an org whose connections are all in use delays nobody else.
const AT_A_TIME: usize = 4;

/// Every replica asks: whoever is first enqueues, and the others find nothing due.
pub async fn keep_schedules(state: AppState, until: CancellationToken) {
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = until.cancelled() => return,
            _ = poll.tick() => {}
        }
        if let Err(error) = enqueue_all(&state).await {
            tracing::warn!(%error, "what is due can't be asked for; trying again");
        }
    }
}

async fn enqueue_all(state: &AppState) -> Result<()> {
    let now = state.clock.now();
    let due = due(&mut state.platform.begin().await?, now).await?;
    futures::stream::iter(due)
        .for_each_concurrent(AT_A_TIME, async |(org, id)| {
            if let Err(error) = enqueue_due(&state.pools, org, id, now).await {
                tracing::warn!(%org, schedule = %id, %error, "what is due can't be enqueued; trying again");
            }
        })
        .await;
    Ok(())
}
