//! Whose credentials these are: a bearer JWT or an API key, or at some doors a ticket that stands for one of them.

use super::{Door, Refusable, ip_limit};
use crate::{
    authn::{Actor, Credential, Principal, opaque},
    error::{Error, Result},
    metering::{Known, Slip},
    state::AppState,
    telemetry,
    tenancy::gate,
    trail::ClientIp,
};
use anyhow::anyhow;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Uri, header},
    middleware::Next,
};
use std::{borrow::Cow, net::IpAddr};

/// What a ticket is called in a query, where a door takes it.
pub const TICKET: &str = "ticket";

/// Inserts the `Principal`, and the `Credential` by which it can be asked for again.
pub async fn authenticate(
    State((state, door)): State<(AppState, Door)>,
    mut request: Request,
    next: Next,
) -> Refusable {
    let Some(&ClientIp { ip, .. }) = request.extensions().get::<ClientIp>() else {
        return Err(Error::Internal(anyhow!("authenticate stands below client_ip")));
    };
    let ticket = if door.takes_tickets { ticket_in(request.uri()) } else { None };
    let identified = match &ticket {
        Some(ticket) => admit(&state, request.headers(), ticket, ip).await,
        None => identify(&state, request.headers(), ip).await,
    };
    let (principal, credential) = match identified {
        Ok(identified) => identified,
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
            telemetry::caller(principal.org, user);
            None
        }
        Actor::ApiKey { key, .. } => {
            span.record("principal", tracing::field::display(key));
            telemetry::caller(principal.org, key);
            Some(key)
        }
    };
    if let Some(slip) = request.extensions().get::<Slip>() {
        slip.is_known(Known::new(principal.org, key, door.route));
    }
    request.extensions_mut().insert(principal);
    request.extensions_mut().insert(credential);
    Ok(next.run(request).await)
}

/// The principal whose credentials these are, coming from `client`, and what to ask for them by again.
///
/// # Errors
/// 401 where there are none, or none that are good.
pub async fn identify(
    state: &AppState,
    headers: &HeaderMap,
    client: IpAddr,
) -> Result<(Principal, Credential)> {
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
        let (principal, hash) = state.api_keys.verify(token, client).await?;
        return Ok((principal, Credential::ApiKey(hash)));
    }
    let (principal, vouched) = state.tokens.verify(token).await?;
    Ok((unless_ended(state, principal)?, Credential::Token(vouched)))
}

/// The principal whose credentials were good, if they still are.
///
/// # Errors
/// 401 where they are not.
pub async fn identify_again(state: &AppState, credential: &Credential, client: IpAddr) -> Result<Principal> {
    match credential {
        Credential::ApiKey(hash) => state.api_keys.ask_again(hash, client).await,
        Credential::Token(vouched) => unless_ended(state, state.tokens.ask_again(vouched)?),
    }
}

fn unless_ended(state: &AppState, principal: Principal) -> Result<Principal> {
    if let Actor::User { session, .. } = principal.actor
        && state.revoked.contains(session)
    {
        return Err(Error::session_ended());
    }
    Ok(principal)
}

/// The ticket of a request; a text that is none where there are several.
fn ticket_in(uri: &Uri) -> Option<String> {
    let query: Vec<(Cow<str>, String)> = serde_urlencoded::from_str(uri.query()?).ok()?;
    let mut tickets = query.into_iter().filter(|(name, _)| name == TICKET).map(|(_, ticket)| ticket);
    let ticket = tickets.next()?;
    Some(if tickets.next().is_none() { ticket } else { String::new() })
}

/// Uses a ticket up, whatever comes of the request, and answers for whom it stands.
async fn admit(
    state: &AppState,
    headers: &HeaderMap,
    ticket: &str,
    client: IpAddr,
) -> Result<(Principal, Credential)> {
    let invalid = || Error::Unauthenticated {
        code: "invalid_ticket",
        detail: "this ticket is unknown, used, or older than 30 s: get another from POST /api/v1/events/ticket",
    };
    if headers.contains_key(header::AUTHORIZATION) {
        return Err(Error::Unauthenticated {
            code: "invalid_token",
            detail: "there are a ticket and an Authorization header: send one of them",
        });
    }
    if !opaque::well_formed(TICKET, ticket) {
        return Err(invalid());
    }
    let used = gate::use_ticket(&state.pools, &opaque::hash(ticket), state.clock.now()).await?;
    let credential: Credential =
        serde_json::from_value(used.ok_or_else(invalid)?).map_err(|error| Error::Internal(error.into()))?;
    Ok((identify_again(state, &credential, client).await?, credential))
}
