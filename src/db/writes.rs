//! How often each org was written to by this process: what was read before a write is known to be older than it.

use crate::ids::OrgId;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Orgs share counts, so that these take 128 KiB however many orgs there are: who shares one with an org that is written
/// to is taken to have been written to as well.
const COUNTS: u64 = 1 << 14;

#[derive(Clone)]
pub struct Writes(Arc<[AtomicU64]>);

impl Default for Writes {
    fn default() -> Self {
        Self((0..COUNTS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Writes {
    /// Asked before a read begins: while the answer stays the same, no write that has been answered since is missing
    /// from what was read.
    pub fn so_far(&self, org: OrgId) -> u64 {
        self.of(org).load(Ordering::SeqCst)
    }

    /// Of whatever kind: nobody has to remember which writes change what.
    pub fn count(&self, org: OrgId) {
        self.of(org).fetch_add(1, Ordering::SeqCst);
    }

    /// A write that is about to be committed, counted when this is dropped: how it ended is known by then, or will never
    /// be.
    pub fn pending(&self, org: OrgId) -> PendingWrite {
        PendingWrite { writes: self.clone(), org }
    }

    fn of(&self, org: OrgId) -> &AtomicU64 {
        // The end of an id is random.
        let place = org.uuid().as_u64_pair().1 % COUNTS;
        &self.0[usize::try_from(place).unwrap_or_default()]
    }
}

pub struct PendingWrite {
    writes: Writes,
    org: OrgId,
}

impl Drop for PendingWrite {
    fn drop(&mut self) {
        self.writes.count(self.org);
    }
}
