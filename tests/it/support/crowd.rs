//! An org with twenty thousand of everything, beside a smaller one: made once, for tests that only read.

use super::Database;
use insula::ids::OrgId;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use tokio::sync::OnceCell;

pub struct Crowd {
    database: Database,
    pub org: OrgId,
}

impl Crowd {
    pub async fn gather() -> &'static Self {
        static CROWD: OnceCell<Crowd> = OnceCell::const_new();
        CROWD
            .get_or_init(async || {
                let (database, org) = (Database::new().await, OrgId::new());
                let mut superuser = database.connect("postgres").await;
                // Foreign keys are triggers; what is copied from one series needs no checking row by row.
                superuser.execute("set session_replication_role = replica").await.unwrap();
                fill(&mut superuser, org, 20_000).await;
                fill(&mut superuser, OrgId::new(), 2_000).await;
                superuser.execute("analyze").await.unwrap();
                Self { database, org }
            })
            .await
    }

    /// A connection as who owns the schema, and may become whoever owns its functions.
    pub async fn owner(&self) -> PgConnection {
        self.database.connect("insula_owner").await
    }

    /// A connection as the app role, in a transaction of the large org.
    pub async fn enter(&self) -> PgConnection {
        let mut app = self.database.connect("insula_app").await;
        let opening = format!("begin read only; set local app.org_id = '{}'", self.org.uuid());
        app.execute(sqlx::raw_sql(AssertSqlSafe(opening))).await.unwrap();
        app
    }
}

