//! Webhooks as they lie in the database: made without their room, and seen with what only workers see.

use super::{TestApp, labour};
use insula::{
    ids::{OrgId, WebhookId, WebhookSecretId},
    webhooks::Secret,
};
use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, FromRow};
use time::OffsetDateTime;

pub struct NewHook<'a> {
    pub url: &'a str,
    pub events: &'a [&'a str],
    pub ordered: bool,
    pub concurrency: i16,
}

impl Default for NewHook<'_> {
    fn default() -> Self {
        Self { url: "", events: &["product.created"], ordered: false, concurrency: 5 }
    }
}

pub struct Hook {
    pub org: OrgId,
    pub id: WebhookId,
    /// As whoever runs the endpoint was told.
    pub secret: String,
}

#[derive(Debug, FromRow)]
pub struct DeliveryRow {
    pub status: String,
    pub attempts: i32,
    pub asked_by: String,
}

#[derive(Debug, FromRow)]
pub struct AttemptRow {
    pub nth: i32,
    pub outcome: String,
    pub status_code: Option<i16>,
    pub request_headers: serde_json::Value,
    pub response_headers: Option<serde_json::Value>,
    pub response_body: Option<String>,
    pub error: Option<String>,
    pub duration_milliseconds: i32,
}

#[derive(Debug, FromRow)]
pub struct EndpointRow {
    pub status: String,
    pub disabled_reason: Option<String>,
    pub failing_since: Option<OffsetDateTime>,
}

impl TestApp {
    pub async fn hook(&self, org: OrgId, new: NewHook<'_>) -> Hook {
        let id = WebhookId::new();
        let mut tx = labour::begin(self, org).await;
        sqlx::query(
            "insert into webhook_endpoints (org_id, id, url, events, ordered, concurrency) values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(org.uuid())
        .bind(id.uuid())
        .bind(new.url)
        .bind(new.events)
        .bind(new.ordered)
        .bind(new.concurrency)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let secret = self.give_secret(org, id).await;
        Hook { org, id, secret }
    }

    async fn give_secret(&self, org: OrgId, endpoint: WebhookId) -> String {
        let (secret, id) = (Secret::new(), WebhookSecretId::new());
        let mut tx = labour::begin(self, org).await;
        sqlx::query("insert into webhook_secrets (org_id, id, endpoint_id, sealed) values ($1, $2, $3, $4)")
            .bind(org.uuid())
            .bind(id.uuid())
            .bind(endpoint.uuid())
            .bind(secret.seal(&self.state.vault, id).unwrap())
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        secret.text().expose_secret().to_owned()
    }

    /// Another secret, beside which the last one signs until then.
    pub async fn rotate(&self, hook: &Hook, until: OffsetDateTime) -> String {
        let mut tx = labour::begin(self, hook.org).await;
        sqlx::query(
            "update webhook_secrets set expires_at = $3 where org_id = $1 and endpoint_id = $2 and expires_at is null",
        )
        .bind(hook.org.uuid())
        .bind(hook.id.uuid())
        .bind(until)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        self.give_secret(hook.org, hook.id).await
    }

    /// As its org would by hand.
    pub async fn disable(&self, hook: &Hook) {
        let mut tx = labour::begin(self, hook.org).await;
        sqlx::query(
            "update webhook_endpoints set status = 'disabled', disabled_reason = 'by_hand', disabled_at = now()
             where org_id = $1 and id = $2",
        )
        .bind(hook.org.uuid())
        .bind(hook.id.uuid())
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }

    /// In the order of their events.
    pub async fn deliveries(&self, hook: &Hook) -> Vec<DeliveryRow> {
        let query = format!(
            "select status, attempts, asked_by from webhook_deliveries where endpoint_id = '{}' order by seq, id",
            hook.id.uuid()
        );
        sqlx::query_as(AssertSqlSafe(query)).fetch_all(&mut self.database.superuser().await).await.unwrap()
    }

    pub async fn attempts(&self, hook: &Hook) -> Vec<AttemptRow> {
        let query = format!(
            "select nth, outcome, status_code, request_headers, response_headers, response_body, error,
                    duration_milliseconds
             from webhook_attempts where endpoint_id = '{}' order by at, nth, id",
            hook.id.uuid()
        );
        sqlx::query_as(AssertSqlSafe(query)).fetch_all(&mut self.database.superuser().await).await.unwrap()
    }

    pub async fn endpoint(&self, hook: &Hook) -> EndpointRow {
        let query = format!(
            "select status, disabled_reason, failing_since from webhook_endpoints where id = '{}'",
            hook.id.uuid()
        );
        sqlx::query_as(AssertSqlSafe(query)).fetch_one(&mut self.database.superuser().await).await.unwrap()
    }

    /// What the org is told of its end, once.
    pub async fn told_disabled(&self, hook: &Hook) -> serde_json::Value {
        let query = format!(
            "select object from events where org_id = '{}' and type = 'webhook.disabled' and target = '{}'",
            hook.org.uuid(),
            hook.id.uuid()
        );
        let mut objects: Vec<serde_json::Value> = sqlx::query_scalar(AssertSqlSafe(query))
            .fetch_all(&mut self.database.superuser().await)
            .await
            .unwrap();
        assert_eq!(objects.len(), 1, "told once: {objects:?}");
        objects.remove(0)
    }

    /// How many secrets there are, current and on their way out.
    pub async fn secrets(&self, hook: &Hook) -> i64 {
        let query = format!("select count(*) from webhook_secrets where endpoint_id = '{}'", hook.id.uuid());
        self.database.count(query).await
    }

    /// Whether there are so many deliveries, and all have come to this.
    pub async fn all_are(&self, hook: &Hook, many: usize, status: &str) -> bool {
        let deliveries = self.deliveries(hook).await;
        deliveries.len() == many && deliveries.iter().all(|delivery| delivery.status == status)
    }
}
