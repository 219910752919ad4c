//! Organisations too large to be made through the API, for asking Postgres how it would serve them.

use super::Database;
use insula::ids::OrgId;
use sqlx::{AssertSqlSafe, Executor as _};

/// Checks and foreign keys hold for these rows, but need not be asked of each.
const FILL: &str = "
    set session_replication_role = replica;
    insert into orgs (id, slug, name) select '{org}', 'org-{org}', 'Large';
    insert into org_control (org_id, tier) select '{org}', 'free';
    create temp table n as
        select n, gen_random_uuid() as id, now() - n * interval '1 minute' as at, md5(n::text) as word
        from generate_series(1, {rows}) n;
    insert into categories (org_id, id, name, parent_id, created_at)
        select '{org}', id, word, nullif(md5((n / 20)::text), md5('0'))::uuid, at from n;
    insert into products (org_id, id, sku, name, price, currency, category_id, is_active, created_at, deleted_at)
        select '{org}', id, 'SKU-' || n, word, n % 5000, 'EUR', md5((n % 400)::text)::uuid, n % 10 > 0, at,
               case when n % 50 = 0 then at end from n;
    insert into orders (org_id, id, number, status, currency, total, placed_by_user, created_at)
        select '{org}', id, n, (array['placed', 'paid', 'fulfilled', 'cancelled', 'refunded'])[1 + n % 5], 'EUR', n,
               id, at from n;
    insert into order_lines (org_id, order_id, line, product_id, sku, name, quantity, unit_price, total)
        select '{org}', id, 1, id, 'SKU-' || n, word, 1, n, n from n;
    insert into api_keys (org_id, id, name, mode, prefix, scopes, created_by, created_at, expires_at)
        select '{org}', id, word, 'live', 'insula_live_' || n, '{products:read}', id, at, at from n;
    drop table n";

impl Database {
    /// A new organisation with so many rows of whatever lists.
    pub async fn large_org(&self, rows: u32) -> OrgId {
        let org = OrgId::new();
        let fill = FILL.replace("{org}", &org.uuid().to_string()).replace("{rows}", &rows.to_string());
        let mut db = self.connect("postgres").await;
        db.execute(sqlx::raw_sql(AssertSqlSafe(fill))).await.unwrap();
        db.execute("analyze categories, products, orders, order_lines, api_keys").await.unwrap();
        org
    }
}
