//! Staying signed in, working elsewhere, and signing out.

use super::session::{Answer, Session, choose, new_token, no_member, signed_out};
use crate::{
    authn::opaque::{self, OpaqueToken},
    caller::{Caller, refused},
    error::{Error, Result},
    extract::{Action, Json, SignedIn},
    ids::{OrgId, UserId},
    state::AppState,
    tenancy::gate::{self, Refreshed},
    trail::Trail,
};
use axum::{extract::State, http::StatusCode};
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    pub refresh_token: String,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// The id or slug of an organisation you are a member of.
    #[garde(length(max = 64))]
    #[schema(example = "acme", max_length = 64)]
    pub org: String,
}

/// Stay signed in
///
/// Trades a refresh token for a new pair. Using an old one again ends the session: it may be stolen.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", request_body = Refresh,
    responses((status = 200, description = "A new pair of tokens.", body = Session),
              (status = 401, description = "The token is unknown, used, expired or revoked (`invalid_refresh_token`)."),
              (status = 403, description = "The user is no active member of the organisation any more.")))]
pub async fn refresh(
    State(state): State<AppState>,
    trail: Trail,
    Json(Refresh { refresh_token }): Json<Refresh>,
) -> Result<Json<Session>> {
    let token = OpaqueToken::new("refresh");
    let old = opaque::hash(&refresh_token);
    let new = new_token(&state, &token, &trail);
    let (session, user, org, proof) = match gate::refresh(&state.pools, &old, &new, &trail).await? {
        Refreshed::Rotated { session, user, org, proof } => (session, user, org, proof),
        Refreshed::Reused { session } => {
            tracing::warn!(%session, "a used refresh token came back; the session was ended");
            state.revoked.add(session);
            return Err(signed_out());
        }
        Refreshed::NoMember { user, org } => return Err(why_no_member(&state, user, org).await?),
        Refreshed::Refused => return Err(signed_out()),
    };
    let person = gate::user(&state.pools, user).await?.ok_or_else(signed_out)?;
    let orgs = gate::orgs_of(&state.pools, user).await?;
    let org = orgs.iter().find(|known| known.id == org).cloned().ok_or_else(no_member)?;
    Answer { session, person, proof, org, orgs, token }.session(&state).await.map(Json)
}

async fn why_no_member(state: &AppState, user: UserId, org: OrgId) -> Result<Error> {
    let orgs = gate::orgs_of(&state.pools, user).await?;
    Ok(match orgs.iter().find(|known| known.id == org) {
        Some(_) => refused("member_suspended", "an admin of this organisation has suspended you"),
        None => no_member(),
    })
}

/// Work in another organisation
#[utoipa::path(post, path = "/auth/switch", tag = "auth", request_body = Switch,
    responses((status = 200, description = "Tokens that speak for the other organisation.", body = Session)))]
pub async fn switch_org(
    State(state): State<AppState>,
    SignedIn { user, session, .. }: SignedIn,
    trail: Trail,
    Json(Switch { org }): Json<Switch>,
) -> Result<Json<Session>> {
    let orgs = gate::orgs_of(&state.pools, user).await?;
    let org = choose(&orgs, Some(&org))?;
    let token = OpaqueToken::new("refresh");
    let new = new_token(&state, &token, &trail);
    let proof = gate::switch(&state.pools, session, org.id, &new, &trail).await?.ok_or_else(signed_out)?;
    let person = gate::user(&state.pools, user).await?.ok_or_else(signed_out)?;
    Answer { session, person, proof, org, orgs, token }.session(&state).await.map(Json)
}

/// Sign out
#[utoipa::path(post, path = "/auth/logout", tag = "auth",
    responses((status = 204, description = "The session has ended, on every replica within a second.")))]
pub async fn logout(
    State(state): State<AppState>,
    caller: Caller,
    SignedIn { user, session, .. }: SignedIn,
    trail: Trail,
    _: Action,
) -> Result<StatusCode> {
    gate::end_session(&state.pools, session, user, caller.org(), "logout", &trail).await?;
    state.revoked.add(session);
    Ok(StatusCode::NO_CONTENT)
}
