//! The fence itself, at every tenant table: no org is an error, and another's rows can't be written.

use super::WORDS;
use crate::support::Database;
use insula::ids::OrgId;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// Undefined; and what a setting is in a session that had it once.
const NEVER_SET: &str = "42704";
const LEFT_EMPTY: &str = "22P02";
const REFUSED: &str = "42501";

#[tokio::test]
async fn without_an_org_no_table_answers_rows() {
    let database = Database::new().await;
    let tables = tenant_tables(&database).await;
    let mut app = database.connect("insula_app").await;
    for table in &tables {
        assert_eq!(refusal(&mut app, &format!("select * from {table}")).await.0, NEVER_SET, "{table}");
    }

    // The session has served an org before.
    app.execute(AssertSqlSafe(format!("begin; {}; commit", org_set(OrgId::new())))).await.unwrap();
    for table in &tables {
        assert_eq!(refusal(&mut app, &format!("select * from {table}")).await.0, LEFT_EMPTY, "{table}");
    }
}

#[tokio::test]
async fn no_table_takes_a_row_of_another_org() {
    let database = Database::new().await;
    let mut app = database.connect("insula_app").await;
    let (mine, theirs) = (OrgId::new(), OrgId::new());
    for table in tenant_tables(&database).await {
        let key = if table == "orgs" { "id" } else { "org_id" };
        let insert = |org: OrgId| format!("insert into {table} ({key}) values ('{}')", org.uuid());
        let (code, text) = refusal_within(&mut app, mine, &insert(theirs)).await;
        assert_eq!(code, REFUSED, "{table}: {text}");

        // The fence is asked before any constraint is, and of one's own row it says nothing.
        let (code, text) = refusal_within(&mut app, mine, &insert(mine)).await;
        let may_not_insert = text.starts_with("permission denied");
        assert!(code != REFUSED || may_not_insert, "{table}: {text}");
        assert_eq!(may_not_insert, ["orgs", "org_control"].contains(&&*table), "{table}: {text}");
    }
}

async fn tenant_tables(database: &Database) -> Vec<String> {
    let query = format!("{WORDS} select name from tenant");
    let mut db = database.connect("postgres").await;
    let tables: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut db).await.unwrap();
    assert!(tables.contains(&"products".to_owned()), "{tables:?}");
    tables
}

fn org_set(org: OrgId) -> String {
    format!("set local app.org_id = '{}'", org.uuid())
}

async fn refusal_within(db: &mut PgConnection, org: OrgId, statement: &str) -> (String, String) {
    let mut tx = db.begin().await.unwrap();
    tx.execute(AssertSqlSafe(org_set(org))).await.unwrap();
    refusal(&mut tx, statement).await
}

/// Code and text of the error that a statement ends in.
async fn refusal(db: &mut PgConnection, statement: &str) -> (String, String) {
    match db.fetch_all(AssertSqlSafe(statement.to_owned())).await {
        Ok(rows) => panic!("{statement}: {} rows", rows.len()),
        Err(sqlx::Error::Database(error)) => {
            (error.code().unwrap_or_default().into_owned(), error.message().to_owned())
        }
        Err(other) => panic!("{statement}: {other}"),
    }
}
