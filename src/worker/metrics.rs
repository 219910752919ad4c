//! Tells Prometheus what this replica counted, on an address of its own: who reaches the API does not reach this.

use crate::{metrics::Text, state::AppState};
use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

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
    state.limits.tell(&mut text);
    ([(header::CONTENT_TYPE, Text::CONTENT_TYPE)], text.into_string())
}
