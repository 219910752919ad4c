//! Nobody waits for ever: a request that takes too long is given up, and answered that it was.

use crate::patience::Patience;
use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use std::{pin::pin, time::Duration};
use tokio::time::{Instant, timeout_at};

pub async fn timeout(State(limit): State<Duration>, mut request: Request, next: Next) -> Response {
    let (begun, patience) = (Instant::now(), Patience::default());
    request.extensions_mut().insert(patience.clone());
    let mut answer = pin!(next.run(request));
    loop {
        let until = begun + limit + patience.granted();
        match timeout_at(until, &mut answer).await {
            Ok(answer) => return answer,
            // What has arrived meanwhile was not known of when the wait began.
            Err(_) if begun + limit + patience.granted() > until => {}
            Err(_) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
}
