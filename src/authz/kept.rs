//! The policies of the orgs seen lately: as many as weigh what is allowed, each read once however many ask for it.
//!
//! A policy is in force until it is heard to have changed. It is confirmed from time to time all the same, and what
//! can't be confirmed is used for a while longer and then not at all.

use super::OrgPolicy;
use crate::{
    clock::Clock,
    error::{Error, Result},
    ids::OrgId,
};
use anyhow::anyhow;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, hash_map::Entry},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OnceCell, Semaphore};

/// A policy that nobody said anything of for so long is asked for again: one round trip, where it has not changed.
const CONFIRM: Duration = Duration::from_secs(10);
/// After so long without being confirmed nothing is decided by it any more.
const OLDEST: Duration = Duration::from_secs(30);
/// Policies read at once: when many were let go, the pool is still there for requests.
const READINGS: usize = 8;
const SLOT: Duration = Duration::from_secs(1);

/// How far a policy in memory is to be trusted.
#[derive(Default)]
pub(super) struct Marks {
    /// When it was last known to be in force, in microseconds since 1970.
    confirmed_at: AtomicU64,
    /// Heard to have changed since.
    changed: AtomicBool,
}

impl Marks {
    fn is_younger_than(&self, age: Duration, now: u64) -> bool {
        let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        now.saturating_sub(self.confirmed_at.load(Ordering::Relaxed)) <= age
    }
}

pub(super) struct Kept {
    clock: Clock,
    policies: moka::sync::Cache<OrgId, Arc<OrgPolicy>>,
    /// What is being read. Locked for moments, and never while anything is waited for.
    readings: Mutex<HashMap<OrgId, Arc<Reading>>>,
    slots: Semaphore,
}

#[derive(Default)]
struct Reading {
    outcome: OnceCell<Result<Arc<OrgPolicy>, Failure>>,
    /// The policy changed while it was read: the answer may be the old one.
    overtaken: AtomicBool,
}

/// As many may have to be told of it.
enum Failure {
    NoSuchOrg,
    Unavailable(&'static str),
    Crowded,
    Other(String),
}

impl Kept {
    /// `capacity` is in bytes.
    pub fn new(clock: Clock, capacity: u64) -> Self {
        let policies = moka::sync::Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, policy: &Arc<OrgPolicy>| u32::try_from(policy.weight()).unwrap_or(u32::MAX))
            .build();
        Self { clock, policies, readings: Mutex::default(), slots: Semaphore::new(READINGS) }
    }

    /// What is remembered, in force or not.
    pub fn at_hand(&self, org: OrgId) -> Option<Arc<OrgPolicy>> {
        self.policies.get(&org)
    }

    /// The policy of `org` as this replica knows it; `read` reads it, or answers the one it is given where that is
    /// still the one in force.
    pub async fn get<R: Future<Output = Result<Arc<OrgPolicy>>>>(
        &self,
        org: OrgId,
        read: impl FnOnce(Option<Arc<OrgPolicy>>) -> R,
    ) -> Result<Arc<OrgPolicy>> {
        let known = self.policies.get(&org);
        if let Some(policy) = &known
            && !policy.marks.changed.load(Ordering::Acquire)
            && policy.marks.is_younger_than(CONFIRM, self.clock.micros())
        {
            return Ok(Arc::clone(policy));
        }
        match (self.latest(org, read).await, known) {
            (Err(error), Some(old)) if !matches!(error, Error::NotFound) => {
                if old.marks.is_younger_than(OLDEST, self.clock.micros()) {
                    tracing::warn!(%error, %org, "the policy can't be read; deciding by the one before");
                    return Ok(old);
                }
                Err(error)
            }
            (latest, _) => latest,
        }
    }

    /// The policy of `org` as it is now. Whoever asks while it is being read waits for the same answer.
    pub async fn latest<R: Future<Output = Result<Arc<OrgPolicy>>>>(
        &self,
        org: OrgId,
        read: impl FnOnce(Option<Arc<OrgPolicy>>) -> R,
    ) -> Result<Arc<OrgPolicy>> {
        let seat = Seat::take(self, org);
        let reading = seat.reading.as_ref();
        // One who goes away while reading is relieved by another who waits.
        let outcome = reading.outcome.get_or_init(async || {
            let asked_at = self.clock.micros();
            let policy = match tokio::time::timeout(SLOT, self.slots.acquire()).await {
                Ok(Ok(_slot)) => read(self.policies.get(&org)).await,
                _ => Err(Error::Unavailable("too many policies are being read; try again in a moment")),
            };
            policy.inspect(|policy| self.keep(org, policy, reading, asked_at)).map_err(Failure::from)
        });
        outcome.await.as_ref().map(Arc::clone).map_err(Failure::again)
    }