/// Each in the order of its own tables: what is sent where, and what became of it.
fn webhooks() -> [(&'static str, String); 3] {
    let ago = "now() - i * interval '1 second'";
    let endpoint = "md5('endpoint' || i % 20 + 1)::uuid";
    let (delivery, event) = ("md5('delivery' || i)::uuid", "md5('event' || i)::uuid");
    [
        (
            "webhook_endpoints (org_id, id, url, events, status, disabled_reason, disabled_at, created_at)",
            format!(
                "md5('endpoint' || i)::uuid, 'https://example.com/', '{{*}}', \
                 (array['enabled', 'disabled'])[i % 2 + 1], (array[null, 'gone'])[i % 2 + 1], \
                 case when i % 2 = 1 then now() end, {ago}"
            ),
        ),
        (
            "webhook_deliveries (org_id, id, endpoint_id, event_id, seq, asked_by, created_at, status, finished_at)",
            format!(
                "{delivery}, {endpoint}, {event}, i, 'event', {ago}, \
                 (array['waiting', 'succeeded', 'failed', 'discarded'])[i % 4 + 1], case when i % 4 > 0 then now() end"
            ),
        ),
        (
            "webhook_attempts (org_id, id, delivery_id, endpoint_id, event_id, nth, at, duration_milliseconds, outcome, \
             request_headers)",
            format!(
                "md5('attempt' || i)::uuid, {delivery}, {endpoint}, {event}, 1, {ago}, 1, \
                 (array['succeeded', 'refused', 'timed_out'])[i % 3 + 1], '{{}}'"
            ),
        ),
    ]
}

fn events() -> (&'static str, String) {
    (
        "events (org_id, id, type, at, actor_type, target_type, target, seq)",
        "md5('event' || i)::uuid, 'product.t' || chr(97 + i % 20), now() - i * interval '1 second', 'system', \
         'product', 't' || i % 5000, i"
            .to_owned(),
    )
}

#[expect(clippy::too_many_lines, reason = "some lines for each table, and nothing else")]
async fn fill(superuser: &mut PgConnection, org: OrgId, each: u32) {
    let id = |noun, number| format!("md5('{noun}' || {number})::uuid");
    let (number, ago) = ("i", "now() - i * interval '1 second'");
    let parent = format!("case when i > 200 then {} end", id("category", "i % 200 + 1"));
    let (category, product, order) =
        (id("category", "i % 500 + 1"), id("product", number), id("order", number));
    let [endpoints, deliveries, attempts] = webhooks();
    for (columns, values) in [
        endpoints,
        deliveries,
        attempts,
        (
            "categories (org_id, id, name, parent_id, created_at)",
            format!("{}, 'c' || i, {parent}, {ago}", id("category", number)),
        ),
        (
            "products (org_id, id, sku, name, price, currency, category_id, is_active, created_at)",
            format!("{product}, 's' || i, 'n' || i % 5000, i % 1000, 'EUR', {category}, i % 50 > 0, {ago}"),
        ),
        (
            "products (org_id, id, sku, name, price, currency, created_at, deleted_at)",
            format!("{}, 's' || i % 5000, 'n', 1, 'EUR', {ago}, {ago}", id("gone", number)),
        ),
        (
            "orders (org_id, id, number, status, currency, total, placed_by_user, created_at)",
            format!(
                "{order}, i, (array['placed', 'paid', 'fulfilled', 'cancelled', 'refunded'])[i % 5 + 1], \
                 'EUR', 1, '{}', {ago}",
                org.uuid()
            ),
        ),
        (
            "order_lines (org_id, order_id, line, product_id, sku, name, quantity, unit_price, total)",
            format!("{order}, 1, {product}, 's', 'n', 1, 1, 1"),
        ),
        (
            "order_history (org_id, id, order_id, status, at)",
            format!("{}, {order}, 'placed', {ago}", id("step", number)),
        ),
        (
            "members (org_id, user_id, email, name, roles, status, created_at)",
            format!(
                "{}, 'e' || i, 'n' || i % 5000, array[case when i % 1000 = 0 then 'owner' else 'member' end], \
                 case when i % 50 = 0 then 'suspended' else 'active' end, {ago}",
                id("member", number)
            ),
        ),
        (
            "invitations (org_id, id, email, roles, status, created_at, expires_at)",
            format!(
                "{}, 'e' || i, '{{viewer}}', (array['pending', 'accepted', 'revoked'])[i % 3 + 1], {ago}, now()",
                id("invitation", number)
            ),
        ),
        (
            "jobs (org_id, id, kind, status, finished_at, created_at, schedule_id, due_at)",
            format!(
                "{}, 'k' || i % 100, (array['queued', 'succeeded', 'failed', 'cancelled'])[i % 4 + 1], \
                 case when i % 4 > 0 then now() end, {ago}, {}, {ago}",
                id("job", number),
                id("schedule", "i % 100")
            ),
        ),
        (
            "schedules (org_id, id, name, kind, args, cron, timezone, created_by_user, created_at)",
            format!(
                "{}, 'n' || i % 5000, 'export', '{{\"resource\": \"products\", \"format\": \"csv\"}}', '@daily', 'UTC', '{}', {ago}",
                id("schedule", number),
                org.uuid()
            ),
        ),
        events(),
        (
            "files (org_id, id, name, content_type, size, sha256, created_by_user, created_at)",
            format!(
                "{}, 'n' || i % 5000, 't' || i % 100, 1, decode(repeat('00', 32), 'hex'), '{}', {ago}",
                id("file", number),
                org.uuid()
            ),
        ),
        (
            "import_errors (org_id, id, job_id, line, pointer, code, detail)",
            format!("{}, {}, i, '/sku', 'invalid', 'd'", id("flaw", number), id("job", "i % 100 + 1")),
        ),
        (
            "api_keys (org_id, id, name, mode, prefix, scopes, created_by, created_at, expires_at)",
            format!(
                "{}, 'k' || i % 5000, (array['live', 'test'])[i % 2 + 1], 'insula_live_', '{{}}', '{}', {ago}, {ago}",
                id("key", number),
                org.uuid()
            ),
        ),
        (
            "audit_events (org_id, id, at, actor_type, actor_id, action, target_type, target)",
            format!(
                "{}, {ago}, 'user', {}, 'thing.done' || repeat('x', i % 20), 'thing', 't' || i % 500",
                id("event", number),
                id("person", "i % 300")
            ),
        ),
    ] {
        let insert = format!(
            "insert into {columns} select '{}', {values} from generate_series(1, {each}) i",
            org.uuid()
        );
        superuser.execute(AssertSqlSafe(insert)).await.unwrap();
    }
}
