//! Events as they happen, to whoever stays on the line: server-sent events.

use super::readable;
use crate::{
    access,
    authn::Principal,
    authz::{Action::Read, Permission, Resource::Events},
    caller::{Caller, Stance, closed},
    error::{Error, Problem, Result},
    events::{Event, EventPage, EventRow},
    ids::OrgId,
    middleware::identify,
    state::AppState,
    tenancy::{Mode, Status, TenantTx},
    trail::ClientIp,
};
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode},
    response::{
        IntoResponse as _, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures::StreamExt as _;
use std::{convert::Infallible, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

const LAST_EVENT_ID: &str = "last-event-id";
/// How often a stream asks whether its listener may still listen.
const CHECK: Duration = Duration::from_secs(2);
/// How often a silent stream says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events that are on their way to a listener; the others wait in the database.
const AHEAD: usize = 16;
/// How long a listener may leave what was sent unread.
const PATIENCE: Duration = Duration::from_secs(30);
/// Events read at a time.
const PAGE: i64 = 100;

/// Follow what happens
///
/// As server-sent events (HTML, section 9.2), from now on, or where `Last-Event-ID` names the `id` of the one that came
/// last, from the next one on: whoever connects again in that way misses nothing and is told nothing twice. Each `id` is the
/// event's `seq`, each `event` its type, each `data` the event as `GET /events/history` has it, a second or so after it
/// happened. Of what the caller may read when it is sent. An event `gap` says that what came after the named one is not kept
/// any more. A comment every 15 s shows that the line is alive. The stream ends when the access token expires, and within
/// seconds where the session, the key or the right to it is gone; and where what was sent stays unread for 30 s.
#[utoipa::path(get, path = "/events", tag = "events",
    params(("Last-Event-ID" = Option<i64>, Header, description = "The last that was seen.")),
    responses((status = 200, description = "Events, for as long as both sides stay.",
               body = String, content_type = "text/event-stream")))]
pub async fn follow_events(
    State(state): State<AppState>,
    caller: Caller,
    Extension(client): Extension<ClientIp>,
    headers: HeaderMap,
) -> Result<Response> {
    let after = last_event(&headers)?;
    let org = caller.org();
    let head = state.streams.follow(org, state.config.events.streams_per_org).ok_or_else(too_many)?;
    let (first, last) = ends(&state, org).await?;
    let after = after.unwrap_or(last).min(last);
    let (sender, mut receiver) = mpsc::channel(AHEAD);
    let gap = (after + 1 < first).then(|| format!(r#"{{"after":{after},"before":{first}}}"#));
    let after = after.max(first - 1);
    let stream = Stream { state: state.clone(), headers, client, org, after, head, sender };
    state.streams.feed(stream.run(gap));
    let events =
        futures::stream::poll_fn(move |context| receiver.poll_recv(context)).map(Ok::<_, Infallible>);
    let alive = KeepAlive::new().interval(HEARTBEAT);
    // Proxies that gather what they pass on would keep it from the listener.
    Ok(([(HeaderName::from_static("x-accel-buffering"), "no")], Sse::new(events).keep_alive(alive))
        .into_response())
}

fn last_event(headers: &HeaderMap) -> Result<Option<i64>> {
    let Some(last) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let last = last.to_str().ok().and_then(|last| last.parse().ok()).filter(|last| *last >= 0);
    last.map(Some).ok_or_else(|| {
        Error::malformed(
            "bad_header",
            "Last-Event-ID is the id of an event of this stream: a number".to_owned(),
        )
    })
}

fn too_many() -> Error {
    let detail = "as many streams of this organisation are open as there can be: close one first";
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail);
    Error::Limited(Box::new(problem.with("violated_policies", vec!["streams"])))
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
struct Stream {
    state: AppState,
    /// Of the request: its credentials are asked again and again.
    headers: HeaderMap,
    client: ClientIp,
    org: OrgId,
    /// The number up to which the listener was told.
    after: i64,
    head: watch::Receiver<i64>,
    sender: mpsc::Sender<sse::Event>,
}

impl Stream {
    async fn run(mut self, gap: Option<String>) {
        if let Some(gap) = gap
            && !self.send(sse::Event::default().event("gap").data(gap)).await
        {
            return;
        }
        let closing = self.state.streams.closing.clone();
        let gone = self.sender.clone();
        tokio::select! {
            () = closing.cancelled() => {}
            () = gone.closed() => {}
            ended = self.follow() => if let Err(error) = ended {
                tracing::info!(org = %self.org, %error, "a stream of events ends");
            },
        }
    }

    /// # Errors
    /// Says why the listener is not to be told any more.
    async fn follow(&mut self) -> Result<()> {
        loop {
            match self.catch_up().await {
                Ok(false) => return Ok(()),
                // What passes is waited for, and until then nobody is told anything: they might not be let in any more.
                Ok(true) | Err(Error::Unavailable(_) | Error::Crowded) => {}
                Err(error) => return Err(error),
            }
            tokio::select! {
                changed = self.head.changed() => if changed.is_err() { return Ok(()) },
                () = sleep(CHECK) => {}
            }
        }
    }

    /// Sends what the listener may read of all that has happened by now; false where they do not take it.
    async fn catch_up(&mut self) -> Result<bool> {
        loop {
            let asked = Instant::now();
            let caller = self.admitted().await?;
            let head = *self.head.borrow_and_update();
            if self.after >= head {
                return Ok(true);
            }
            let page = self.state.streams.page((self.org, self.after, head), self.read()).await;
            let page = page.map_err(|error| {
                tracing::warn!(%error, org = %self.org, "events can't be read for a stream; trying again");
                Error::Unavailable("events can't be read; try again in a moment")
            })?;
            let types = readable(&caller);
            for event in page.iter() {
                // Whoever takes it slowly is asked anew before they are told the rest.
                if asked.elapsed() > CHECK {
                    break;
                }
                if types.contains(&event.kind) {
                    let told =
                        sse::Event::default().id(event.seq.to_string()).event(&event.kind).json_data(event);
                    if !self.send(told.map_err(|error| Error::Internal(error.into()))?).await {
                        return Ok(false);
                    }
                }
                self.after = event.seq;
            }
            if page.is_empty() {
                // They were swept meanwhile.
                self.after = head;
            }
        }
    }

    /// Whether the listener takes it in time; who does not can go on later from where they were.
    async fn send(&self, event: sse::Event) -> bool {
        matches!(timeout(PATIENCE, self.sender.send(event)).await, Ok(Ok(())))
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
        let Principal { org, actor } = identify(&self.state, &self.headers, self.client.ip).await?;
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
