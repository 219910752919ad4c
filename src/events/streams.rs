//! The streams of events that are open in this process, and what they are woken by: the number that their org's events
//! have come to.

use super::{
    Event,
    places::{Carrier, Place, Places},
};
use crate::{
    error::{Error, Result},
    ids::OrgId,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TrackedFuture},
};

/// Those that come after one of an org's, in their order.
pub type EventPage = Arc<[Event]>;

/// How long a page is kept for those who are woken along with whoever reads it.
const SHARED: Duration = Duration::from_secs(2);
/// Events, in all pages that are kept.
const KEPT: u64 = 10_000;

pub struct Streams {
    heads: Mutex<HashMap<OrgId, watch::Sender<i64>>>,
    /// By the org, the number that it comes after, and the head that it was read for.
    pages: moka::future::Cache<(OrgId, i64, i64), EventPage>,
    /// How many there are, here and as the other replicas are told.
    pub places: Places,
    /// Cancelled when the process is to end: a stream never would by itself.
    pub closing: CancellationToken,
    tasks: TaskTracker,
}

impl Default for Streams {
    fn default() -> Self {
        let weight =
            |_: &(OrgId, i64, i64), page: &EventPage| u32::try_from(page.len()).unwrap_or(u32::MAX).max(1);
        Self {
            heads: Mutex::default(),
            pages: moka::future::Cache::builder()
                .weigher(weight)
                .max_capacity(KEPT)
                .time_to_live(SHARED)
                .build(),
            places: Places::default(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }
}

impl Streams {
    /// The page of `org` after a number, as it is once its events have come to `head`: read once, however many of its
    /// streams are woken and ask for it at a time.
    ///
    /// # Errors
    /// Those of `read`, told to all who waited for it.
    pub async fn page(
        &self,
        (org, after, head): (OrgId, i64, i64),
        read: impl Future<Output = Result<EventPage>>,
    ) -> Result<EventPage, Arc<Error>> {
        self.pages.try_get_with((org, after, head), read).await
    }

    /// A place among an org's streams, to be woken in; none where it has `most` already.
    pub fn follow(&self, org: OrgId, carrier: Carrier, most: usize) -> Option<Place> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let head = heads.entry(org).or_insert_with(|| watch::Sender::new(0));
        (head.receiver_count() < most).then(|| self.places.take(head.subscribe(), carrier))
    }

    /// Runs what feeds a stream until it ends.
    pub fn feed(&self, stream: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(stream);
    }

    /// The same of what somebody else runs: it is waited for.
    pub fn carry<F: Future>(&self, carrier: F) -> TrackedFuture<F> {
        self.tasks.track_future(carrier)
    }

    /// Waits until all have said goodbye.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The orgs that somebody follows; the others are forgotten.
    pub fn followed(&self) -> Vec<OrgId> {
        self.open().into_keys().collect()
    }

    /// How many streams each of them has.
    pub fn open(&self) -> HashMap<OrgId, usize> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.retain(|_, head| head.receiver_count() > 0);
        heads.iter().map(|(org, head)| (*org, head.receiver_count())).collect()
    }

    /// How many streams an org has.
    pub fn open_of(&self, org: OrgId) -> usize {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.get(&org).map_or(0, watch::Sender::receiver_count)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_has_so_many_places_and_a_stream_that_ends_gives_its_own_back() {
        let (streams, org) = (Streams::default(), OrgId::new());
        let take = |org, carrier| streams.follow(org, carrier, 2);
        let first = take(org, Carrier::ServerSent).unwrap();
        let _second = take(org, Carrier::WebSocket).unwrap();
        assert!(take(org, Carrier::ServerSent).is_none());
        assert_eq!((streams.open_of(org), streams.open()[&org]), (2, 2));
        let _other =
            streams.follow(OrgId::new(), Carrier::WebSocket, 2).expect("another org has places of its own");
        drop(first);
        assert_eq!(streams.places.count(Carrier::ServerSent), 0);
        assert_eq!(streams.places.count(Carrier::WebSocket), 2);
        assert!(take(org, Carrier::ServerSent).is_some());
    }

    #[test]
    fn streams_are_woken_by_what_is_new_and_orgs_without_any_are_forgotten() {
        let (streams, org) = (Streams::default(), OrgId::new());
        let mut place = streams.follow(org, Carrier::ServerSent, 1).unwrap();
        streams.tell(org, 3);
        assert!(place.head.has_changed().unwrap());
        assert_eq!(*place.head.borrow_and_update(), 3);
        streams.tell(org, 2);
        assert!(!place.head.has_changed().unwrap());
        assert_eq!(streams.followed(), [org]);
        drop(place);
        assert!(streams.followed().is_empty());
    }
}
