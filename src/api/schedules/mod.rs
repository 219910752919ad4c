//! Schedules: jobs that recur, each time with the rights that whoever made the schedule has by then.

mod store;

use super::given;
use crate::{
    authn,
    authz::{
        Action::{Create, Delete, Read, Update},
        Permission,
        Resource::{Exports, Products, Schedules},
    },
    caller::Caller,
    cron::Cron,
    error::{Error, OptionExt as _, Result},
    events::{self, Entry},
    extract::{Json, List, ListParams, Listed, Path, TenantDb},
    idempotency::{Done, IdempotencyKey, once},
    ids::{ApiKeyId, JobId, ScheduleId, UserId},
    jobs::{ScheduleKind, exports::NewExport},
    middleware::TenantRoutes,
    page::{Listing, Page, Sort},
    trail::Trail,
};
use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::routes;

/// Of one org.
const MOST: i64 = 100;
/// What its jobs do, whoever makes or changes a schedule must be allowed to do themselves.
const NEEDED: [Permission; 2] =
    [Permission { resource: Exports, action: Create }, Permission { resource: Products, action: Read }];

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Schedules)
        .allow(Read, routes!(list_schedules))
        .allow(Create, routes!(create_schedule))
        .further_on(NEEDED[0])
        .further_on(NEEDED[1])
        .allow(Read, routes!(get_schedule))
        .allow(Update, routes!(update_schedule))
        .further_on(NEEDED[0])
        .further_on(NEEDED[1])
        .allow(Delete, routes!(delete_schedule))
}

#[derive(Serialize, ToSchema)]
pub struct Schedule {
    pub id: ScheduleId,
    #[schema(example = "The price list, each night", max_length = 200)]
    pub name: String,
    pub kind: ScheduleKind,
    pub args: NewExport,
    #[schema(example = "30 2 * * *", max_length = 100)]
    pub cron: String,
    #[schema(example = "Europe/Vienna", max_length = 100)]
    pub timezone: String,
    pub is_paused: bool,
    /// When it is due next; none while it is paused.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_run_at: Option<OffsetDateTime>,
    /// When its last job was enqueued.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_run_at: Option<OffsetDateTime>,
    /// That job: `GET /jobs?schedule_id=` lists all that are kept.
    pub last_job_id: Option<JobId>,
    /// The user or API key that made it, with whose rights its jobs are done.
    #[schema(example = "usr_01jd8yq3c5f4x7t9k2m6n8p0rs", max_length = 40)]
    pub created_by: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// The same as it is stored.
#[derive(sqlx::FromRow)]
pub struct ScheduleRow {
    id: ScheduleId,
    name: String,
    kind: ScheduleKind,
    args: sqlx::types::Json<NewExport>,
    cron: String,
    timezone: String,
    is_paused: bool,
    next_run_at: Option<OffsetDateTime>,
    last_run_at: Option<OffsetDateTime>,
    last_job_id: Option<JobId>,
    created_by_user: Option<UserId>,
    created_by_key: Option<ApiKeyId>,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<ScheduleRow> for Schedule {
    fn from(row: ScheduleRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            kind: row.kind,
            args: row.args.0,
            cron: row.cron,
            timezone: row.timezone,
            is_paused: row.is_paused,
            next_run_at: row.next_run_at,
            last_run_at: row.last_run_at,
            last_job_id: row.last_job_id,
            created_by: authn::id_in(row.created_by_user, row.created_by_key),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct NewSchedule {
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(example = "The price list, each night", min_length = 1, max_length = 200)]
    pub name: String,
    pub kind: ScheduleKind,
    /// For an export, what would be sent to `POST /exports`.
    pub args: NewExport,
    /// Minute, hour, day of the month, month and day of the week (0 or `SUN` to 6 or `SAT`), with lists, ranges and steps,
    /// `L` for the last, `#` for the nth, or a word like `@daily`. There are no seconds: once a minute is the most.
    #[garde(length(chars, min = 1, max = 100))]
    #[schema(example = "30 2 * * *", min_length = 1, max_length = 100)]
    pub cron: String,
    /// By whose clocks: a name of the IANA's.
    #[garde(length(chars, min = 1, max = 100))]
    #[serde(default = "utc")]
    #[schema(example = "Europe/Vienna", min_length = 1, max_length = 100, default = "UTC")]
    pub timezone: String,
    /// Whether it is to rest at first.
    #[serde(default)]
    pub is_paused: bool,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct SchedulePatch {
    #[garde(inner(length(chars, min = 1, max = 200)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "The price list, each hour", min_length = 1, max_length = 200)]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub args: Option<NewExport>,
    #[garde(inner(length(chars, min = 1, max = 100)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "0 * * * *", min_length = 1, max_length = 100)]
    pub cron: Option<String>,
    #[garde(inner(length(chars, min = 1, max = 100)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "UTC", min_length = 1, max_length = 100)]
    pub timezone: Option<String>,
    /// What is due meanwhile is not made up for.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub is_paused: Option<bool>,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Listed for Schedule {
    type Row = ScheduleRow;
    const LISTING: &'static Listing = &Listing {
        columns: "id, name, kind, args, cron, timezone, is_paused, next_run_at, last_run_at, last_job_id, \
                  created_by_user, created_by_key, created_at, updated_at",
        from: "schedules where org_id = $1",
        sorts: &[
            Sort { name: "created_at", column: "created_at", cast: "timestamptz" },
            Sort { name: "name", column: r#"name collate "C""#, cast: "text" },
        ],
        filters: &[],
    };
}

/// List schedules
#[utoipa::path(get, path = "/schedules", tag = "schedules", params(ListParams<Schedule>),
    responses((status = 200, description = "A page of schedules.", body = Page<Schedule>)))]
async fn list_schedules(db: TenantDb, list: List<Schedule>) -> Result<Response> {
    let page = list.page(&mut *db.read().await?).await?;
    Ok(list.answer(page))
}

/// Schedule a job
///
/// Each time that it is due, one job is enqueued, within about a second, however many replicas there are; after an outage
/// one job stands for all the times that were missed, and while the organisation is suspended it waits. The job has the
/// rights that whoever made the schedule has by then, and fails where they have lost them. A time that clocks skip as
/// they are put forward is made up for right after; one that comes twice as they are put back is due the first time
/// alone, unless minute or hour is `*` or a step: that is due both times. An organisation has at most 100 schedules.
#[utoipa::path(post, path = "/schedules", tag = "schedules", request_body = NewSchedule, params(IdempotencyKey),
    responses((status = 201, description = "It is scheduled.", body = Schedule),
              (status = 409, description = "The same key is still at work (`in_flight`).")))]
