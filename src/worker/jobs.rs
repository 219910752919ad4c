//! Does jobs, several at a time, each on a task of its own that is dropped when the job is cancelled or lost.

use crate::{
    bus,
    jobs::{Beat, Broken, CHANNEL, Claimed, Handlers, LEASE, Queue, Succeeded},
    state::AppState,
    telemetry,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// How long something to do goes unnoticed where a notification is lost, or its time has come.
const POLL: Duration = Duration::from_millis(500);

/// Does so many at a time. Returns when what was under way at `until` is given back.
pub async fn run_jobs(state: AppState, handlers: Handlers, workers: u32, until: CancellationToken) {
    let kinds = handlers.kinds();
    if kinds.is_empty() || workers == 0 {
        return;
    }
    let queue = Queue::new(state.pools.clone(), state.platform.clone(), state.clock.clone());
    let bell = Arc::new(Notify::new());
    let mut working = JoinSet::new();
    for _ in 0..workers {
        let (queue, handlers, kinds) = (queue.clone(), handlers.clone(), kinds.clone());
        working.spawn(work(queue, handlers, kinds, Arc::clone(&bell), until.clone()));
    }
    tokio::select! {
        () = listen(&state, &bell) => {}
        () = watch(&queue, &bell) => {}
        () = until.cancelled() => {}
    }
    working.join_all().await;
}

/// Wakes those who have nothing to do as soon as there is something.
async fn listen(state: &AppState, bell: &Notify) {
    loop {
        if let Ok(mut listener) = bus::listener(&state.pools, CHANNEL).await {
            while listener.recv().await.is_ok() {
                bell.notify_waiters();
            }
        }
        // Meanwhile each finds it by asking.
        tokio::time::sleep(POLL).await;
    }
}

/// Hands on the jobs of workers that died.
async fn watch(queue: &Queue, bell: &Notify) {
    let mut poll = ticking(POLL);
    loop {
        poll.tick().await;
        match queue.take_back().await {
            Ok(0) => {}
            Ok(jobs) => {
                tracing::warn!(jobs, "jobs are handed on: their workers are not heard of any more");
                bell.notify_waiters();
            }
            Err(error) => tracing::warn!(%error, "lost jobs can't be asked for; trying again"),
        }
    }
}

async fn work(
    queue: Queue,
    handlers: Handlers,
    kinds: Vec<String>,
    bell: Arc<Notify>,
    until: CancellationToken,
) {
    while !until.is_cancelled() {
        match queue.claim(&kinds).await {
            Ok(Some(run)) => {
                let job = run.job.clone();
                let Some(handler) = handlers.get(&job.kind) else { continue };
                let logged = tracing::info_span!("job", id = %job.id, kind = %job.kind, org = %job.org);
                let ended = attempt(&queue, &job, handler(run), &until).instrument(logged).await;
                if let Err(error) = ended {
                    tracing::warn!(id = %job.id, %error, "a job is left to be taken over");
                }
            }
            Ok(None) => {
                tokio::select! {
                    () = until.cancelled() => {}
                    _ = timeout(POLL, bell.notified()) => {}
                }
            }
            Err(error) => {
                tracing::warn!(%error, "jobs can't be asked for; trying again");
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

async fn attempt(
    queue: &Queue,
    job: &Claimed,
    doing: impl Future<Output = Result<Succeeded, Broken>> + Send + 'static,
    until: &CancellationToken,
) -> crate::error::Result<()> {
    // A set aborts its task when it is dropped; a task of its own, so that its panic is its own.
    let mut task = JoinSet::new();
    let traced = telemetry::job(&job.kind, job.id, job.org, job.attempts, job.traceparent.as_deref());
    task.spawn(doing.instrument(tracing::Span::current()).instrument(traced));
    let mut beat = ticking(LEASE / 5);
    let broken = loop {
        tokio::select! {
            ended = task.join_next() => match ended {
                Some(Ok(Ok(_))) | None => return Ok(()),
                Some(Ok(Err(broken))) => break broken,
                Some(Err(error)) => {
                    tracing::error!(%error, "a job panicked");
                    break Broken::Again("it broke off; the platform's log says why".to_owned());
                }
            },
            () = until.cancelled() => {
                task.shutdown().await;
                return queue.give_back(job).await;
            }
            _ = beat.tick() => match queue.beat(job).await {
                Ok(Beat::GoOn) => {}
                Ok(Beat::Cancel) => break Broken::Cancelled,
                Ok(Beat::Lost) => {
                    // Its last commit may be the one that ended it.
                    task.shutdown().await;
                    return Ok(());
                }
                Err(error) => tracing::warn!(%error, "a job can't be kept; trying again"),
            },
        }
    };
    task.shutdown().await;
    match broken {
        Broken::Lost => Ok(()),
        Broken::Cancelled => queue.cancelled(job).await,
        Broken::Again(why) => queue.fail(job, &why, false).await,
        Broken::ForGood(why) => queue.fail(job, &why, true).await,
    }
}

fn ticking(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
