//! The versions of a tier: who made each and why, how it differs from the one before, and the way back to it.

use super::{Tier, commit, tagged};
use crate::{
    caller::Caller,
    error::{Error, OptionExt as _, Result},
    extract::{Json, List, ListParams, Listed, Path},
    limits::Policy,
    page::{Filter, Kind, Listing, Page, Sort},
    refs::ActorRef,
    state::AppState,
    tenancy::PlatformTx,
    tiers::{self, By, Content, TierDiff},
    trail::Trail,
};
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct TierVersion {
    #[schema(example = "free", max_length = 40)]
    pub slug: String,
    #[schema(example = 1)]
    pub version: i64,
    #[schema(example = "Free", max_length = 200)]
    pub name: String,
    #[schema(max_items = 16)]
    pub policies: Vec<Policy>,
    #[schema(value_type = Object)]
    pub entitlements: Map<String, Value>,
    pub is_public: bool,
    pub author: ActorRef,
    #[schema(example = "free customers asked for more", max_length = 500)]
    pub reason: String,
    /// When it was written.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// From when it holds, or held.
    #[serde(with = "time::serde::rfc3339")]
    pub effective_at: OffsetDateTime,
    /// Set where it was announced, and taken back before it held.
    #[serde(with = "time::serde::rfc3339::option")]
    pub withdrawn_at: Option<OffsetDateTime>,
    /// How it differs from the version that held before it.
    pub diff: TierDiff,
}

/// A version, and the one that held before it.
#[derive(sqlx::FromRow)]
pub struct VersionRow {
    slug: String,
    version: i64,
    name: String,
    policies: sqlx::types::Json<Vec<Policy>>,
    entitlements: sqlx::types::Json<Map<String, Value>>,
    is_public: bool,
    author: Option<uuid::Uuid>,
    reason: String,
    at: OffsetDateTime,
    effective_at: OffsetDateTime,
    withdrawn_at: Option<OffsetDateTime>,
    before: Option<sqlx::types::Json<Before>>,
}

#[derive(Deserialize)]
struct Before {
    name: String,
    policies: Vec<Policy>,
    entitlements: Map<String, Value>,
    is_public: bool,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct Reversion {
    /// The version whose content comes back, as a new version.
    #[schema(example = 1, minimum = 1)]
    pub version: i64,
    /// Announces it: it holds from that second on, at most 90 days ahead; at once where absent.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub effective_at: Option<OffsetDateTime>,
    /// Why, for those who ask later.
    #[garde(length(chars, min = 1, max = 500))]
    #[schema(example = "it was too little", min_length = 1, max_length = 500)]
    pub reason: String,
}

impl Listed for TierVersion {
    type Row = VersionRow;
    const LISTING: &'static Listing = &Listing {
        columns:
            "id, slug, version, name, policies, entitlements, is_public, author, reason, at, effective_at,
                  withdrawn_at,
                  (select to_jsonb(b) from tier_versions b
                   where b.slug = v.slug and b.version < v.version and b.withdrawn_at is null
                   order by b.version desc limit 1) as before",
        from: "tier_versions v where $1::uuid is not null",
        sorts: &[Sort { name: "version", column: "version", cast: "bigint" }],
        filters: &[Filter {
            name: "slug",
            predicate: "slug =",
            kind: Kind::Within,
            about: "The tier that the path names.",
        }],
    };
}

/// List the versions of a tier
///
/// Of one that was deleted, too.
#[utoipa::path(get, path = "/tiers/{slug}/versions", tag = "operator: tiers",
    params(("slug" = String, Path, max_length = 40), ListParams<TierVersion>),
    responses((status = 200, description = "A page of versions, the last one first.", body = Page<TierVersion>)))]
pub async fn list_platform_tier_versions(
    State(state): State<AppState>,
    Path(slug): Path<String>,
    list: List<TierVersion>,
) -> Result<Response> {
    let mut tx = state.platform.begin().await?;
    exists(&mut tx, &slug).await?.then_some(()).or_not_found()?;
    let page = list.page(&mut tx).await?;
    Ok(list.answer(page))
}

