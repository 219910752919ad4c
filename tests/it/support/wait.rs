//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine before the test says what it waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Within which each replica acts on a change.
const PROMISED: Duration = Duration::from_secs(1);
/// How often it can be asked within that, at least, unless the machine is busy with something else.
const QUESTIONS: u32 = 60;

/// Polls until `holds`, and says how long that took.
pub async fn until(what: &str, holds: impl AsyncFnMut() -> bool) -> Duration {
    until_within(PATIENCE, what, holds).await
}

/// Polls until `holds`, as the platform promises within a second. Where this process itself gets too little of the
/// machine to ask so many times in that second, the questions count, and not what others made it wait.
pub async fn within_a_second(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let (started, mut asked) = (Instant::now(), 0);
    while !holds().await {
        asked += 1;
        let took = started.elapsed();
        assert!(
            took < PROMISED || asked < QUESTIONS && took < PATIENCE,
            "not within a second: {what} (asked {asked} times in {took:?})"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn until_within(patience: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < patience, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}
