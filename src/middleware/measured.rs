//! Counts each answer, by route and status, and how long it took, where somebody may ask for that.

use crate::state::AppState;
use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use std::time::Instant;

pub async fn measured(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if state.config.metrics.listen.is_none() {
        return next.run(request).await;
    }
    let (method, route) = (request.method().clone(), request.extensions().get::<MatchedPath>().cloned());
    let started = Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map(MatchedPath::as_str);
    state.requests.answered(&method, route, response.status(), started.elapsed());
    response
}
