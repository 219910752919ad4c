//! Events told again to a webhook: of those that are kept, one by its id or all of a time.

use super::{store, told};
use crate::{
    error::{Error, OptionExt as _, Result},
    events,
    extract::{Json, Path, TenantDb},
    idempotency::{Done, IdempotencyKey, once},
    ids::{EventId, WebhookId},
    tenancy::TenantTx,
    trail::Trail,
};
use axum::{http::StatusCode, response::Response};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

/// Events of one request.
const MOST: i64 = 10_000;
/// For how long events are kept.
const KEPT: Duration = Duration::days(30);

#[derive(Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct Replay {
    /// This one alone, whatever became of it; with nothing else beside it.
    pub event_id: Option<EventId>,
    /// Those that happened from then on: the last 30 days unless given.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub from: Option<OffsetDateTime>,
    /// And before then: until now unless given.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub to: Option<OffsetDateTime>,
    /// `failed` unless given.
    pub only: Option<ReplayOnly>,
}

/// `failed`: what was given up or discarded. `missed`: that, and what happened while the webhook was disabled, was for
/// other types or was not there yet. `all`: also what has arrived. What still waits is never doubled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplayOnly {
    #[default]
    Failed,
    Missed,
    All,
}

impl ReplayOnly {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Missed => "missed",
            Self::All => "all",
        }
    }
}

/// What is to be told again.
#[derive(Serialize, ToSchema)]
pub struct Replayed {
    /// How many: none where everything that was asked for still waits or has arrived.
    #[schema(example = 12, minimum = 0, maximum = 10_000)]
    pub deliveries: i64,
}

/// Replay events to a webhook
///
/// Of the types that it is for, and as they are kept: for 30 days. Each is sent with the `webhook-id` that it had, so that
/// whoever has it already knows it again. With `{}` what has failed is tried again; after a time of being disabled
/// `{"from": "<then>", "only": "missed"}` makes up for it. At most 10,000 at a time.
#[utoipa::path(post, path = "/webhooks/{id}/replay", tag = "webhooks", request_body = Replay,
    params(("id" = WebhookId, Path), IdempotencyKey),
    responses((status = 202, description = "So many are on their way.", body = Replayed),
              (status = 409, description = "It is disabled, or the same key is still at work (`webhook_disabled`, \
                                            `in_flight`).")))]
