//! Tiers, as operators tune them: live within a second or announced ahead, with who and why kept for each version.

mod versions;

use crate::{
    authz::{
        Action::{Create, Delete, Read, Update},
        Resource::PlatformTiers,
    },
    caller::Caller,
    error::{OptionExt as _, Result},
    extract::{ETag, IfMatch, Json, Path},
    limits::{Fault, Policy},
    middleware::TenantRoutes,
    state::AppState,
    tenancy::PlatformTx,
    tiers::{self, By, Content},
    trail::Trail,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_operators(PlatformTiers)
        .allow(Read, routes!(list_platform_tiers))
        .allow(Create, routes!(create_platform_tier))
        .allow(Read, routes!(get_platform_tier))
        .allow(Update, routes!(replace_platform_tier))
        .allow(Delete, routes!(delete_platform_tier))
        .allow(Update, routes!(withdraw_platform_tier_announcement))
        .allow(Read, routes!(versions::list_platform_tier_versions))
        .allow(Read, routes!(versions::get_platform_tier_version))
        .allow(Update, routes!(versions::revert_platform_tier))
}

#[derive(Serialize, ToSchema)]
pub struct Tier {
    #[schema(example = "free", max_length = 40)]
    pub slug: String,
    #[schema(example = "Free", max_length = 200)]
    pub name: String,
    #[schema(example = 1)]
    pub version: i64,
    #[schema(max_items = 16)]
    pub policies: Vec<Policy>,
    #[schema(value_type = Object)]
    pub entitlements: Map<String, Value>,
    /// Whether it is a plan that anybody may read of.
    pub is_public: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub effective_at: OffsetDateTime,
    /// The version that takes its place at a moment to come.
    pub announced: Option<AnnouncedTier>,
}

#[derive(Serialize, ToSchema)]
pub struct AnnouncedTier {
    #[schema(example = 2)]
    pub version: i64,
    #[schema(example = "Free", max_length = 200)]
    pub name: String,
    #[schema(max_items = 16)]
    pub policies: Vec<Policy>,
    #[schema(value_type = Object)]
    pub entitlements: Map<String, Value>,
    pub is_public: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub effective_at: OffsetDateTime,
    #[schema(max_length = 500)]
    pub reason: String,
}

#[derive(Serialize, ToSchema)]
pub struct AllTiers {
    #[schema(max_items = 1_000)]
    pub data: Vec<Tier>,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct NewTier {
    #[garde(length(min = 1, max = 40))]
    #[schema(example = "startup", min_length = 1, max_length = 40, pattern = "^[a-z][a-z0-9_-]{0,39}$")]
    pub slug: String,
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(example = "Startup", min_length = 1, max_length = 200)]
    pub name: String,
    #[schema(max_items = 16)]
    pub policies: Vec<Policy>,
    /// What it grants besides requests. `live_connections` is kept to: how many streams of events an organisation may have
    /// open at a time. The others are yours.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"live_connections": 100}))]
    pub entitlements: Map<String, Value>,
    /// Whether anybody may read of it at once.
    #[serde(default)]
    pub is_public: bool,
    /// Why, for those who ask later.
    #[garde(length(chars, min = 1, max = 500))]
    #[schema(example = "for companies in their first year", min_length = 1, max_length = 500)]
    pub reason: String,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct TierChange {
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(example = "Free", min_length = 1, max_length = 200)]
    pub name: String,
    #[schema(max_items = 16)]
    pub policies: Vec<Policy>,
    /// All of them: what is missing is not granted, or not bounded, any more.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"live_connections": 100}))]
    pub entitlements: Map<String, Value>,
    /// As before, where absent.
    pub is_public: Option<bool>,
    /// Announces it: it holds from that second on, at most 90 days ahead; at once where absent.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub effective_at: Option<OffsetDateTime>,
    /// Why, for those who ask later; an announcement tells it to the organisations whose limits get lower.
    #[garde(length(chars, min = 1, max = 500))]
    #[schema(example = "free customers asked for more", min_length = 1, max_length = 500)]
    pub reason: String,
}

/// List every tier
#[utoipa::path(get, path = "/tiers", tag = "operator: tiers",
    responses((status = 200, description = "All tiers, those that are no public plans too.", body = AllTiers)))]
async fn list_platform_tiers(State(state): State<AppState>) -> Result<Json<AllTiers>> {
    let tiers = tiers::select_all(&mut state.platform.begin().await?, state.clock.now()).await?;
    Ok(Json(AllTiers { data: tiers.into_iter().map(Tier::from).collect() }))
}

/// Create a tier
#[utoipa::path(post, path = "/tiers", tag = "operator: tiers", request_body = NewTier,
    responses((status = 201, description = "It exists.", body = Tier),
              (status = 409, description = "The slug is taken (`slug_taken`).")))]
async fn create_platform_tier(
    State(state): State<AppState>,
    caller: Caller,
    trail: Trail,
    Json(new): Json<NewTier>,
) -> Result<Response> {
    let NewTier { slug, name, policies, entitlements, is_public, reason } = new;
    let content = Content { name, policies, entitlements, is_public };
    check(&slug, &content, &trail)?;
    let mut tx = state.platform.begin().await?;
    let by = By { operator: Some(caller.actor()), trail: &trail, reason: &reason };
    let tier = tiers::create(&mut tx, &by, &slug, &content).await?;
    commit(&state, tx).await?;
    let location = [(header::LOCATION, format!("/operator/v1/tiers/{slug}"))];
    Ok((StatusCode::CREATED, location, tagged(tier)).into_response())
}

