//! Writes down what requests only note in memory, many at a time.

use crate::{error::Result, state::AppState};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Who is killed loses no more than this of what must not be lost for long.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(10);

/// The receipts of refusals, so that any replica can explain them.
pub async fn keep_decisions(state: AppState, until: CancellationToken) {
    let write = || async { state.decisions.flush(&state.platform).await.map(drop) };
    each(SOON, until, "receipts of refusals", write).await;
}

/// What the limiter decided, for simulations.
pub async fn keep_recorder(state: AppState, until: CancellationToken) {
    let write = || async { state.recorder.flush(&state.platform).await.map(drop) };
    each(SOON, until, "decisions for simulations", write).await;
}

/// What each org asked for.
pub async fn keep_usage(state: AppState, until: CancellationToken) {
    each(SOON, until, "what orgs asked for", || state.meter.fold(&state.platform)).await;
}

/// How exactly the limits were kept.
pub async fn keep_accuracy(state: AppState, until: CancellationToken) {
    each(SOON, until, "how exact limits were", || state.limits.accuracy().flush(&state.platform)).await;
}

/// When API keys were last used.
pub async fn keep_key_uses(state: AppState, until: CancellationToken) {
    let write = || async { state.api_keys.write_uses().await.map(drop) };
    each(LATER, until, "when API keys were last used", write).await;
}

/// Every so often, and once more when it is over.
async fn each<W: Future<Output = Result<()>>>(
    period: Duration,
    until: CancellationToken,
    what: &'static str,
    write: impl Fn() -> W,
) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let over = tokio::select! {
            () = until.cancelled() => true,
            _ = ticks.tick() => false,
        };
        if let Err(error) = write().await {
            tracing::warn!(%error, what, "can't be written down; trying again");
        }
        if over {
            return;
        }
    }
}
