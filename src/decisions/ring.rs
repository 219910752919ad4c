//! The latest receipts in memory: bounded, and each org within a share of its own.

use super::Refusal;
use crate::ids::{OrgId, RequestId};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// About 1 KiB each.
const RECEIPTS: usize = 8_192;
/// So that one who is refused all the time leaves the others theirs.
const OF_ONE_ORG: usize = 1_024;

/// Ids of requests sort by when they came.
#[derive(Default)]
pub(super) struct Ring {
    receipts: BTreeMap<RequestId, Arc<Refusal>>,
    by_org: BTreeSet<(OrgId, RequestId)>,
    counts: HashMap<OrgId, usize>,
    unwritten: BTreeSet<RequestId>,
    /// Let go before they were written down.
    dropped: u64,
}

impl Ring {
    pub fn push(&mut self, refusal: Refusal) {
        let (org, request) = (refusal.org, refusal.receipt.request_id);
        if self.receipts.insert(request, Arc::new(refusal)).is_some() {
            return;
        }
        self.by_org.insert((org, request));
        self.unwritten.insert(request);
        let count = self.counts.entry(org).or_default();
        *count += 1;
        let oldest = if *count > OF_ONE_ORG {
            let from = RequestId::from_uuid(uuid::Uuid::nil());
            self.by_org.range((org, from)..).next().map(|(_, oldest)| *oldest)
        } else if self.receipts.len() > RECEIPTS {
            self.receipts.first_key_value().map(|(oldest, _)| *oldest)
        } else {
            None
        };
        if let Some(oldest) = oldest {
            self.let_go(oldest);
        }
    }

    fn let_go(&mut self, request: RequestId) {
        let Some(refusal) = self.receipts.remove(&request) else { return };
        self.by_org.remove(&(refusal.org, request));
        if self.unwritten.remove(&request) {
            self.dropped += 1;
        }
        if let Some(count) = self.counts.get_mut(&refusal.org) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&refusal.org);
            }
        }
    }

    pub fn find(&self, org: OrgId, request: RequestId) -> Option<Arc<Refusal>> {
        self.receipts.get(&request).filter(|refusal| refusal.org == org).map(Arc::clone)
    }

    /// The oldest that are still to be written.
    pub fn unwritten(&self, most: usize) -> Vec<Arc<Refusal>> {
        self.unwritten.iter().take(most).filter_map(|request| self.receipts.get(request).cloned()).collect()
    }

    pub fn written(&mut self, refusals: &[Arc<Refusal>]) {
        for refusal in refusals {
            self.unwritten.remove(&refusal.receipt.request_id);
        }
    }

    /// How many were lost since this was asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    pub fn len(&self) -> usize {
        self.receipts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, error::Problem, ids::UserId};
    use axum::http::StatusCode;

    fn refusal(org: OrgId) -> Refusal {
        let problem = Problem::new(StatusCode::FORBIDDEN, "permission_denied", "no")
            .with("permission", "products:delete")
            .with("your_roles", vec!["viewer", "clerk"]);
        Refusal::of(&problem, org, ("user", UserId::new().uuid()), RequestId::new(), Clock::frozen().now())
            .unwrap()
    }

    #[test]
    fn a_flood_of_one_org_costs_it_its_own_oldest_and_nobody_else_anything() {
        let (mut ring, quiet, noisy) = (Ring::default(), OrgId::new(), OrgId::new());
        let first = refusal(quiet);
        let kept = first.receipt.request_id;
        ring.push(first);
        let flood: Vec<RequestId> = (0..100_000)
            .map(|_| {
                let refusal = refusal(noisy);
                let request = refusal.receipt.request_id;
                ring.push(refusal);
                request
            })
            .collect();
        assert_eq!(ring.len(), OF_ONE_ORG + 1);
        assert_eq!(
            (ring.by_org.len(), ring.unwritten.len(), ring.counts.len()),
            (OF_ONE_ORG + 1, OF_ONE_ORG + 1, 2)
        );
        assert_eq!(ring.take_dropped(), 100_000 - OF_ONE_ORG as u64);
        assert!(ring.find(quiet, kept).is_some());
        assert!(ring.find(noisy, kept).is_none(), "another org's");
        assert!(ring.find(noisy, flood[flood.len() - OF_ONE_ORG]).is_some());
        assert!(ring.find(noisy, flood[flood.len() - OF_ONE_ORG - 1]).is_none());
    }

    #[test]
    fn many_orgs_share_the_ring_and_what_is_written_is_not_counted_as_lost() {
        let mut ring = Ring::default();
        for _ in 0..RECEIPTS {
            ring.push(refusal(OrgId::new()));
        }
        let batch = ring.unwritten(1_000);
        assert_eq!((batch.len(), ring.len()), (1_000, RECEIPTS));
        ring.written(&batch);
        for _ in 0..1_000 {
            ring.push(refusal(OrgId::new()));
        }
        assert_eq!((ring.take_dropped(), ring.len(), ring.counts.len()), (0, RECEIPTS, RECEIPTS));
        for refusal in ring.unwritten(usize::MAX) {
            ring.push(Refusal::clone(&refusal));
        }
        assert_eq!(ring.len(), RECEIPTS, "the same twice is there once");
        ring.push(refusal(OrgId::new()));
        assert_eq!(ring.take_dropped(), 1);
    }
}