    fn keep(&self, org: OrgId, policy: &Arc<OrgPolicy>, reading: &Reading, asked_at: u64) {
        let _readings = self.readings.lock();
        policy.marks.confirmed_at.store(asked_at, Ordering::Relaxed);
        // What changed while it was read may have been read too early: whoever comes next reads it again.
        policy.marks.changed.store(reading.overtaken.load(Ordering::Acquire), Ordering::Release);
        if self.policies.get(&org).is_none_or(|known| !Arc::ptr_eq(&known, policy)) {
            self.policies.insert(org, Arc::clone(policy));
        }
    }

    /// From here on nobody is let in by what was read before.
    pub fn forget(&self, org: OrgId) {
        let mut readings = self.readings.lock();
        // Who asks from now on must not get into a reading that began before.
        if let Some(reading) = readings.remove(&org) {
            reading.overtaken.store(true, Ordering::Release);
        }
        if let Some(policy) = self.policies.get(&org) {
            policy.marks.changed.store(true, Ordering::Release);
        }
    }

    pub fn forget_all(&self) {
        let mut readings = self.readings.lock();
        for (_, reading) in readings.drain() {
            reading.overtaken.store(true, Ordering::Release);
        }
        for (_, policy) in &self.policies {
            policy.marks.changed.store(true, Ordering::Release);
        }
    }

    /// How many policies are remembered, and what they weigh in bytes.
    pub fn size(&self) -> (u64, u64) {
        self.policies.run_pending_tasks();
        (self.policies.entry_count(), self.policies.weighted_size())
    }
}

/// A place among those who wait for one reading; the last to leave clears it away.
struct Seat<'a> {
    kept: &'a Kept,
    org: OrgId,
    reading: Arc<Reading>,
}

impl<'a> Seat<'a> {
    fn take(kept: &'a Kept, org: OrgId) -> Self {
        let mut readings = kept.readings.lock();
        let reading = match readings.entry(org) {
            // Done, and not cleared away yet: what it found may be old by now.
            Entry::Occupied(mut there) if there.get().outcome.initialized() => {
                there.insert(Arc::default());
                Arc::clone(there.get())
            }
            Entry::Occupied(there) => Arc::clone(there.get()),
            Entry::Vacant(free) => Arc::clone(free.insert(Arc::default())),
        };
        Self { kept, org, reading }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut readings = self.kept.readings.lock();
        // One is ours and one the table's.
        if let Entry::Occupied(there) = readings.entry(self.org)
            && Arc::ptr_eq(there.get(), &self.reading)
            && Arc::strong_count(&self.reading) <= 2
        {
            there.remove();
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Self::NoSuchOrg,
            Error::Unavailable(why) => Self::Unavailable(why),
            Error::Crowded => Self::Crowded,
            error => Self::Other(format!("{error:#}")),
        }
    }
}

