//! Webhooks: where an organisation has events sent to, and what became of each.

mod attempts;
mod deliveries;
mod hears;
mod replay;
mod rotate;
mod store;
mod told;
mod trial;

pub use attempts::WebhookAttempt;
pub use deliveries::WebhookDelivery;

use super::given;
use crate::{
    authz::{
        Action::{Create, Delete, Read, Update},
        Resource::Webhooks,
    },
    caller::Caller,
    error::{Error, OptionExt as _, Result},
    events,
    extract::{ETag, IfMatch, Json, List, ListParams, Listed, Path, TenantDb, View, ViewParams},
    idempotency::{Done, IdempotencyKey, once_shown},
    ids::WebhookId,
    middleware::TenantRoutes,
    page::{Filter, Kind, Listing, Page, Sort},
    state::AppState,
    trail::Trail,
    webhooks::{DisabledReason, Secret, WebhookUrl},
};
use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use garde::Validate;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Webhooks)
        .allow(Read, routes!(list_webhooks))
        .allow(Create, routes!(create_webhook))
        .allow(Read, routes!(get_webhook))
        .allow(Update, routes!(update_webhook))
        .allow(Delete, routes!(delete_webhook))
        .allow(Update, routes!(rotate::rotate_webhook_secret))
        .allow(Update, routes!(trial::test_webhook))
        .allow(Update, routes!(replay::replay_webhook))
        .allow(Read, routes!(attempts::list_webhook_attempts))
        .allow(Read, routes!(attempts::get_webhook_attempt))
        .allow(Read, routes!(deliveries::list_webhook_deliveries))
        .allow(Read, routes!(deliveries::get_webhook_delivery))
}

#[derive(Clone, Serialize, ToSchema, sqlx::FromRow)]
pub struct Webhook {
    pub id: WebhookId,
    /// Where events are sent, each by a POST of its own.
    #[schema(example = "https://hooks.example.com/insula", max_length = 2048)]
    pub url: String,
    #[schema(example = "The warehouse", max_length = 500)]
    pub description: String,
    /// The types that it is told of; `*` for all, those too that are yet to come.
    #[schema(example = json!(["order.placed", "product.created"]), min_items = 1, max_items = 200)]
    pub events: Vec<String>,
    pub status: WebhookStatus,
    /// Where it is disabled, why: by hand; since it answered 410; or since nothing has succeeded for days.
    pub disabled_reason: Option<DisabledReason>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub disabled_at: Option<OffsetDateTime>,
    /// Whether it is told of one event at a time, in the order of their `seq`.
    pub ordered: bool,
    /// Requests that are under way at a time, at most; where it is ordered there is one.
    #[schema(example = 5, minimum = 1, maximum = 20)]
    pub concurrency: i16,
    /// Since when everything that was sent has failed; none where the last attempt succeeded.
    #[serde(with = "time::serde::rfc3339::option")]
    pub failing_since: Option<OffsetDateTime>,
    #[schema(example = 1)]
    pub version: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum WebhookStatus {
    Enabled,
    Disabled,
}

#[derive(Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct NewWebhook {
    /// `https`, on the open internet: private, loopback and link-local addresses are not called, nor are redirects
    /// followed. It may hold no user name, password or fragment.
    #[schema(example = "https://hooks.example.com/insula", min_length = 1, max_length = 2048)]
    pub url: String,
    /// Types of `GET /event-types`, none but what you may read yourself; `["*"]` for all, if you may read all.
    #[garde(length(min = 1, max = 200))]
    #[schema(example = json!(["order.placed", "product.created"]), min_items = 1, max_items = 200)]
    pub events: Vec<String>,
    #[garde(length(chars, max = 500))]
    #[serde(default)]
    #[schema(example = "The warehouse", max_length = 500)]
    pub description: String,
    /// Whether to tell of one event at a time, in the order of their `seq`: one that fails holds up those behind it
    /// until it has succeeded or is given up.
    #[serde(default)]
    pub ordered: bool,
    /// Requests under way at a time, at most.
    #[garde(range(min = 1, max = 20))]
    #[serde(default = "five")]
    #[schema(example = 5, minimum = 1, maximum = 20, default = 5)]
    pub concurrency: i16,
}

