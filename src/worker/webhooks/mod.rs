//! Delivers webhooks: many at a time, each attempt on a task of its own that holds nothing of the database meanwhile.

mod client;
mod send;
mod wire;

pub use client::WebhookClient;

use super::turns::again_and_again;
use crate::{
    ids::{DeliveryId, OrgId},
    state::AppState,
    webhooks::{Claimed, Queue, Room, next},
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a delivery waits that has become due, while there is room for it.
const POLL: Duration = Duration::from_millis(200);
/// Beyond the time that a request has, for writing down what became of it.
const MARGIN: Duration = Duration::from_secs(5);
/// How long requests that are under way may go on when the process is to stop.
const FAREWELL: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(250);
/// How much longer than a question takes nobody asks again: where very many endpoints have something waiting, questions
/// are not cheap, and are then about more at a time.
const REST: u32 = 3;

/// Delivers until told to stop; what is under way then has a moment to end, and is given back if it does not.
pub async fn deliver_webhooks(state: AppState, client: WebhookClient, until: CancellationToken) {
    let lease = client.patience() + MARGIN;
    let queue = Queue::new(state.platform.clone(), state.clock.clone(), lease);
    let mut desk = Desk {
        most: state.config.webhooks.in_flight,
        courier: Arc::new(Courier { state, client, queue: queue.clone(), lease }),
        working: JoinSet::new(),
        under_way: HashMap::new(),
    };
    if desk.most == 0 {
        return;
    }
    tokio::join!(
        desk.work(&until),
        again_and_again(PAUSE * 2, until.clone(), "deliveries can't be looked after", || async {
            let taken = queue.take_back().await?;
            if taken > 0 {
                tracing::warn!(
                    taken,
                    "deliveries are handed on: who had claimed them is not heard of any more"
                );
            }
            queue.discard().await
        })
    );
}

/// What is under way, and with whom.
struct Desk {
    most: usize,
    courier: Arc<Courier>,
    working: JoinSet<()>,
    under_way: HashMap<Id, UnderWay>,
}

struct UnderWay {
    org: OrgId,
    delivery: DeliveryId,
    claim: Uuid,
    is_failing: bool,
}

impl Desk {
    async fn work(&mut self, until: &CancellationToken) {
        while !until.is_cancelled() {
            let (room, asked) = (self.room(), Instant::now());
            if room.free > 0 {
                match self.courier.queue.claim(&room).await {
                    Ok(claimed) => claimed.into_iter().for_each(|one| self.send_off(one)),
                    Err(error) => tracing::warn!(%error, "deliveries can't be asked for; trying again"),
                }
            }
            let took = asked.elapsed();
            tokio::select! {
                () = until.cancelled() => {}
                () = sleep((took * REST).max(POLL)) => {}
                Some(ended) = self.working.join_next_with_id() => {
                    self.tidy(ended);
                    until.run_until_cancelled(sleep(took * REST)).await;
                }
            }
            // Whoever else has ended meanwhile: one question for all of them.
            while let Some(ended) = self.working.try_join_next_with_id() {
                self.tidy(ended);
            }
        }
        self.close().await;
    }

    /// One org has a quarter of all at most, and those that fail have a half together: whoever hangs leaves the others
    /// enough.
    fn room(&self) -> Room {
        let mut busy = HashMap::new();
        for one in self.under_way.values() {
            *busy.entry(one.org).or_insert(0) += 1;
        }
        let failing = self.under_way.values().filter(|one| one.is_failing).count();
        Room {
            free: self.most - self.working.len().min(self.most),
            of_an_org: (self.most / 4).max(1),
            for_failing: (self.most / 2).max(1).saturating_sub(failing),
            busy,
        }
    }

    fn send_off(&mut self, claimed: Claimed) {
        let (org, delivery, claim) = (claimed.org, claimed.id, claimed.claim);
        let is_failing = claimed.is_failing;
        let courier = Arc::clone(&self.courier);
        let task = self.working.spawn(async move { courier.deliver(&claimed).await });
        self.under_way.insert(task.id(), UnderWay { org, delivery, claim, is_failing });
    }

    fn tidy(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                // Its claim lapses, and it is tried again.
                tracing::error!(%error, "an attempt at a delivery panicked");
                error.id()
            }
        };
        self.under_way.remove(&id);
    }

    async fn close(&mut self) {
        let ending = async {
            while let Some(ended) = self.working.join_next_with_id().await {
                self.tidy(ended);
            }
        };
        if timeout(FAREWELL, ending).await.is_ok() {
            return;
        }
        self.working.shutdown().await;
        let left: Vec<_> =
            self.under_way.drain().map(|(_, one)| (one.org, one.delivery, one.claim)).collect();
        if let Err(error) = self.courier.queue.give_back(&left).await {
            tracing::warn!(%error, deliveries = left.len(), "deliveries are left to be taken over");
        }
    }
}

struct Courier {
    state: AppState,
    client: WebhookClient,
    queue: Queue,
    lease: Duration,
}

impl Courier {
    /// Attempts it once, and writes down what came of it, for as long as it may.
    async fn deliver(&self, claimed: &Claimed) {
        let Self { state, client, queue, lease } = self;
        let ended = timeout(*lease, async {
            let attempt = match send::attempt(client, &state.vault, &state.clock, claimed).await {
                Ok(attempt) => attempt,
                Err(error) => {
                    tracing::error!(delivery = %claimed.id, %error, "a delivery can't be attempted; trying again");
                    return;
                }
            };
            state.webhook_attempts.ended(attempt.outcome.as_str(), attempt.took);
            let settings = &state.config.webhooks;
            let jitter = rand::random_range(0.9..1.1);
            let next = next(&attempt, claimed.attempts + 1, &settings.retry_seconds, jitter);
            let patience = time::Duration::days(i64::from(settings.give_up_days));
            while let Err(error) = queue.settle(claimed, &attempt, next, patience).await {
                tracing::warn!(delivery = %claimed.id, %error, "what became of a delivery can't be written; trying again");
                sleep(PAUSE).await;
            }
        });
        if ended.await.is_err() {
            tracing::warn!(delivery = %claimed.id, "what became of a delivery could not be written: it will be sent again");
        }
    }
}
