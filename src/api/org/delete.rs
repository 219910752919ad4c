//! The end of an organisation.

use crate::{
    audit::{self, Entry},
    caller::Caller,
    error::{Error, OptionExt as _, Result},
    extract::{FreshlySignedIn, Json, TenantDb},
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
    responses((status = 204, description = "It is deleted.")))]
pub async fn delete_org(
    State(state): State<AppState>,
    db: TenantDb,
    caller: Caller,
    _: FreshlySignedIn,
    trail: Trail,
    Json(Deletion { confirm }): Json<Deletion>,
) -> Result<StatusCode> {
    let mut tx = db.begin().await?;
    let org = super::select(&mut tx).await?.or_not_found()?.org;
    if confirm != org.slug {
        return Err(Error::invalid("/confirm", "wrong_slug", "write the organisation's slug to delete it"));
    }
    let entry = Entry::new("org.deleted", "org", org.id.uuid().to_string());
    let entry = entry.before(json!({"slug": org.slug, "name": org.name, "status": org.status}));
    audit::record(&mut tx, caller.actor(), &trail, entry).await?;
    let deleted = gate::delete_org(&mut tx).await?;
    tx.commit().await?;
    for org in deleted {
        state.directory.forget(org);
    }
    Ok(StatusCode::NO_CONTENT)
}
