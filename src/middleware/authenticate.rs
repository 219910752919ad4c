//! Whose credentials these are: a bearer JWT, or an API key.

use super::{Refusable, ip_limit};
use crate::{
    authn::{Actor, Principal},
    error::{Error, Result},
    state::AppState,
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
};

pub async fn authenticate(State(state): State<AppState>, mut request: Request, next: Next) -> Refusable {
    let principal = match identify(&state, request.headers()).await {
        Ok(principal) => principal,
        Err(error @ Error::Unauthenticated { .. }) => {
            // Whoever guesses is slowed down; good credentials from the same address are not.
            ip_limit::charge(&state, &request)?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let span = tracing::Span::current();
    span.record("org", tracing::field::display(principal.org));
    match principal.actor {
        Actor::User { user, .. } => span.record("principal", tracing::field::display(user)),
        Actor::ApiKey { key, .. } => span.record("principal", tracing::field::display(key)),
    };
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

/// The principal whose credentials these are.
///
/// # Errors
/// 401 where there are none, or none that are good.
pub async fn identify(state: &AppState, headers: &HeaderMap) -> Result<Principal> {
    let Some(header) = headers.get(header::AUTHORIZATION) else {
        return Err(Error::Unauthenticated {
            code: "unauthenticated",
            detail: "send `Authorization: Bearer` with an access token or an API key",
        });
    };
    let token = header
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = token else {
        return Err(Error::Unauthenticated {
            code: "invalid_token",
            detail: "the Authorization header is no `Bearer` one",
        });
    };
    if token.starts_with("insula_") {
        return state.api_keys.verify(token).await;
    }
    let principal = state.tokens.verify(token)?;
    if let Actor::User { session, .. } = principal.actor
        && state.revoked.contains(session)
    {
        return Err(Error::Unauthenticated {
            code: "session_ended",
            detail: "this session has ended: sign in again",
        });
    }
    Ok(principal)
}
