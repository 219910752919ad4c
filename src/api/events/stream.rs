//! Events as they happen, to whoever stays on the line: server-sent events.

use super::{
    follow::{Following, HEARTBEAT, Listener, Told},
    resume::Resume,
};
use crate::{
    authn::Credential, caller::Caller, error::Result, events::Carrier, extract::Query, state::AppState,
    trail::ClientIp,
};
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderName, header},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::StreamExt as _;
use serde_json::json;
use std::time::Duration;

/// How long a browser waits before it connects again.
const RETRY: Duration = Duration::from_secs(2);

/// Follow what happens
///
/// As server-sent events (HTML, section 9.2), from now on, or where `Last-Event-ID` names the `id` of the one that came
/// last, from the next one on: whoever connects again in that way misses nothing and is told nothing twice. Each `id` is the
/// event's `seq`, each `event` its type, each `data` the event as `GET /events/history` has it, a second or so after it
/// happened. Of what the caller may read when it is sent. An event `gap` says that what came after the named one is not kept
/// any more. A comment every 15 s shows that the line is alive. The stream ends when the access token expires, and within
/// seconds where the session, the key or the right to it is gone; and where what was sent stays unread for 30 s. How many
/// an organisation may have open is its tier's `live_connections`. A browser's `EventSource` comes in by a ticket; it gives
/// up once that is used: on `error` get another one, and go on with `after`.
#[utoipa::path(get, path = "/events", tag = "events",
    params(Resume, ("Last-Event-ID" = Option<i64>, Header, description = "The last that was seen.")),
    responses((status = 200, description = "Events, for as long as both sides stay.",
               body = String, content_type = "text/event-stream")))]
pub async fn follow_events(
    State(state): State<AppState>,
    caller: Caller,
    Extension(client): Extension<ClientIp>,
    Extension(credential): Extension<Credential>,
    headers: HeaderMap,
    Query(resume): Query<Resume>,
) -> Result<Response> {
    let (org, after) = (caller.org(), resume.after(&headers)?);
    let listener = Listener { state, credential, client, org, after };
    let Following { mut told, .. } = listener.follow(Carrier::ServerSent).await?;
    let told = futures::stream::poll_fn(move |context| told.poll_recv(context)).map(|told| said(&told));
    let events = futures::stream::iter([Ok(Event::default().retry(RETRY))]).chain(told);
    let headers = [
        // Proxies that gather what they pass on would keep it from the listener.
        (HeaderName::from_static("x-accel-buffering"), "no"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    // The latter says otherwise by itself.
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
    }
    Ok(response)
}

fn said(told: &Told) -> Result<Event, axum::Error> {
    match told {
        Told::Gap { after, before } => {
            Event::default().event("gap").json_data(json!({"after": after, "before": before}))
        }
        Told::Event(page, at) => match page.get(*at) {
            Some(event) => Event::default().id(event.seq.to_string()).event(&event.kind).json_data(event),
            None => Ok(Event::default().comment("")),
        },
    }
}
