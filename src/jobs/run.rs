//! One attempt at a job: its effects happen in transactions that hold its row, so that no other attempt has any.

use super::{
    LEASE,
    told::{JobStatus, told},
};
use crate::{
    clock::Clock,
    db::Pools,
    error::{Error, Result},
    events::{self, Doer},
    ids::{JobId, OrgId},
    tenancy::{Mode, Opening, Status, TenantTx},
    trail::Trail,
};
use serde_json::Value;
use uuid::Uuid;

/// A job that is this process's to do, for as long as it is heard of.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub org: OrgId,
    pub id: JobId,
    pub kind: String,
    pub args: Value,
    /// This one included.
    pub attempts: i32,
    pub max_attempts: i32,
    pub claim: Uuid,
    /// How far attempts before this one have come, as they committed it.
    pub done: i64,
    /// And what else they have left for this one.
    pub state: Option<Value>,
    pub created_by_user: Option<Uuid>,
    pub created_by_key: Option<Uuid>,
    /// The trace of what asked for it.
    pub traceparent: Option<String>,
}

impl Claimed {
    /// Whoever asked for it, and so does what it does.
    pub fn by(&self) -> Doer {
        Doer::in_columns(self.created_by_user, self.created_by_key)
    }
}

/// Why an attempt ended without success.
#[derive(Debug)]
pub enum Broken {
    /// It is somebody else's by now, or nobody's any more.
    Lost,
    Cancelled,
    /// Another attempt may do better; the text is for the org to read.
    Again(String),
    /// No attempt will do better.
    ForGood(String),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        match error {
            Error::Internal(cause) => {
                tracing::warn!(error = ?cause, "a job broke off");
                Self::Again("it broke off; the platform's log says why".to_owned())
            }
            Error::Unavailable(_) | Error::Crowded => Self::Again(error.to_string()),
            error => Self::ForGood(error.to_string()),
        }
    }
}

impl From<sqlx::Error> for Broken {
    fn from(error: sqlx::Error) -> Self {
        Error::from(error).into()
    }
}

/// Proof that a job is done: [`Run::succeed`] alone makes one.
#[must_use]
pub struct Succeeded(());

pub struct Run {
    pub(super) pools: Pools,
    pub(super) clock: Clock,
    pub job: Claimed,
}

impl Run {
    /// Where what it does comes from.
    pub fn trail(&self) -> Trail {
        Trail::of_the_house(self.clock.now())
    }

    /// A transaction of the job's org, in which the job is this attempt's until it ends: what is committed in it is
    /// committed by nobody else. Keep it short: whoever cancels the job waits for it.
    ///
    /// # Errors
    /// [`Broken::Lost`] where another attempt has begun, [`Broken::Cancelled`] where somebody asked for that.
    pub async fn begin(&self) -> Result<TenantTx, Broken> {
        let (mut tx, opening) = TenantTx::begin(&self.pools, self.job.org, Mode::Write).await?;
        if opening.status != Status::Active {
            return Err(not_active());
        }
        let ours = sqlx::query_scalar!(
            "select cancel_requested from jobs
             where org_id = $1 and id = $2 and claim = $3 and status = 'running' for no key update",
            self.job.org.uuid(),
            self.job.id.uuid(),
            self.job.claim
        );
        match ours.fetch_optional(&mut *tx).await? {
            None => Err(Broken::Lost),
            Some(true) => Err(Broken::Cancelled),
            Some(false) => Ok(tx),
        }
    }

    /// A transaction of the job's org that only reads, and holds nothing.
    ///
    /// # Errors
    /// [`Broken::Again`] where the org is not active.
    pub async fn read(&self) -> Result<TenantTx, Broken> {
        Ok(self.read_at().await?.0)
    }

    /// The same, and how the org stood when it began.
    pub(super) async fn read_at(&self) -> Result<(TenantTx, Opening), Broken> {
        let (tx, opening) = TenantTx::begin(&self.pools, self.job.org, Mode::Read).await?;
        match opening.status {
            Status::Active => Ok((tx, opening)),
            Status::Suspended | Status::Deleted => Err(not_active()),
        }
    }

    /// Says how far it has come, if `tx` commits: the next attempt begins there. And that it lives: where one transaction
    /// follows another, a heartbeat hardly ever finds the row free.
    pub async fn progress(&self, tx: &mut TenantTx, done: i64, total: Option<i64>) -> Result<(), Broken> {
        self.note(tx, (done, total), None).await
    }

    /// The same, and what the next attempt has to know besides.
    pub async fn checkpoint(
        &self,
        tx: &mut TenantTx,
        progress: (i64, Option<i64>),
        state: &Value,
    ) -> Result<(), Broken> {
        self.note(tx, progress, Some(state)).await
    }

    async fn note(
        &self,
        tx: &mut TenantTx,
        (done, total): (i64, Option<i64>),
        state: Option<&Value>,
    ) -> Result<(), Broken> {
        sqlx::query!(
            "update jobs
             set done = $3, total = $4, state = coalesce($5, state),
                 locked_until = clock_timestamp() + make_interval(secs => $6)
             where org_id = $1 and id = $2",
            self.job.org.uuid(),
            self.job.id.uuid(),
            done,
            total,
            state,
            LEASE.as_secs_f64()
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// The job is done, together with what `tx`, which [`begin`](Self::begin) gave, has done last.
    pub async fn succeed(&self, mut tx: TenantTx, result: &Value) -> Result<Succeeded, Broken> {
        sqlx::query!(
            "update jobs set status = 'succeeded', finished_at = clock_timestamp(), result = $3, error = null,
                             claim = null, locked_until = null
             where org_id = $1 and id = $2",
            self.job.org.uuid(),
            self.job.id.uuid(),
            result
        )
        .execute(&mut *tx)
        .await?;
        let entry = told(
            "job.succeeded",
            self.job.id,
            &self.job.kind,
            JobStatus::Succeeded,
            ("result", result.clone()),
        );
        events::record(&mut tx, Doer::SYSTEM, &self.trail(), entry).await?;
        tx.commit().await?;
        Ok(Succeeded(()))
    }
}

fn not_active() -> Broken {
    Broken::Again("the organisation is not active".to_owned())
}
