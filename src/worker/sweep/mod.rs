//! Takes away what nobody will ask for again: idle limits, old idempotency keys and receipts, old mails and their tokens,
//! tickets, processes that are gone, sessions long over, keys long retired, products deleted 30 days ago, files that are
//! none, jobs long over, deliveries of long ago, changes long heard of, counts of use
//! beyond two months.

mod jobs;
mod webhooks;

use crate::{
    bus, decisions,
    error::Result,
    events::{self, Entry},
    ids::{FileId, OrgId},
    limits::{self, record},
    metering,
    state::AppState,
    storage::Key,
    tenancy::PlatformTx,
    trail::Trail,
};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::{
    task::{JoinError, spawn_blocking},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Each sweep of the limiter walks a 64th of it.
const LIMITS: Duration = Duration::from_millis(150);
const ROWS: Duration = Duration::from_mins(10);
/// How long one can ask for what happened; the audit keeps it for good.
const EVENTS: time::Duration = time::Duration::days(30);
/// How long one can look up what became of a mail.
const MAILS: Duration = Duration::from_hours(7 * 24);

/// Every replica sweeps: what two delete at once is gone all the same.
pub async fn sweep(state: AppState, until: CancellationToken) {
    let (mut limits, mut rows) = (interval(LIMITS), interval(ROWS));
    limits.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rows.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = until.cancelled() => return,
            _ = limits.tick() => {
                if let Err(error) = sweep_limits(state.clone()).await {
                    tracing::warn!(%error, "sweeping the limits failed; trying again soon");
                }
            }
            _ = rows.tick() => {
                if let Err(error) = sweep_rows(&state).await {
                    tracing::warn!(%error, "sweeping failed; trying again in 10 minutes");
                }
            }
        }
    }
}

/// On a thread of its own: of a million counts a 64th takes milliseconds, and whoever is served here would wait for it.
async fn sweep_limits(state: AppState) -> Result<usize, JoinError> {
    spawn_blocking(move || state.limits.sweep(|org, who| state.plan_at_hand(org, who))).await
}

/// Every ten minutes.
pub async fn sweep_rows(state: &AppState) -> Result<()> {
    sweep_sign_ins(state).await?;
    let mut tx = state.platform.begin().await?;
    sqlx::query!("delete from idempotency_keys where created_at < now() - interval '24 hours'")
        .execute(&mut *tx)
        .await?;
    let at = state.clock.now();
    sqlx::query!("delete from mails where created_at < $1", at - MAILS).execute(&mut *tx).await?;
    sqlx::query!("delete from mail_tokens where expires_at < $1", at).execute(&mut *tx).await?;
    sqlx::query!("delete from event_tickets where expires_at < $1", at).execute(&mut *tx).await?;
    sqlx::query!("delete from live_processes where seen_at < now() - interval '1 minute'")
        .execute(&mut *tx)
        .await?;
    decisions::sweep(&mut tx, at).await?;
    metering::sweep(&mut tx, state.config.usage.retention(), at).await?;
    limits::sweep_accuracy(&mut tx, at).await?;
    record::sweep(&mut tx, &state.config.decisions, at).await?;
    sqlx::query!("delete from simulations where created_at < $1", at - KEPT).execute(&mut *tx).await?;
    sweep_events(&mut tx, at).await?;
    purge_products(&mut tx, &Trail::of_the_house(at)).await?;
    tx.commit().await?;
    sweep_files(state).await?;
    jobs::sweep_jobs(state).await?;
    webhooks::sweep_webhooks(state).await?;
    state.keyring.sweep(&Trail::of_the_house(state.clock.now())).await?;
    Ok(bus::sweep(&state.pools).await?)
}

