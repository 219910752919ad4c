//! The end of an organisation.

use crate::{
    caller::Caller,
    error::{Error, OptionExt as _, Result},
    events::{self, Entry},
    extract::{FreshlySignedIn, Json, SignedIn, TenantDb},
    state::AppState,
    tenancy::gate,
    trail::Trail,
};
use axum::{extract::State, http::StatusCode};
use garde::Validate;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deletion {
    /// The organisation's slug, to show that it is meant.
    #[garde(length(max = 64))]
    #[schema(example = "acme", max_length = 64)]
    pub confirm: String,
}

/// Delete the organisation
///
/// Everybody and every key is refused on every replica within a second, in its sandbox too. Its data is kept for a
/// while, in which an operator can restore it. Takes a sign-in at most five minutes old.
#[utoipa::path(delete, path = "/org", tag = "org", request_body = Deletion,
    responses((status = 204, description = "It is deleted."),
              (status = 409, description = "It is the only one that you are in (`last_org`).")))]
pub async fn delete_org(
    State(state): State<AppState>,
    db: TenantDb,
    caller: Caller,
    FreshlySignedIn(SignedIn { user, .. }): FreshlySignedIn,
    trail: Trail,
    Json(Deletion { confirm }): Json<Deletion>,
) -> Result<StatusCode> {
    // Whoever is in no org can't sign in, not even to end their account.
    let others = gate::orgs_of(&state.pools, user).await?;
    if !others.iter().any(|org| org.id != caller.org() && org.member_status == "active") {
        return Err(Error::conflict(
            "last_org",
            "this is your only organisation: end your account with it (DELETE /api/v1/me), or found another first",
        ));
    }
    let mut tx = db.begin().await?;
    let org = super::select(&mut tx).await?.or_not_found()?.org;
    if confirm != org.slug {
        return Err(Error::invalid("/confirm", "wrong_slug", "write the organisation's slug to delete it"));
    }
    let entry = Entry::new("org.deleted", "org", org.id.uuid().to_string());
    let entry = entry.before(json!({"slug": org.slug, "name": org.name, "status": org.status}));
    events::record(&mut tx, caller.actor(), &trail, entry).await?;
    let deleted = gate::delete_org(&mut tx).await?;
    tx.commit().await?;
    for org in deleted {
        state.directory.forget(org);
    }
    Ok(StatusCode::NO_CONTENT)
}
