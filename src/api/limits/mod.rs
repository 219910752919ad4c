//! Limits: what the caller may still do, told before it hurts.

mod plan;

pub use plan::Costs;

use crate::{
    caller::{Caller, subject},
    error::Result,
    extract::Json,
    limits::{Entitlements, Reading},
    middleware::TenantRoutes,
    state::AppState,
};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_insiders().allow_members(routes!(get_limits)).allow_members(routes!(plan::plan_calls))
}

#[derive(Serialize, ToSchema)]
pub struct Limits {
    /// Every policy that applies to you, in the tier's order.
    #[schema(max_items = 16)]
    pub data: Vec<Reading>,
    pub entitlements: Entitlements,
}

/// What is left of your limits
///
/// Costs nothing.
#[utoipa::path(get, path = "/limits", tag = "limits",
    responses((status = 200, description = "Every policy, with what is left of it and where it comes from.", body = Limits)))]
async fn get_limits(State(state): State<AppState>, caller: Caller) -> Result<Json<Limits>> {
    let control = state.directory.get(caller.org()).await?;
    let who = subject(caller.actor());
    let plan = state.plan(caller.org(), &control, who, caller.tier()).await?;
    let data = state.limits.peek(caller.org(), who, &plan, 1).await;
    let entitlements = state.tiers.granted(&control.tier).await?.entitlements;
    Ok(Json(Limits { data, entitlements }))
}