const fn five() -> i16 {
    5
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct WebhookPatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "https://hooks.example.com/v2", min_length = 1, max_length = 2048)]
    pub url: Option<String>,
    /// In place of those before.
    #[garde(inner(length(min = 1, max = 200)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = json!(["order.placed"]), min_items = 1, max_items = 200)]
    pub events: Option<Vec<String>>,
    #[garde(inner(length(chars, max = 500)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_length = 500)]
    pub description: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub status: Option<WebhookStatus>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub ordered: Option<bool>,
    #[garde(inner(range(min = 1, max = 20)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 1, maximum = 20)]
    pub concurrency: Option<i16>,
}

#[derive(Serialize, ToSchema)]
pub struct CreatedWebhook {
    #[serde(flatten)]
    pub webhook: Webhook,
    /// What requests are signed with. Shown here and never again.
    #[schema(example = "whsec_ZXhhbXBsZWV4YW1wbGVleGFtcGxlZXhhbXBsZTEyMzQ=", max_length = 100)]
    pub secret: String,
}

impl Listed for Webhook {
    type Row = Self;
    const LISTING: &'static Listing = &Listing {
        columns: "id, url, description, events, status, disabled_reason, disabled_at, ordered, concurrency, \
                  failing_since, version, created_at, updated_at",
        from: "webhook_endpoints where org_id = $1 and deleted_at is null",
        sorts: &[Sort { name: "created_at", column: "created_at", cast: "timestamptz" }],
        filters: &[
            Filter {
                name: "status",
                predicate: "status =",
                kind: Kind::OneOf(&["enabled", "disabled"]),
                about: "In this state.",
            },
            Filter {
                name: "type",
                predicate: "events && array['*', {}]",
                kind: Kind::Text,
                about: "That are told of this type, like `product.created`.",
            },
        ],
    };
}

/// List webhooks
#[utoipa::path(get, path = "/webhooks", tag = "webhooks", params(ListParams<Webhook>),
    responses((status = 200, description = "A page of webhooks, the secrets left out.", body = Page<Webhook>)))]
async fn list_webhooks(db: TenantDb, list: List<Webhook>) -> Result<Response> {
    let page = list.page(&mut *db.read().await?).await?;
    Ok(list.answer(page))
}

/// Create a webhook
///
/// From now on it is told what happens, of the types that it is for: whatever becomes of whoever made it, so nobody makes
/// one for types that they may not read. An organisation has at most 20.
#[utoipa::path(post, path = "/webhooks", tag = "webhooks", request_body = NewWebhook, params(IdempotencyKey),
    responses((status = 201, description = "The webhook, and this once its secret.", body = CreatedWebhook),
              (status = 409, description = "There are as many as there may be, or a request with the same \
                                            Idempotency-Key has made one, whose id is told, or is still at work \
                                            (`too_many_webhooks`, `already_created`, `in_flight`).")))]
async fn create_webhook(
    State(state): State<AppState>,
    db: TenantDb,
    trail: Trail,
    key: Option<IdempotencyKey>,
    Json(new): Json<NewWebhook>,
) -> Result<Response> {
    let url = checked(&new.url, &state)?;
    let (tx, caller) = db.begin_as().await?;
    let events = hears::checked(&caller, &new.events)?;
    once_shown(tx, &caller, key, ("create_webhook", &new), async |tx| {
        store::make_room(tx).await?;
        let webhook = store::insert(tx, &url, &events, &new, trail.at).await?;
        let secret = Secret::new();
        store::insert_secret(tx, webhook.id, &state.vault, &secret, trail.at).await?;
        events::record(tx, caller.actor(), &trail, told::created(&webhook)).await?;
        let (id, tag) = (webhook.id, ETag(webhook.version).into());
        let body = CreatedWebhook { webhook, secret: secret.text().expose_secret().to_owned() };
        let location = Some(format!("/api/v1/webhooks/{id}"));
        Ok((id.to_string(), Done { status: StatusCode::CREATED, location, tag, body }))
    })
    .await
}

/// Fetch one webhook
#[utoipa::path(get, path = "/webhooks/{id}", tag = "webhooks",
    params(("id" = WebhookId, Path), ViewParams<Webhook>),
    responses((status = 200, description = "The webhook, its secret left out.", body = Webhook)))]
async fn get_webhook(db: TenantDb, Path(id): Path<WebhookId>, view: View<Webhook>) -> Result<Response> {
    let webhook = store::select(&mut db.read().await?, id).await?.or_not_found()?;
    view.answer(webhook.version, &webhook)
}

