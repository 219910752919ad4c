//! Tells the other replicas how many streams of events are open here: an org's tier says how many it has in all of them.

use super::turns::again_and_again;
use crate::state::AppState;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a place that was given back here is taken elsewhere.
const EVERY: Duration = Duration::from_secs(1);

pub async fn keep_places_told(state: AppState, until: CancellationToken) {
    let tell = || state.streams.tell_places(&state.platform);
    again_and_again(EVERY, until, "how many streams are open can't be told", tell).await;
    if let Err(error) = state.streams.leave_places(&state.platform).await {
        tracing::warn!(%error, "the streams of this process will be counted for 15 s more");
    }
}