/// Fetch one tier
#[utoipa::path(get, path = "/tiers/{slug}", tag = "operator: tiers",
    params(("slug" = String, Path, max_length = 40)),
    responses((status = 200, description = "The tier.", body = Tier)))]
async fn get_platform_tier(State(state): State<AppState>, Path(slug): Path<String>) -> Result<Response> {
    let tier = tiers::select(&mut state.platform.begin().await?, &slug, state.clock.now()).await?;
    Ok(tagged(tier.or_not_found()?).into_response())
}

/// Change a tier, now or from a moment to come
///
/// In force on every replica within a second, or at the second of `effective_at`; what was used of the old limits stays
/// used. Takes back what was announced before. While a lower limit is announced, answers to whom it will hold carry it
/// in `RateLimit-Notice`, and their organisation's audit has `limits.lowering_announced`.
#[utoipa::path(put, path = "/tiers/{slug}", tag = "operator: tiers", request_body = TierChange,
    params(("slug" = String, Path, max_length = 40), IfMatch),
    responses((status = 200, description = "The tier's new version, or the tier with what is announced.", body = Tier)))]
async fn replace_platform_tier(
    State(state): State<AppState>,
    caller: Caller,
    trail: Trail,
    Path(slug): Path<String>,
    expected: IfMatch,
    Json(change): Json<TierChange>,
) -> Result<Response> {
    let mut tx = state.platform.begin().await?;
    let current = tiers::lock(&mut tx, &slug, trail.at).await?.or_not_found()?;
    expected.check(current.revision)?;
    let TierChange { name, policies, entitlements, is_public, effective_at, reason } = change;
    let is_public = is_public.unwrap_or(current.content.is_public);
    let content = Content { name, policies, entitlements, is_public };
    check(&slug, &content, &trail)?;
    let by = By { operator: Some(caller.actor()), trail: &trail, reason: &reason };
    let tier = tiers::change(&mut tx, &by, &current, &content, effective_at, "tier.replaced").await?;
    commit(&state, tx).await?;
    Ok(tagged(tier).into_response())
}

/// Delete a tier
///
/// Only one that nobody is on: move its organisations and members first. Its versions can be read for ever.
#[utoipa::path(delete, path = "/tiers/{slug}", tag = "operator: tiers",
    params(("slug" = String, Path, max_length = 40)),
    responses((status = 204, description = "It is gone."),
              (status = 409, description = "Somebody is on it, or the platform itself needs it (`tier_in_use`, `built_in`).")))]
async fn delete_platform_tier(
    State(state): State<AppState>,
    caller: Caller,
    trail: Trail,
    Path(slug): Path<String>,
) -> Result<StatusCode> {
    let mut tx = state.platform.begin().await?;
    let current = tiers::lock(&mut tx, &slug, trail.at).await?.or_not_found()?;
    let by = By { operator: Some(caller.actor()), trail: &trail, reason: "" };
    tiers::delete(&mut tx, &by, &current).await?;
    commit(&state, tx).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take back what is announced of a tier
///
/// Organisations that were told of lower limits are told that they won't come.
#[utoipa::path(delete, path = "/tiers/{slug}/announcement", tag = "operator: tiers",
    params(("slug" = String, Path, max_length = 40)),
    responses((status = 204, description = "Nothing is announced any more.")))]
async fn withdraw_platform_tier_announcement(
    State(state): State<AppState>,
    caller: Caller,
    trail: Trail,
    Path(slug): Path<String>,
) -> Result<StatusCode> {
    let mut tx = state.platform.begin().await?;
    let current = tiers::lock(&mut tx, &slug, trail.at).await?.or_not_found()?;
    let by = By { operator: Some(caller.actor()), trail: &trail, reason: "" };
    tiers::withdraw(&mut tx, &by, &current).await?;
    commit(&state, tx).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check(slug: &str, content: &Content, trail: &Trail) -> Result<()> {
    Fault::refuse(content.faults(slug, trail.at))
}

async fn commit(state: &AppState, mut tx: PlatformTx) -> Result<()> {
    tiers::tell_replicas(&mut tx).await?;
    tx.commit().await?;
    state.tiers.forget_all();
    Ok(())
}

fn tagged(tier: tiers::Tier) -> impl IntoResponse {
    (<[_; 1]>::from(ETag(tier.revision)), Json(Tier::from(tier)))
}

impl From<tiers::Tier> for Tier {
    fn from(tier: tiers::Tier) -> Self {
        let Content { name, policies, entitlements, is_public } = tier.content;
        let announced = tier.announced.map(|next| {
            let Content { name, policies, entitlements, is_public } = next.content;
            let (version, effective_at, reason) = (next.version, next.effective_at, next.reason);
            AnnouncedTier { version, name, policies, entitlements, is_public, effective_at, reason }
        });
        let (slug, version, effective_at) = (tier.slug, tier.version, tier.effective_at);
        Self { slug, name, version, policies, entitlements, is_public, effective_at, announced }
    }
}
