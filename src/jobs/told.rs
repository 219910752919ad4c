//! A job as it is told: by its own room, and by whatever room has it done.

use crate::{
    authn,
    error::Result,
    events::Entry,
    ids::{ApiKeyId, JobId, OrgId, ScheduleId, UserId},
    tenancy::TenantTx,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct Job {
    pub id: JobId,
    /// What is done.
    #[schema(example = "products.import", max_length = 60)]
    pub kind: String,
    pub status: JobStatus,
    pub progress: JobProgress,
    /// What came of it, once it has succeeded; its fields depend on the kind.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// Why the latest attempt ended without success.
    #[schema(example = "the organisation is not active", max_length = 2_000)]
    pub error: Option<String>,
    /// How often it was begun.
    #[schema(example = 1, minimum = 0)]
    pub attempts: i32,
    /// After so many attempts it has failed.
    #[schema(example = 5, minimum = 1)]
    pub max_attempts: i32,
    /// It is running, and will be cancelled as soon as its worker hears of it.
    pub cancel_requested: bool,
    /// The user or API key that asked for it; none for the platform itself.
    #[schema(example = "usr_01jd8yq3c5f4x7t9k2m6n8p0rs", max_length = 40)]
    pub created_by: Option<String>,
    /// The schedule that it was due by, if any.
    pub schedule_id: Option<ScheduleId>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Not begun (again) before.
    #[serde(with = "time::serde::rfc3339")]
    pub run_at: OffsetDateTime,
    /// When the latest attempt began.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
}

/// That it has come to an end, as the audit and the events tell it.
pub(super) fn told(
    action: &'static str,
    id: JobId,
    kind: &str,
    status: JobStatus,
    (name, what): (&str, Value),
) -> Entry {
    let mut told = json!({"kind": kind, "status": status});
    told[name] = what;
    Entry::new(action, "job", id.uuid().to_string()).after(told)
}

#[derive(Serialize, ToSchema)]
pub struct JobProgress {
    /// In units of the kind: rows of an export, bytes of an import.
    #[schema(example = 500, minimum = 0)]
    pub done: i64,
    /// Of how many, where that is known.
    #[schema(example = 1000, minimum = 0)]
    pub total: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum JobStatus {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl JobStatus {
    pub const WORDS: &'static [&'static str] = &["queued", "running", "succeeded", "failed", "cancelled"];
}

#[derive(sqlx::FromRow)]
pub struct JobRow {
    id: JobId,
    kind: String,
    status: JobStatus,
    done: i64,
    total: Option<i64>,
    result: Option<Value>,
    error: Option<String>,
    attempts: i32,
    max_attempts: i32,
    cancel_requested: bool,
    created_by_user: Option<UserId>,
    created_by_key: Option<ApiKeyId>,
    schedule_id: Option<ScheduleId>,
    created_at: OffsetDateTime,
    run_at: OffsetDateTime,
    started_at: Option<OffsetDateTime>,
    finished_at: Option<OffsetDateTime>,
}

impl From<JobRow> for Job {
    fn from(row: JobRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            status: row.status,
            progress: JobProgress { done: row.done, total: row.total },
            result: row.result,
            error: row.error,
            attempts: row.attempts,
            max_attempts: row.max_attempts,
            cancel_requested: row.cancel_requested,
            created_by: authn::id_in(row.created_by_user, row.created_by_key),
            schedule_id: row.schedule_id,
            created_at: row.created_at,
            run_at: row.run_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        }
    }
}

/// The job of the org of `tx` that has this id.
pub async fn find(tx: &mut TenantTx, id: JobId) -> Result<Option<Job>> {
    let org = tx.org();
    find_in(tx, org, id).await
}

/// The job of `org` that has this id.
pub async fn find_in(tx: &mut PgConnection, org: OrgId, id: JobId) -> Result<Option<Job>> {
    let row = sqlx::query_as!(
        JobRow,
        r#"select id as "id: _", kind, status as "status: _", done, total, result, error, attempts, max_attempts,
                  cancel_requested, created_by_user as "created_by_user: _", created_by_key as "created_by_key: _",
                  schedule_id as "schedule_id: _", created_at, run_at, started_at, finished_at
           from jobs where org_id = $1 and id = $2"#,
        org.uuid(),
        id.uuid()
    );
    Ok(row.fetch_optional(tx).await?.map(Into::into))
}
