//! One span and one line in the log for each request, and one span of a trace where traces are collected.

use crate::{ids::RequestId, telemetry, trail::ClientIp};
use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use std::time::Instant;
use tracing::{Instrument as _, Span, field::Empty};

pub async fn trace(request: Request, next: Next) -> Response {
    let traced = traced(&request);
    let span = span(&request, &traced);
    let answered = traced.clone();
    let started = Instant::now();
    async move {
        let response = next.run(request).await;
        let (status, millis) = (response.status().as_u16(), started.elapsed().as_secs_f64() * 1_000.0);
        telemetry::answered(&answered, status);
        tracing::info!(status, millis, "answered");
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
