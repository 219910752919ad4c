//! Overrides: exceptions from a tier's limits for an org, a member or a key, which end by themselves.

use crate::{
    authz::{
        Action::{Create, Delete, Read},
        Resource::PlatformOverrides,
    },
    caller::Caller,
    error::{Error, OptionExt as _, Result, SqlExt as _},
    events::{self, Entry},
    extract::{Json, List, ListParams, Listed, Path},
    ids::{ApiKeyId, OrgId, OverrideId, UserId},
    limits::{Fault, Scope, Subject},
    middleware::TenantRoutes,
    page::{Filter, Kind, Listing, Page, Sort},
    state::AppState,
    tenancy::{PLATFORM, PlatformTx},
    trail::Trail,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

const LONGEST: Duration = Duration::days(366);

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_operators(PlatformOverrides)
        .allow(Read, routes!(list_overrides))
        .allow(Read, routes!(get_override))
        .allow(Create, routes!(create_override))
        .allow(Delete, routes!(end_override))
}

#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub struct Override {
    pub id: OverrideId,
    #[sqlx(rename = "org_id")]
    pub org: OrgId,
    /// The member it is for; where neither this nor `api_key` is set, the whole organisation.
    #[sqlx(rename = "user_id")]
    pub user: Option<UserId>,
    #[sqlx(rename = "api_key_id")]
    pub api_key: Option<ApiKeyId>,
    /// The policy of the tier that it takes the place of.
    #[schema(example = "user", max_length = 40)]
    pub policy: String,
    #[schema(example = 1000)]
    pub quota: i64,
    /// The policy's own where null.
    #[schema(example = 60)]
    pub window_seconds: Option<i64>,
    /// The quota where null.
    pub burst: Option<i64>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// When it was ended before its time.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    #[schema(example = "the spring sale", max_length = 500)]
    pub reason: String,
    /// The operator who made it.
    pub created_by: UserId,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct NewOverride {
    /// The organisation, by id or slug.
    #[schema(example = "acme", max_length = 63)]
    pub org: String,
    /// For this member alone, of a policy on users.
    pub user: Option<UserId>,
    /// For this API key alone.
    pub api_key: Option<ApiKeyId>,
    /// The name of a policy that applies to them now.
    #[schema(example = "user", max_length = 40)]
    pub policy: String,
    #[schema(example = 1000, minimum = 1)]
    pub quota: u32,
    /// The policy's own unless given.
    #[schema(example = 60)]
    pub window_seconds: Option<u32>,
    /// The quota unless given.
    #[schema(minimum = 1)]
    pub burst: Option<u32>,
    /// At this second it ends by itself, on every replica; at most 366 days ahead.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// Why, for those who ask later.
    #[garde(length(chars, min = 1, max = 500))]
    #[schema(example = "the spring sale", min_length = 1, max_length = 500)]
    pub reason: String,
}

impl Listed for Override {
    type Row = Self;
    /// `$1` is the caller's org, the platform: its own limits have no exceptions.
    const LISTING: &'static Listing = &Listing {
        columns: "id, org_id, user_id, api_key_id, policy, quota, window_seconds, burst, created_at, expires_at, \
                  ended_at, reason, created_by",
        from: "overrides where org_id <> $1",
        sorts: &[
            Sort { name: "created_at", column: "created_at", cast: "timestamptz" },
            Sort { name: "expires_at", column: "expires_at", cast: "timestamptz" },
        ],
        filters: &[
            Filter {
                name: "org",
                predicate: "org_id =",
                kind: Kind::Id(|text| text.parse().ok().map(OrgId::uuid)),
                about: "Of this organisation.",
            },
            Filter {
                name: "in_force_at",
                predicate: "created_at <= {} and {} < least(ended_at, expires_at)",
                kind: Kind::Time,
                about: "That hold at this moment.",
            },
        ],
    };
}

/// List overrides
///
/// Those that have ended too.
#[utoipa::path(get, path = "/overrides", tag = "operator: overrides", params(ListParams<Override>),
    responses((status = 200, description = "A page of overrides.", body = Page<Override>)))]
async fn list_overrides(State(state): State<AppState>, list: List<Override>) -> Result<Response> {
    let page = list.page(&mut *state.platform.begin().await?).await?;
    Ok(list.answer(page))
}