impl Failure {
    fn again(&self) -> Error {
        match self {
            Self::NoSuchOrg => Error::NotFound,
            Self::Unavailable(why) => Error::Unavailable(why),
            Self::Crowded => Error::Crowded,
            Self::Other(cause) => Error::Internal(anyhow!("{cause}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt as _, future::join_all};
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::Notify;

    async fn policy(org: OrgId, version: i64) -> Arc<OrgPolicy> {
        Arc::new(OrgPolicy::build(org, version, &[], Vec::new()).await.unwrap())
    }

    fn kept() -> (Kept, Clock) {
        let clock = Clock::frozen();
        (Kept::new(clock.clone(), 1 << 20), clock)
    }

    async fn read(kept: &Kept, org: OrgId, version: i64) -> i64 {
        kept.get(org, async |_| Ok(policy(org, version).await)).await.unwrap().version()
    }

    async fn unreadable(kept: &Kept, org: OrgId) -> Result<i64> {
        kept.get(org, async |_| Err(Error::Unavailable("cut"))).await.map(|policy| policy.version())
    }

    #[tokio::test]
    async fn a_policy_is_read_once_and_again_when_it_is_heard_to_have_changed() {
        let (kept, _) = kept();
        let (acme, globex) = (OrgId::new(), OrgId::new());
        assert_eq!([read(&kept, acme, 1).await, read(&kept, acme, 2).await], [1, 1]);
        assert_eq!(read(&kept, globex, 7).await, 7);
        kept.forget(acme);
        assert_eq!([read(&kept, acme, 2).await, read(&kept, acme, 3).await], [2, 2]);
        kept.forget_all();
        assert_eq!([read(&kept, acme, 4).await, read(&kept, globex, 8).await], [4, 8]);
    }

    #[tokio::test]
    async fn all_who_ask_at_once_are_served_by_one_reading_and_share_its_failure() {
        let (kept, _) = kept();
        let (org, readings) = (OrgId::new(), AtomicUsize::new(0));
        let (kept, readings) = (&kept, &readings);
        let ask = |answer: Option<i64>| {
            kept.get(org, async move |_| {
                readings.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                match answer {
                    Some(version) => Ok(policy(org, version).await),
                    None => Err(Error::Unavailable("cut")),
                }
            })
        };
        let refused = join_all((0..50).map(|_| ask(None))).await;
        assert!(refused.iter().all(|answer| matches!(answer, Err(Error::Unavailable("cut")))));
        assert_eq!(readings.load(Ordering::Relaxed), 1);
        let read = join_all((0..50).map(|_| ask(Some(3)))).await;
        assert!(read.iter().all(|answer| answer.as_ref().is_ok_and(|policy| policy.version() == 3)));
        assert_eq!(readings.load(Ordering::Relaxed), 2);
        assert!(kept.readings.lock().is_empty(), "what is done is cleared away");
    }

    #[tokio::test]
    async fn whoever_goes_away_while_reading_is_relieved_by_one_who_waits() {
        let (kept, _) = kept();
        let org = OrgId::new();
        let mut gone = Box::pin(kept.get(org, async |_| std::future::pending().await));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut waiting = Box::pin(kept.get(org, async |_| Ok(policy(org, 5).await)));
        assert!(waiting.as_mut().now_or_never().is_none(), "it is being read");
        drop(gone);
        assert_eq!(waiting.await.unwrap().version(), 5);
        let mut gone = Box::pin(kept.latest(OrgId::new(), async |_| std::future::pending().await));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        assert!(kept.readings.lock().is_empty());
    }

    #[tokio::test]
    async fn what_changes_while_it_is_read_is_read_again() {
        let (kept, _) = kept();
        let (org, go) = (OrgId::new(), Notify::new());
        let mut slow = Box::pin(kept.get(org, async |_| {
            go.notified().await;
            Ok(policy(org, 1).await)
        }));
        assert!(slow.as_mut().now_or_never().is_none());
        kept.forget(org);
        // Not that reading's answer, which may be the one before the change.
        assert_eq!(read(&kept, org, 2).await, 2);
        go.notify_one();
        assert_eq!(slow.await.unwrap().version(), 1);
        assert_eq!(read(&kept, org, 3).await, 3, "the late answer was not believed");
    }

    #[tokio::test]
    async fn what_cannot_be_read_again_is_used_for_thirty_seconds_and_not_a_moment_longer() {
        let (kept, clock) = kept();
        let (acme, globex) = (OrgId::new(), OrgId::new());
        assert_eq!(
            unreadable(&kept, acme).await.unwrap_err().to_string(),
            "cut",
            "nothing is allowed by default"
        );
        assert_eq!([read(&kept, acme, 1).await, read(&kept, globex, 1).await], [1, 1]);
        kept.forget(globex);
        for org in [acme, globex] {
            assert_eq!(unreadable(&kept, org).await.unwrap(), 1);
        }
        clock.advance(OLDEST);
        for org in [acme, globex] {
            assert_eq!(unreadable(&kept, org).await.unwrap(), 1);
        }
        clock.advance(Duration::from_micros(1));
        for org in [acme, globex] {
            assert!(unreadable(&kept, org).await.is_err());
        }
        assert_eq!(read(&kept, acme, 2).await, 2);
        let gone = kept.get(globex, async |_| Err(Error::NotFound)).await;
        assert!(matches!(gone, Err(Error::NotFound)), "an org that is gone has no policy before");
    }

    #[tokio::test]
    async fn a_silent_policy_is_confirmed_and_what_is_remembered_of_it_stays() {
        let (kept, clock) = kept();
        let org = OrgId::new();
        read(&kept, org, 1).await;
        let first = kept.at_hand(org).unwrap();
        clock.advance(CONFIRM + Duration::from_micros(1));
        let confirmed = kept.get(org, async |known| Ok(known.unwrap())).await.unwrap();
        assert!(Arc::ptr_eq(&first, &confirmed));
        clock.advance(OLDEST);
        assert_eq!(unreadable(&kept, org).await.unwrap(), 1, "counted from when it was confirmed");
    }

    #[tokio::test]
    async fn policies_are_kept_up_to_a_weight_however_many_there_are() {
        let (kept, _) = kept();
        for _ in 0..2_000 {
            read(&kept, OrgId::new(), 1).await;
        }
        let (count, weight) = kept.size();
        assert!((100..2_000).contains(&count) && weight <= 1 << 20, "{count} of {weight} bytes");
    }
}
