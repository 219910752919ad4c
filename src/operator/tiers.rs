//! Tiers, as operators tune them: live within a second, with who and why kept for each version.

use crate::{
    audit::{self, Entry},
    authn::Actor,
    authz::{
        Action::{Read, Update},
        Resource::PlatformTiers,
    },
    caller::Caller,
    error::{Error, Flaw, OptionExt as _, Result},
    extract::{ETag, IfMatch, Json, Path},
    limits::{Policy, Tier as LimitTier},
    middleware::TenantRoutes,
    state::AppState,
    tenancy::{PLATFORM, PlatformTx},
    trail::Trail,
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_operators(PlatformTiers)
        .allow(Read, routes!(list_platform_tiers))
        .allow(Read, routes!(get_platform_tier))
        .allow(Update, routes!(replace_platform_tier))
}

#[derive(Serialize, ToSchema)]
pub struct Tier {
    #[schema(example = "free", max_length = 40)]
    pub slug: String,
    #[schema(example = "Free", max_length = 200)]
    pub name: String,
    #[schema(example = 1)]
    pub version: i64,
    #[schema(value_type = Vec<Policy>, max_items = 16)]
    pub policies: Value,
    #[schema(value_type = Object)]
    pub entitlements: Value,
    /// Whether it is a plan that anybody may read of.
    pub is_public: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub effective_at: OffsetDateTime,
}

#[derive(Serialize, ToSchema)]
pub struct AllTiers {
    #[schema(max_items = 1_000)]
    pub data: Vec<Tier>,
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
    #[serde(default)]
    #[schema(value_type = Object)]
    pub entitlements: Map<String, Value>,
    /// Why, for those who ask later.
    #[garde(length(chars, min = 1, max = 500))]
    #[schema(example = "free customers asked for more", min_length = 1, max_length = 500)]
    pub reason: String,
}

/// List every tier
#[utoipa::path(get, path = "/tiers", tag = "operator: tiers",
    responses((status = 200, description = "All tiers, those that are no public plans too.", body = AllTiers)))]
async fn list_platform_tiers(State(state): State<AppState>) -> Result<Json<AllTiers>> {
    Ok(Json(AllTiers { data: select_all(&mut state.platform.begin().await?).await? }))
}

/// Fetch one tier
#[utoipa::path(get, path = "/tiers/{slug}", tag = "operator: tiers",
    params(("slug" = String, Path, max_length = 40)),
    responses((status = 200, description = "The tier.", body = Tier)))]
async fn get_platform_tier(State(state): State<AppState>, Path(slug): Path<String>) -> Result<Response> {
    let tier = select(&mut state.platform.begin().await?, &slug).await?.or_not_found()?;
    Ok(tagged(tier).into_response())
}

/// Change a tier
///
/// In force on every replica within a second; what was used of the old limits stays used.
#[utoipa::path(put, path = "/tiers/{slug}", tag = "operator: tiers", request_body = TierChange,
    params(("slug" = String, Path, max_length = 40), IfMatch),
    responses((status = 200, description = "The tier's new version.", body = Tier)))]
async fn replace_platform_tier(
    State(state): State<AppState>,
    caller: Caller,
    trail: Trail,
    Path(slug): Path<String>,
    expected: IfMatch,
    Json(change): Json<TierChange>,
) -> Result<Response> {
    let mut tx = state.platform.begin().await?;
    let current = lock(&mut tx, &slug).await?.or_not_found()?;
    expected.check(current.version)?;
    check(&slug, current.version + 1, trail.at, &change)?;
    let tier = replace(&mut tx, &slug, caller.actor(), trail.at, &change).await?;
    let mut after = audited(&tier);
    after["reason"] = change.reason.into();
    let entry = Entry::new("tier.replaced", "tier", slug).before(audited(&current)).after(after);
    audit::record_by_platform(&mut tx, PLATFORM, Some(caller.actor()), &trail, entry).await?;
    announce(&mut tx).await?;
    tx.commit().await?;
    state.tiers.forget_all();
    Ok(tagged(tier).into_response())
}

fn check(slug: &str, version: i64, effective_at: OffsetDateTime, change: &TierChange) -> Result<()> {
    let tier = LimitTier {
        slug: slug.to_owned(),
        name: change.name.clone(),
        version,
        policies: change.policies.clone(),
        effective_at,
    };
    let flaws: Vec<Flaw> =
        tier.validate().into_iter().map(|fault| Flaw::new(fault.pointer, "invalid", fault.detail)).collect();
    if flaws.is_empty() { Ok(()) } else { Err(Error::Invalid(flaws)) }
}

fn audited(tier: &Tier) -> Value {
    let Tier { name, version, policies, entitlements, .. } = tier;
    json!({"name": name, "version": version, "policies": policies, "entitlements": entitlements})
}

fn tagged(tier: Tier) -> impl IntoResponse {
    (<[_; 1]>::from(ETag(tier.version)), Json(tier))
}

async fn select_all(tx: &mut PlatformTx) -> Result<Vec<Tier>> {
    let tiers = sqlx::query_as!(
        Tier,
        "select slug, name, version, policies, entitlements, is_public, effective_at from tiers order by slug"
    );
    Ok(tiers.fetch_all(&mut **tx).await?)
}

async fn select(tx: &mut PlatformTx, slug: &str) -> Result<Option<Tier>> {
    let tier = sqlx::query_as!(
        Tier,
        "select slug, name, version, policies, entitlements, is_public, effective_at from tiers where slug = $1",
        slug
    );
    Ok(tier.fetch_optional(&mut **tx).await?)
}

/// Locks the tier to the end of the transaction.
async fn lock(tx: &mut PlatformTx, slug: &str) -> Result<Option<Tier>> {
    let tier = sqlx::query_as!(
        Tier,
        "select slug, name, version, policies, entitlements, is_public, effective_at from tiers where slug = $1
         for update",
        slug
    );
    Ok(tier.fetch_optional(&mut **tx).await?)
}

async fn replace(
    tx: &mut PlatformTx,
    slug: &str,
    author: &Actor,
    at: OffsetDateTime,
    change: &TierChange,
) -> Result<Tier> {
    let policies = serde_json::to_value(&change.policies).map_err(|error| Error::Internal(error.into()))?;
    let tier = sqlx::query_as!(
        Tier,
        "update tiers
         set name = $2, policies = $3, entitlements = $4, version = version + 1, effective_at = $5
         where slug = $1
         returning slug, name, version, policies, entitlements, is_public, effective_at",
        slug,
        change.name,
        policies,
        Value::Object(change.entitlements.clone()),
        at
    )
    .fetch_one(&mut **tx)
    .await?;
    sqlx::query!(
        "insert into tier_versions (slug, version, name, policies, entitlements, author, reason, at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        slug,
        tier.version,
        tier.name,
        tier.policies,
        tier.entitlements,
        author.uuid(),
        change.reason,
        at
    )
    .execute(&mut **tx)
    .await?;
    Ok(tier)
}

/// Last: the counter of changes is locked from here to the commit.
async fn announce(tx: &mut PlatformTx) -> Result<()> {
    sqlx::query!("select control_change('tier', null, null)").execute(&mut **tx).await?;
    Ok(())
}
