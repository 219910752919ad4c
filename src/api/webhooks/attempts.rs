//! Each request that was made to a webhook, and how it was answered.

use super::store;
use crate::{
    error::{OptionExt as _, Result},
    extract::{Json, List, ListParams, Listed, Path, TenantDb},
    ids::{AttemptId, DeliveryId, EventId, WebhookId},
    page::{Filter, Kind, Listing, Page, Sort},
    webhooks::Outcome,
};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A request that was made to deliver an event; its body was the event, as `GET /events/history/{event_id}` has it.
#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub struct WebhookAttempt {
    pub id: AttemptId,
    pub delivery_id: DeliveryId,
    pub event_id: EventId,
    /// Which attempt of its delivery, the first being 1.
    #[sqlx(rename = "nth")]
    #[schema(example = 1, minimum = 1)]
    pub number: i32,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    #[schema(example = 120, minimum = 0)]
    pub duration_milliseconds: i32,
    pub outcome: Outcome,
    /// None where there was no answer.
    #[schema(example = 204, minimum = 100, maximum = 999)]
    pub status_code: Option<i16>,
    /// As they were sent, the signature included.
    #[schema(value_type = Object, example = json!({"content-type": "application/json"}))]
    pub request_headers: Value,
    #[schema(value_type = Option<Object>, example = json!({"content-type": "text/plain"}))]
    pub response_headers: Option<Value>,
    /// The first 4 KiB of it; what is not UTF-8 is replaced.
    #[schema(example = "thank you", max_length = 4096)]
    pub response_body: Option<String>,
    /// Why there was no answer that counts.
    #[schema(example = "the connection was refused", max_length = 1000)]
    pub error: Option<String>,
}

impl Listed for WebhookAttempt {
    type Row = Self;
    const LISTING: &'static Listing = &Listing {
        columns: "id, delivery_id, event_id, nth, at, duration_milliseconds, outcome, status_code, request_headers, \
                  response_headers, response_body, error",
        from: "webhook_attempts where org_id = $1",
        sorts: &[Sort { name: "at", column: "at", cast: "timestamptz" }],
        filters: &[
            Filter {
                name: "id",
                predicate: "endpoint_id =",
                kind: Kind::WithinId(|text| text.parse().ok().map(WebhookId::uuid)),
                about: "The webhook that the path names.",
            },
            Filter {
                name: "outcome",
                predicate: "outcome =",
                kind: Kind::OneOf(Outcome::WORDS),
                about: "That ended so.",
            },
            Filter {
                name: "event_id",
                predicate: "event_id =",
                kind: Kind::Id(|text| text.parse().ok().map(EventId::uuid)),
                about: "To tell of this event.",
            },
            Filter {
                name: "delivery_id",
                predicate: "delivery_id =",
                kind: Kind::Id(|text| text.parse().ok().map(DeliveryId::uuid)),
                about: "Of this delivery.",
            },
            Filter { name: "created_after", predicate: "at >", kind: Kind::Time, about: "Since." },
            Filter { name: "created_before", predicate: "at <", kind: Kind::Time, about: "Until." },
        ],
    };
}

/// List the attempts of a webhook
///
/// Each request that was made, with what was answered; the last first, for 30 days.
#[utoipa::path(get, path = "/webhooks/{id}/attempts", tag = "webhooks",
    params(("id" = WebhookId, Path), ListParams<WebhookAttempt>),
    responses((status = 200, description = "A page of attempts.", body = Page<WebhookAttempt>)))]
pub async fn list_webhook_attempts(
    db: TenantDb,
    Path(id): Path<WebhookId>,
    list: List<WebhookAttempt>,
) -> Result<Response> {
    let mut tx = db.read().await?;
    store::check_exists(&mut tx, id).await?;
    let page = list.page(&mut tx).await?;
    drop(tx);
    Ok(list.answer(page))
}

/// Fetch one attempt of a webhook
#[utoipa::path(get, path = "/webhooks/{id}/attempts/{attempt_id}", tag = "webhooks",
    params(("id" = WebhookId, Path), ("attempt_id" = AttemptId, Path)),
    responses((status = 200, description = "The attempt.", body = WebhookAttempt)))]
pub async fn get_webhook_attempt(
    db: TenantDb,
    Path((id, attempt)): Path<(WebhookId, AttemptId)>,
) -> Result<Json<WebhookAttempt>> {
    Ok(Json(store::select_attempt(&mut db.read().await?, id, attempt).await?.or_not_found()?))
}
