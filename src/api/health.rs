//! Health: alive is one thing, ready to serve another.

use crate::{error::Problem, extract::Json, state::AppState};
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use std::time::Duration;

/// A replica that has not heard of changes for longer may be wrong about who may do what.
const DEAF: Duration = Duration::from_secs(5);

/// Outside the API: probes are neither limited nor documented.
pub fn router() -> Router<AppState> {
    Router::new().route("/health/live", get(live)).route("/health/ready", get(ready))
}

async fn live() -> Response {
    Json(json!({"status": "alive"})).into_response()
}

/// 503 while the database or the control-plane bus can't be reached: the load balancer looks elsewhere.
async fn ready(State(state): State<AppState>) -> Response {
    let database = state.pools.answers().await;
    let bus = state.freshness.age() < DEAF;
    let word = |well| if well { "well" } else { "out of reach" };
    if database && bus {
        return Json(json!({"status": "ready", "database": "well", "changes": "well"})).into_response();
    }
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "this replica can't serve: try another")
        .with("database", word(database))
        .with("changes", word(bus))
        .into_response()
}
