//! Jobs: what is still being done for the organisation, and what came of it.

use crate::{
    authz::{
        Action::{Cancel, Read, Update},
        Resource::Jobs,
    },
    caller::Caller,
    error::{OptionExt as _, Result},
    events::{self, Entry},
    extract::{Action, Json, List, ListParams, Listed, Path, TenantDb},
    ids::{JobId, ScheduleId},
    jobs::{self, Job, JobRow, JobStatus},
    middleware::TenantRoutes,
    page::{Filter, Kind, Listing, Page, Sort},
    trail::Trail,
};
use axum::response::Response;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Jobs)
        .allow(Read, routes!(list_jobs))
        .allow(Read, routes!(get_job))
        .allow(Cancel, routes!(cancel_job))
        .allow(Update, routes!(retry_job))
}

impl Listed for Job {
    type Row = JobRow;
    const LISTING: &'static Listing = &Listing {
        columns: "id, kind, status, done, total, result, error, attempts, max_attempts, cancel_requested, \
                  created_by_user, created_by_key, schedule_id, created_at, run_at, started_at, finished_at",
        from: "jobs where org_id = $1",
        sorts: &[Sort { name: "created_at", column: "created_at", cast: "timestamptz" }],
        filters: &[
            Filter {
                name: "status",
                predicate: "status =",
                kind: Kind::OneOf(JobStatus::WORDS),
                about: "In this state.",
            },
            Filter { name: "kind", predicate: "kind =", kind: Kind::Text, about: "Of this kind." },
            Filter {
                name: "schedule_id",
                predicate: "schedule_id =",
                kind: Kind::Id(|text| text.parse().ok().map(ScheduleId::uuid)),
                about: "Of this schedule.",
            },
        ],
    };
}

/// List jobs
///
/// Those that are over are listed too, for 30 days unless the platform has it otherwise, and failed ones for 90: they can be retried.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(ListParams<Job>),
    responses((status = 200, description = "A page of jobs.", body = Page<Job>)))]
async fn list_jobs(db: TenantDb, list: List<Job>) -> Result<Response> {
    let page = list.page(&mut *db.read().await?).await?;
    Ok(list.answer(page))
}

/// Fetch one job
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", params(("id" = JobId, Path)),
    responses((status = 200, description = "The job.", body = Job)))]
async fn get_job(db: TenantDb, Path(id): Path<JobId>) -> Result<Json<Job>> {
    Ok(Json(jobs::find(&mut db.read().await?, id).await?.or_not_found()?))
}

/// Cancel a job
///
/// One that waits is cancelled at once. One that runs is told to stop, and is `cancelled` about a second later; what it
/// has done until then stays done.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "jobs", params(("id" = JobId, Path)),
    responses((status = 200, description = "The job, cancelled or soon to be.", body = Job),
              (status = 409, description = "It is over already (`finished`).")))]
async fn cancel_job(
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Path(id): Path<JobId>,
    _: Action,
) -> Result<Json<Job>> {
    let mut tx = db.begin().await?;
    jobs::cancel(&mut tx, caller.org(), id).await?;
    let entry = Entry::new("job.cancelled", "job", id.uuid().to_string());
    events::record(&mut tx, caller.actor(), &trail, entry).await?;
    let job = jobs::find(&mut tx, id).await?.or_not_found()?;
    tx.commit().await?;
    Ok(Json(job))
}

/// Retry a job
///
/// One that has failed or was cancelled waits for its turn again, with as many attempts as at first.
#[utoipa::path(post, path = "/jobs/{id}/retry", tag = "jobs", params(("id" = JobId, Path)),
    responses((status = 200, description = "The job, which waits for its turn.", body = Job),
              (status = 409, description = "It is not over, or has succeeded, or another like it is under way \
                                            (`not_failed`, `under_way`).")))]
async fn retry_job(
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Path(id): Path<JobId>,
    _: Action,
) -> Result<Json<Job>> {
    let mut tx = db.begin().await?;
    jobs::retry(&mut tx, caller.org(), id).await?;
    let entry = Entry::new("job.retried", "job", id.uuid().to_string());
    events::record(&mut tx, caller.actor(), &trail, entry).await?;
    let job = jobs::find(&mut tx, id).await?.or_not_found()?;
    tx.commit().await?;
    Ok(Json(job))
}
