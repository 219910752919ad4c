//! Whose credentials these are: a bearer JWT, or an API key.

use super::{Door, Refusable, ip_limit};
use crate::{
    authn::{Actor, Principal},
    error::{Error, Result},
    metering::{Known, Slip},
    state::AppState,
    trail::ClientIp,
};
use anyhow::anyhow;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
};
use std::net::IpAddr;

pub async fn authenticate(
    State((state, door)): State<(AppState, Door)>,
    mut request: Request,
    next: Next,
) -> Refusable {
    let Some(&ClientIp { ip, .. }) = request.extensions().get::<ClientIp>() else {
        return Err(Error::Internal(anyhow!("authenticate stands below client_ip")));
    };
    let principal = match identify(&state, request.headers(), ip).await {
        Ok(principal) => principal,
        Err(error @ (Error::Unauthenticated { .. } | Error::Forbidden(_))) => {
            // Whoever guesses is slowed down, and who holds a key that is not for them; good credentials from the same
            // address are not.
            ip_limit::charge(&state, &request)?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let span = tracing::Span::current();
    span.record("org", tracing::field::display(principal.org));
    let key = match principal.actor {
        Actor::User { user, .. } => {
            span.record("principal", tracing::field::display(user));
            None
        }
        Actor::ApiKey { key, .. } => {
            span.record("principal", tracing::field::display(key));
            Some(key)
        }
    };
    if let Some(slip) = request.extensions().get::<Slip>() {
        slip.is_known(Known::new(principal.org, key, door.route));
    }
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

/// The principal whose credentials these are, coming from `client`.
///
/// # Errors
/// 401 where there are none, or none that are good.
pub async fn identify(state: &AppState, headers: &HeaderMap, client: IpAddr) -> Result<Principal> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(header) = given.next() else {
        return Err(Error::Unauthenticated {
            code: "unauthenticated",
            detail: "send `Authorization: Bearer` with an access token or an API key",
        });
    };
    // Whoever stands in front of us may have looked at the other one.
    if given.next().is_some() {
        return Err(Error::Unauthenticated {
            code: "invalid_token",
            detail: "there is more than one Authorization header: send one",
        });
    }
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
        return state.api_keys.verify(token, client).await;
    }
    let principal = state.tokens.verify(token).await?;
    if let Actor::User { session, .. } = principal.actor
        && state.revoked.contains(session)
    {
        return Err(Error::session_ended());
    }
    Ok(principal)
}
