//! Jobs of all organisations, as operators see them: what waits, what runs, what has failed, and what to do about it.

use crate::{
    authz::{
        Action::{Cancel, Read, Update},
        Resource::PlatformJobs,
    },
    caller::Caller,
    error::{OptionExt as _, Result},
    events::{self, Entry},
    extract::{Action, Json, List, ListParams, Listed, Path},
    ids::{JobId, OrgId},
    jobs::{self, Job, JobRow, JobStatus, KindFigures},
    middleware::TenantRoutes,
    page::{Filter, Kind, Listing, Page, Sort},
    state::AppState,
    tenancy::{PLATFORM, PlatformTx},
    trail::Trail,
};
use axum::{extract::State, response::Response};
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_operators(PlatformJobs)
        .allow(Read, routes!(list_platform_jobs))
        .allow(Read, routes!(get_platform_jobs_summary))
        .allow(Read, routes!(get_platform_job))
        .allow(Cancel, routes!(cancel_platform_job))
        .allow(Update, routes!(retry_platform_job))
}

/// What it was told to do is its organisation's alone to see.
#[derive(Serialize, ToSchema)]
pub struct PlatformJob {
    pub org: OrgId,
    #[serde(flatten)]
    pub job: Job,
}

/// The same as it is stored.
#[derive(FromRow)]
pub struct PlatformJobRow {
    org_id: OrgId,
    #[sqlx(flatten)]
    job: JobRow,
}

impl From<PlatformJobRow> for PlatformJob {
    fn from(row: PlatformJobRow) -> Self {
        Self { org: row.org_id, job: row.job.into() }
    }
}

#[derive(Serialize, ToSchema)]
pub struct PlatformJobsSummary {
    /// The kinds of which there are any that wait, run or have failed.
    #[schema(max_items = 1_000)]
    pub data: Vec<KindFigures>,
}

impl Listed for PlatformJob {
    type Row = PlatformJobRow;
    /// `$1` is the caller's org, the platform, which has no jobs.
    const LISTING: &'static Listing = &Listing {
        columns: "org_id, id, kind, status, done, total, result, error, attempts, max_attempts, cancel_requested, \
                  created_by_user, created_by_key, schedule_id, created_at, run_at, started_at, finished_at",
        from: "jobs where org_id <> $1",
        sorts: &[Sort { name: "created_at", column: "created_at", cast: "timestamptz" }],
        filters: &[
            Filter {
                name: "org",
                predicate: "org_id =",
                kind: Kind::Id(|text| text.parse().ok().map(OrgId::uuid)),
                about: "Of this organisation.",
            },
            Filter {
                name: "status",
                predicate: "status =",
                kind: Kind::OneOf(JobStatus::WORDS),
                about: "In this state.",
            },
            Filter { name: "kind", predicate: "kind =", kind: Kind::Text, about: "Of this kind." },
            Filter {
                name: "created_after",
                predicate: "created_at >",
                kind: Kind::Time,
                about: "Asked for after this moment.",
            },
        ],
    };
}

/// List jobs of all organisations
#[utoipa::path(get, path = "/jobs", tag = "operator: jobs", params(ListParams<PlatformJob>),
    responses((status = 200, description = "A page of jobs.", body = Page<PlatformJob>)))]
async fn list_platform_jobs(State(state): State<AppState>, list: List<PlatformJob>) -> Result<Response> {
    let page = list.page(&mut *state.platform.begin().await?).await?;
    Ok(list.answer(page))
}

/// See how the queue stands
#[utoipa::path(get, path = "/jobs/summary", tag = "operator: jobs",
    responses((status = 200, description = "What waits, runs and has failed, kind by kind.",
               body = PlatformJobsSummary)))]
async fn get_platform_jobs_summary(State(state): State<AppState>) -> Result<Json<PlatformJobsSummary>> {
    let data = jobs::figures(&mut state.platform.begin().await?).await?;
    Ok(Json(PlatformJobsSummary { data }))
}

/// Fetch one job of any organisation
#[utoipa::path(get, path = "/jobs/{id}", tag = "operator: jobs", params(("id" = JobId, Path)),
    responses((status = 200, description = "The job.", body = PlatformJob)))]
async fn get_platform_job(State(state): State<AppState>, Path(id): Path<JobId>) -> Result<Json<PlatformJob>> {
    Ok(Json(select(&mut state.platform.begin().await?, id).await?.or_not_found()?))
}

/// Cancel a job of any organisation
///
/// As the organisation itself can. Its audit tells of it too.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "operator: jobs", params(("id" = JobId, Path)),
    responses((status = 200, description = "The job, cancelled or soon to be.", body = PlatformJob),
              (status = 409, description = "It is over already (`finished`).")))]
async fn cancel_platform_job(
    State(state): State<AppState>,
    caller: Caller,
    trail: Trail,
    Path(id): Path<JobId>,
    _: Action,
) -> Result<Json<PlatformJob>> {
    let mut tx = state.platform.begin().await?;
    let org = select(&mut tx, id).await?.or_not_found()?.org;
    jobs::cancel(&mut tx, org, id).await?;
    told(tx, org, id, "job.cancelled", (&caller, &trail)).await
}

/// Retry a job of any organisation
///
/// As the organisation itself can. Its audit tells of it too.
#[utoipa::path(post, path = "/jobs/{id}/retry", tag = "operator: jobs", params(("id" = JobId, Path)),
    responses((status = 200, description = "The job, which waits for its turn.", body = PlatformJob),
              (status = 409, description = "It is not over, or has succeeded, or another like it is under way \
                                            (`not_failed`, `under_way`).")))]
async fn retry_platform_job(
    State(state): State<AppState>,
    caller: Caller,
    trail: Trail,
    Path(id): Path<JobId>,
    _: Action,
) -> Result<Json<PlatformJob>> {
    let mut tx = state.platform.begin().await?;
    let org = select(&mut tx, id).await?.or_not_found()?.org;
    jobs::retry(&mut tx, org, id).await?;
    told(tx, org, id, "job.retried", (&caller, &trail)).await
}

/// In the org's audit, and in the platform's; then commits.
async fn told(
    mut tx: PlatformTx,
    org: OrgId,
    id: JobId,
    action: &'static str,
    (caller, trail): (&Caller, &Trail),
) -> Result<Json<PlatformJob>> {
    for place in [org, PLATFORM] {
        let entry = Entry::new(action, "job", id.uuid().to_string());
        events::record_by_platform(&mut tx, place, Some(caller.actor()), trail, entry).await?;
    }
    let job = select(&mut tx, id).await?.or_not_found()?;
    tx.commit().await?;
    Ok(Json(job))
}

/// Org by org, as the key of jobs goes.
async fn select(tx: &mut PlatformTx, id: JobId) -> Result<Option<PlatformJob>> {
    let found = sqlx::query_scalar!(
        r#"select o.id as "org: OrgId" from orgs o
           where exists (select from jobs j where j.org_id = o.id and j.id = $1) limit 1"#,
        id.uuid()
    );
    let Some(org) = found.fetch_optional(&mut **tx).await? else { return Ok(None) };
    let job = jobs::find_in(tx, org, id).await?;
    Ok(job.map(|job| PlatformJob { org, job }))
}
