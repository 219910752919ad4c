//! Runs simulations, one at a time on each replica: batches stream from the database to a thread that gives way to live
//! traffic, and a simulation whose replica dies is taken over by another.

mod plans;
mod store;

use crate::{
    clock::{self, Clock},
    error::{Error, Result},
    ids::OrgId,
    limits::{
        Outcomes, Replay, Subject, TierPlan,
        record::{self, Batch, Unreadable},
    },
    state::AppState,
};
use anyhow::Context as _;
use plans::Plans;
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::Duration,
};
use store::Claimed;
use time::OffsetDateTime;
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

const POLL: Duration = Duration::from_millis(500);
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Batches read at once, and again as many that may wait for the thread: some 10 MB.
const BATCHES: usize = 8;
/// Nobody's debts are followed further back.
const LONGEST_WARM_UP: Duration = Duration::from_hours(32 * 24);

pub async fn run_simulations(state: AppState, until: CancellationToken) {
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = until.cancelled() => return,
            _ = poll.tick() => {}
        }
        match store::claim(&state).await {
            Ok(None) => {}
            Ok(Some(claimed)) => {
                if let Err(error) = run(&state, &claimed, &until).await {
                    tracing::warn!(id = %claimed.id, %error, "a simulation broke off");
                    let said = "decisions could not be replayed; the log says why";
                    if let Err(error) = store::fail(&state, &claimed, said).await {
                        tracing::warn!(id = %claimed.id, %error, "it is left to be taken over");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "simulations can't be asked for; trying again"),
        }
    }
}

async fn run(state: &AppState, claimed: &Claimed, until: &CancellationToken) -> Result<()> {
    let policies = serde_json::from_value(claimed.policies.clone()).map_err(anyhow::Error::from)?;
    // Stands at the time of each decision that is replayed.
    let clock = Clock::frozen();
    let plans = Plans::load(state, &claimed.tier, policies, clock.clone()).await?;
    let from = claimed.starts_at - plans.memory().min(LONGEST_WARM_UP);
    let total = record::count(&mut state.platform.begin().await?, from, claimed.ends_at).await?;
    let window = clock::since_1970(claimed.starts_at)..clock::since_1970(claimed.ends_at);
    let done = Arc::new(AtomicI64::new(0));
    let (batches, to_replay) = mpsc::channel(BATCHES);
    let (tell, told) = oneshot::channel();
    let counted = Arc::clone(&done);
    thread::Builder::new()
        .name("simulation".to_owned())
        .spawn(move || {
            give_way();
            // Who does not wait for it any more has cancelled it.
            let _ = tell.send(replay(
                to_replay,
                Replay::new(clock, window, |org, who, at| plans.of(org, who, at)),
                &counted,
            ));
        })
        .context("starting a thread to simulate on")?;
    let replaying = async {
        feed(state, claimed, from, batches).await?;
        let replayed = told.await.context("the simulation's thread broke off")?;
        replayed.map_err(|error| Error::Internal(error.into()))
    };
    // Whatever ends first drops the batches, and with them the thread's work.
    let (outcomes, replayed) = tokio::select! {
        replayed = replaying => replayed?,
        () = until.cancelled() => return store::give_back(state, claimed).await,
        kept = keep(state, claimed, &done, total) => return kept,
    };
    store::finish(state, claimed, replayed, &outcomes).await
}

/// Ends when it is somebody else's, or nobody's any more.
async fn keep(state: &AppState, claimed: &Claimed, done: &AtomicI64, total: i64) -> Result<()> {
    let mut beat = interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        if !store::keep(state, claimed, done.load(Ordering::Relaxed), total).await? {
            return Ok(());
        }
    }
}

async fn feed(
    state: &AppState,
    claimed: &Claimed,
    from: OffsetDateTime,
    batches: mpsc::Sender<Vec<u8>>,
) -> Result<()> {
    let mut after = None;
    loop {
        let mut tx = state.platform.begin().await?;
        let most = i64::try_from(BATCHES).unwrap_or(1);
        let read = record::read(&mut tx, from, claimed.ends_at, after, most).await?;
        tx.commit().await?;
        let Some(last) = read.last() else { return Ok(()) };
        after = Some((last.first_at, last.id));
        for batch in read {
            if batches.send(batch.columns).await.is_err() {
                // Why, the thread says itself.
                return Ok(());
            }
        }
    }
}

fn replay<P>(
    mut batches: mpsc::Receiver<Vec<u8>>,
    mut replay: Replay<P>,
    done: &AtomicI64,
) -> std::result::Result<(Outcomes, i64), Unreadable>
where
    P: FnMut(OrgId, Subject, u64) -> Option<(Arc<TierPlan>, u64)>,
{
    while let Some(batch) = batches.blocking_recv() {
        replay.take(Batch::open(batch)?)?;
        done.store(i64::try_from(replay.replayed()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
    let (outcomes, replayed) = replay.finish()?;
    Ok((outcomes, i64::try_from(replayed).unwrap_or(i64::MAX)))
}

/// On Linux a thread has a niceness of its own.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(10) {
        tracing::warn!(%error, "a simulation can't be told to give way");
    }
}
