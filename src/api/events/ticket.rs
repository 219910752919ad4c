//! Tickets: how a browser, whose streams and sockets send no credentials, opens one all the same.

use crate::{
    authn::{Credential, opaque::OpaqueToken},
    caller::Caller,
    error::{Error, Result},
    extract::Json,
    middleware::TICKET,
    state::AppState,
    tenancy::gate,
};
use axum::{Extension, extract::State, http::StatusCode};
use serde::Serialize;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

/// Time to open a stream, and too little to find the ticket in a log.
const LIFETIME: Duration = Duration::seconds(30);

/// Stands for the credentials that it was asked for with, once.
#[derive(Serialize, ToSchema)]
pub struct Ticket {
    #[schema(
        example = "insula_ticket_mnoi9UbHmfLIiXkGFDWTR2NUSwvt7pgIXMzTgY7uVD0",
        max_length = 57,
        pattern = "^insula_ticket_[A-Za-z0-9_-]{43}$"
    )]
    pub ticket: String,
    /// In 30 seconds.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// Get a ticket for a stream
///
/// For browsers, whose `EventSource` and `WebSocket` send no `Authorization` header: `GET /events?ticket=` and
/// `GET /ws?ticket=` take it, once and within 30 s, and nothing else does. It stands for the credentials that it is asked
/// for with: what its bearer may hear, from where, and for how long is judged by them when it is used and as long as the
/// stream lasts. Ending the session or revoking the key ends it too.
#[utoipa::path(post, path = "/events/ticket", tag = "events",
    responses((status = 201, description = "It is good for one stream.", body = Ticket)))]
pub async fn issue_ticket(
    State(state): State<AppState>,
    Extension(credential): Extension<Credential>,
    _caller: Caller,
) -> Result<(StatusCode, Json<Ticket>)> {
    let OpaqueToken { text, hash } = OpaqueToken::new(TICKET);
    // Whole seconds, as they are told.
    let expires_at = (state.clock.now() + LIFETIME).truncate_to_second();
    let stands_for = serde_json::to_value(&credential).map_err(|error| Error::Internal(error.into()))?;
    gate::issue_ticket(&state.pools, &hash, credential.session(), &stands_for, expires_at).await?;
    Ok((StatusCode::CREATED, Json(Ticket { ticket: text, expires_at })))
}
