//! The control-plane bus: every replica hears of a committed change within a second.
//!
//! `NOTIFY` brings changes at once; a counter polled every 400 ms brings those that a lost connection hid.

use crate::db::Pools;
use sqlx::postgres::PgListener;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const POLL: Duration = Duration::from_millis(400);
/// A connection that is silent for longer is half open.
const LONGEST: Duration = Duration::from_secs(2);

/// What changed: the words are those of the migrations' calls of `control_change`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub kind: String,
    pub org: Option<Uuid>,
    pub subject: Option<Uuid>,
}

#[derive(Debug)]
pub enum Heard {
    Change(Change),
    /// Changes were missed and can't be named: whatever was remembered may be stale.
    Gap,
}

/// When the bus last knew itself up to date.
#[derive(Clone)]
pub struct Freshness {
    start: Instant,
    millis: Arc<AtomicU64>,
}

impl Freshness {
    fn new() -> Self {
        Self { start: Instant::now(), millis: Arc::default() }
    }

    fn mark(&self) {
        self.millis
            .store(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago changes were last asked for with success.
    pub fn age(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.millis.load(Ordering::Relaxed)))
    }
}

/// Starts listening; returns once the starting point is known, so that nothing after it is missed.
pub async fn listen(
    pools: &Pools,
    until: CancellationToken,
    mut tell: impl FnMut(Heard) + Send + 'static,
) -> anyhow::Result<(Freshness, tokio::task::JoinHandle<()>)> {
    let pools = pools.clone();
    let mut seen = counter(&pools).await?;
    let freshness = Freshness::new();
    let mark = freshness.clone();
    let task = tokio::spawn(async move {
        let mut ear = Ear::Deaf;
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = until.cancelled() => return,
                _ = poll.tick() => ear.open(&pools).await,
                () = ear.hear() => {}
            }
            match tokio::time::timeout(LONGEST, news(&pools, seen))
                .await
                .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            {
                Ok((n, heard)) => {
                    seen = n;
                    heard.into_iter().for_each(&mut tell);
                    mark.mark();
                }
                // The pool is closed while the last question is asked.
                Err(_) if until.is_cancelled() => return,
                Err(error) => tracing::warn!(%error, "changes can't be asked for; trying again"),
            }
        }
    });
    Ok((freshness, task))
}

/// Hears what is said on `channel`, for as long as the connection lasts.
pub async fn listener(pools: &Pools, channel: &str) -> sqlx::Result<PgListener> {
    let mut listener = PgListener::connect_with(&pools.bus).await?;
    listener.listen(channel).await?;
    Ok(listener)
}

enum Ear {
    Deaf,
    Listening(Box<PgListener>),
}

impl Ear {
    /// Tries again to listen after a lost connection; until it works, polling carries the changes.
    async fn open(&mut self, pools: &Pools) {
        if matches!(self, Self::Deaf)
            && let Ok(mut listener) = PgListener::connect_with(&pools.bus).await
            && listener.listen("insula_control").await.is_ok()
        {
            *self = Self::Listening(Box::new(listener));
        }
    }

    /// Returns when something was said or the connection was lost; never while deaf.
    async fn hear(&mut self) {
        match self {
            Self::Deaf => std::future::pending().await,
            Self::Listening(listener) => {
                if !matches!(listener.try_recv().await, Ok(Some(_))) {
                    *self = Self::Deaf;
                }
            }
        }
    }
}

async fn counter(pools: &Pools) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("select n from control_counter").fetch_one(&pools.bus).await
}

async fn news(pools: &Pools, seen: i64) -> Result<(i64, Vec<Heard>), sqlx::Error> {
    let now = counter(pools).await?;
    if now == seen {
        return Ok((seen, Vec::new()));
    }
    let rows = sqlx::query!(
        "select n, kind, org_id, subject from control_log where n > $1 and n <= $2 order by n",
        seen,
        now
    )
    .fetch_all(&pools.bus)
    .await?;
    // A counter that went back is a restored database; a short log was swept. Either way, forget all.
    if usize::try_from(now - seen) != Ok(rows.len()) {
        return Ok((now, vec![Heard::Gap]));
    }
    let change = |kind, org, subject| Heard::Change(Change { kind, org, subject });
    Ok((now, rows.into_iter().map(|row| change(row.kind, row.org_id, row.subject)).collect()))
}

/// Deletes what is an hour old: a replica that missed it will hear a gap, and forget what it remembered.
pub async fn sweep(pools: &Pools) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from control_log where at < now() - interval '1 hour'").execute(&pools.bus).await?;
    Ok(())
}
