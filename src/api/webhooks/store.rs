//! What Postgres is told of webhooks, and what it knows of their deliveries.

use super::{
    NewWebhook, Webhook,
    attempts::WebhookAttempt,
    deliveries::{DeliveryRow, WebhookDelivery},
};
use crate::{
    error::{Error, OptionExt as _, Result},
    ids::{AttemptId, DeliveryId, WebhookId, WebhookSecretId},
    tenancy::TenantTx,
    vault::Vault,
    webhooks::{Secret, WebhookUrl},
};
use time::OffsetDateTime;

/// Of one org.
const MOST: i64 = 20;

/// # Errors
/// 409 `too_many_webhooks` where no more can be made. From here to its end, `tx` makes webhooks alone in its org.
pub async fn make_room(tx: &mut TenantTx) -> Result<()> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('webhooks ' || $1, 0))",
        tx.org().to_string()
    )
    .execute(&mut **tx)
    .await?;
    let many = sqlx::query_scalar!(
        r#"select count(*) as "many!" from webhook_endpoints where org_id = $1 and deleted_at is null"#,
        tx.org().uuid()
    );
    if many.fetch_one(&mut **tx).await? >= MOST {
        return Err(Error::conflict(
            "too_many_webhooks",
            format!("an organisation has at most {MOST} webhooks: delete one that nobody needs"),
        ));
    }
    Ok(())
}

pub async fn insert(
    tx: &mut TenantTx,
    url: &WebhookUrl,
    events: &[String],
    new: &NewWebhook,
    at: OffsetDateTime,
) -> Result<Webhook> {
    let made = sqlx::query_as!(
        Webhook,
        r#"insert into webhook_endpoints (org_id, id, url, description, events, ordered, concurrency, created_at,
                                          updated_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $8)
           returning id as "id: _", url, description, events, status as "status: _",
                     disabled_reason as "disabled_reason: _", disabled_at, ordered, concurrency, failing_since, version,
                     created_at, updated_at"#,
        tx.org().uuid(),
        WebhookId::new().uuid(),
        url.to_string(),
        new.description,
        events,
        new.ordered,
        new.concurrency,
        at
    );
    Ok(made.fetch_one(&mut **tx).await?)
}

pub async fn select(tx: &mut TenantTx, id: WebhookId) -> Result<Option<Webhook>> {
    let found = sqlx::query_as!(
        Webhook,
        r#"select id as "id: _", url, description, events, status as "status: _",
                  disabled_reason as "disabled_reason: _", disabled_at, ordered, concurrency, failing_since, version,
                  created_at, updated_at
           from webhook_endpoints where org_id = $1 and id = $2 and deleted_at is null"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(found.fetch_optional(&mut **tx).await?)
}

/// # Errors
/// 404 where there is none, or none any more.
pub async fn check_exists(tx: &mut TenantTx, id: WebhookId) -> Result<()> {
    let found = sqlx::query_scalar!(
        r#"select exists (
               select from webhook_endpoints where org_id = $1 and id = $2 and deleted_at is null
           ) as "found!""#,
        tx.org().uuid(),
        id.uuid()
    );
    found.fetch_one(&mut **tx).await?.then_some(()).or_not_found()
}

/// The same, locked to the end of the transaction: whoever else does something with it comes before or after.
pub async fn lock(tx: &mut TenantTx, id: WebhookId) -> Result<Option<Webhook>> {
    sqlx::query!(
        "select from webhook_endpoints where org_id = $1 and id = $2 for no key update",
        tx.org().uuid(),
        id.uuid()
    )
    .execute(&mut **tx)
    .await?;
    select(tx, id).await
}

pub async fn update(tx: &mut TenantTx, wanted: &Webhook, at: OffsetDateTime) -> Result<Webhook> {
    let changed = sqlx::query_as!(
        Webhook,
        r#"update webhook_endpoints
           set url = $3, description = $4, events = $5, status = $6, disabled_reason = $7, disabled_at = $8, ordered = $9,
               concurrency = $10, failing_since = $11, version = version + 1, updated_at = $12
           where org_id = $1 and id = $2
           returning id as "id: _", url, description, events, status as "status: _",
                     disabled_reason as "disabled_reason: _", disabled_at, ordered, concurrency, failing_since, version,
                     created_at, updated_at"#,
        tx.org().uuid(),
        wanted.id.uuid(),
        wanted.url,
        wanted.description,
        &wanted.events,
        wanted.status as _,
        wanted.disabled_reason as _,
        wanted.disabled_at,
        wanted.ordered,
        wanted.concurrency,
        wanted.failing_since,
        at
    );
    Ok(changed.fetch_one(&mut **tx).await?)
}

