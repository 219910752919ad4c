//! The rules of the schema, asked of the catalog itself: a new table is held to them the day it appears.

mod fence;
mod keys;
mod passages;
mod roles;
mod unset;

use super::support::Database;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// One rule of the schema.
struct Lint {
    /// Of a sound schema this is true.
    rule: &'static str,
    /// Answers `(object, complaint)` for each breach, the complaint in words that say what to do.
    query: &'static str,
    /// Objects that break the rule, and why they may.
    excused: &'static [(&'static str, &'static str)],
    /// Statements that break the rule, and the object to be named for each.
    faults: &'static [(&'static str, &'static str)],
}

/// What the queries stand on: `relation` is all that holds rows, `tenant` what is fenced, and by which column.
/// (An org's own row is fenced by its id.)
const WORDS: &str = r"
with relation as (
    select c.oid, c.oid::regclass::text as name, c.relkind as kind, c.relowner as owner, c.relacl as acl,
           c.relrowsecurity as fenced, c.relforcerowsecurity as forced, c.reloptions as options,
           (select attnum from pg_attribute
            where attrelid = c.oid and not attisdropped
                and attname = case c.oid::regclass::text when 'orgs' then 'id' else 'org_id' end) as key
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and c.relkind in ('r', 'p', 'f', 'v', 'm', 'S')
), tenant as (
    select * from relation where kind in ('r', 'p') and fenced and key is not null
), routine as (
    select p.oid, p.oid::regprocedure::text as name, p.proname as short, p.prosecdef as definer,
           p.proconfig as settings, p.proowner as owner, coalesce(p.proacl, acldefault('f', p.proowner)) as acl
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname not in ('pg_catalog', 'information_schema')
)
";

fn lints() -> impl Iterator<Item = &'static Lint> {
    fence::LINTS.iter().chain(keys::LINTS).chain(roles::LINTS).chain(passages::LINTS)
}

impl Lint {
    /// The breaches of this rule that nothing excuses, and the excuses that nothing needs.
    async fn complaints(&self, db: &mut PgConnection) -> Vec<String> {
        let query = format!("{WORDS} {}", self.query);
        let breaches: Vec<(String, String)> =
            sqlx::query_as(AssertSqlSafe(query)).fetch_all(&mut *db).await.expect(self.rule);
        let is_excused = |object: &str| self.excused.iter().any(|(excused, _)| *excused == object);
        let idle = self
            .excused
            .iter()
            .filter(|(excused, _)| !breaches.iter().any(|(object, _)| object == excused))
            .map(|(excused, _)| format!("{excused}: excused, and in no breach; strike the excuse"));
        breaches
            .iter()
            .filter(|(object, _)| !is_excused(object))
            .map(|(object, complaint)| format!("{object}: {complaint}"))
            .chain(idle)
            .collect()
    }
}

#[tokio::test]
async fn the_schema_keeps_every_rule() {
    let mut db = Database::new().await.connect("postgres").await;
    let mut complaints = Vec::new();
    for lint in lints() {
        for complaint in lint.complaints(&mut db).await {
            complaints.push(format!("{complaint}\n    (rule: {})", lint.rule));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test]
async fn every_rule_catches_what_is_planted_against_it() {
    let mut db = Database::new().await.connect("postgres").await;
    let mut missed = Vec::new();
    for lint in lints() {
        assert!(
            !lint.faults.is_empty(),
            "plant a fault against {:?}, else nobody knows that it works",
            lint.rule
        );
        for (fault, culprit) in lint.faults {
            // Never committed: roles belong to the whole cluster, where other tests are at work.
            let mut planting = db.begin().await.unwrap();
            planting.execute(sqlx::raw_sql(AssertSqlSafe(*fault))).await.expect(fault);
            let complaints = lint.complaints(&mut planting).await;
            planting.rollback().await.unwrap();
            if !complaints.iter().any(|complaint| complaint.starts_with(&format!("{culprit}: "))) {
                missed.push(format!("{:?} let pass: {fault}\n    it said: {complaints:?}", lint.rule));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
