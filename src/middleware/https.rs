//! Refuses what came over plain http, where the configuration says so.

use super::Refusable;
use crate::{caller::refused, state::AppState, trail::ClientIp};
use axum::{
    extract::{Request, State},
    middleware::Next,
};

/// Not redirected: the credentials have already crossed the wire, and a redirect would hide it. Probes come
/// from inside, past the proxy that ends TLS.
pub async fn https(State(state): State<AppState>, request: Request, next: Next) -> Refusable {
    let secure = request.extensions().get::<ClientIp>().is_some_and(|client| client.https);
    if state.config.http.require_https && !secure && !request.uri().path().starts_with("/health/") {
        return Err(refused("https_required", "use https: what you have just sent could be read by others"));
    }
    Ok(next.run(request).await)
}
