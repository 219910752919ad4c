//! What is done to an org's rows once they are committed: again and again, by whichever replica comes first, and one org
//! after the other.

use crate::error::Result;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Does `work` at once and then as often as `every` says; one that fails is told as what can't be done, and tried again.
pub async fn again_and_again<F, T>(
    every: Duration,
    until: CancellationToken,
    what: &str,
    work: impl Fn() -> F,
) where
    F: Future<Output = Result<T>>,
{
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = until.cancelled() => return,
            _ = tick.tick() => {}
        }
        tokio::select! {
            () = until.cancelled() => return,
            done = work() => if let Err(error) = done {
                tracing::warn!(%error, "{what}; trying again in a moment");
            }
        }
    }
}

/// Does `batch` after `batch` and answers how much was done in all. Each goes on beyond the org that it is given, and
/// answers how much it did and the last org it came to, or none where there is nothing left beyond: a busy org has a batch
/// of its own done, then the next org has.
pub async fn in_turns<F>(batch: impl Fn(Uuid) -> F) -> Result<usize>
where
    F: Future<Output = Result<Option<(usize, Uuid)>>>,
{
    let mut total = 0;
    loop {
        let before = total;
        let mut after = Uuid::nil();
        while let Some((done, last)) = batch(after).await? {
            total += done;
            after = last;
        }
        if total == before {
            return Ok(total);
        }
    }
}
