//! Simulations: what a change of a tier would have done to the decisions that were recorded, before anybody feels it.

mod store;

use crate::{
    authz::{
        Action::{Cancel, Create, Read},
        Resource::PlatformSimulations,
    },
    caller::Caller,
    error::{Error, Flaw, OptionExt as _, Result, SqlExt as _},
    events::{self, Entry},
    extract::{Action, Json, List, ListParams, Listed, Path},
    ids::{OrgId, SimulationId},
    limits::{Policy, Tier},
    middleware::TenantRoutes,
    page::{Filter, Kind, Listing, Page, Sort},
    state::AppState,
    tenancy::PLATFORM,
    trail::Trail,
};
use anyhow::Context as _;
use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::Outcome;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_operators(PlatformSimulations)
        .allow(Create, routes!(create_platform_simulation))
        .allow(Read, routes!(list_platform_simulations))
        .allow(Read, routes!(get_platform_simulation))
        .allow(Read, routes!(get_platform_simulation_csv))
        .allow(Cancel, routes!(cancel_platform_simulation))
}

/// As long as the longest window of a policy, and a day.
const LONGEST: Duration = Duration::days(32);
/// Orgs in an answer, and in a CSV.
const ORGS: i64 = 1_000;
const ORGS_IN_CSV: i64 = 100_000;

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct NewSimulation {
    /// The tier that is to be changed: its orgs' decisions are replayed, and those of members who have it for their own.
    #[garde(length(max = 40))]
    #[schema(example = "free", max_length = 40)]
    pub tier: String,
    /// What would be in force in place of its policies.
    #[schema(max_items = 16)]
    pub policies: Vec<Policy>,
    /// Decisions from this moment on count. Those before, as far as the slowest policy remembers, are replayed too, so
    /// that nobody starts with more than they would have had.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(example = "2026-01-01T00:00:00Z")]
    pub from: OffsetDateTime,
    /// And those up to this moment, at most 32 days later.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(example = "2026-01-02T00:00:00Z")]
    pub to: OffsetDateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum SimulationStatus {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Serialize, ToSchema)]
pub struct Simulation {
    pub id: SimulationId,
    pub status: SimulationStatus,
    #[schema(example = "free", max_length = 40)]
    pub tier: String,
    #[schema(value_type = Vec<Policy>, max_items = 16)]
    pub policies: Value,
    /// Names of policies that a record can't tell about: how many requests were in flight at
    /// a moment is not recorded, and what was used of a month before is not either.
    #[schema(max_items = 16)]
    pub not_simulated: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
    pub progress: Progress,
    /// Why it failed.
    #[schema(max_length = 500)]
    pub error: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
}

/// In recorded decisions, the warm-up and those of other tiers' orgs included.
#[derive(Serialize, ToSchema)]
pub struct Progress {
    #[schema(example = 0)]
    pub done: i64,
    #[schema(example = 0)]
    pub total: i64,
}

#[derive(Serialize, ToSchema)]
pub struct SimulationWithResult {
    #[serde(flatten)]
    pub simulation: Simulation,
    /// Present once it has succeeded.
    #[serde(flatten)]
    pub result: Option<SimulationResult>,
}

#[derive(Serialize, ToSchema)]
pub struct SimulationResult {
    /// Of all orgs, whether or not they are shown.
    #[serde(flatten)]
    pub counts: Counts,
    #[schema(example = 1)]
    pub orgs_total: i64,
    /// Who is hurt most comes first: at most 1000; `result.csv` has more.
    #[schema(max_items = 1_000)]
    pub orgs: Vec<OrgResult>,
}

#[derive(Serialize, ToSchema)]
pub struct OrgResult {
    pub org: OrgId,
    /// None if the organisation is gone.
    #[schema(example = "acme", max_length = 63)]
    pub slug: Option<String>,
    #[serde(flatten)]
    pub counts: Counts,
    #[schema(max_items = 1_000)]
    pub by_route: Vec<RouteResult>,
}

#[derive(Serialize, ToSchema)]
pub struct RouteResult {
    /// The operation's id.
    #[schema(example = "list_products", max_length = 100)]
    pub route: String,
    #[serde(flatten)]
    pub counts: Counts,
}

