//! Organisations, as operators see and steer them.

use crate::{
    authz::{
        Action::{Read, Update},
        Resource::PlatformOrgs,
    },
    caller::Caller,
    error::{Error, OptionExt as _, Result, SqlExt as _},
    events::{self, Entry},
    extract::{Json, List, ListParams, Listed, Path},
    ids::OrgId,
    limits::BillingMonth,
    middleware::TenantRoutes,
    page::{Filter, Kind, Listing, Page, Sort},
    state::AppState,
    tenancy::{PLATFORM, PlatformTx, Status},
    trail::Trail,
};
use axum::{extract::State, response::Response};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::{Date, OffsetDateTime};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_operators(PlatformOrgs)
        .allow(Read, routes!(list_platform_orgs))
        .allow(Read, routes!(get_platform_org))
        .allow(Update, routes!(update_platform_org))
}

#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub struct PlatformOrg {
    pub id: OrgId,
    #[schema(example = "acme", max_length = 63)]
    pub slug: String,
    #[schema(example = "Acme", max_length = 200)]
    pub name: String,
    #[schema(example = "free", max_length = 40)]
    pub tier: String,
    pub status: Status,
    /// Its billing months begin on this day at 00:00 UTC, or on the last of a shorter month.
    #[schema(example = 1, minimum = 1, maximum = 31)]
    pub billing_day: i16,
    /// Set on a sandbox: the organisation whose test keys lead here.
    pub sandbox_of: Option<OrgId>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlatformOrgPatch {
    #[garde(inner(length(max = 40)))]
    #[schema(example = "pro", max_length = 40)]
    pub tier: Option<String>,
    #[garde(skip)]
    pub status: Option<Standing>,
    /// What is used of the month that runs stays used in the month that this makes of it.
    #[garde(inner(range(min = 1, max = 31)))]
    #[schema(example = 1, minimum = 1, maximum = 31)]
    pub billing_day: Option<i16>,
    /// Why, for those who ask later.
    #[garde(length(chars, min = 1, max = 500))]
    #[schema(example = "upgraded by contract", min_length = 1, max_length = 500)]
    pub reason: String,
}

/// What operators make of an organisation; to delete it is its owners' own matter, and `active` undoes that.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    Active,
    Suspended,
}

impl From<Standing> for Status {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Active => Self::Active,
            Standing::Suspended => Self::Suspended,
        }
    }
}

impl Listed for PlatformOrg {
    type Row = Self;
    /// `$1` is the caller's org, the platform: itself it does not list.
    const LISTING: &'static Listing = &Listing {
        columns: "id, slug, name, tier, status, sandbox_of, created_at, \
                  coalesce(billing_day, extract(day from created_at at time zone 'utc')::smallint) as billing_day",
        from: "orgs join org_control on org_control.org_id = orgs.id where orgs.id <> $1",
        sorts: &[
            Sort { name: "created_at", column: "created_at", cast: "timestamptz" },
            Sort { name: "slug", column: r#"slug collate "C""#, cast: "text" },
        ],
        filters: &[
            Filter { name: "q", predicate: "slug ^@", kind: Kind::Text, about: "Whose slug begins so." },
            Filter { name: "tier", predicate: "tier =", kind: Kind::Text, about: "On this tier." },
            Filter {
                name: "status",
                predicate: "status =",
                kind: Kind::OneOf(&["active", "suspended", "deleted"]),
                about: "In this standing.",
            },
        ],
    };
}

/// List organisations
#[utoipa::path(get, path = "/orgs", tag = "operator: orgs", params(ListParams<PlatformOrg>),
    responses((status = 200, description = "A page of organisations.", body = Page<PlatformOrg>)))]
async fn list_platform_orgs(State(state): State<AppState>, list: List<PlatformOrg>) -> Result<Response> {
    let page = list.page(&mut *state.platform.begin().await?).await?;
    Ok(list.answer(page))
}

/// Fetch one organisation
#[utoipa::path(get, path = "/orgs/{id}", tag = "operator: orgs", params(("id" = OrgId, Path)),
    responses((status = 200, description = "The organisation.", body = PlatformOrg)))]
async fn get_platform_org(State(state): State<AppState>, Path(id): Path<OrgId>) -> Result<Json<PlatformOrg>> {
    Ok(Json(select(&mut state.platform.begin().await?, id).await?.or_not_found()?))
}

/// Move an organisation to another tier or billing day, suspend or restore it
///
/// In force on every replica within a second; `active` restores a deleted one too. A sandbox is suspended and restored with its organisation.
#[utoipa::path(patch, path = "/orgs/{id}", tag = "operator: orgs", request_body = PlatformOrgPatch,
    params(("id" = OrgId, Path)),
    responses((status = 200, description = "The changed organisation.", body = PlatformOrg),
              (status = 409, description = "It is the platform's own organisation (`built_in`).")))]