/// Fetch one override
#[utoipa::path(get, path = "/overrides/{id}", tag = "operator: overrides", params(("id" = OverrideId, Path)),
    responses((status = 200, description = "The override.", body = Override)))]
async fn get_override(State(state): State<AppState>, Path(id): Path<OverrideId>) -> Result<Json<Override>> {
    Ok(Json(select(&mut state.platform.begin().await?, id).await?.or_not_found()?))
}

/// Make an exception from a limit
///
/// In force on every replica within a second, with what was used carried over, and ended by itself at `expires_at`. It
/// keeps what else the policy says: its scope, unit, mode and strictness. The members of the organisation see it as the
/// limit's `source`.
#[utoipa::path(post, path = "/overrides", tag = "operator: overrides", request_body = NewOverride,
    responses((status = 201, description = "The override.", body = Override, headers(("Location" = String))),
              (status = 409, description = "There is one of the same policy for the same, or it is the platform's own organisation (`override_exists`, `built_in`).")))]
async fn create_override(
    State(state): State<AppState>,
    caller: Caller,
    trail: Trail,
    Json(new): Json<NewOverride>,
) -> Result<Response> {
    let mut tx = state.platform.begin().await?;
    let org =
        tx.org_named(&new.org).await?.ok_or_else(|| refused("/org", "there is no such organisation"))?;
    if org == PLATFORM {
        return Err(Error::conflict("built_in", "the operators' own organisation has no exceptions"));
    }
    check(&state, org, &new, trail.at).await?;
    // Exceptions of one org take turns, so that two don't come to be where one may.
    tx.lock_org(org).await?;
    if let Some(other) = in_force(&mut tx, org, &new, trail.at).await? {
        let detail = format!("{other} already changes this policy for them: end it first");
        return Err(Error::conflict("override_exists", detail));
    }
    let made = insert(&mut tx, org, caller.actor().uuid(), &new, trail.at).await?;
    tell(&mut tx, &made, "override.created", &caller, &trail).await?;
    tx.commit().await?;
    state.directory.forget(org);
    let location = format!("/operator/v1/overrides/{}", made.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)).into_response())
}

/// End an override now
#[utoipa::path(delete, path = "/overrides/{id}", tag = "operator: overrides", params(("id" = OverrideId, Path)),
    responses((status = 204, description = "It holds no longer."),
              (status = 409, description = "It has ended already (`override_ended`).")))]
async fn end_override(
    State(state): State<AppState>,
    caller: Caller,
    trail: Trail,
    Path(id): Path<OverrideId>,
) -> Result<StatusCode> {
    let mut tx = state.platform.begin().await?;
    let org = select(&mut tx, id).await?.or_not_found()?.org;
    tx.lock_org(org).await?;
    let ended = end(&mut tx, org, id, trail.at).await?;
    let ended = ended.ok_or_else(|| Error::conflict("override_ended", "it has ended already"))?;
    tell(&mut tx, &ended, "override.ended", &caller, &trail).await?;
    tx.commit().await?;
    state.directory.forget(org);
    Ok(StatusCode::NO_CONTENT)
}

fn refused(pointer: &'static str, detail: &'static str) -> Error {
    Error::invalid(pointer, "invalid", detail)
}

/// Whether it can be: of a policy that applies to whom it is for, and with numbers that this one can have.
async fn check(state: &AppState, org: OrgId, new: &NewOverride, now: OffsetDateTime) -> Result<()> {
    if new.expires_at <= now || new.expires_at > now + LONGEST {
        return Err(refused("/expires_at", "must be in the future, and at most 366 days ahead"));
    }
    let control = state.directory.get(org).await?;
    let (tier, who) = match (new.user, new.api_key) {
        (Some(_), Some(_)) => return Err(refused("/api_key", "it is either for a member or for a key")),
        (Some(user), None) => {
            let member = state.authz.standing(org, user).await?;
            let member = member.ok_or_else(|| refused("/user", "is no member of this organisation"))?;
            (state.tiers.plan_for(&control.tier, member.tier.as_deref()).await?, Some(Subject::User(user)))
        }
        (None, Some(key)) => (state.tiers.plan(&control.tier).await?, Some(Subject::ApiKey(key))),
        (None, None) => (state.tiers.plan(&control.tier).await?, None),
    };
    let policy = match who {
        Some(who) => tier.policies_of(who).find(|policy| policy.name == new.policy),
        None => tier.policies().find(|policy| policy.name == new.policy),
    };
    let policy = policy.ok_or_else(|| refused("/policy", "no policy of that name applies to them"))?;
    if who.is_some() && policy.scope == Scope::Org {
        return Err(refused(
            "/policy",
            "is counted for the whole organisation, and so can't be another for one of it",
        ));
    }
    Fault::refuse(policy.overridden(new.quota, new.window_seconds, new.burst).validate())
}

