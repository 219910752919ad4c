//! Tells Prometheus what this replica counted, on an address of its own: who reaches the API does not reach this.

use crate::{
    error::Result,
    events::Carrier,
    jobs::{self, KindFigures},
    metrics::Text,
    state::AppState,
    webhooks::{self, DeliveryFigures},
};
use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use std::time::Duration;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

/// Less than Prometheus waits.
const PATIENCE: Duration = Duration::from_secs(3);

pub async fn serve_metrics(state: AppState, listener: TcpListener, until: CancellationToken) {
    let router = Router::new().route("/metrics", get(metrics)).with_state(state);
    let serving = axum::serve(listener, router).with_graceful_shutdown(until.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "metrics are not served any more");
    }
}

async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    let mut text = Text::default();
    state.requests.tell(&mut text);
    state.reads.tell(&mut text);
    text.family("insula_cache_bytes", "gauge", "What the answers that are kept weigh, about.");
    text.sample("insula_cache_bytes", &[], state.cache.weight());
    text.family("insula_event_streams", "gauge", "Streams of events that are open.");
    for (carrier, named) in [(Carrier::ServerSent, "sse"), (Carrier::WebSocket, "websocket")] {
        text.sample("insula_event_streams", &[("carrier", named)], state.streams.places.count(carrier));
    }
    state.webhook_attempts.tell(&mut text);
    state.limits.tell(&mut text);
    state.meter.tell(&mut text);
    // What this replica counted is told whether or not the database can be asked.
    match timeout(PATIENCE, queues(&state)).await {
        Ok(Ok((jobs, deliveries))) => {
            tell_jobs(&mut text, &jobs);
            tell_deliveries(&mut text, &deliveries);
        }
        Ok(Err(error)) => tracing::warn!(%error, "metrics are told without the queues"),
        Err(_) => tracing::warn!("metrics are told without the queues: the database takes too long"),
    }
    ([(header::CONTENT_TYPE, Text::CONTENT_TYPE)], text.into_string())
}

async fn queues(state: &AppState) -> Result<(Vec<KindFigures>, DeliveryFigures)> {
    let mut tx = state.platform.begin().await?;
    Ok((jobs::figures(&mut tx).await?, webhooks::figures(&mut tx).await?))
}

/// Of all replicas together: each tells the same, so take one's word and not the sum.
fn tell_jobs(text: &mut Text, figures: &[KindFigures]) {
    text.family(
        "insula_jobs",
        "gauge",
        "Jobs that wait, run, or have failed and are kept, of all replicas together.",
    );
    for of in figures {
        for (state, count) in [("waiting", of.waiting), ("running", of.running), ("failed", of.failed)] {
            text.sample("insula_jobs", &[("kind", &of.kind), ("state", state)], count);
        }
    }
    let name = "insula_jobs_oldest_wait_seconds";
    text.family(name, "gauge", "How long the job that is due longest has been waiting.");
    for of in figures {
        text.sample(name, &[("kind", &of.kind)], of.oldest_wait_seconds);
    }
}

/// Likewise.
fn tell_deliveries(text: &mut Text, figures: &DeliveryFigures) {
    let name = "insula_webhook_deliveries";
    text.family(
        name,
        "gauge",
        "Deliveries of webhooks that wait or are under way, of all replicas together.",
    );
    text.sample(name, &[("state", "waiting")], figures.waiting);
    text.sample(name, &[("state", "running")], figures.running);
    let name = "insula_webhook_deliveries_oldest_wait_seconds";
    text.family(name, "gauge", "How long the delivery that is due longest has been waiting.");
    text.sample(name, &[], figures.oldest_wait_seconds);
}
