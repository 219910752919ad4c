//! An event that is for one webhook alone, to see whether it arrives.

use super::{store, told};
use crate::{
    error::{OptionExt as _, Result},
    events,
    extract::{Action, Path, TenantDb},
    idempotency::{Done, IdempotencyKey, once},
    ids::{EventId, WebhookId},
    trail::Trail,
    webhooks::origin,
};
use axum::{http::StatusCode, response::Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

/// The event that was made for it.
#[derive(Serialize, ToSchema)]
pub struct WebhookTest {
    pub event_id: EventId,
    /// Where the attempts to tell of it will be.
    #[schema(
        example = "/api/v1/webhooks/whk_01jd8yq3c5f4x7t9k2m6n8p0rs/attempts?event_id=evt_01jd8yq3c5f4x7t9k2m6n8p0rs",
        max_length = 200
    )]
    pub attempts: String,
}

/// Test a webhook
///
/// Sends it a `webhook.tested`, whatever types it is for, and no other webhook. What came of it is at `attempts` about a
/// second later; where it fails it is tried again like any other event.
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "webhooks",
    params(("id" = WebhookId, Path), IdempotencyKey),
    responses((status = 202, description = "The event that it is told of.", body = WebhookTest),
              (status = 409, description = "It is disabled, or the same key is still at work (`webhook_disabled`, \
                                            `in_flight`).")))]
pub async fn test_webhook(
    db: TenantDb,
    trail: Trail,
    Path(id): Path<WebhookId>,
    key: Option<IdempotencyKey>,
    _: Action,
) -> Result<Response> {
    let (tx, caller) = db.begin_as().await?;
    once(tx, &caller, key, ("test_webhook", &id), async |tx| {
        let webhook = store::lock(tx, id).await?.or_not_found()?;
        webhook.check_enabled()?;
        let how = json!({"origin": origin(&webhook.url)});
        let entry = told::done("webhook.tested", &webhook, how);
        let event_id = events::record_one(tx, caller.actor(), &trail, entry).await?;
        let attempts = format!("/api/v1/webhooks/{id}/attempts?event_id={event_id}");
        Ok(Done {
            status: StatusCode::ACCEPTED,
            location: Some(attempts.clone()),
            tag: [],
            body: WebhookTest { event_id, attempts },
        })
    })
    .await
}
