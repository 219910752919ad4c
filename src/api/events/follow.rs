//! Following what happens: what a listener is told, in which order and for how long, whatever carries it to them.

use super::readable;
use crate::{
    access,
    authn::{Credential, Principal},
    authz::{Action::Read, Permission, Resource::Events},
    caller::{Caller, Stance, closed},
    error::{Error, Result},
    events::{Carrier, Event, EventPage, EventRow, Place},
    ids::OrgId,
    middleware::identify_again,
    state::AppState,
    tenancy::{Mode, Status, TenantTx},
    trail::ClientIp,
};
use std::{convert::Infallible, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

/// How often it is asked whether the listener may still listen.
const CHECK: Duration = Duration::from_secs(2);
/// How often the line is shown to be alive.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// What is on its way to a listener; the rest waits in the database.
const AHEAD: usize = 16;
/// Events read at a time.
const PAGE: i64 = 100;

/// Something that a listener is told.
pub enum Told {
    /// The one at this place of its page.
    Event(EventPage, usize),
    /// What came after `after` and before `before` is not kept any more.
    Gap { after: i64, before: i64 },
}

/// Why a listener is told nothing more.
#[derive(Debug)]
pub enum End {
    /// The process is to end.
    Stopping,
    /// They are gone.
    Gone,
    /// They left what was sent unread.
    Slow,
    /// They would not be let in any more.
    Refused(Error),
}

/// Who asks to be told, and from where on.
pub struct Listener {
    pub state: AppState,
    pub credential: Credential,
    pub client: ClientIp,
    pub org: OrgId,
    /// The number of the last event that they know; none: from now on.
    pub after: Option<i64>,
}

/// What comes to a listener.
pub struct Following {
    pub told: mpsc::Receiver<Told>,
    /// The number that it comes after.
    pub after: i64,
    pub end: oneshot::Receiver<End>,
}

impl Told {
    pub fn event(&self) -> Option<&Event> {
        match self {
            Self::Event(page, at) => page.get(*at),
            Self::Gap { .. } => None,
        }
    }
}

impl Listener {
    /// Begins to follow, where there is a place for it.
    ///
    /// # Errors
    /// 429 where as many streams of the org's are open as may be.
    pub async fn follow(self, carrier: Carrier) -> Result<Following> {
        let Self { state, credential, client, org, after } = self;
        let place = super::places::take(&state, org, carrier).await?;
        let (first, last) = ends(&state, org).await?;
        let after = after.unwrap_or(last).min(last);
        let gap = (after + 1 < first).then_some(Told::Gap { after, before: first });
        let after = after.max(first - 1);
        let (sender, told) = mpsc::channel(AHEAD);
        let (ended, end) = oneshot::channel();
        let patience = state.config.http.unread();
        let follower =
            Follower { state: state.clone(), credential, client, org, after, place, sender, patience };
        state.streams.feed(async move {
            let end = follower.run(gap).await;
            tracing::info!(%org, ?end, "a stream of events ends");
            // Nobody may be there any more to whom it matters.
            ended.send(end).ok();
        });
        Ok(Following { told, after, end })
    }
}

/// The numbers of the first event that is kept, and of the last.
async fn ends(state: &AppState, org: OrgId) -> Result<(i64, i64)> {
    let (mut tx, _) = TenantTx::begin(&state.pools, org, Mode::Read).await?;
    let ends = sqlx::query!(
        r#"select (select seq from events where org_id = $1 and seq is not null order by seq, id limit 1) as first,
                  (select seq from event_heads where org_id = $1) as last"#,
        org.uuid()
    );
    let ends = ends.fetch_one(&mut *tx).await?;
    let last = ends.last.unwrap_or_default();
    Ok((ends.first.unwrap_or(last + 1), last))
}

/// One listener's.
struct Follower {
    state: AppState,
    /// Asked again and again.
    credential: Credential,
    client: ClientIp,
    org: OrgId,
    /// The number up to which the listener was told.
    after: i64,
    place: Place,
    sender: mpsc::Sender<Told>,
    /// How long a listener may leave what was sent unread.
    patience: Duration,
}

impl Follower {
    async fn run(mut self, gap: Option<Told>) -> End {
        let closing = self.state.streams.closing.clone();
        let gone = self.sender.clone();
        tokio::select! {
            () = closing.cancelled() => End::Stopping,
            () = gone.closed() => End::Gone,
            Err(end) = self.follow(gap) => end,
        }
    }

    /// # Errors
    /// Says why the listener is not to be told any more; it never ends otherwise.
    async fn follow(&mut self, gap: Option<Told>) -> Result<Infallible, End> {
        if let Some(gap) = gap {
            self.send(gap).await?;
        }
        loop {
            match self.catch_up().await {
                // What passes is waited for, and until then nobody is told anything: they might not be let in any more.
                Ok(()) | Err(End::Refused(Error::Unavailable(_) | Error::Crowded)) => {}
                Err(end) => return Err(end),
            }
            tokio::select! {
                changed = self.place.head.changed() => changed.map_err(|_| End::Stopping)?,
                () = sleep(CHECK) => {}
            }
        }
    }

    /// Sends what the listener may read of all that has happened by now.
    async fn catch_up(&mut self) -> Result<(), End> {
        loop {
            let asked = Instant::now();
            let caller = self.admitted().await.map_err(End::Refused)?;
            let head = *self.place.head.borrow_and_update();
            if self.after >= head {
                return Ok(());
            }
            let page = self.state.streams.page((self.org, self.after, head), self.read()).await;
            let page = page.map_err(|error| {
                tracing::warn!(%error, org = %self.org, "events can't be read for a stream; trying again");
                End::Refused(Error::Unavailable("events can't be read; try again in a moment"))
            })?;
            let types = readable(&caller);
            for (at, event) in page.iter().enumerate() {
                // Whoever takes it slowly is asked anew before they are told the rest.
                if asked.elapsed() > CHECK {
                    break;
                }
                if types.contains(&event.kind) {
                    self.send(Told::Event(page.clone(), at)).await?;
                }
                self.after = event.seq;
            }
            if page.is_empty() {
                // They were swept meanwhile.
                self.after = head;
            }
        }
    }

    /// Waits until the listener takes it; who does not can go on later from where they were.
    async fn send(&self, told: Told) -> Result<(), End> {
        match timeout(self.patience, self.sender.send(told)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow),
        }
    }

    async fn read(&self) -> Result<EventPage> {
        let (mut tx, _) = TenantTx::begin(&self.state.pools, self.org, Mode::Read).await?;
        let page = sqlx::query_as!(
            EventRow,
            r#"select org_id as "org_id: _", id as "id: _", type as kind, at, actor_type, actor_id, target_type, target,
                      object, previous, seq as "seq!"
               from events where org_id = $1 and seq > $2 order by seq, id limit $3"#,
            self.org.uuid(),
            self.after,
            PAGE
        );
        Ok(page.fetch_all(&mut *tx).await?.into_iter().map(Event::from).collect())
    }

    /// The listener as they stand now, as the stack above asked when the stream began.
    ///
    /// # Errors
    /// 401 or 403, where they would not be let in any more.
    async fn admitted(&self) -> Result<Caller> {
        let Principal { org, actor } = identify_again(&self.state, &self.credential, self.client.ip).await?;
        let control = self.state.directory.get(org).await?;
        if control.status != Status::Active {
            return Err(closed(control.status));
        }
        if let Some(demand) = access::unmet(&control.access, &actor, self.client.ip).first() {
            return Err(demand.refusal());
        }
        let principal = Principal { org, actor };
        let stance = Stance::of(&self.state.authz, &principal).await?;
        let events = Permission { resource: Events, action: Read };
        Caller::admit(&self.state.authz, principal, stance, Some(events)).await
    }
}
