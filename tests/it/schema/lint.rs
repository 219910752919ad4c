//! A rule of the schema: a question to the catalog, the exceptions with their reasons, and faults it must catch.

use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

pub struct Lint {
    pub rule: &'static str,
    /// Selects what breaks the rule: its name, and what to do about it. Knows the tables of `SUBJECTS`.
    pub query: &'static str,
    /// Names that may break it, and why.
    pub exceptions: &'static [(&'static str, &'static str)],
    pub faults: &'static [Fault],
}

pub struct Fault {
    /// What a careless migration would do. It starts out as the owner.
    pub plant: &'static str,
    /// The name that the lint must come up with.
    pub caught: &'static str,
}

/// What the questions are about: no relation of Postgres itself or of an extension.
/// A tenant table is one that has an `org_id` and row-level security; that no other has an `org_id` is a lint.
const SUBJECTS: &str = "
    with recursive schemas as (
        select * from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
    ),
    relations as (
        select c.*, c.oid::regclass::text as name
        from pg_class c
        where c.relnamespace in (select oid from schemas)
          and not exists (select from pg_depend d
                          where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    ),
    tables as (
        select r.*, a.attnum as org_id, a.attnotnull and a.atttypid = 'uuid'::regtype as org_id_is_sound
        from relations r
        left join pg_attribute a on a.attrelid = r.oid and a.attname = 'org_id' and not a.attisdropped
        where r.relkind in ('r', 'p', 'f')
    ),
    tenant_tables as (
        select * from tables where org_id is not null and relrowsecurity
    ),
    functions as (
        select p.*, p.oid::regprocedure::text as name
        from pg_proc p
        where p.pronamespace in (select oid from schemas)
          and not exists (select from pg_depend d
                          where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
    ),
    -- The roles that serve.
    servants (role) as (values ('insula_app'), ('insula_platform'))
";

impl Lint {
    pub async fn complaints(&self, catalog: &mut PgConnection) -> Vec<String> {
        let excepted = |name: &str| self.exceptions.iter().any(|(exception, _)| *exception == name);
        let found = self.found(catalog).await.into_iter();
        found.filter(|(name, _)| !excepted(name)).map(|(name, advice)| format!("{name}: {advice}")).collect()
    }

    pub async fn found(&self, catalog: &mut PgConnection) -> Vec<(String, String)> {
        let query = format!("{SUBJECTS} {}", self.query);
        let found = sqlx::query_as(AssertSqlSafe(query)).fetch_all(catalog).await;
        found.unwrap_or_else(|error| panic!("\"{}\" can't be asked: {error}", self.rule))
    }

    /// The complaints of a schema that has this fault, and loses it again.
    pub async fn with_planted(&self, fault: &Fault, catalog: &mut PgConnection) -> Vec<String> {
        let plant = format!("begin; set local role insula_owner; {}; reset role", fault.plant);
        let planted = catalog.execute(sqlx::raw_sql(AssertSqlSafe(plant))).await;
        planted.unwrap_or_else(|error| panic!("`{}` can't be planted: {error}", fault.plant));
        let complaints = self.complaints(catalog).await;
        catalog.execute("rollback").await.unwrap();
        complaints
    }
}
