//! Another secret for a webhook, with a while in which both sign.

use super::{store, told};
use crate::{
    error::{Error, OptionExt as _, Result},
    events,
    extract::{Json, Path, TenantDb},
    idempotency::{Done, IdempotencyKey, once_shown},
    ids::WebhookId,
    state::AppState,
    trail::Trail,
    webhooks::Secret,
};
use axum::{extract::State, http::StatusCode, response::Response};
use garde::Validate;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;

/// That sign at a time, of one webhook: each makes its requests longer.
const MOST: i64 = 5;

#[derive(Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRotation {
    /// For how long the secrets before sign beside the new one; a week at most, and with 0 not at all, where one has
    /// leaked.
    #[garde(range(max = 604_800))]
    #[serde(default = "a_day")]
    #[schema(example = 86_400, default = 86_400, maximum = 604_800)]
    pub overlap_seconds: u32,
}

const fn a_day() -> u32 {
    86_400
}

#[derive(Serialize, ToSchema)]
pub struct RotatedSecret {
    pub id: WebhookId,
    /// What requests are signed with. Shown here and never again.
    #[schema(example = "whsec_ZXhhbXBsZWV4YW1wbGVleGFtcGxlZXhhbXBsZTEyMzQ=", max_length = 100)]
    pub secret: String,
    /// Until when the secrets before sign as well.
    #[serde(with = "time::serde::rfc3339")]
    pub previous_until: OffsetDateTime,
}

/// Rotate a webhook's secret
///
/// During the overlap each request has a signature by every secret, so that whoever verifies with either takes it. At
/// most five sign at a time.
#[utoipa::path(post, path = "/webhooks/{id}/rotate-secret", tag = "webhooks", request_body = SecretRotation,
    params(("id" = WebhookId, Path), IdempotencyKey),
    responses((status = 200, description = "The new secret, this once.", body = RotatedSecret),
              (status = 409, description = "Too many secrets sign already, or a request with the same Idempotency-Key has \
                                            rotated it or is still at work (`too_many_secrets`, `already_created`, \
                                            `in_flight`).")))]
pub async fn rotate_webhook_secret(
    State(state): State<AppState>,
    db: TenantDb,
    trail: Trail,
    Path(id): Path<WebhookId>,
    key: Option<IdempotencyKey>,
    Json(rotation): Json<SecretRotation>,
) -> Result<Response> {
    let (tx, caller) = db.begin_as().await?;
    let until = trail.at + Duration::seconds(rotation.overlap_seconds.into());
    once_shown(tx, &caller, key, ("rotate_webhook_secret", &(id, &rotation)), async |tx| {
        let webhook = store::lock(tx, id).await?.or_not_found()?;
        store::end_secrets(tx, id, until, trail.at).await?;
        if store::count_secrets(tx, id, trail.at).await? >= MOST {
            return Err(Error::conflict(
                "too_many_secrets",
                format!(
                    "{MOST} secrets sign already: wait until one has expired, or end them all with overlap_seconds 0"
                ),
            ));
        }
        let secret = Secret::new();
        store::insert_secret(tx, id, &state.vault, &secret, trail.at).await?;
        let how = json!({"previous_until": until.format(&Rfc3339).ok()});
        let entry = told::done("webhook.secret_rotated", &webhook, how);
        events::record(tx, caller.actor(), &trail, entry).await?;
        let secret = secret.text().expose_secret().to_owned();
        let body = RotatedSecret { id, secret, previous_until: until };
        Ok((id.to_string(), Done { status: StatusCode::OK, location: None, tag: [], body }))
    })
    .await
}