/// For its org it is no more, and nothing is sent there. What is left of it the worker sweeps.
pub async fn delete(tx: &mut TenantTx, id: WebhookId, at: OffsetDateTime) -> Result<()> {
    end_secrets(tx, id, at, at).await?;
    sqlx::query!(
        "update webhook_endpoints
         set deleted_at = $3, status = 'disabled', disabled_reason = coalesce(disabled_reason, 'by_hand'),
             disabled_at = coalesce(disabled_at, $3), url = '', description = ''
         where org_id = $1 and id = $2",
        tx.org().uuid(),
        id.uuid(),
        at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The current one; there must be none when it is made.
pub async fn insert_secret(
    tx: &mut TenantTx,
    of: WebhookId,
    vault: &Vault,
    secret: &Secret,
    at: OffsetDateTime,
) -> Result<()> {
    let id = WebhookSecretId::new();
    sqlx::query!(
        "insert into webhook_secrets (org_id, id, endpoint_id, sealed, created_at) values ($1, $2, $3, $4, $5)",
        tx.org().uuid(),
        id.uuid(),
        of.uuid(),
        secret.seal(vault, id)?,
        at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// From `until` on, none of those that sign at `at` does any more.
pub async fn end_secrets(
    tx: &mut TenantTx,
    of: WebhookId,
    until: OffsetDateTime,
    at: OffsetDateTime,
) -> Result<()> {
    sqlx::query!(
        "update webhook_secrets set expires_at = least(expires_at, $3)
         where org_id = $1 and endpoint_id = $2 and (expires_at is null or expires_at > $4)",
        tx.org().uuid(),
        of.uuid(),
        until,
        at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// How many sign.
pub async fn count_secrets(tx: &mut TenantTx, of: WebhookId, at: OffsetDateTime) -> Result<i64> {
    let many = sqlx::query_scalar!(
        r#"select count(*) as "many!" from webhook_secrets
           where org_id = $1 and endpoint_id = $2 and (expires_at is null or expires_at > $3)"#,
        tx.org().uuid(),
        of.uuid(),
        at
    );
    Ok(many.fetch_one(&mut **tx).await?)
}

pub async fn select_attempt(
    tx: &mut TenantTx,
    of: WebhookId,
    id: AttemptId,
) -> Result<Option<WebhookAttempt>> {
    let found = sqlx::query_as!(
        WebhookAttempt,
        r#"select id as "id: _", delivery_id as "delivery_id: _", event_id as "event_id: _", nth as number, at,
                  duration_milliseconds, outcome as "outcome: _", status_code, request_headers, response_headers,
                  response_body, error
           from webhook_attempts
           where org_id = $1 and id = $2 and endpoint_id = $3
             and exists (select from webhook_endpoints where org_id = $1 and id = $3 and deleted_at is null)"#,
        tx.org().uuid(),
        id.uuid(),
        of.uuid()
    );
    Ok(found.fetch_optional(&mut **tx).await?)
}

pub async fn select_delivery(
    tx: &mut TenantTx,
    of: WebhookId,
    id: DeliveryId,
) -> Result<Option<WebhookDelivery>> {
    let found = sqlx::query_as!(
        DeliveryRow,
        r#"select id as "id: _", event_id as "event_id: _", seq, status as "status: _", asked_by as "asked_by: _", attempts,
                  due_at, created_at, finished_at
           from webhook_deliveries
           where org_id = $1 and id = $2 and endpoint_id = $3
             and exists (select from webhook_endpoints where org_id = $1 and id = $3 and deleted_at is null)"#,
        tx.org().uuid(),
        id.uuid(),
        of.uuid()
    );
    Ok(found.fetch_optional(&mut **tx).await?.map(Into::into))
}