/// Change, enable or disable a webhook
///
/// Whoever changes where it is or what it is told of must be allowed to read all that it is told of then. One that is
/// disabled is told nothing: what waits for it is discarded, and what happens meanwhile is not kept for it, until
/// somebody enables it and asks for a replay. Once enabled it counts as never having failed.
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "webhooks", request_body = WebhookPatch,
    params(("id" = WebhookId, Path)),
    responses((status = 200, description = "The changed webhook, its secret left out.", body = Webhook),
              (status = 412, description = "It has changed since the version that If-Match names.")))]
async fn update_webhook(
    State(state): State<AppState>,
    db: TenantDb,
    trail: Trail,
    Path(id): Path<WebhookId>,
    expected: Option<IfMatch>,
    Json(patch): Json<WebhookPatch>,
) -> Result<Response> {
    let url = patch.url.as_ref().map(|url| checked(url, &state)).transpose()?;
    let (mut tx, caller) = db.begin_as().await?;
    let before = store::lock(&mut tx, id).await?.or_not_found()?;
    let mut wanted = before.clone();
    if url.is_some() || patch.events.is_some() {
        wanted.events = hears::checked(&caller, patch.events.as_ref().unwrap_or(&before.events))?;
    }
    expected.map_or(Ok(()), |expected| expected.check(before.version))?;
    if let Some(url) = url {
        wanted.move_to(url.to_string());
    }
    wanted.description = patch.description.unwrap_or(wanted.description);
    wanted.ordered = patch.ordered.unwrap_or(wanted.ordered);
    wanted.concurrency = patch.concurrency.unwrap_or(wanted.concurrency);
    wanted.turn(patch.status.unwrap_or(before.status), trail.at);
    let Some(entry) = told::updated(&before, &wanted) else {
        return Ok(tagged(before).into_response());
    };
    let after = store::update(&mut tx, &wanted, trail.at).await?;
    events::record(&mut tx, caller.actor(), &trail, entry).await?;
    tx.commit().await?;
    Ok(tagged(after).into_response())
}

/// Delete a webhook
///
/// What waits for it is never sent, and what became of the rest can't be looked up any more. It may be told once more of
/// something that is on its way.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks", params(("id" = WebhookId, Path)),
    responses((status = 204, description = "It is gone."),
              (status = 412, description = "It has changed since the version that If-Match names.")))]
async fn delete_webhook(
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Path(id): Path<WebhookId>,
    expected: Option<IfMatch>,
) -> Result<StatusCode> {
    let mut tx = db.begin().await?;
    let webhook = store::lock(&mut tx, id).await?.or_not_found()?;
    expected.map_or(Ok(()), |expected| expected.check(webhook.version))?;
    store::delete(&mut tx, id, trail.at).await?;
    events::record(&mut tx, caller.actor(), &trail, told::deleted(&webhook)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Webhook {
    /// Another receiver, of which nothing is known yet.
    fn move_to(&mut self, url: String) {
        if self.url != url {
            self.url = url;
            self.failing_since = None;
        }
    }

    fn turn(&mut self, status: WebhookStatus, at: OffsetDateTime) {
        match (self.status, status) {
            (WebhookStatus::Enabled, WebhookStatus::Disabled) => {
                (self.disabled_reason, self.disabled_at) = (Some(DisabledReason::ByHand), Some(at));
            }
            (WebhookStatus::Disabled, WebhookStatus::Enabled) => {
                (self.disabled_reason, self.disabled_at, self.failing_since) = (None, None, None);
            }
            _ => {}
        }
        self.status = status;
    }

    /// # Errors
    /// 409 `webhook_disabled`: nothing would be sent.
    fn check_enabled(&self) -> Result<()> {
        if self.status == WebhookStatus::Enabled {
            return Ok(());
        }
        Err(Error::conflict(
            "webhook_disabled",
            "this webhook is disabled, and is sent nothing: PATCH its status to enabled first",
        ))
    }
}

fn tagged(webhook: Webhook) -> ([(HeaderName, HeaderValue); 1], Json<Webhook>) {
    (ETag(webhook.version).into(), Json(webhook))
}

fn checked(url: &str, state: &AppState) -> Result<WebhookUrl> {
    WebhookUrl::parse(url, &state.config.webhooks.allowed_networks)
        .map_err(|fault| Error::invalid("/url", fault.code, fault.detail))
}
