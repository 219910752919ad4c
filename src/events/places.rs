//! How many streams are open: in this process, and for each org in all of them, as its tier allows.

use super::Streams;
use crate::{
    db::Pools,
    error::Result,
    ids::{OrgId, ReplicaId},
    tenancy::{PlatformDb, gate},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

/// How often others are told that what they know is still so; who is silent for 15 s has none.
const BEAT: Duration = Duration::from_secs(5);

/// What brings a stream to whoever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    ServerSent,
    WebSocket,
}

/// The places that are taken in this process.
pub struct Places {
    /// This process, as the others know it.
    replica: ReplicaId,
    counted: Arc<Counted>,
    /// When the others were told last. Held while they are: what they know then is not older than what they knew before.
    told: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Counted {
    open: [AtomicUsize; 2],
    has_changed: AtomicBool,
}

/// One of them, given back when it is dropped.
pub struct Place {
    /// The number that the org's events have come to.
    pub head: watch::Receiver<i64>,
    // Dropped after the place is free: whoever is told of the change then sees it.
    _mark: Mark,
}

struct Mark(Arc<Counted>, Carrier);

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.open[self.1 as usize].fetch_sub(1, Ordering::Relaxed);
        self.0.has_changed.store(true, Ordering::SeqCst);
    }
}

impl Default for Places {
    fn default() -> Self {
        Self { replica: ReplicaId::new(), counted: Arc::default(), told: Mutex::default() }
    }
}

impl Places {
    pub(super) fn take(&self, head: watch::Receiver<i64>, carrier: Carrier) -> Place {
        self.counted.open[carrier as usize].fetch_add(1, Ordering::Relaxed);
        self.counted.has_changed.store(true, Ordering::SeqCst);
        Place { head, _mark: Mark(Arc::clone(&self.counted), carrier) }
    }

    /// How many there are, for metrics.
    pub fn count(&self, carrier: Carrier) -> usize {
        self.counted.open[carrier as usize].load(Ordering::Relaxed)
    }
}

impl Streams {
    /// Whether the place that was taken here last is one of the `most` that `org` may have in all processes together;
    /// where it is not, how many are open.
    pub async fn confirm(&self, pools: &Pools, org: OrgId, most: u32) -> Result<Result<(), u32>> {
        let _told = self.places.told.lock().await;
        // Counted under the lock, so that the last word is the latest.
        let here = self.open_of(org);
        gate::open_live(pools, self.places.replica, org, here, most).await
    }

    /// Tells the others how many streams are open here, where that is news to them; none of them needs to be asked where
    /// there are no streams at all.
    pub async fn tell_places(&self, platform: &PlatformDb) -> Result<()> {
        let Places { counted, told, replica } = &self.places;
        let mut told = told.lock().await;
        let is_news = counted.has_changed.swap(false, Ordering::SeqCst);
        let open = self.open();
        if !is_news && (open.is_empty() || told.is_some_and(|at| at.elapsed() < BEAT)) {
            return Ok(());
        }
        let written = write(platform, *replica, open.into_iter().collect()).await;
        if written.is_ok() {
            *told = Some(Instant::now());
        } else {
            counted.has_changed.store(true, Ordering::SeqCst);
        }
        written
    }

    /// Tells the others that this process is about to end.
    pub async fn leave_places(&self, platform: &PlatformDb) -> Result<()> {
        let mut told = self.places.told.lock().await;
        if told.take().is_none() {
            return Ok(());
        }
        let mut tx = platform.begin().await?;
        sqlx::query!("delete from live_processes where id = $1", self.places.replica.uuid())
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }
}

async fn write(platform: &PlatformDb, replica: ReplicaId, open: Vec<(OrgId, usize)>) -> Result<()> {
    let orgs: Vec<Uuid> = open.iter().map(|(org, _)| org.uuid()).collect();
    let counts: Vec<i32> = open.iter().map(|(_, count)| i32::try_from(*count).unwrap_or(i32::MAX)).collect();
    let mut tx = platform.begin().await?;
    sqlx::query!(
        "insert into live_processes (id, seen_at) values ($1, clock_timestamp())
         on conflict (id) do update set seen_at = excluded.seen_at",
        replica.uuid()
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "delete from live_connections where process_id = $1 and org_id <> all($2)",
        replica.uuid(),
        &orgs
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into live_connections as known (process_id, org_id, open)
         select $1, open.org_id, open.count from unnest($2::uuid[], $3::integer[]) open (org_id, count)
         on conflict (process_id, org_id) do update set open = excluded.open where known.open <> excluded.open",
        replica.uuid(),
        &orgs,
        &counts
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
