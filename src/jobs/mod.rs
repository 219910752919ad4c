//! Jobs: work that outlives a request, enqueued in the transaction of what asks for it, and lost with nobody's death.

mod control;
mod due;
pub mod exports;
mod figures;
pub mod files;
mod handlers;
mod maker;
mod queue;
mod run;
mod told;

pub use control::{cancel, retry};
pub use due::{ScheduleKind, due, enqueue_due};
pub use figures::{KindFigures, figures};
pub use handlers::Handlers;
pub use maker::Maker;
pub use queue::{Beat, CHANNEL, LEASE, Queue};
pub use run::{Broken, Claimed, Run, Succeeded};
pub use told::{Job, JobProgress, JobRow, JobStatus, find, find_in};

use crate::{
    authn::Actor,
    error::{Error, Result},
    ids::JobId,
    telemetry,
    tenancy::TenantTx,
};
use serde_json::Value;

/// What is to be done.
pub struct NewJob<'a> {
    /// Says who does it: a word of the [`Handlers`].
    pub kind: &'a str,
    pub args: Value,
    /// As long as a job of this kind with the same key waits or runs, no other is made.
    pub unique_key: Option<&'a str>,
    /// After so many it has failed.
    pub max_attempts: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    New(JobId),
    /// One with the same unique key is not over yet.
    Already(JobId),
}

/// Has it done once `tx` commits, and never if it does not.
///
/// # Errors
/// 503 where jobs with the same unique key come and go too quickly to tell of one.
pub async fn enqueue(tx: &mut TenantTx, by: Option<&Actor>, new: NewJob<'_>) -> Result<Enqueued> {
    enqueue_as(tx, by, JobId::new(), new).await
}

/// The same under an id that is known already: that of its file, say.
pub async fn enqueue_as(
    tx: &mut TenantTx,
    by: Option<&Actor>,
    id: JobId,
    new: NewJob<'_>,
) -> Result<Enqueued> {
    let org = tx.org().uuid();
    let (user, key) = by.map_or((None, None), Actor::columns);
    // What is in the way may be over before it is looked at.
    for _ in 0..3 {
        let made = sqlx::query_scalar!(
            r#"insert into jobs (org_id, id, kind, args, unique_key, max_attempts, created_by_user, created_by_key,
                                 traceparent)
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
               on conflict do nothing
               returning id as "id: JobId""#,
            org,
            id.uuid(),
            new.kind,
            new.args,
            new.unique_key,
            new.max_attempts,
            user,
            key,
            telemetry::traceparent()
        )
        .fetch_optional(&mut **tx)
        .await?;
        if let Some(id) = made {
            sqlx::query!("select pg_notify($1, '')", CHANNEL).execute(&mut **tx).await?;
            return Ok(Enqueued::New(id));
        }
        let already = sqlx::query_scalar!(
            r#"select id as "id: JobId" from jobs
               where org_id = $1 and kind = $2 and unique_key = $3 and status in ('queued', 'running')"#,
            org,
            new.kind,
            new.unique_key
        );
        if let Some(id) = already.fetch_optional(&mut **tx).await? {
            return Ok(Enqueued::Already(id));
        }
    }
    Err(Error::Unavailable("jobs like this one come and go; try again in a moment"))
}
