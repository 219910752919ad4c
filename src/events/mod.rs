//! Events: what happened in an org, written down twice in the transaction of the change itself.
//!
//! Once for the audit, which keeps what changed for good, and once for the outbox, which tells the thing as it is since
//! to whoever listens. What a person does to their own account is written down by the gate's functions, in the database.

mod catalogue;
mod doer;
mod entry;
mod event;
mod places;
mod streams;

pub use catalogue::{EVENT_TYPES, EventType, VERSION, readable};
pub use doer::Doer;
pub use entry::Entry;
pub use event::{Event, EventData, EventRow};
pub use places::{Carrier, Place};
pub use streams::{EventPage, Streams};

use crate::{
    authn::Actor,
    error::Result,
    ids::{AuditEventId, EventId, OrgId, RequestId},
    tenancy::{PLATFORM, PlatformTx, TenantTx},
    trail::Trail,
};
use sqlx::PgConnection;
use uuid::Uuid;

/// Where it is said that events were numbered; the payload is the org.
pub const CHANNEL: &str = "insula_events";

/// Records what `by` did in the org of `tx`, if `tx` commits.
pub async fn record(tx: &mut TenantTx, by: impl Into<Doer>, trail: &Trail, entry: Entry) -> Result<()> {
    record_all(tx, by, trail, vec![entry]).await
}

/// The same of what is to be looked for later: answers the id that its event will have.
pub async fn record_one(
    tx: &mut TenantTx,
    by: impl Into<Doer>,
    trail: &Trail,
    entry: Entry,
) -> Result<EventId> {
    let (org, mut columns) = (tx.org(), Columns::default());
    let id = columns.push(entry);
    insert(tx, org, by.into(), trail, columns).await?;
    Ok(id)
}

/// The same of many things at once, in their order.
pub async fn record_all(
    tx: &mut TenantTx,
    by: impl Into<Doer>,
    trail: &Trail,
    entries: Vec<Entry>,
) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let (org, mut columns) = (tx.org(), Columns::default());
    for entry in entries {
        columns.push(entry);
    }
    insert(tx, org, by.into(), trail, columns).await
}

/// Records what an operator did to `org`, or what the platform did by itself where there is none.
pub async fn record_by_platform(
    tx: &mut PlatformTx,
    org: OrgId,
    operator: Option<&Actor>,
    trail: &Trail,
    entry: Entry,
) -> Result<()> {
    let mut columns = Columns::default();
    columns.push(entry);
    insert(tx, org, Doer::operator(operator), trail, columns).await
}

/// Records the same in every living org that is on `tier`, or has a member on it, in one statement; answers in how many.
pub async fn record_on_tier(
    tx: &mut PlatformTx,
    tier: &str,
    operator: Option<&Actor>,
    trail: &Trail,
    entry: Entry,
) -> Result<u64> {
    let by = Doer::operator(operator);
    let told = sqlx::query!(
        "with lines as (
             insert into audit_events (org_id, id, at, actor_type, actor_id, action, target_type, target, before, after,
                                       ip, request_id)
             select org_id, uuid_v7($2), $2, $3, $4, $5, $6, $7, $8, $9, $10::text::inet, $11
             from org_control
             where status <> 'deleted'
               and (tier = $1 or org_id in (select m.org_id from members m where m.tier = $1))
             returning *
         )
         insert into events (org_id, id, type, at, actor_type, actor_id, target_type, target, object, previous,
                             request_id)
         select org_id, id, action, at, actor_type, actor_id, target_type, target, after, before, request_id from lines
         where org_id <> $12",
        tier,
        trail.at,
        by.kind,
        by.id,
        entry.action,
        entry.target_type,
        entry.target,
        entry.before,
        entry.after,
        // An operator's address is not the orgs' to know.
        None::<String>,
        trail.request.map(RequestId::uuid),
        PLATFORM.uuid()
    );
    Ok(told.execute(&mut **tx).await?.rows_affected())
}

/// Both rows of each in one round trip, under one id. Nobody listens to the platform's own.
async fn insert(
    connection: &mut PgConnection,
    org: OrgId,
    by: Doer,
    trail: &Trail,
    columns: Columns,
) -> Result<()> {
    sqlx::query!(
        "with told as (
             select * from unnest($7::uuid[], $8::text[], $9::text[], $10::text[], $11::jsonb[], $12::jsonb[],
                                  $13::jsonb[], $14::jsonb[])
                           told (id, action, target_type, target, before, after, object, previous)
         ),
         lines as (
             insert into audit_events (org_id, id, at, actor_type, actor_id, action, target_type, target, before, after,
                                       ip, request_id)
             select $1, id, $2, $3, $4, action, target_type, target, before, after, $5::text::inet, $6 from told
         )
         insert into events (org_id, id, type, at, actor_type, actor_id, target_type, target, object, previous,
                             request_id)
         select $1, id, action, $2, $3, $4, target_type, target, object, previous, $6 from told where $1 <> $15",
        org.uuid(),
        trail.at,
        by.kind,
        by.id,
        trail.ip.map(|ip| ip.to_string()),
        trail.request.map(RequestId::uuid),
        &columns.ids,
        &columns.actions as _,
        &columns.target_types as _,
        &columns.targets,
        &columns.befores as _,
        &columns.afters as _,
        &columns.objects as _,
        &columns.previous as _,
        PLATFORM.uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Side by side, as Postgres takes them.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    actions: Vec<&'static str>,
    target_types: Vec<&'static str>,
    targets: Vec<String>,
    befores: Vec<Option<serde_json::Value>>,
    afters: Vec<Option<serde_json::Value>>,
    objects: Vec<Option<serde_json::Value>>,
    previous: Vec<Option<serde_json::Value>>,
}

impl Columns {
    fn push(&mut self, entry: Entry) -> EventId {
        let Entry { action, target_type, target, before, after, object } = entry;
        let id = AuditEventId::new().uuid();
        self.ids.push(id);
        self.actions.push(action);
        self.target_types.push(target_type);
        self.targets.push(target);
        // Of what is gone, how it was is how it is told.
        let told = object.or_else(|| after.clone()).or_else(|| before.clone());
        self.previous.push(before.clone().filter(|_| after.is_some()));
        self.objects.push(told);
        self.befores.push(before);
        self.afters.push(after);
        EventId::from_uuid(id)
    }
}
