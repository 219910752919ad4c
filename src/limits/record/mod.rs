//! The recorder: every decision of the orgs in the sample, pushed in nanoseconds and written down many at a time.
//!
//! What is recorded is what simulations replay. Memory is bounded: when batches can't be written as fast as they fill,
//! the newest decisions are dropped and counted, and no request ever waits.

mod batch;
mod store;

#[cfg(test)]
pub use batch::pack;
pub use batch::{Batch, Next, Recorded, Unreadable};
pub use store::{Stored, count, read, sweep};

use crate::{config, error::Result, ids::OrgId, tenancy::PlatformDb};
use parking_lot::Mutex;
use std::{
    collections::{HashSet, VecDeque},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Decisions in one batch, about 5 MB in memory and a tenth of it packed.
const BATCH: usize = 65_536;
/// Full batches that may wait to be written.
const WAITING: usize = 8;

/// The decisions of this replica that are not yet written down.
#[derive(Debug)]
pub struct Recorder {
    /// Orgs whose ids end in a number below it are recorded; of 32 bits, and one more for all of them.
    below: u64,
    filling: Mutex<Vec<Recorded>>,
    full: Mutex<VecDeque<Vec<Recorded>>>,
    dropped: AtomicU64,
}

impl Recorder {
    pub fn new(config: &config::Decisions) -> Self {
        Self {
            below: threshold(config.sample),
            filling: Mutex::default(),
            full: Mutex::default(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Whether the decisions of `org` are recorded: all of them or none, and the same on every replica.
    pub fn samples(&self, org: OrgId) -> bool {
        // The last 32 bits are random; those before count the ids of a millisecond.
        let (_, end) = org.uuid().as_u64_pair();
        end & u64::from(u32::MAX) < self.below
    }

    /// Keeps it, if its org is in the sample. A question costs nothing and changes nothing, and is not kept.
    pub fn push(&self, decision: Recorded) {
        if decision.cost == 0 || !self.samples(decision.org) {
            return;
        }
        let mut filling = self.filling.lock();
        filling.push(decision);
        if filling.len() >= BATCH {
            let full = std::mem::replace(&mut *filling, Vec::with_capacity(BATCH));
            drop(filling);
            self.put_by(full);
        }
    }

    /// Writes down what there is, and answers how many decisions that were. What can't be written is tried again next
    /// time, as long as there is room.
    pub async fn flush(&self, platform: &PlatformDb) -> Result<usize> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "more decisions were made than can be recorded: simulations will miss them"
            );
        }
        let filling = std::mem::take(&mut *self.filling.lock());
        if !filling.is_empty() {
            self.put_by(filling);
        }
        let mut written = 0;
        loop {
            let next = self.full.lock().pop_front();
            let Some(mut decisions) = next else { return Ok(written) };
            if let Err(error) = store::write(platform, &mut decisions).await {
                let mut full = self.full.lock();
                if full.len() < WAITING {
                    full.push_front(decisions);
                } else {
                    self.dropped.fetch_add(decisions.len() as u64, Ordering::Relaxed);
                }
                return Err(error);
            }
            written += decisions.len();
        }
    }

    fn put_by(&self, batch: Vec<Recorded>) {
        let mut full = self.full.lock();
        if full.len() < WAITING {
            full.push_back(batch);
        } else {
            self.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
    }
}

const TWO_TO_THE_32: f64 = 4_294_967_296.0;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 2^32")]
fn threshold(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * TWO_TO_THE_32) as u64
}

/// An operation's id for as long as the process lives: each is kept once, however often a router is made.
pub fn route(operation: &str) -> &'static str {
    static KNOWN: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock();
    if let Some(known) = known.get(operation) {
        return known;
    }
    let kept: &'static str = Box::leak(operation.into());
    known.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::super::Subject;
    use super::*;
    use crate::ids::UserId;

    fn recorder(sample: f64) -> Recorder {
        Recorder::new(&config::Decisions { sample, retention_days: 1, mebibytes: 1 })
    }

    fn decision(org: OrgId, cost: u32) -> Recorded {
        Recorded { at: 1, org, who: Subject::User(UserId::new()), route: route("x"), cost, admitted: true }
    }

    #[test]
    fn a_sample_keeps_orgs_whole_and_about_as_many_as_it_says() {
        let (all, none, half) = (recorder(1.0), recorder(0.0), recorder(0.5));
        let orgs: Vec<OrgId> = (0..10_000).map(|_| OrgId::new()).collect();
        let kept = orgs.iter().filter(|org| half.samples(**org)).count();
        assert!((4_700..5_300).contains(&kept), "{kept}");
        assert!(orgs.iter().all(|org| all.samples(*org) && !none.samples(*org)));
        let another = recorder(0.5);
        assert!(orgs.iter().all(|org| half.samples(*org) == another.samples(*org)), "replicas agree");
        for org in &orgs[..100] {
            half.push(decision(*org, 1));
            half.push(decision(*org, 2));
        }
        let filling = half.filling.lock();
        for org in &orgs[..100] {
            let of_org = filling.iter().filter(|decision| decision.org == *org).count();
            assert_eq!(of_org, if half.samples(*org) { 2 } else { 0 });
        }
    }

    #[test]
    fn what_costs_nothing_is_not_kept() {
        let recorder = recorder(1.0);
        recorder.push(decision(OrgId::new(), 0));
        assert!(recorder.filling.lock().is_empty());
    }

    #[test]
    fn what_nobody_writes_down_is_dropped_and_counted_and_memory_is_bounded() {
        let recorder = recorder(1.0);
        let one = decision(OrgId::new(), 1);
        for _ in 0..BATCH * (WAITING + 2) + 7 {
            recorder.push(one);
        }
        assert_eq!(recorder.full.lock().len(), WAITING);
        assert_eq!(recorder.dropped.load(Ordering::Relaxed), 2 * BATCH as u64);
        assert_eq!(recorder.filling.lock().len(), 7);
    }
}
