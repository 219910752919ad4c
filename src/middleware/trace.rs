//! One span and one line in the log for each request, and its record for the meter: both say the same of it; and one span of
//! a trace where traces are collected.

use crate::{
    ids::RequestId,
    metering::{Outcome, Slip},
    state::AppState,
    telemetry,
    trail::ClientIp,
};
use axum::{
    extract::{MatchedPath, Request, State},
    http::StatusCode,
    middleware::Next,
    response::Response,
};
use std::time::Instant;
use tracing::{Instrument as _, Span, field::Empty};

pub async fn trace(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let slip = Slip::default();
    request.extensions_mut().insert(slip.clone());
    let traced = traced(&request);
    let span = span(&request, &traced);
    let answered = traced.clone();
    let id = request.extensions().get::<RequestId>().copied().unwrap_or_else(RequestId::new);
    async move {
        let mut line = Line { state, slip, id, started: Instant::now(), is_told: false };
        let response = next.run(request).await;
        telemetry::answered(&answered, response.status().as_u16());
        line.tell(Some(response.status()));
        response
    }
    .instrument(span)
    .instrument(traced)
    .await
}

fn traced(request: &Request) -> Span {
    telemetry::http(
        request.method().as_str(),
        request.extensions().get::<MatchedPath>().map(MatchedPath::as_str),
        request.uri().path(),
        request.extensions().get::<RequestId>().copied(),
        header(request, "traceparent"),
    )
}

/// The query is not logged: it may hold what people search for.
fn span(request: &Request, traced: &Span) -> Span {
    let short = |text: &'_ str| text.chars().take(64).collect::<String>();
    tracing::info_span!(
        "request",
        request_id = request.extensions().get::<RequestId>().map(display),
        client_request_id = header(request, "x-request-id").map(short),
        traceparent = header(request, "traceparent").map(short),
        trace_id = telemetry::trace_id(traced).map(display),
        method = %request.method(),
        path = request.uri().path(),
        ip = request.extensions().get::<ClientIp>().map(|client| display(client.ip)),
        org = Empty,
        principal = Empty,
    )
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// What is to be said of a request when it is over.
struct Line {
    state: AppState,
    slip: Slip,
    id: RequestId,
    started: Instant,
    is_told: bool,
}

impl Line {
    /// Without a status nobody waits for the answer any more.
    fn tell(&mut self, status: Option<StatusCode>) {
        self.is_told = true;
        let millis = self.started.elapsed().as_secs_f64() * 1_000.0;
        let known = self.slip.take();
        let outcome = known.as_ref().map(|known| known.outcome(status));
        // The record first: whoever is killed in between has counted what no line tells of, and not the other way round.
        if let (Some(known), Some(outcome)) = (&known, outcome) {
            let meter = &self.state.meter;
            meter.count(&known.over(self.id, meter.now(), outcome));
        }
        let operation = known.as_ref().map(|known| known.route);
        let shadowed = known.as_ref().filter(|known| known.is_shadowed()).map(|_| true);
        let outcome = outcome.map(Outcome::as_str);
        let (message, status) = match status {
            Some(status) => ("answered", Some(status.as_u16())),
            None => ("abandoned", None),
        };
        tracing::info!(status, millis, operation, outcome, shadowed, "{message}");
    }
}

impl Drop for Line {
    /// Whoever asked has hung up: what was charged is charged.
    fn drop(&mut self) {
        if !self.is_told {
            self.tell(None);
        }
    }
}
