//! My sessions: where I am signed in, and ending that.

use crate::{
    caller::Caller,
    error::{OptionExt as _, Result},
    extract::{Json, Path, SignedIn},
    ids::SessionId,
    state::AppState,
    tenancy::gate::{self, OpenSession},
    trail::Trail,
};
use axum::{extract::State, http::StatusCode};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A place where somebody is signed in.
#[derive(Serialize, ToSchema)]
pub struct MySession {
    pub id: SessionId,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last continued: signed in, or refreshed.
    #[serde(with = "time::serde::rfc3339")]
    pub last_used_at: OffsetDateTime,
    /// When its person last proved who they are.
    #[serde(with = "time::serde::rfc3339")]
    pub authenticated_at: OffsetDateTime,
    /// At the latest, however busy it is.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// The address that it was last continued from.
    #[schema(example = "203.0.113.7", max_length = 45)]
    pub ip: Option<String>,
    /// As the client called itself.
    #[schema(example = "Mozilla/5.0", max_length = 200)]
    pub user_agent: Option<String>,
    /// With a second factor.
    pub mfa: bool,
    /// The one that asks.
    pub current: bool,
}

#[derive(Serialize, ToSchema)]
pub struct MySessions {
    /// The asking one first, then the last used; no more than 100.
    #[schema(max_items = 100)]
    pub data: Vec<MySession>,
}

impl MySession {
    fn new(open: OpenSession, current: SessionId) -> Self {
        let OpenSession { id, created_at, last_used_at, authenticated_at, expires_at, ip, user_agent, mfa } =
            open;
        Self {
            id,
            created_at,
            last_used_at,
            authenticated_at,
            expires_at,
            ip,
            user_agent,
            mfa,
            current: id == current,
        }
    }
}

/// List my sessions
#[utoipa::path(get, path = "/me/sessions", tag = "me",
    responses((status = 200, description = "Where you are signed in.", body = MySessions)))]
pub async fn list_sessions(
    State(state): State<AppState>,
    SignedIn { user, session, .. }: SignedIn,
    trail: Trail,
) -> Result<Json<MySessions>> {
    let open = gate::sessions_of(&state.pools, user, session, None, trail.at).await?;
    Ok(Json(MySessions { data: open.into_iter().map(|open| MySession::new(open, session)).collect() }))
}

/// Fetch one of my sessions
#[utoipa::path(get, path = "/me/sessions/{id}", tag = "me", params(("id" = SessionId, Path)),
    responses((status = 200, description = "The session.", body = MySession)))]
pub async fn get_session(
    State(state): State<AppState>,
    SignedIn { user, session, .. }: SignedIn,
    trail: Trail,
    Path(id): Path<SessionId>,
) -> Result<Json<MySession>> {
    let open = gate::sessions_of(&state.pools, user, session, Some(id), trail.at).await?;
    Ok(Json(MySession::new(open.into_iter().next().or_not_found()?, session)))
}

/// End one of my sessions
///
/// On every replica within a second.
#[utoipa::path(delete, path = "/me/sessions/{id}", tag = "me", params(("id" = SessionId, Path)),
    responses((status = 204, description = "It has ended.")))]
pub async fn end_session(
    State(state): State<AppState>,
    caller: Caller,
    SignedIn { user, .. }: SignedIn,
    trail: Trail,
    Path(id): Path<SessionId>,
) -> Result<StatusCode> {
    let ended = gate::end_session(&state.pools, id, user, caller.org(), ENDED_BY_HAND, &trail).await?;
    ended.then_some(()).or_not_found()?;
    state.revoked.add(id);
    Ok(StatusCode::NO_CONTENT)
}

/// End all my other sessions
///
/// On every replica within a second; the asking one goes on.
#[utoipa::path(delete, path = "/me/sessions", tag = "me",
    responses((status = 204, description = "They have ended.")))]
pub async fn end_other_sessions(
    State(state): State<AppState>,
    caller: Caller,
    SignedIn { user, session, .. }: SignedIn,
    trail: Trail,
) -> Result<StatusCode> {
    let org = caller.org();
    for ended in gate::end_other_sessions(&state.pools, user, session, org, ENDED_BY_HAND, &trail).await? {
        state.revoked.add(ended);
    }
    Ok(StatusCode::NO_CONTENT)
}

const ENDED_BY_HAND: &str = "ended_by_user";
