//! Tiers: the public plans, from the very rows that are enforced.

use crate::{
    error::{Error, Result},
    extract::Json,
    limits::Policy,
    middleware::PublicRoutes,
    state::AppState,
    tenancy::gate,
};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> PublicRoutes {
    PublicRoutes::default().open(routes!(list_tiers))
}

#[derive(Serialize, ToSchema)]
pub struct Tiers {
    #[schema(max_items = 100)]
    pub data: Vec<Plan>,
}

/// A tier as anybody may read of it.
#[derive(Serialize, ToSchema)]
pub struct Plan {
    #[schema(example = "free", max_length = 40)]
    pub slug: String,
    #[schema(example = "Free", max_length = 200)]
    pub name: String,
    #[schema(example = 1)]
    pub version: i64,
    #[schema(max_items = 16)]
    pub policies: Vec<Policy>,
}

/// List the public tiers
#[utoipa::path(get, path = "/tiers", tag = "limits",
    responses((status = 200, description = "The plans there are, and their limits.", body = Tiers)))]
async fn list_tiers(State(state): State<AppState>) -> Result<Json<Tiers>> {
    let rows = gate::public_tiers(&state.pools).await?;
    let plan = |row: gate::TierRow| {
        let policies = serde_json::from_value(row.policies).map_err(|error| Error::Internal(error.into()))?;
        Ok(Plan { slug: row.slug, name: row.name, version: row.version, policies })
    };
    Ok(Json(Tiers { data: rows.into_iter().map(plan).collect::<Result<_>>()? }))
}
