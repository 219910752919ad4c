//! The audit: who did what to whom, written in the transaction of the change itself.
//!
//! What a person does to their own account is audited by the gate's functions, in the database; what happens inside an
//! org is recorded here. Once committed it becomes part of the org's [`chain`], which anybody can [`verify`].

pub mod chain;
mod event;
mod verify;

pub use event::{AuditActor, AuditEvent, AuditRow, AuditTarget, hex, named, stored};
pub use verify::{Break, Verified, find, next_org, verify};

use crate::{
    authn::Actor,
    error::Result,
    ids::{AuditEventId, OrgId, RequestId},
    tenancy::{PlatformTx, TenantTx},
    trail::Trail,
};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// One line of an org's audit. Nothing secret belongs into `before` and `after`.
pub struct Entry {
    /// `<noun>.<past tense>`: `member.removed`.
    action: &'static str,
    target_type: &'static str,
    target: String,
    before: Option<Value>,
    after: Option<Value>,
}

impl Entry {
    /// `target` is a uuid, or what the thing is called: a tier's slug.
    pub fn new(action: &'static str, target_type: &'static str, target: impl Into<String>) -> Self {
        Self { action, target_type, target: target.into(), before: None, after: None }
    }

    #[must_use]
    pub fn before(mut self, before: Value) -> Self {
        self.before = Some(before);
        self
    }

    #[must_use]
    pub fn after(mut self, after: Value) -> Self {
        self.after = Some(after);
        self
    }
}

/// Records what `actor` did in the org of `tx`, if `tx` commits.
pub async fn record(tx: &mut TenantTx, actor: &Actor, trail: &Trail, entry: Entry) -> Result<()> {
    let (org, actor) = (tx.org(), (actor.kind(), Some(actor.uuid())));
    insert(tx, org, actor, trail, entry).await
}

/// Records what an operator did to `org`, or what the platform did by itself where there is none.
pub async fn record_by_platform(
    tx: &mut PlatformTx,
    org: OrgId,
    operator: Option<&Actor>,
    trail: &Trail,
    entry: Entry,
) -> Result<()> {
    let actor = operator.map_or(("system", None), |operator| ("operator", Some(operator.uuid())));
    insert(tx, org, actor, trail, entry).await
}

/// Records the same in every living org that is on `tier`, or has a member on it, in one statement; answers in how many.
pub async fn record_on_tier(
    tx: &mut PlatformTx,
    tier: &str,
    operator: Option<&Actor>,
    trail: &Trail,
    entry: Entry,
) -> Result<u64> {
    let (actor_type, actor) =
        operator.map_or(("system", None), |operator| ("operator", Some(operator.uuid())));
    let told = sqlx::query!(
        "insert into audit_events (org_id, id, at, actor_type, actor_id, action, target_type, target, before, after,
                                   ip, request_id)
         select org_id, uuid_v7($2), $2, $3, $4, $5, $6, $7, $8, $9, $10::text::inet, $11
         from org_control
         where status <> 'deleted'
           and (tier = $1 or org_id in (select m.org_id from members m where m.tier = $1))",
        tier,
        trail.at,
        actor_type,
        actor,
        entry.action,
        entry.target_type,
        entry.target,
        entry.before,
        entry.after,
        // An operator's address is not the orgs' to know.
        None::<String>,
        trail.request.map(RequestId::uuid)
    );
    Ok(told.execute(&mut **tx).await?.rows_affected())
}

async fn insert(
    connection: &mut PgConnection,
    org: OrgId,
    (actor_type, actor): (&str, Option<Uuid>),
    trail: &Trail,
    entry: Entry,
) -> Result<()> {
    sqlx::query!(
        "insert into audit_events (org_id, id, at, actor_type, actor_id, action, target_type, target, before, after,
                                   ip, request_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::inet, $12)",
        org.uuid(),
        AuditEventId::new().uuid(),
        trail.at,
        actor_type,
        actor,
        entry.action,
        entry.target_type,
        entry.target,
        entry.before,
        entry.after,
        trail.ip.map(|ip| ip.to_string()),
        trail.request.map(RequestId::uuid)
    )
    .execute(connection)
    .await?;
    Ok(())
}