/// Fetch one version of a tier
#[utoipa::path(get, path = "/tiers/{slug}/versions/{version}", tag = "operator: tiers",
    params(("slug" = String, Path, max_length = 40), ("version" = i64, Path, minimum = 1)),
    responses((status = 200, description = "The version.", body = TierVersion)))]
pub async fn get_platform_tier_version(
    State(state): State<AppState>,
    Path((slug, version)): Path<(String, i64)>,
) -> Result<Json<TierVersion>> {
    let found = select(&mut state.platform.begin().await?, &slug, version).await?;
    Ok(Json(found.or_not_found()?.into()))
}

/// Go back to a version of a tier
///
/// Makes a new version with the content of an old one; like any change of a tier else.
#[utoipa::path(post, path = "/tiers/{slug}/revert", tag = "operator: tiers", request_body = Reversion,
    params(("slug" = String, Path, max_length = 40)),
    responses((status = 200, description = "The tier's new version, or the tier with what is announced.", body = Tier),
              (status = 409, description = "It is like that already (`unchanged`).")))]
pub async fn revert_platform_tier(
    State(state): State<AppState>,
    caller: Caller,
    trail: Trail,
    Path(slug): Path<String>,
    Json(Reversion { version, effective_at, reason }): Json<Reversion>,
) -> Result<Response> {
    let mut tx = state.platform.begin().await?;
    let current = tiers::lock(&mut tx, &slug, trail.at).await?.or_not_found()?;
    let old = select(&mut tx, &slug, version).await?;
    let old = old.ok_or_else(|| Error::invalid("/version", "not_found", "the tier has no such version"))?;
    let content = old.content();
    if content == current.content && current.announced.is_none() {
        return Err(Error::conflict("unchanged", "the tier is like that version already"));
    }
    let by = By { operator: Some(caller.actor()), trail: &trail, reason: &reason };
    let tier = tiers::change(&mut tx, &by, &current, &content, effective_at, "tier.reverted").await?;
    commit(&state, tx).await?;
    Ok(tagged(tier).into_response())
}

impl VersionRow {
    fn content(&self) -> Content {
        Content {
            name: self.name.clone(),
            policies: self.policies.0.clone(),
            entitlements: self.entitlements.0.clone(),
            is_public: self.is_public,
        }
    }
}

impl From<VersionRow> for TierVersion {
    fn from(row: VersionRow) -> Self {
        let content = row.content();
        let before = row.before.map(|sqlx::types::Json(before)| {
            let Before { name, policies, entitlements, is_public } = before;
            Content { name, policies, entitlements, is_public }
        });
        let author = if row.author.is_some() { "operator" } else { "system" };
        Self {
            diff: TierDiff::between(before.as_ref(), &content),
            slug: row.slug,
            version: row.version,
            name: content.name,
            policies: content.policies,
            entitlements: content.entitlements,
            is_public: content.is_public,
            author: ActorRef::of(author.to_owned(), row.author),
            reason: row.reason,
            at: row.at,
            effective_at: row.effective_at,
            withdrawn_at: row.withdrawn_at,
        }
    }
}

async fn exists(tx: &mut PlatformTx, slug: &str) -> Result<bool> {
    let exists = sqlx::query_scalar!(
        r#"select exists (select from tier_versions where slug = $1) as "exists!""#,
        slug
    );
    Ok(exists.fetch_one(&mut **tx).await?)
}

async fn select(tx: &mut PlatformTx, slug: &str, version: i64) -> Result<Option<VersionRow>> {
    let row = sqlx::query_as!(
        VersionRow,
        r#"select slug, version, name, policies as "policies: _", entitlements as "entitlements: _", is_public, author,
                  reason, at, effective_at, withdrawn_at,
                  (select to_jsonb(b) from tier_versions b
                   where b.slug = v.slug and b.version < v.version and b.withdrawn_at is null
                   order by b.version desc limit 1) as "before: _"
           from tier_versions v where slug = $1 and version = $2"#,
        slug,
        version
    );
    Ok(row.fetch_optional(&mut **tx).await?)
}
