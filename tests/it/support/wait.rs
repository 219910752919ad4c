//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine before the test says what it waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `holds`, and says how long that took.
pub async fn until(what: &str, holds: impl AsyncFnMut() -> bool) -> Duration {
    until_within(PATIENCE, what, holds).await
}

pub async fn until_within(patience: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < patience, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}