/// Org by org, as the index has them.
async fn sweep_events(tx: &mut PlatformTx, now: OffsetDateTime) -> Result<()> {
    sqlx::query!(
        "with old as (
             select o.id as org_id, e.id
             from orgs o, lateral (
                 select id from events where org_id = o.id and seq is not null and at < $1 order by at limit 10000
             ) e
         )
         delete from events e using old where e.org_id = old.org_id and e.id = old.id",
        now - EVENTS
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// How many files are deleted each time.
const FILES: i64 = 1_000;

/// Deletes from the storage what is no file: left by uploads that came to nothing, or by files whose bytes could not be
/// deleted along with them. What the storage does not let go of stays due.
async fn sweep_files(state: &AppState) -> Result<()> {
    let mut tx = state.platform.begin().await?;
    let due = sqlx::query!(
        r#"select org_id as "org: OrgId", id as "id: FileId" from loose_files where due_at <= $1
           order by due_at limit $2"#,
        state.clock.now(),
        FILES
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let mut gone = Vec::new();
    for loose in due {
        match state.storage.delete(&Key::of(loose.org, loose.id)).await {
            Ok(()) => gone.push((loose.org.uuid(), loose.id.uuid())),
            Err(error) => {
                tracing::warn!(%error, org = %loose.org, file = %loose.id, "a file can't be deleted");
            }
        }
    }
    let (orgs, ids): (Vec<Uuid>, Vec<Uuid>) = gone.into_iter().unzip();
    let mut tx = state.platform.begin().await?;
    sqlx::query!(
        "delete from loose_files l using unnest($1::uuid[], $2::uuid[]) gone (org_id, id)
         where l.org_id = gone.org_id and l.id = gone.id",
        &orgs,
        &ids
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Of a product that was deleted 30 days ago nothing stays but what orders name: its row, emptied. Org by org, as the
/// index has them, and not too many at a time.
async fn purge_products(tx: &mut PlatformTx, trail: &Trail) -> Result<()> {
    let purged = sqlx::query!(
        r#"with due as (
             select o.id as org_id, d.id,
                    exists (select from order_lines l where l.org_id = o.id and l.product_id = d.id) as is_named
             from orgs o, lateral (
                 select id from products p
                 where p.org_id = o.id and p.deleted_at < now() - interval '30 days' and p.purged_at is null
                 order by p.deleted_at limit 1000
             ) d
         ),
         emptied as (
             update products p
             set purged_at = now(), sku = p.id::text, name = '', description = '', cost = null, metadata = '{}',
                 category_id = null
             from due where p.org_id = due.org_id and p.id = due.id and due.is_named
         ),
         unshown as (
             delete from product_images i using due where i.org_id = due.org_id and i.product_id = due.id
         ),
         gone as (
             delete from products p using due where p.org_id = due.org_id and p.id = due.id and not due.is_named
         )
         select org_id as "org: OrgId", id from due"#
    );
    for product in purged.fetch_all(&mut **tx).await? {
        let entry = Entry::new("product.purged", "product", product.id.to_string());
        events::record_by_platform(tx, product.org, None, trail, entry).await?;
    }
    Ok(())
}

/// How many addresses with failed attempts are kept: about 100 MB. Beyond that the first to be forgotten anyway go.
const FAILURES: i64 = 1_000_000;
/// How long what has ended is kept, for whoever looks into it.
const KEPT: time::Duration = time::Duration::days(30);

async fn sweep_sign_ins(state: &AppState) -> Result<()> {
    let (now, long_ago) = (state.clock.now(), state.clock.now() - KEPT);
    let mut tx = state.platform.begin().await?;
    sqlx::query!("delete from login_challenges where expires_at < $1", now).execute(&mut *tx).await?;
    sqlx::query!("delete from login_failures where until < $1", now).execute(&mut *tx).await?;
    sqlx::query!(
        "delete from login_failures where key in (select key from login_failures order by until desc offset $1)",
        FAILURES
    )
    .execute(&mut *tx)
    .await?;
    // A used token proves theft for as long as its session lasts, and an expired one proves nothing.
    sqlx::query!(
        "delete from refresh_tokens t using sessions s
         where s.id = t.session_id and (t.expires_at < $1 or s.expires_at < $1 or s.revoked_at < $1)",
        long_ago
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("delete from sessions where expires_at < $1 or revoked_at < $1", long_ago)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}
