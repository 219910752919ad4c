//! The keys that access tokens are signed with, as operators see and rotate them.

use crate::{
    authn::keyring::Rotation,
    authz::{
        Action::{Read, Update},
        Resource::PlatformKeys,
    },
    error::Result,
    extract::{FreshlySignedIn, Json},
    middleware::TenantRoutes,
    state::AppState,
    tenancy::gate::SigningKeyState,
    trail::Trail,
};
use axum::extract::State;
use garde::Validate;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_operators(PlatformKeys)
        .allow(Read, routes!(list_platform_keys))
        .allow(Update, routes!(rotate_platform_keys))
}

/// Its public half is at `/.well-known/jwks.json`; the private one is nobody's to read.
#[derive(Serialize, ToSchema)]
pub struct PlatformKey {
    /// As tokens name it: the thumbprint of its public half (RFC 7638).
    #[schema(example = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", max_length = 43)]
    pub kid: String,
    pub state: SigningKeyState,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Since when it signs; absent from a standby.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<OffsetDateTime>,
    /// Since when it signs nothing any more.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<OffsetDateTime>,
    /// Until when a previous key is published and its tokens are good.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<OffsetDateTime>,
}

#[derive(Serialize, ToSchema)]
pub struct PlatformKeyList {
    #[schema(max_items = 1_000)]
    pub data: Vec<PlatformKey>,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRotation {
    /// Even if services that verify our tokens may not know the standby yet.
    #[garde(skip)]
    #[serde(default)]
    #[schema(example = false)]
    pub force: bool,
    /// A key has leaked: the current one and the previous ones are dropped, and every access token with them, yours too.
    /// Sessions go on by their refresh tokens.
    #[garde(skip)]
    #[serde(default)]
    #[schema(example = false)]
    pub revoke: bool,
    /// Why, for those who ask later.
    #[garde(length(chars, min = 1, max = 500))]
    #[schema(example = "the yearly rotation", min_length = 1, max_length = 500)]
    pub reason: String,
}

/// List the signing keys
#[utoipa::path(get, path = "/keys", tag = "operator: keys",
    responses((status = 200, description = "The current key, the next one, and previous ones.", body = PlatformKeyList)))]
async fn list_platform_keys(State(state): State<AppState>) -> Result<Json<PlatformKeyList>> {
    stored(&state).await.map(Json)
}

/// Rotate the signing keys
///
/// From here on the standby signs and another one stands by, on every replica within a second. Tokens signed before are
/// good until they expire, unless they are revoked. Needs a sign-in at most five minutes old.
#[utoipa::path(post, path = "/keys/rotate", tag = "operator: keys", request_body = KeyRotation,
    responses((status = 200, description = "The keys after it.", body = PlatformKeyList),
              (status = 409, description = "The standby was published too lately to be known everywhere (`standby_too_young`).")))]
async fn rotate_platform_keys(
    State(state): State<AppState>,
    FreshlySignedIn(operator): FreshlySignedIn,
    trail: Trail,
    Json(KeyRotation { force, revoke, reason }): Json<KeyRotation>,
) -> Result<Json<PlatformKeyList>> {
    state.keyring.rotate(&Rotation { force, revoke, reason }, Some(operator.user), &trail).await?;
    stored(&state).await.map(Json)
}

async fn stored(state: &AppState) -> Result<PlatformKeyList> {
    let keys = state.keyring.stored().await?.into_iter();
    let data = keys.map(|key| PlatformKey {
        kept_until: state.keyring.kept_until(&key),
        kid: key.kid,
        state: key.state,
        created_at: key.created_at,
        activated_at: key.activated_at,
        retired_at: key.retired_at,
    });
    Ok(PlatformKeyList { data: data.collect() })
}
