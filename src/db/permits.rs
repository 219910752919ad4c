//! Permits: of the connections that serve tenants, one org holds so many at a time and queues for the rest.

use crate::{
    error::{Error, Result},
    ids::OrgId,
};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// First come, first served within each org; between orgs the pool's own queue is fair, and none of them stands in it
/// with more than its permits. An org that holds none is not remembered.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// An org may hold so many.
    each: usize,
    /// So many may wait for one to be free.
    queue: usize,
    patience: Duration,
    orgs: Mutex<HashMap<OrgId, Line>>,
}

/// Somebody waits only while all are held: a permit that is given back goes to the first in the queue.
#[derive(Debug, Default)]
struct Line {
    held: usize,
    /// Who has given up waiting is still in it until their turn comes, or their place is needed.
    queue: VecDeque<oneshot::Sender<Permit>>,
}

/// To be dropped when the connection that it was for is free again. One that is sent to somebody who does not wait any
/// more comes back from there, or is dropped there: none is lost.
#[derive(Debug)]
pub struct Permit {
    permits: Permits,
    org: OrgId,
}

impl Permits {
    pub fn new(each: usize, queue: usize, patience: Duration) -> Self {
        Self(Arc::new(Inner { each: each.max(1), queue, patience, orgs: Mutex::default() }))
    }

    /// # Errors
    /// 503 at once where too many wait already, and after a while where it is nobody's turn to go.
    pub async fn take(&self, org: OrgId) -> Result<Permit> {
        let turn = {
            let mut orgs = self.0.orgs.lock();
            let line = orgs.entry(org).or_default();
            if line.held < self.0.each {
                line.held += 1;
                return Ok(Permit { permits: self.clone(), org });
            }
            if line.queue.len() >= self.0.queue {
                line.queue.retain(|waiter| !waiter.is_closed());
            }
            if line.queue.len() >= self.0.queue {
                return Err(Error::Crowded);
            }
            let (sender, turn) = oneshot::channel();
            line.queue.push_back(sender);
            turn
        };
        match timeout(self.0.patience, turn).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Error::Crowded),
        }
    }

    /// How many are held by all orgs together.
    pub fn held(&self) -> usize {
        self.0.orgs.lock().values().map(|line| line.held).sum()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = {
            let mut orgs = self.permits.0.orgs.lock();
            let Some(line) = orgs.get_mut(&self.org) else { return };
            let next = line.queue.pop_front();
            if next.is_none() {
                line.held -= 1;
                if line.held == 0 {
                    orgs.remove(&self.org);
                }
            }
            next
        };
        // Outside the lock: where nobody waits any more, the permit comes back and is dropped in turn.
        if let Some(next) = next {
            next.send(Self { permits: self.permits.clone(), org: self.org }).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use std::{
        pin::{Pin, pin},
        task::{Context, Waker},
    };
    use tokio::task::JoinSet;

    const LONG: Duration = Duration::from_mins(1);

    fn polled<T>(future: Pin<&mut impl Future<Output = T>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn an_org_holds_its_permits_and_another_has_its_own() {
        let permits = Permits::new(2, 0, LONG);
        let (acme, globex) = (OrgId::new(), OrgId::new());
        let _held = (permits.take(acme).await.unwrap(), permits.take(acme).await.unwrap());
        assert!(matches!(permits.take(acme).await, Err(Error::Crowded)));
        permits.take(globex).await.unwrap();
    }

    #[tokio::test]
    async fn a_permit_goes_to_whoever_came_first() {
        let permits = Permits::new(1, 64, LONG);
        let org = OrgId::new();
        let mut held = permits.take(org).await.unwrap();
        let mut waiting: VecDeque<_> = (0..64).map(|_| Box::pin(permits.take(org))).collect();
        for waiter in &mut waiting {
            assert!(!polled(waiter.as_mut()));
        }
        while let Some(mut first) = waiting.pop_front() {
            drop(held);
            for later in &mut waiting {
                assert!(!polled(later.as_mut()));
            }
            held = first.as_mut().now_or_never().unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn the_sixty_fifth_to_wait_is_refused_until_somebody_gives_up() {
        let permits = Permits::new(1, 64, LONG);
        let org = OrgId::new();
        let _held = permits.take(org).await.unwrap();
        let mut waiting: Vec<_> = (0..64).map(|_| Box::pin(permits.take(org))).collect();
        for waiter in &mut waiting {
            assert!(!polled(waiter.as_mut()));
        }
        assert!(matches!(permits.take(org).now_or_never(), Some(Err(Error::Crowded))));

        drop(waiting.swap_remove(31));
        let mut taken = pin!(permits.take(org));
        assert!(!polled(taken.as_mut()));
        assert!(matches!(permits.take(org).now_or_never(), Some(Err(Error::Crowded))));
    }

    #[tokio::test]
    async fn who_has_waited_long_enough_is_told_so() {
        let permits = Permits::new(1, 64, Duration::from_millis(50));
        let org = OrgId::new();
        let held = permits.take(org).await.unwrap();
        let begun = std::time::Instant::now();
        assert!(matches!(permits.take(org).await, Err(Error::Crowded)));
        assert!(begun.elapsed() >= Duration::from_millis(50));
        drop(held);
        assert!(permits.take(org).now_or_never().unwrap().is_ok(), "who gave up is not given it");
    }

    #[tokio::test]
    async fn a_permit_given_to_somebody_who_has_just_left_goes_to_the_next() {
        let permits = Permits::new(1, 64, LONG);
        let org = OrgId::new();
        let held = permits.take(org).await.unwrap();
        let mut leaving = Box::pin(permits.take(org));
        let mut next = pin!(permits.take(org));
        assert!(!polled(leaving.as_mut()) && !polled(next.as_mut()));
        drop(held);
        drop(leaving);
        drop(next.as_mut().now_or_never().unwrap().unwrap());
        assert_eq!(permits.held(), 0);
    }

    /// Takes permits and gives up at any moment: while queueing, with the permit on its way, and while holding it. Tells
    /// how many were taken, refused and given up.
    async fn hammer(permits: Permits, orgs: [OrgId; 2], seed: u32) -> [u32; 3] {
        let mut counts = [0; 3];
        for round in 0..3_125 {
            let dice = (seed * 3_125 + round).wrapping_mul(2_654_435_761) >> 16;
            let turns = async |many: u32| {
                for _ in 0..many {
                    tokio::task::yield_now().await;
                }
            };
            let take = async {
                let permit = permits.take(orgs[usize::from(dice.is_multiple_of(2))]).await?;
                turns(dice >> 4 & 3).await;
                drop(permit);
                Ok::<(), Error>(())
            };
            let outcome = tokio::select! {
                biased;
                done = take => usize::from(done.is_err()),
                () = turns(dice >> 1 & 7) => 2,
            };
            counts[outcome] += 1;
        }
        counts
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_hundred_thousand_taken_and_given_up_leave_none_held_and_nobody_remembered() {
        let permits = Permits::new(2, 16, LONG);
        let orgs = [OrgId::new(), OrgId::new()];
        let workers: JoinSet<_> = (0..32).map(|seed| hammer(permits.clone(), orgs, seed)).collect();
        let counts = workers.join_all().await;
        let [taken, refused, given_up] =
            [0, 1, 2].map(|at| counts.iter().map(|count| count[at]).sum::<u32>());
        assert_eq!(taken + refused + given_up, 100_000);
        assert!(taken > 5_000 && given_up > 5_000, "the dice were loaded: {taken} {refused} {given_up}");
        assert_eq!(permits.held(), 0);
        assert!(permits.0.orgs.lock().is_empty());
    }
}