/// In the org's audit, and in the platform's.
async fn tell(
    tx: &mut PlatformTx,
    made: &Override,
    action: &'static str,
    caller: &Caller,
    trail: &Trail,
) -> Result<()> {
    for place in [made.org, PLATFORM] {
        let entry = Entry::new(action, "override", made.id.uuid().to_string()).after(json!(made));
        events::record_by_platform(tx, place, Some(caller.actor()), trail, entry).await?;
    }
    tx.tell_of_org(made.org).await
}

async fn select(tx: &mut PlatformTx, id: OverrideId) -> Result<Option<Override>> {
    let found = sqlx::query_as!(
        Override,
        r#"select id as "id: _", org_id as "org: _", user_id as "user: _", api_key_id as "api_key: _", policy, quota,
                  window_seconds, burst, created_at, expires_at, ended_at, reason, created_by as "created_by: _"
           from overrides where id = $1"#,
        id.uuid()
    );
    Ok(found.fetch_optional(&mut **tx).await?)
}

/// One of the same policy for the same.
async fn in_force(
    tx: &mut PlatformTx,
    org: OrgId,
    new: &NewOverride,
    now: OffsetDateTime,
) -> Result<Option<OverrideId>> {
    let found = sqlx::query_scalar!(
        r#"select id as "id: OverrideId" from overrides
           where org_id = $1 and policy = $2 and user_id is not distinct from $3 and api_key_id is not distinct from $4
             and least(ended_at, expires_at) > $5
           limit 1"#,
        org.uuid(),
        new.policy,
        new.user.map(UserId::uuid),
        new.api_key.map(ApiKeyId::uuid),
        now
    );
    Ok(found.fetch_optional(&mut **tx).await?)
}

async fn insert(
    tx: &mut PlatformTx,
    org: OrgId,
    author: Uuid,
    new: &NewOverride,
    now: OffsetDateTime,
) -> Result<Override> {
    let made = sqlx::query_as!(
        Override,
        r#"insert into overrides (org_id, id, user_id, api_key_id, policy, quota, window_seconds, burst, created_at,
                                  expires_at, reason, created_by)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
           returning id as "id: _", org_id as "org: _", user_id as "user: _", api_key_id as "api_key: _", policy, quota,
                     window_seconds, burst, created_at, expires_at, ended_at, reason, created_by as "created_by: _""#,
        org.uuid(),
        OverrideId::new().uuid(),
        new.user.map(UserId::uuid),
        new.api_key.map(ApiKeyId::uuid),
        new.policy,
        i64::from(new.quota),
        new.window_seconds.map(i64::from),
        new.burst.map(i64::from),
        now,
        new.expires_at,
        new.reason,
        author
    );
    made.fetch_one(&mut **tx).await.on_constraint("overrides_org_id_api_key_id_fkey", || {
        refused("/api_key", "is no key of this organisation")
    })
}

/// None where it has ended already.
async fn end(
    tx: &mut PlatformTx,
    org: OrgId,
    id: OverrideId,
    now: OffsetDateTime,
) -> Result<Option<Override>> {
    let ended = sqlx::query_as!(
        Override,
        r#"update overrides set ended_at = $3
           where org_id = $1 and id = $2 and ended_at is null and expires_at > $3
           returning id as "id: _", org_id as "org: _", user_id as "user: _", api_key_id as "api_key: _", policy, quota,
                     window_seconds, burst, created_at, expires_at, ended_at, reason, created_by as "created_by: _""#,
        org.uuid(),
        id.uuid(),
        now
    );
    Ok(ended.fetch_optional(&mut **tx).await?)
}
