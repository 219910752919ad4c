//! `TenantDb`: a handler's door to the data of the caller's org. It holds no connection until asked.

use crate::{
    authz::RoleGraph,
    caller::{Caller, closed},
    error::{Error, Result},
    prefer::Prefer,
    state::AppState,
    tenancy::{Mode, Status, TenantTx},
};
use axum::{extract::FromRequestParts, http::request::Parts};

#[derive(Clone)]
pub struct TenantDb {
    state: AppState,
    caller: Caller,
    writes: Mode,
}

/// A transaction that decides who may do what, while no other of its org does.
pub struct Turn {
    pub tx: TenantTx,
    /// Who asks, as they are now that it is their turn.
    pub caller: Caller,
    /// The org's roles, likewise.
    pub graph: RoleGraph,
}

impl Turn {
    /// Who may do what has changed, for every replica to hear once the transaction commits.
    pub async fn commit(mut self, state: &AppState) -> Result<()> {
        let org = self.tx.org();
        sqlx::query!(
            "update org_control set policy_version = policy_version + 1 where org_id = $1",
            org.uuid()
        )
        .execute(&mut *self.tx)
        .await?;
        sqlx::query!("select control_change('policy', $1, null)", org.uuid()).execute(&mut *self.tx).await?;
        self.tx.commit().await?;
        state.authz.forget(org);
        state.directory.forget(org);
        Ok(())
    }
}

impl TenantDb {
    /// A transaction that may write; commit it. What a client only tries out (`Prefer: dry-run`) is not kept.
    pub async fn begin(&self) -> Result<TenantTx> {
        Ok(self.open(self.writes).await?.0)
    }

    /// A read-only transaction; drop it when the rows are read.
    pub async fn read(&self) -> Result<TenantTx> {
        Ok(self.open(Mode::Read).await?.0)
    }

    /// The same as [`begin`](Self::begin), and the caller as decided under the policy that the transaction began with:
    /// for handlers that ask for more than their door did.
    pub async fn begin_as(&self) -> Result<(TenantTx, Caller)> {
        self.open(self.writes).await
    }

    /// The same for a transaction that only reads.
    pub async fn read_as(&self) -> Result<(TenantTx, Caller)> {
        self.open(Mode::Read).await
    }

    /// A transaction about who may do what: those of one org take turns. What was decided on the way here may be over
    /// by then, so it is decided again.
    pub async fn in_turn(&self) -> Result<Turn> {
        let org = self.caller.org();
        let (mut tx, opening) = TenantTx::begin(&self.state.pools, org, self.writes).await?;
        if opening.status != Status::Active {
            self.state.directory.forget(org);
            return Err(closed(opening.status));
        }
        let version = sqlx::query_scalar!(
            "select policy_version from org_control where org_id = $1 for no key update",
            org.uuid()
        )
        .fetch_one(&mut *tx)
        .await?;
        let caller = self.caller.readmit_in(&self.state.authz, &mut tx, version).await?;
        let graph = RoleGraph::load(&mut tx).await?;
        Ok(Turn { tx, caller, graph })
    }

    /// No statement of a handler runs under a policy older than its transaction: the message that opens one
    /// reads the org's policy version, and where that has moved on the decision is made again.
    async fn open(&self, mode: Mode) -> Result<(TenantTx, Caller)> {
        let org = self.caller.org();
        let mut caller = self.caller.clone();
        // A policy that moves on between each decision and its transaction is being hammered.
        for _ in 0..3 {
            let (tx, opening) = TenantTx::begin(&self.state.pools, org, mode).await?;
            if opening.status != Status::Active {
                self.state.directory.forget(org);
                return Err(closed(opening.status));
            }
            if caller.decided_at().is_none_or(|version| version == opening.policy_version) {
                return Ok((tx, caller));
            }
            // Deciding may need a connection of its own.
            drop(tx);
            caller = caller.readmit(&self.state.authz, opening.policy_version).await?;
        }
        Err(Error::Unavailable("the roles of this organisation are changing; try again in a moment"))
    }
}

impl FromRequestParts<AppState> for TenantDb {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let writes = if Prefer::of(&parts.headers).dry_run { Mode::Trial } else { Mode::Write };
        Ok(Self { state: state.clone(), caller: Caller::from_request_parts(parts, state).await?, writes })
    }
}