async fn update_platform_org(
    State(state): State<AppState>,
    caller: Caller,
    trail: Trail,
    Path(id): Path<OrgId>,
    Json(patch): Json<PlatformOrgPatch>,
) -> Result<Json<PlatformOrg>> {
    if id == PLATFORM {
        return Err(Error::conflict(
            "built_in",
            "this is the operators' own organisation: suspended or on another tier, it could shut you out",
        ));
    }
    let mut tx = state.platform.begin().await?;
    tx.lock_org(id).await?;
    let before = select(&mut tx, id).await?.or_not_found()?;
    let changed = update(&mut tx, id, &patch).await?;
    if let Some(day) = patch.billing_day {
        let month = |day: i16| BillingMonth::at(state.clock.now(), day.try_into().unwrap_or(1)).start;
        move_month(&mut tx, id, month(before.billing_day), month(day)).await?;
    }
    let org = select(&mut tx, id).await?.or_not_found()?;
    for place in [id, PLATFORM] {
        for change in changes(&before, &org, &patch.reason) {
            events::record_by_platform(&mut tx, place, Some(caller.actor()), &trail, change).await?;
        }
    }
    tx.commit().await?;
    for id in changed {
        state.directory.forget(id);
    }
    tracing::info!(org = %id, tier = org.tier, status = org.status.as_str(), reason = patch.reason, "an operator changed an org");
    Ok(Json(org))
}

/// What the audit keeps of a change: told to the org, and to the platform.
fn changes(before: &PlatformOrg, after: &PlatformOrg, reason: &str) -> Vec<Entry> {
    let entry = |action| Entry::new(action, "org", after.id.uuid().to_string());
    let mut changes = Vec::new();
    if before.status != after.status {
        let action = if after.status == Status::Active { "org.restored" } else { "org.suspended" };
        let change = entry(action).before(json!({"status": before.status}));
        changes.push(change.after(json!({"status": after.status, "reason": reason})));
    }
    if before.tier != after.tier {
        let change = entry("org.tier_changed").before(json!({"tier": before.tier}));
        changes.push(change.after(json!({"tier": after.tier, "reason": reason})));
    }
    if before.billing_day != after.billing_day {
        let change = entry("org.billing_day_changed").before(json!({"billing_day": before.billing_day}));
        changes.push(change.after(json!({"billing_day": after.billing_day, "reason": reason})));
    }
    changes
}

async fn select(tx: &mut PlatformTx, id: OrgId) -> Result<Option<PlatformOrg>> {
    let org = sqlx::query_as!(
        PlatformOrg,
        r#"select id as "id: _", slug, name, tier, status as "status: _", sandbox_of as "sandbox_of: _", created_at,
                  coalesce(billing_day, extract(day from created_at at time zone 'utc')::smallint) as "billing_day!"
           from orgs join org_control on org_control.org_id = orgs.id where id = $1"#,
        id.uuid()
    );
    Ok(org.fetch_optional(&mut **tx).await?)
}

/// Answers the orgs that changed: with its standing an org's sandbox changes too, or test keys would go on working.
async fn update(tx: &mut PlatformTx, id: OrgId, patch: &PlatformOrgPatch) -> Result<Vec<OrgId>> {
    let changed = sqlx::query_scalar!(
        r#"update org_control
           set tier = case when org_id = $1 then coalesce($2, tier) else tier end, status = coalesce($3, status),
               billing_day = case when org_id = $1 then coalesce($4, billing_day) else billing_day end
           where org_id = $1
              or ($3::text is not null and org_id = (select id from orgs where sandbox_of = $1))
           returning org_id as "org: OrgId""#,
        id.uuid(),
        patch.tier,
        patch.status.map(|standing| Status::from(standing).as_str()),
        patch.billing_day
    )
    .fetch_all(&mut **tx)
    .await
    .on_constraint("org_control_tier_fkey", || {
        Error::invalid("/tier", "not_found", "there is no such tier")
    })?;
    for org in &changed {
        tx.tell_of_org(*org).await?;
    }
    Ok(changed)
}

/// The month that runs becomes another: what is used of it goes along whole, so that nothing is forgiven and nothing is
/// counted twice. What is left of months before is nobody's.
async fn move_month(tx: &mut PlatformTx, id: OrgId, from: Date, to: Date) -> Result<()> {
    sqlx::query!("delete from monthly_uses where org_id = $1 and period_start < $2", id.uuid(), from)
        .execute(&mut **tx)
        .await?;
    sqlx::query!("update monthly_uses set period_start = $2 where org_id = $1", id.uuid(), to)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