#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub struct Counts {
    #[schema(example = 120)]
    pub decisions: i64,
    /// By the policies that are tried out.
    #[schema(example = 3)]
    pub refused: i64,
    #[serde(with = "time::serde::rfc3339::option")]
    pub first_refused_at: Option<OffsetDateTime>,
    /// When it was for real.
    #[schema(example = 1)]
    pub refused_really: i64,
    /// Admitted then, refused by the policies that are tried out.
    #[schema(example = 2)]
    pub newly_hurt: i64,
    #[serde(with = "time::serde::rfc3339::option")]
    pub first_newly_hurt_at: Option<OffsetDateTime>,
    /// Refused then, admitted by the policies that are tried out.
    #[schema(example = 0)]
    pub relieved: i64,
    #[serde(with = "time::serde::rfc3339::option")]
    pub first_relieved_at: Option<OffsetDateTime>,
    /// Admitted, and yet too much for a policy in shadow.
    #[schema(example = 0)]
    pub refused_in_shadow: i64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        let earlier = |a: Option<OffsetDateTime>, b: Option<OffsetDateTime>| a.into_iter().chain(b).min();
        self.decisions += other.decisions;
        self.refused += other.refused;
        self.first_refused_at = earlier(self.first_refused_at, other.first_refused_at);
        self.refused_really += other.refused_really;
        self.newly_hurt += other.newly_hurt;
        self.first_newly_hurt_at = earlier(self.first_newly_hurt_at, other.first_newly_hurt_at);
        self.relieved += other.relieved;
        self.first_relieved_at = earlier(self.first_relieved_at, other.first_relieved_at);
        self.refused_in_shadow += other.refused_in_shadow;
    }
}

impl Listed for Simulation {
    type Row = store::Row;
    /// `$1` is the caller's org, the platform: they are all its own.
    const LISTING: &'static Listing = &Listing {
        columns: "id, status, tier, policies, starts_at, ends_at, done, total, error, created_at, finished_at",
        from: "simulations where $1::uuid is not null",
        sorts: &[Sort { name: "created_at", column: "created_at", cast: "timestamptz" }],
        filters: &[
            Filter { name: "tier", predicate: "tier =", kind: Kind::Text, about: "Of this tier." },
            Filter {
                name: "status",
                predicate: "status =",
                kind: Kind::OneOf(&["queued", "running", "succeeded", "failed", "cancelled"]),
                about: "In this state.",
            },
        ],
    };
}

/// Try out a change of a tier
///
/// Replays the recorded decisions of the tier's orgs under other policies, with everything else as it is now, on a
/// thread that gives way to live traffic.
#[utoipa::path(post, path = "/simulations", tag = "operator: simulations", request_body = NewSimulation,
    responses((status = 202, description = "The simulation, which waits for its turn.", body = Simulation)))]
async fn create_platform_simulation(
    State(state): State<AppState>,
    caller: Caller,
    trail: Trail,
    Json(new): Json<NewSimulation>,
) -> Result<Response> {
    check(&new, trail.at, state.config.decisions.retention_days)?;
    let mut tx = state.platform.begin().await?;
    let id = SimulationId::new();
    let simulation = store::insert(&mut tx, id, &new, caller.actor().uuid(), trail.at)
        .await
        .on_constraint("simulations_tier_fkey", || {
            Error::invalid("/tier", "not_found", "there is no such tier")
        })?;
    let told = json!(simulation);
    let asked = json!({"tier": new.tier, "policies": new.policies, "from": told["from"], "to": told["to"]});
    let entry = Entry::new("simulation.created", "simulation", id.uuid().to_string()).after(asked);
    events::record_by_platform(&mut tx, PLATFORM, Some(caller.actor()), &trail, entry).await?;
    tx.commit().await?;
    let location = [(header::LOCATION, format!("/operator/v1/simulations/{id}"))];
    Ok((StatusCode::ACCEPTED, location, Json(simulation)).into_response())
}

/// List simulations
#[utoipa::path(get, path = "/simulations", tag = "operator: simulations", params(ListParams<Simulation>),
    responses((status = 200, description = "A page of simulations, without their results.", body = Page<Simulation>)))]
async fn list_platform_simulations(
    State(state): State<AppState>,
    list: List<Simulation>,
) -> Result<Response> {
    let page = list.page(&mut *state.platform.begin().await?).await?;
    Ok(list.answer(page))
}

/// Fetch one simulation, and what came of it
#[utoipa::path(get, path = "/simulations/{id}", tag = "operator: simulations", params(("id" = SimulationId, Path)),
    responses((status = 200, description = "The simulation.", body = SimulationWithResult)))]
async fn get_platform_simulation(
    State(state): State<AppState>,
    Path(id): Path<SimulationId>,
) -> Result<Json<SimulationWithResult>> {
    let mut tx = state.platform.begin().await?;
    let simulation = store::select(&mut tx, id).await?.or_not_found()?;
    let result = if simulation.status == SimulationStatus::Succeeded {
        let (orgs_total, counts) = store::totals(&mut tx, id).await?;
        let orgs = by_org(store::outcomes(&mut tx, id, ORGS).await?);
        Some(SimulationResult { counts, orgs_total, orgs })
    } else {
        None
    };
    Ok(Json(SimulationWithResult { simulation, result }))
}

/// Fetch what came of a simulation, as CSV
///
/// A line for each org and route, in the order of the JSON; at most 100000 orgs.
#[utoipa::path(get, path = "/simulations/{id}/result.csv", tag = "operator: simulations",
    params(("id" = SimulationId, Path)),
    responses((status = 200, description = "The result.", content_type = "text/csv", body = String),
              (status = 409, description = "It has not succeeded (yet) (`no_result`).")))]
