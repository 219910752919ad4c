//! The streams of events that are open in this process, and what they are woken by: the number that their org's events
//! have come to.

use crate::ids::OrgId;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[derive(Default)]
pub struct Streams {
    heads: Mutex<HashMap<OrgId, watch::Sender<i64>>>,
    /// Cancelled when the process is to end: a stream never would by itself.
    pub closing: CancellationToken,
    tasks: TaskTracker,
}

impl Streams {
    /// A place among an org's streams, to be woken in; none where it has `most` already.
    pub fn follow(&self, org: OrgId, most: usize) -> Option<watch::Receiver<i64>> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let head = heads.entry(org).or_insert_with(|| watch::Sender::new(0));
        (head.receiver_count() < most).then(|| head.subscribe())
    }

    /// Runs what feeds a stream until it ends.
    pub fn feed(&self, stream: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(stream);
    }

    /// The orgs that somebody follows; the others are forgotten.
    pub fn followed(&self) -> Vec<OrgId> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.retain(|_, head| head.receiver_count() > 0);
        heads.keys().copied().collect()
    }

    /// Wakes an org's streams if its events have come further.
    pub fn tell(&self, org: OrgId, seq: i64) {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(head) = heads.get(&org) {
            head.send_if_modified(|known| {
                let is_news = seq > *known;
                *known = seq.max(*known);
                is_news
            });
        }
    }

    /// How many there are, for metrics.
    pub fn count(&self) -> usize {
        self.tasks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_has_so_many_places_and_a_stream_that_ends_gives_its_own_back() {
        let (streams, org) = (Streams::default(), OrgId::new());
        let first = streams.follow(org, 2).unwrap();
        let _second = streams.follow(org, 2).unwrap();
        assert!(streams.follow(org, 2).is_none());
        assert!(streams.follow(OrgId::new(), 2).is_some(), "another org has places of its own");
        drop(first);
        assert!(streams.follow(org, 2).is_some());
    }

    #[test]
    fn streams_are_woken_by_what_is_new_and_orgs_without_any_are_forgotten() {
        let (streams, org) = (Streams::default(), OrgId::new());
        let mut head = streams.follow(org, 1).unwrap();
        streams.tell(org, 3);
        assert!(head.has_changed().unwrap());
        assert_eq!(*head.borrow_and_update(), 3);
        streams.tell(org, 2);
        assert!(!head.has_changed().unwrap());
        assert_eq!(streams.followed(), [org]);
        drop(head);
        assert!(streams.followed().is_empty());
    }
}
