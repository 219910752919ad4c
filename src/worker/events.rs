//! Numbers what has happened: gives the committed events of each org the numbers that listeners go by, and enqueues them
//! for the webhooks that are told of them.
//!
//! After commit and by one replica at a time, so that whoever has seen a number has seen all below it: an event that
//! commits late gets a late number.

use super::turns::{again_and_again, in_turns};
use crate::{
    error::Result,
    events::CHANNEL,
    state::AppState,
    tenancy::{PlatformDb, PlatformTx},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long an event waits for its number at most, while there are not too many.
const EVERY: Duration = Duration::from_millis(200);
/// Events numbered in one transaction.
const BATCH: i64 = 1_000;

/// Every replica tries; one at a time numbers.
pub async fn keep_events_numbered(state: AppState, until: CancellationToken) {
    again_and_again(EVERY, until, "events can't be numbered", || number_events(&state.platform)).await;
}

/// Numbers what is committed, and answers how many events that were. While another replica does, none.
pub async fn number_events(platform: &PlatformDb) -> Result<usize> {
    in_turns(|after| number_batch(platform, after)).await
}

/// Numbers a batch of the orgs beyond `after`, and answers how many events, and the last org among them.
async fn number_batch(platform: &PlatformDb, after: Uuid) -> Result<Option<(usize, Uuid)>> {
    let mut tx = platform.begin().await?;
    if !alone(&mut tx).await? {
        return Ok(None);
    }
    let mut orgs = number(&mut tx, after).await?;
    let Some(last) = orgs.last().copied() else { return Ok(None) };
    let total = orgs.len();
    orgs.dedup();
    sqlx::query!("select pg_notify($1, org::text) from unnest($2::uuid[]) org", CHANNEL, &orgs)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Some((total, last)))
}

/// Whether nobody else numbers; nobody will to the end of the transaction.
async fn alone(tx: &mut PlatformTx) -> Result<bool> {
    let locked = sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock(hashtextextended('insula events', 0)) as "locked!""#
    );
    Ok(locked.fetch_one(&mut **tx).await?)
}

/// Answers the org of each that got its number, in their order. In the same statement, so exactly once, each is enqueued
/// for the org's webhooks: those that are told of its type, or the one that is tested, whatever it is told of.
async fn number(tx: &mut PlatformTx, after: Uuid) -> Result<Vec<Uuid>> {
    let numbered = sqlx::query_scalar!(
        r#"with due as (
               select org_id, id, row_number() over (partition by org_id order by at, id) as nth,
                      count(*) over (partition by org_id) as many
               from (
                   select org_id, id, at from events where seq is null and org_id > $1 order by org_id, at, id limit $2
               ) next
           ),
           heads as (
               insert into event_heads (org_id, seq) select distinct org_id, many from due
               on conflict (org_id) do update set seq = event_heads.seq + excluded.seq
               returning org_id, seq
           ),
           numbered as (
               update events e set seq = h.seq - d.many + d.nth
               from due d join heads h on h.org_id = d.org_id
               where e.org_id = d.org_id and e.id = d.id
               returning e.org_id, e.id, e.seq, e.type, e.target
           ),
           told as (
               insert into webhook_deliveries (org_id, id, endpoint_id, event_id, seq, asked_by)
               select n.org_id, uuid_v7(clock_timestamp()), w.id, n.id, n.seq,
                      case n.type when 'webhook.tested' then 'test' else 'event' end
               from numbered n
               join webhook_endpoints w on w.org_id = n.org_id and w.status = 'enabled'
                   and case n.type when 'webhook.tested' then w.id::text = n.target
                                   else w.events && array[n.type, '*'] end
           )
           select org_id as "org!" from numbered order by org_id"#,
        after,
        BATCH
    );
    Ok(numbered.fetch_all(&mut **tx).await?)
}
