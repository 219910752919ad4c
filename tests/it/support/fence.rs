//! The fence around tenant tables, seen and broken from behind the API, for tests that prove it is what holds.

use super::Database;
use insula::ids::OrgId;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, raw_sql};

/// How the fence of a table can be weakened, one mistake in a migration each.
pub const BREACHES: [(&str, &str); 3] = [
    ("alter table {table} disable row level security", "alter table {table} enable row level security"),
    (
        "alter policy {policy} on {table} using (true) with check (true)",
        "alter policy {policy} on {table} using ({using}) with check ({check})",
    ),
    ("create policy another on {table} to insula_app using (true)", "drop policy another on {table}"),
];

/// A table whose rows belong to orgs, with its policy for the app role.
pub struct Fenced {
    pub table: String,
    /// The column that says whose a row is.
    owner: String,
    policy: String,
    using: String,
    check: String,
}

impl Database {
    pub async fn fenced_tables(&self) -> Vec<Fenced> {
        let rows = self
            .connect("insula_owner")
            .await
            .fetch_all(
                "select c.relname::text, p.polname::text, pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid)
                 from pg_policy p join pg_class c on c.oid = p.polrelid
                 where 'insula_app'::regrole = any(p.polroles) and p.polpermissive order by 1",
            )
            .await
            .unwrap();
        let fenced = rows.iter().map(|row| Fenced {
            owner: if row.get::<String, _>(0) == "orgs" { "id" } else { "org_id" }.to_owned(),
            table: row.get(0),
            policy: row.get(1),
            using: row.get(2),
            check: row.get(3),
        });
        fenced.collect()
    }

    /// Does to a table's fence what `statement` says.
    pub async fn alter(&self, fenced: &Fenced, statement: &str) {
        let statement = statement
            .replace("{table}", &fenced.table)
            .replace("{policy}", &fenced.policy)
            .replace("{using}", &fenced.using)
            .replace("{check}", &fenced.check);
        self.connect("insula_owner").await.execute(AssertSqlSafe(statement)).await.unwrap();
    }

    /// How many rows of a table the app role finds while it works for `org` and forgets to say so in its
    /// statement: those of `org`, and those of others.
    pub async fn rows_seen(&self, fenced: &Fenced, org: OrgId) -> (i64, i64) {
        let Fenced { table, owner, .. } = fenced;
        let mut app = self.connect("insula_app").await;
        work_for(&mut app, org).await;
        let count = format!(
            "select count(*) filter (where {owner} = '{org}'), count(*) filter (where {owner} <> '{org}') from {table}",
            org = org.uuid()
        );
        let row = app.fetch_one(AssertSqlSafe(count)).await.unwrap();
        (row.get(0), row.get(1))
    }

    /// How many rows of others a statement of the app role changes while it works for `org`, or why none:
    /// `to` gives the own rows away.
    pub async fn give_away(&self, fenced: &Fenced, org: OrgId, to: OrgId) -> Result<u64, String> {
        let Fenced { table, owner, .. } = fenced;
        let mut app = self.connect("insula_app").await;
        work_for(&mut app, org).await;
        let update = format!("update {table} set {owner} = '{}'", to.uuid());
        let done = app.execute(AssertSqlSafe(update)).await;
        done.map(|done| done.rows_affected())
            .map_err(|error| error.into_database_error().unwrap().code().unwrap_or_default().into_owned())
    }

    /// What the app role is told that works for no org.
    pub async fn without_an_org(&self, fenced: &Fenced) -> String {
        let mut app = self.connect("insula_app").await;
        let select = format!("select from {}", fenced.table);
        match app.fetch_all(AssertSqlSafe(select)).await {
            Ok(rows) => format!("{} rows", rows.len()),
            Err(error) => error.into_database_error().unwrap().code().unwrap_or_default().into_owned(),
        }
    }
}

/// Rolled back when the connection closes.
async fn work_for(app: &mut PgConnection, org: OrgId) {
    app.ping().await.unwrap();
    let begin = format!("begin; set local app.org_id = '{}'", org.uuid());
    raw_sql(AssertSqlSafe(begin)).execute(app).await.unwrap();
}
