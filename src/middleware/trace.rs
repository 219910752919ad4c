//! One span and one line in the log for each request.

use crate::{ids::RequestId, trail::ClientIp};
use axum::{extract::Request, middleware::Next, response::Response};
use std::time::Instant;
use tracing::{Instrument as _, Span, field::Empty};

pub async fn trace(request: Request, next: Next) -> Response {
    let span = span(&request);
    let started = Instant::now();
    async move {
        let response = next.run(request).await;
        let (status, millis) = (response.status().as_u16(), started.elapsed().as_secs_f64() * 1_000.0);
        tracing::info!(status, millis, "answered");
        response
    }
    .instrument(span)
    .await
}

/// The query is not logged: it may hold what people search for.
fn span(request: &Request) -> Span {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let short = |text: &'_ str| text.chars().take(64).collect::<String>();
    tracing::info_span!(
        "request",
        request_id = request.extensions().get::<RequestId>().map(display),
        client_request_id = header("x-request-id").map(short),
        traceparent = header("traceparent").map(short),
        method = %request.method(),
        path = request.uri().path(),
        ip = request.extensions().get::<ClientIp>().map(|client| display(client.ip)),
        org = Empty,
        principal = Empty,
    )
}