async fn create_schedule(
    db: TenantDb,
    trail: Trail,
    key: Option<IdempotencyKey>,
    Json(new): Json<NewSchedule>,
) -> Result<Response> {
    let (tx, caller) = db.begin_as().await?;
    check(&caller)?;
    let cron = Cron::parse(&new.cron, &new.timezone)?;
    let next = first_after(&cron, trail.at)?;
    once(tx, &caller, key, ("create_schedule", &new), async |tx| {
        if store::count_in_turn(tx).await? >= MOST {
            let detail = format!("an organisation has at most {MOST} schedules");
            return Err(Error::invalid("", "too_many_schedules", detail));
        }
        let next = (!new.is_paused).then_some(next);
        let schedule = store::insert(tx, caller.actor(), &new, cron.zone(), next).await?;
        let entry = Entry::new("schedule.created", "schedule", schedule.id.uuid().to_string());
        events::record(tx, caller.actor(), &trail, entry.after(settings(&schedule))).await?;
        Ok(Done {
            status: StatusCode::CREATED,
            location: Some(format!("/api/v1/schedules/{}", schedule.id)),
            tag: [],
            body: schedule,
        })
    })
    .await
}

/// Fetch one schedule
#[utoipa::path(get, path = "/schedules/{id}", tag = "schedules", params(("id" = ScheduleId, Path)),
    responses((status = 200, description = "The schedule.", body = Schedule)))]
async fn get_schedule(db: TenantDb, Path(id): Path<ScheduleId>) -> Result<Json<Schedule>> {
    Ok(Json(store::select(&mut db.read().await?, id).await?.or_not_found()?))
}

/// Change, pause or resume a schedule
///
/// What was due while it was paused is not made up for. Its jobs go on to be done with the rights of whoever made it.
#[utoipa::path(patch, path = "/schedules/{id}", tag = "schedules", request_body = SchedulePatch,
    params(("id" = ScheduleId, Path)),
    responses((status = 200, description = "The changed schedule.", body = Schedule)))]
async fn update_schedule(
    db: TenantDb,
    trail: Trail,
    Path(id): Path<ScheduleId>,
    Json(patch): Json<SchedulePatch>,
) -> Result<Response> {
    let (mut tx, caller) = db.begin_as().await?;
    check(&caller)?;
    let before = store::lock(&mut tx, id).await?.or_not_found()?;
    let expression = patch.cron.as_ref().unwrap_or(&before.cron);
    let cron = Cron::parse(expression, patch.timezone.as_ref().unwrap_or(&before.timezone))?;
    let has_other_times = *expression != before.cron || cron.zone() != before.timezone;
    let next = match (patch.is_paused.unwrap_or(before.is_paused), before.next_run_at) {
        (true, _) => None,
        (false, Some(next)) if !has_other_times => Some(next),
        (false, _) => Some(first_after(&cron, trail.at)?),
    };
    let after = store::update(&mut tx, id, &patch, cron.zone(), next).await?;
    let (was, is) = (settings(&before), settings(&after));
    if was != is {
        let entry = Entry::new("schedule.updated", "schedule", id.uuid().to_string()).before(was).after(is);
        events::record(&mut tx, caller.actor(), &trail, entry).await?;
    }
    tx.commit().await?;
    Ok(Json(after).into_response())
}

/// Delete a schedule
///
/// Its jobs stay, and are done where they are not done yet.
#[utoipa::path(delete, path = "/schedules/{id}", tag = "schedules", params(("id" = ScheduleId, Path)),
    responses((status = 204, description = "It is gone.")))]
async fn delete_schedule(
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Path(id): Path<ScheduleId>,
) -> Result<StatusCode> {
    let mut tx = db.begin().await?;
    let schedule = store::lock(&mut tx, id).await?.or_not_found()?;
    store::delete(&mut tx, id).await?;
    let entry = Entry::new("schedule.deleted", "schedule", id.uuid().to_string()).before(settings(&schedule));
    events::record(&mut tx, caller.actor(), &trail, entry).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check(caller: &Caller) -> Result<()> {
    match NEEDED.into_iter().find(|needed| !caller.exercise(*needed)) {
        Some(missing) => Err(caller.refusal(missing)),
        None => Ok(()),
    }
}

fn first_after(cron: &Cron, at: OffsetDateTime) -> Result<OffsetDateTime> {
    let never = || Error::invalid("/cron", "never_due", "is never due: there is no such time");
    cron.next_after(at).ok_or_else(never)
}

/// What somebody has set, for the audit.
fn settings(schedule: &Schedule) -> serde_json::Value {
    let Schedule { name, kind, args, cron, timezone, is_paused, .. } = schedule;
    json!({"name": name, "kind": kind, "args": args, "cron": cron, "timezone": timezone, "is_paused": is_paused})
}