pub async fn replay_webhook(
    db: TenantDb,
    trail: Trail,
    Path(id): Path<WebhookId>,
    key: Option<IdempotencyKey>,
    Json(asked): Json<Replay>,
) -> Result<Response> {
    let wanted = Wanted::of(&asked, trail.at)?;
    let (tx, caller) = db.begin_as().await?;
    once(tx, &caller, key, ("replay_webhook", &(id, &asked)), async |tx| {
        let webhook = store::lock(tx, id).await?.or_not_found()?;
        webhook.check_enabled()?;
        let deliveries = match wanted {
            Wanted::One(event) => {
                check_event(tx, &webhook.events, event).await?;
                enqueue_one(tx, id, event).await?
            }
            Wanted::Time { from, to, only } => enqueue_time(tx, id, (from, to), only).await?,
        };
        let how = json!({"asked": asked, "deliveries": deliveries});
        events::record(tx, caller.actor(), &trail, told::done("webhook.replayed", &webhook, how)).await?;
        Ok(Done {
            status: StatusCode::ACCEPTED,
            location: Some(format!("/api/v1/webhooks/{id}/deliveries")),
            tag: [],
            body: Replayed { deliveries },
        })
    })
    .await
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Wanted {
    One(EventId),
    Time { from: OffsetDateTime, to: Option<OffsetDateTime>, only: ReplayOnly },
}

impl Wanted {
    fn of(asked: &Replay, now: OffsetDateTime) -> Result<Self> {
        let Replay { event_id, from, to, only } = *asked;
        if let Some(event) = event_id {
            if from.is_some() || to.is_some() || only.is_some() {
                let detail = "names one event: leave out from, to and only";
                return Err(Error::invalid("/event_id", "not_alone", detail));
            }
            return Ok(Self::One(event));
        }
        let from = from.unwrap_or(now - KEPT);
        if to.is_some_and(|to| to <= from) {
            return Err(Error::invalid("/to", "invalid", "is not after `from`"));
        }
        Ok(Self::Time { from, to, only: only.unwrap_or_default() })
    }
}

/// # Errors
/// 422 where there is no such event (any more), or the webhook is not told of its type.
async fn check_event(tx: &mut TenantTx, types: &[String], event: EventId) -> Result<()> {
    let found = sqlx::query!(
        r#"select type <> 'webhook.tested' and array['*', type] && $3 as "is_told!"
           from events where org_id = $1 and id = $2 and seq is not null"#,
        tx.org().uuid(),
        event.uuid(),
        types
    );
    match found.fetch_optional(&mut **tx).await? {
        None => {
            let detail = "there is no such event: they are kept for 30 days";
            Err(Error::invalid("/event_id", "unknown_event", detail))
        }
        Some(found) if !found.is_told => {
            let detail = "is of a type that this webhook is not told of: add it to its events first";
            Err(Error::invalid("/event_id", "not_told", detail))
        }
        Some(_) => Ok(()),
    }
}

async fn enqueue_one(tx: &mut TenantTx, webhook: WebhookId, event: EventId) -> Result<i64> {
    let made = sqlx::query!(
        "insert into webhook_deliveries (org_id, id, endpoint_id, event_id, seq, asked_by)
         select $1, uuid_v7(clock_timestamp()), $2, e.id, e.seq, 'replay'
         from events e
         where e.org_id = $1 and e.id = $3 and e.seq is not null
           and not exists (
               select from webhook_deliveries d
               where d.org_id = $1 and d.endpoint_id = $2 and d.event_id = e.id and d.status in ('waiting', 'running')
           )",
        tx.org().uuid(),
        webhook.uuid(),
        event.uuid()
    );
    Ok(i64::try_from(made.execute(&mut **tx).await?.rows_affected()).unwrap_or(i64::MAX))
}

/// In one statement, which makes none where they would be too many.
///
/// # Errors
/// 422 `too_many_events`.
async fn enqueue_time(
    tx: &mut TenantTx,
    webhook: WebhookId,
    (from, to): (OffsetDateTime, Option<OffsetDateTime>),
    only: ReplayOnly,
) -> Result<i64> {
    let many = sqlx::query_scalar!(
        r#"with wanted as materialized (
               select e.id, e.seq
               from events e
               join webhook_endpoints w on w.org_id = $1 and w.id = $2
               where e.org_id = $1 and e.seq is not null and e.at >= $3 and e.at < coalesce($4::timestamptz, 'infinity')
                 and e.type <> 'webhook.tested' and array['*', e.type] && w.events
                 and not exists (
                     select from webhook_deliveries d
                     where d.org_id = $1 and d.endpoint_id = $2 and d.event_id = e.id
                       and (d.status in ('waiting', 'running') or d.status = 'succeeded' and $5 <> 'all')
                 )
                 and ($5 <> 'failed' or exists (
                     select from webhook_deliveries d
                     where d.org_id = $1 and d.endpoint_id = $2 and d.event_id = e.id
                 ))
               order by e.at, e.id
               limit $6::bigint + 1
           ),
           made as (
               insert into webhook_deliveries (org_id, id, endpoint_id, event_id, seq, asked_by)
               select $1, uuid_v7(clock_timestamp()), $2, id, seq, 'replay' from wanted
               where (select count(*) from wanted) <= $6
           )
           select count(*) as "many!" from wanted"#,
        tx.org().uuid(),
        webhook.uuid(),
        from,
        to,
        only.as_str(),
        MOST
    );
    let many = many.fetch_one(&mut **tx).await?;
    if many > MOST {
        let detail = format!("more than {MOST} events fit: ask for a shorter time, and then for the next");
        return Err(Error::invalid("/from", "too_many_events", detail));
    }
    Ok(many)
}
