//! What each webhook is to be told of, and how far that has come.

use super::store;
use crate::{
    error::{OptionExt as _, Result},
    extract::{Json, List, ListParams, Listed, Path, TenantDb},
    ids::{DeliveryId, EventId, WebhookId},
    page::{Filter, Kind, Listing, Page, Sort},
};
use axum::response::Response;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// An event on its way to a webhook: one when it happens, and another for each replay.
#[derive(Serialize, ToSchema)]
pub struct WebhookDelivery {
    pub id: DeliveryId,
    pub event_id: EventId,
    /// The event's place among the organisation's.
    #[schema(example = 1, minimum = 1)]
    pub seq: i64,
    pub status: DeliveryStatus,
    pub asked_by: AskedBy,
    /// How often it was tried.
    #[schema(example = 1, minimum = 0)]
    pub attempts: i32,
    /// Not tried (again) before; none where it is not waiting.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_attempt_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
}

/// `failed`: given up after the last retry. `discarded`: the webhook was disabled, or the event was not kept for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum DeliveryStatus {
    Waiting,
    Running,
    Succeeded,
    Failed,
    Discarded,
}

impl DeliveryStatus {
    const WORDS: &'static [&'static str] = &["waiting", "running", "succeeded", "failed", "discarded"];
}

/// What it is for: that something happened, a replay, or a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum AskedBy {
    Event,
    Replay,
    Test,
}

/// The same as it is stored.
#[derive(sqlx::FromRow)]
pub struct DeliveryRow {
    pub id: DeliveryId,
    pub event_id: EventId,
    pub seq: i64,
    pub status: DeliveryStatus,
    pub asked_by: AskedBy,
    pub attempts: i32,
    pub due_at: OffsetDateTime,
    pub created_at: OffsetDateTime,
    pub finished_at: Option<OffsetDateTime>,
}

impl From<DeliveryRow> for WebhookDelivery {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id,
            event_id: row.event_id,
            seq: row.seq,
            status: row.status,
            asked_by: row.asked_by,
            attempts: row.attempts,
            next_attempt_at: (row.status == DeliveryStatus::Waiting).then_some(row.due_at),
            created_at: row.created_at,
            finished_at: row.finished_at,
        }
    }
}

impl Listed for WebhookDelivery {
    type Row = DeliveryRow;
    const LISTING: &'static Listing = &Listing {
        columns: "id, event_id, seq, status, asked_by, attempts, due_at, created_at, finished_at",
        from: "webhook_deliveries where org_id = $1",
        sorts: &[Sort { name: "created_at", column: "created_at", cast: "timestamptz" }],
        filters: &[
            Filter {
                name: "id",
                predicate: "endpoint_id =",
                kind: Kind::WithinId(|text| text.parse().ok().map(WebhookId::uuid)),
                about: "The webhook that the path names.",
            },
            Filter {
                name: "status",
                predicate: "status =",
                kind: Kind::OneOf(DeliveryStatus::WORDS),
                about: "In this state.",
            },
            Filter {
                name: "event_id",
                predicate: "event_id =",
                kind: Kind::Id(|text| text.parse().ok().map(EventId::uuid)),
                about: "Of this event.",
            },
            Filter { name: "created_after", predicate: "created_at >", kind: Kind::Time, about: "Since." },
            Filter { name: "created_before", predicate: "created_at <", kind: Kind::Time, about: "Until." },
        ],
    };
}

/// List the deliveries of a webhook
///
/// What it is to be told of or was, and when that is tried again; the last first, for 30 days.
#[utoipa::path(get, path = "/webhooks/{id}/deliveries", tag = "webhooks",
    params(("id" = WebhookId, Path), ListParams<WebhookDelivery>),
    responses((status = 200, description = "A page of deliveries.", body = Page<WebhookDelivery>)))]
pub async fn list_webhook_deliveries(
    db: TenantDb,
    Path(id): Path<WebhookId>,
    list: List<WebhookDelivery>,
) -> Result<Response> {
    let mut tx = db.read().await?;
    store::check_exists(&mut tx, id).await?;
    let page = list.page(&mut tx).await?;
    drop(tx);
    Ok(list.answer(page))
}

/// Fetch one delivery of a webhook
#[utoipa::path(get, path = "/webhooks/{id}/deliveries/{delivery_id}", tag = "webhooks",
    params(("id" = WebhookId, Path), ("delivery_id" = DeliveryId, Path)),
    responses((status = 200, description = "The delivery.", body = WebhookDelivery)))]
pub async fn get_webhook_delivery(
    db: TenantDb,
    Path((id, delivery)): Path<(WebhookId, DeliveryId)>,
) -> Result<Json<WebhookDelivery>> {
    Ok(Json(store::select_delivery(&mut db.read().await?, id, delivery).await?.or_not_found()?))
}
