//! `TenantTx`: one transaction of one org, under row-level security.
//!
//! Not `sqlx::Transaction`: cancelled while it begins, that one hands its connection to the next borrower
//! inside this org's open transaction (transact-rs/sqlx#4385). This one owns its connection from before the
//! first byte is sent, and rolls it back, or closes it, whenever it is dropped before its commit returned.

use super::directory::Opening;
use crate::{
    db::{PendingWrite, Permit, Pools, Writes},
    error::{Error, Result},
    ids::OrgId,
};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, FromRow as _, PgConnection, Postgres, pool::PoolConnection,
};
use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Read,
    Write,
    /// Everything is done and checked as in `Write`, and nothing of it is kept.
    Trial,
}

/// An open transaction in which only rows of its org exist.
///
/// Dropped without [`commit`](Self::commit), nothing of it happened.
#[must_use = "a transaction that is not committed is rolled back"]
pub struct TenantTx {
    connection: Held,
    org: OrgId,
    mode: Mode,
    writes: Writes,
}

impl TenantTx {
    /// Opens a transaction of `org`; the same round trip answers the org's control row as it is now.
    ///
    /// # Errors
    /// 503 when no connection is to be had or the org has too many already, 404 when there is no such org.
    pub async fn begin(pools: &Pools, org: OrgId, mode: Mode) -> Result<(Self, Opening)> {
        let connection = Held::of_an_org(pools, org).await?;
        let mut tx = Self { connection, org, mode, writes: pools.writes.clone() };
        let begin = match mode {
            Mode::Read => "begin read only",
            Mode::Write | Mode::Trial => "begin",
        };
        // A uuid can't hold a quote. `set local`, because pooled connections and Citus workers see no other.
        let message = format!(
            "{begin}; set local app.org_id = '{id}'; \
             select status, policy_version from org_control where org_id = '{id}'",
            id = org.uuid()
        );
        let row = tx.fetch_optional(sqlx::raw_sql(AssertSqlSafe(message))).await?.ok_or(Error::NotFound)?;
        let opening = Opening::from_row(&row)?;
        Ok((tx, opening))
    }

    pub fn org(&self) -> OrgId {
        self.org
    }

    /// Makes everything that was done visible at once. On an error, nothing of it happened or, where the
    /// connection was lost while committing, all of it: an idempotency key tells which.
    ///
    /// Of a trial it makes the last checks, and ends it.
    pub async fn commit(mut self) -> Result<()> {
        let end = match self.mode {
            Mode::Read | Mode::Write => "commit",
            Mode::Trial => "set constraints all immediate; rollback",
        };
        self.connection.pending = (self.mode == Mode::Write).then(|| self.writes.pending(self.org));
        let ended = self.execute(sqlx::raw_sql(end)).await;
        // Whatever came of it, and before anybody is told: what was read of the org before is not the latest any more.
        self.connection.pending = None;
        ended?;
        self.connection.finished();
        Ok(())
    }

    /// Does `work` so that nothing is left of it where it fails, and the transaction goes on.
    pub async fn attempt<T>(&mut self, work: impl AsyncFnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.execute(sqlx::raw_sql("savepoint attempt")).await?;
        let done = work(self).await;
        let end = if done.is_ok() { "release attempt" } else { "rollback to attempt; release attempt" };
        self.execute(sqlx::raw_sql(end)).await?;
        done
    }

    /// Lets go of every lock before it returns; dropping does so a moment after, which is enough where nobody asks
    /// for the same lock next. A connection that can't roll back is closed.
    pub async fn rollback(mut self) {
        let rollback = self.execute(sqlx::raw_sql("rollback"));
        if matches!(tokio::time::timeout(ROLLBACK, rollback).await, Ok(Ok(_))) {
            self.connection.finished();
        }
    }
}

impl Deref for TenantTx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.get()
    }
}

impl DerefMut for TenantTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.get_mut()
    }
}

/// A pooled connection that goes back clean or not at all.
pub(super) struct Held {
    // Two places instead of an option to unwrap: `Some` until drop takes it.
    connection: Option<PoolConnection<Postgres>>,
    /// Goes when the connection is back in the pool, or closed, and no earlier.
    permit: Option<Permit>,
    /// What is being committed: counted when that is over, also where nobody waits for it any more.
    pending: Option<PendingWrite>,
    clean: bool,
}

/// How long a forsaken connection may take to roll back before it is closed instead.
const ROLLBACK: Duration = Duration::from_secs(2);

impl Held {
    #[expect(clippy::disallowed_methods, reason = "the one home of borrowed connections")]
    pub(super) async fn take(pool: &sqlx::PgPool) -> Result<Self> {
        Ok(Self { connection: Some(pool.acquire().await?), permit: None, pending: None, clean: false })
    }

    /// Who has to wait for a permit holds no connection, and stands in nobody's way in the queue for one.
    async fn of_an_org(pools: &Pools, org: OrgId) -> Result<Self> {
        let permit = pools.permits.take(org).await?;
        let mut held = Self::take(&pools.app).await?;
        held.permit = Some(permit);
        Ok(held)
    }

    pub(super) fn finished(&mut self) {
        self.clean = true;
    }

    #[expect(clippy::expect_used, reason = "only drop empties it")]
    pub(super) fn get(&self) -> &PgConnection {
        self.connection.as_deref().expect("held until dropped")
    }

    #[expect(clippy::expect_used, reason = "only drop empties it")]
    pub(super) fn get_mut(&mut self) -> &mut PgConnection {
        self.connection.as_deref_mut().expect("held until dropped")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let held = (self.permit.take(), self.pending.take());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(connection.detach());
            return;
        };
        if self.clean {
            runtime.spawn(async move {
                connection.return_to_pool().await;
                drop(held);
            });
            return;
        }
        // After the answer, so that a read costs two round trips and not three.
        runtime.spawn(async move {
            let rollback = connection.execute(sqlx::raw_sql("rollback"));
            if matches!(tokio::time::timeout(ROLLBACK, rollback).await, Ok(Ok(_))) {
                connection.return_to_pool().await;
            } else {
                connection.detach().close_hard().await.ok();
            }
            drop(held);
        });
    }
}
