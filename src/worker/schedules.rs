//! Asks once a second whose time has come, and has their jobs enqueued.

use super::turns::again_and_again;
use crate::{
    error::Result,
    jobs::{due, enqueue_due},
    state::AppState,
};
use futures::StreamExt as _;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const POLL: Duration = Duration::from_secs(1);
/// So that an org whose connections are all in use delays nobody else.
const AT_A_TIME: usize = 4;

/// Every replica asks: whoever is first enqueues, and the others find nothing due.
pub async fn keep_schedules(state: AppState, until: CancellationToken) {
    again_and_again(POLL, until, "what is due can't be asked for", || enqueue_all(&state)).await;
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