async fn get_platform_simulation_csv(
    State(state): State<AppState>,
    Path(id): Path<SimulationId>,
) -> Result<Response> {
    let mut tx = state.platform.begin().await?;
    let simulation = store::select(&mut tx, id).await?.or_not_found()?;
    if simulation.status != SimulationStatus::Succeeded {
        return Err(Error::conflict(
            "no_result",
            "a simulation has a result once it has succeeded: wait for that",
        ));
    }
    let outcomes = store::outcomes(&mut tx, id, ORGS_IN_CSV).await?;
    drop(tx);
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{id}.csv\""))
        .context("an id is good in a header")?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8")),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, csv(&outcomes)?).into_response())
}

/// Cancel a simulation
#[utoipa::path(post, path = "/simulations/{id}/cancel", tag = "operator: simulations",
    params(("id" = SimulationId, Path)),
    responses((status = 200, description = "The cancelled simulation.", body = Simulation),
              (status = 409, description = "It is over already (`finished`).")))]
async fn cancel_platform_simulation(
    State(state): State<AppState>,
    caller: Caller,
    trail: Trail,
    Path(id): Path<SimulationId>,
    _: Action,
) -> Result<Json<Simulation>> {
    let mut tx = state.platform.begin().await?;
    if !store::cancel(&mut tx, id, trail.at).await? {
        store::select(&mut tx, id).await?.or_not_found()?;
        return Err(Error::conflict("finished", "it is over already: there is nothing to cancel"));
    }
    let entry = Entry::new("simulation.cancelled", "simulation", id.uuid().to_string());
    events::record_by_platform(&mut tx, PLATFORM, Some(caller.actor()), &trail, entry).await?;
    let simulation = store::select(&mut tx, id).await?.or_not_found()?;
    tx.commit().await?;
    Ok(Json(simulation))
}

fn check(new: &NewSimulation, now: OffsetDateTime, retention_days: u32) -> Result<()> {
    let tier = Tier {
        slug: new.tier.clone(),
        name: new.tier.clone(),
        version: 0,
        policies: new.policies.clone(),
        effective_at: now,
    };
    let faults = tier.validate().into_iter();
    let mut flaws: Vec<Flaw> = faults
        .map(|fault| {
            let pointer = if fault.pointer == "/slug" { "/tier".to_owned() } else { fault.pointer };
            Flaw::new(pointer, "invalid", fault.detail)
        })
        .collect();
    if new.to <= new.from {
        flaws.push(Flaw::new("/to", "invalid", "must be after from"));
    } else if new.to - new.from > LONGEST {
        flaws.push(Flaw::new("/to", "invalid", "must be at most 32 days after from"));
    }
    if new.to > now {
        flaws.push(Flaw::new("/to", "invalid", "must not be in the future"));
    }
    if new.from < now - Duration::days(retention_days.into()) {
        let detail = format!("must be at most {retention_days} days ago: decisions are kept no longer");
        flaws.push(Flaw::new("/from", "invalid", detail));
    }
    if flaws.is_empty() { Ok(()) } else { Err(Error::Invalid(flaws)) }
}

/// Outcomes come org by org.
fn by_org(outcomes: Vec<Outcome>) -> Vec<OrgResult> {
    let mut orgs: Vec<OrgResult> = Vec::new();
    for Outcome { org, slug, route, counts } in outcomes {
        if orgs.last().is_none_or(|last| last.org != org) {
            orgs.push(OrgResult { org, slug, counts: Counts::default(), by_route: Vec::new() });
        }
        if let Some(last) = orgs.last_mut() {
            last.counts.add(&counts);
            last.by_route.push(RouteResult { route, counts });
        }
    }
    orgs
}

fn csv(outcomes: &[Outcome]) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut write = || -> anyhow::Result<()> {
        csv.write_record([
            "org",
            "slug",
            "route",
            "decisions",
            "refused",
            "first_refused_at",
            "refused_really",
            "newly_hurt",
            "first_newly_hurt_at",
            "relieved",
            "first_relieved_at",
            "refused_in_shadow",
        ])?;
        for Outcome { org, slug, route, counts } in outcomes {
            let at = |at: Option<OffsetDateTime>| -> anyhow::Result<String> {
                let format = &time::format_description::well_known::Rfc3339;
                Ok(at.map(|at| at.format(format)).transpose()?.unwrap_or_default())
            };
            csv.write_record([
                &org.to_string(),
                slug.as_deref().unwrap_or_default(),
                route,
                &counts.decisions.to_string(),
                &counts.refused.to_string(),
                &at(counts.first_refused_at)?,
                &counts.refused_really.to_string(),
                &counts.newly_hurt.to_string(),
                &at(counts.first_newly_hurt_at)?,
                &counts.relieved.to_string(),
                &at(counts.first_relieved_at)?,
                &counts.refused_in_shadow.to_string(),
            ])?;
        }
        Ok(())
    };
    write().map_err(Error::Internal)?;
    csv.into_inner().map_err(|error| Error::Internal(anyhow::anyhow!("{error}")))
}
