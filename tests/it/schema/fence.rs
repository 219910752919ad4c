//! The fence itself, tried on every table that the catalog says has one: no org set, and another org's rows.

use crate::support::{Org, TestApp, cog};
use insula::ids::OrgId;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, postgres::PgDatabaseError};

#[tokio::test]
async fn without_an_org_a_fenced_table_is_an_error_and_never_rows() {
    let (app, acme, _) = two_orgs_with_rows().await;
    let mut fresh = app.database.connect("insula_app").await;
    let mut used = app.database.connect("insula_app").await;
    enter(&mut used, acme.id).await;
    used.execute("select 1 from products; commit").await.unwrap();

    for table in fenced(&mut fresh, "true").await {
        let everything = format!("select 1 from {table}");
        assert_eq!(refusal(&mut fresh, &everything).await.0, "42704", "{table}, and no org was ever set");
        assert_eq!(
            refusal(&mut used, &everything).await.0,
            "22P02",
            "{table}, after another transaction's org"
        );
    }
}

#[tokio::test]
async fn a_statement_that_forgets_its_org_still_sees_that_org_alone() {
    let (app, acme, globex) = two_orgs_with_rows().await;
    let mut database = app.database.connect("insula_app").await;
    let tables = fenced(&mut database, "org_id").await;
    for (org, other) in [(&acme, &globex), (&globex, &acme)] {
        enter(&mut database, org.id).await;
        for table in &tables {
            let seen = format!("select distinct org_id from {table} union select '{}'", org.id.uuid());
            let seen: Vec<OrgId> =
                sqlx::query_scalar(AssertSqlSafe(seen)).fetch_all(&mut database).await.unwrap();
            assert_eq!(seen, [org.id], "{table} shows {} to {}", other.slug, org.slug);
        }
        database.execute("rollback").await.unwrap();
    }
}

#[tokio::test]
async fn no_fenced_table_takes_a_row_for_another_org() {
    let (app, acme, globex) = two_orgs_with_rows().await;
    let mut database = app.database.connect("insula_app").await;
    for table in fenced(&mut database, "has_table_privilege(oid, 'insert') and org_id").await {
        enter(&mut database, acme.id).await;
        // The policy is asked before any other constraint.
        let insert = format!("insert into {table} (org_id) values ('{}')", globex.id.uuid());
        let (code, text) = refusal(&mut database, &insert).await;
        assert_eq!(code, "42501", "{table}: {text}");
        assert!(text.contains("row-level security"), "{table} was closed for another reason: {text}");
        database.execute("rollback").await.unwrap();
    }
}

#[tokio::test]
async fn a_temporary_table_is_not_taken_for_one_of_the_gate_s() {
    let app = TestApp::start().await;
    let mut database = app.database.connect("insula_app").await;
    let stranger = "00000000-0000-7000-8000-00000000000f";
    let forged = format!(
        "create temporary table users (id uuid, email text, name text); \
         grant select on users to insula_platform; \
         insert into users values ('{stranger}', 'stranger@acme.example', 'Stranger')"
    );
    database.execute(AssertSqlSafe(forged)).await.unwrap();
    let found = format!("select * from gate_user('{stranger}')");
    assert!(database.fetch_optional(AssertSqlSafe(found)).await.unwrap().is_none());
}

async fn two_orgs_with_rows() -> (TestApp, Org, Org) {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    for org in [&acme, &globex] {
        org.owner.post("/api/v1/categories", json!({"name": "Parts"})).await.expect(201);
        let product = org.owner.post("/api/v1/products", cog()).await.expect(201);
        let lines = json!({"lines": [{"product_id": product["id"], "quantity": 1}]});
        org.owner.post("/api/v1/orders", lines).await.expect(201);
        org.owner.post("/api/v1/roles", json!({"name": "clerk"})).await.expect(201);
        app.api_key(org, &["products:read"]).await;
    }
    app.state.authz.uses().flush(&app.state.platform).await.unwrap();
    (app, acme, globex)
}

/// The tables under row-level security, of those that have `org_id` (when that is asked for).
async fn fenced(database: &mut PgConnection, which: &str) -> Vec<String> {
    let query = format!(
        "select name from (
             select c.oid, c.oid::regclass::text as name, exists (
                 select from pg_attribute a where a.attrelid = c.oid and a.attname = 'org_id' and not a.attisdropped
             ) as org_id
             from pg_class c where c.relrowsecurity
         ) tables where {which}"
    );
    let tables: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(database).await.unwrap();
    assert!(tables.iter().any(|table| table == "products"), "{tables:?}");
    tables
}

async fn enter(database: &mut PgConnection, org: OrgId) {
    let opening = format!("begin; set local app.org_id = '{}'", org.uuid());
    database.execute(sqlx::raw_sql(AssertSqlSafe(opening))).await.unwrap();
}

/// The code and the words with which Postgres declines.
async fn refusal(database: &mut PgConnection, statement: &str) -> (String, String) {
    let error = database.fetch_all(AssertSqlSafe(statement.to_owned())).await;
    let Err(sqlx::Error::Database(error)) = error else { panic!("`{statement}` was not refused: {error:?}") };
    let error = error.downcast_ref::<PgDatabaseError>();
    (error.code().to_owned(), error.message().to_owned())
}
