//! Tiers: the public plans, from the very rows that are enforced.

use crate::{
    error::{Error, Result},
    extract::Json,
    limits::{Entitlements, Policy},
    middleware::PublicRoutes,
    state::AppState,
    tenancy::gate,
    tiers,
};
use axum::extract::State;
use serde::Serialize;
use time::OffsetDateTime;
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
    pub entitlements: Entitlements,
    /// What takes its place at a moment to come.
    pub announced: Option<AnnouncedPlan>,
}

#[derive(Serialize, ToSchema)]
pub struct AnnouncedPlan {
    #[schema(example = "Free", max_length = 200)]
    pub name: String,
    #[schema(example = 2)]
    pub version: i64,
    #[schema(max_items = 16)]
    pub policies: Vec<Policy>,
    pub entitlements: Entitlements,
    #[serde(with = "time::serde::rfc3339")]
    pub effective_at: OffsetDateTime,
}

/// List the public tiers
#[utoipa::path(get, path = "/tiers", tag = "limits",
    responses((status = 200, description = "The plans there are, and their limits.", body = Tiers)))]
async fn list_tiers(State(state): State<AppState>) -> Result<Json<Tiers>> {
    let rows = gate::public_tiers(&state.pools).await?;
    let now = state.clock.now();
    let mut data = Vec::with_capacity(rows.len());
    for row in rows {
        let (row, announced) = row.at(now)?;
        if !row.is_public {
            continue;
        }
        let announced = announced.filter(|next| next.is_public).map(|next| {
            let (version, effective_at) = (next.version, next.effective_at);
            let entitlements = Entitlements::of(&next.entitlements);
            let (name, policies) = (next.name, tiers::parsed(next.policies)?);
            Ok::<_, Error>(AnnouncedPlan { name, version, policies, entitlements, effective_at })
        });
        let entitlements = row.entitlements.as_object().map(Entitlements::of).unwrap_or_default();
        let (policies, announced) = (tiers::parsed(row.policies)?, announced.transpose()?);
        let (slug, name, version) = (row.slug, row.name, row.version);
        data.push(Plan { slug, name, version, policies, entitlements, announced });
    }
    Ok(Json(Tiers { data }))
}
