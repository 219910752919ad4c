//! What goes wrong with a database, done by hand: locks that stay, changes nobody is told of, roles too strong.

use super::Database;
use insula::ids::{OrgId, ProductId, UserId};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use time::OffsetDateTime;

/// A row that nobody else may change until it is released or dropped.
pub struct Lock(PgConnection);

impl Lock {
    pub async fn release(self) {
        self.0.close().await.unwrap();
    }
}

/// A change of who may do what in an org, made and not committed yet: others wait for their turn.
pub struct Turn(PgConnection);

impl Turn {
    pub async fn done(mut self) {
        self.0.execute("commit").await.unwrap();
    }
}

impl Database {
    /// Takes the turn of an org, as every change of its roles does, and does this in it.
    pub async fn turn(&self, org: OrgId, what: &str) -> Turn {
        let mut connection = self.superuser().await;
        let change = format!(
            "begin; update org_control set policy_version = policy_version + 1 where org_id = '{}'; {what}",
            org.uuid()
        );
        connection.execute(sqlx::raw_sql(AssertSqlSafe(change))).await.unwrap();
        Turn(connection)
    }

    pub async fn superuser(&self) -> PgConnection {
        self.connect("postgres").await
    }

    /// Runs statements that no test has a better word for.
    pub async fn run(&self, sql: impl Into<String>) {
        self.superuser().await.execute(sqlx::raw_sql(AssertSqlSafe(sql.into()))).await.unwrap();
    }

    /// Ends every connection that a role has to it.
    pub async fn cut_off(&self, role: &str) {
        self.run(format!(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where usename = '{role}' and datname = current_database()"
        ))
        .await;
    }

    /// One number.
    pub async fn count(&self, sql: impl Into<String>) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.into())).fetch_one(&mut self.superuser().await).await.unwrap()
    }

    /// One text.
    pub async fn text(&self, sql: impl Into<String>) -> String {
        sqlx::query_scalar(AssertSqlSafe(sql.into())).fetch_one(&mut self.superuser().await).await.unwrap()
    }

    pub async fn lock_product(&self, id: &str) -> Lock {
        let id = id.parse::<ProductId>().unwrap().uuid();
        self.lock(format!("select from products where id = '{id}' for update")).await
    }

    /// What this statement locks.
    pub async fn lock(&self, statement: impl Into<String>) -> Lock {
        let mut connection = self.superuser().await;
        connection.execute("begin").await.unwrap();
        connection.execute(AssertSqlSafe(statement.into())).await.unwrap();
        Lock(connection)
    }

    /// Nothing that has to be announced to the replicas is committed until this is released.
    pub async fn lock_changes(&self) -> Lock {
        let mut connection = self.superuser().await;
        connection.execute("begin").await.unwrap();
        connection.execute("select from control_counter for update").await.unwrap();
        Lock(connection)
    }

    /// How many statements wait for a lock.
    pub async fn waiting(&self) -> i64 {
        self.count(
            "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'",
        )
        .await
    }

    /// From here on changes are counted, and no NOTIFY tells of them.
    pub async fn cut_notify(&self) {
        let whole: String = sqlx::query_scalar("select pg_get_functiondef('control_change'::regproc)")
            .fetch_one(&mut self.superuser().await)
            .await
            .unwrap();
        let quiet: Vec<_> = whole.lines().filter(|line| !line.contains("pg_notify")).collect();
        assert!(quiet.len() < whole.lines().count(), "control_change notifies no more: {whole}");
        self.run(quiet.join("\n")).await;
    }

    /// From here on nobody is told of changes in any way.
    pub async fn cut_bus(&self) {
        self.run(
            "create or replace function control_change(kind text, org uuid, subject uuid) returns void
             language sql as ''",
        )
        .await;
    }

    /// Suspends an org and ends every session, in a transaction whose word of it is lost.
    pub async fn suspend_unheard(&self, org: OrgId) {
        self.run(format!(
            "begin;
             update org_control set status = 'suspended' where org_id = '{}';
             update sessions set revoked_at = now();
             select control_change('org', null, null);
             delete from control_log;
             commit",
            org.uuid()
        ))
        .await;
    }

    /// From here on the gate names, for a person, the org that the asking connection is set to.
    pub async fn tell_setting_at_gate(&self) {
        self.run(
            "create or replace function gate_api_key(wanted bytea)
                 returns table (id uuid, owner uuid, org_id uuid, scopes text[], allowed_ips text[],
                                expires_at timestamptz, revoked boolean)
             language sql as $$
                 select gen_random_uuid(), gen_random_uuid(), gen_random_uuid(),
                        array[coalesce(current_setting('app.org_id', true), '')], '{}'::text[], now(), true
             $$",
        )
        .await;
    }

    /// Transactions that somebody began and nobody ends.
    pub async fn left_open(&self) -> i64 {
        self.count(
            "select count(*) from pg_stat_activity
             where datname = current_database() and state like 'idle in transaction%'",
        )
        .await
    }

    /// Suspends an org, as an operator on another replica does.
    pub async fn suspend(&self, org: OrgId) {
        self.run(format!(
            "begin;
             update org_control set status = 'suspended' where org_id = '{id}';
             select control_change('org', '{id}', null);
             commit",
            id = org.uuid()
        ))
        .await;
    }

    /// Suspends a member, which goes up in the policy's version as every change of theirs does.
    pub async fn suspend_member(&self, org: OrgId, user: UserId) {
        self.run(format!(
            "begin;
             update members set status = 'suspended' where org_id = '{org}' and user_id = '{}';
             update org_control set policy_version = policy_version + 1 where org_id = '{org}';
             select control_change('policy', '{org}', null);
             commit",
            user.uuid(),
            org = org.uuid(),
        ))
        .await;
    }

    /// What the audit of an org says of this action: each time who, of which kind, before and after.
    pub async fn audited(&self, org: OrgId, action: &str) -> Vec<Value> {
        sqlx::query_scalar(
            "select jsonb_build_object('kind', actor_type, 'actor', actor_id, 'target', target, 'before', before,
                                       'after', after, 'ip', host(ip))
             from audit_events where org_id = $1 and action = $2 order by at, id",
        )
        .bind(org.uuid())
        .bind(action)
        .fetch_all(&mut self.superuser().await)
        .await
        .unwrap()
    }

    /// From here on a person's e-mail address is confirmed.
    pub async fn confirm_email(&self, user: UserId) {
        self.run(format!("update users set email_verified_at = now() where id = '{}'", user.uuid())).await;
    }

    /// Gives an org keys that nobody holds, all of which expire at once.
    pub async fn idle_api_keys(&self, org: OrgId, many: u32, expires_at: OffsetDateTime) {
        let mut superuser = self.superuser().await;
        sqlx::query(
            "insert into api_keys (org_id, id, name, mode, prefix, scopes, created_by, expires_at)
             select $1, gen_random_uuid(), 'idle', 'live', 'insula_live_', '{}', $1, $3 from generate_series(1, $2)",
        )
        .bind(org.uuid())
        .bind(i32::try_from(many).unwrap())
        .bind(expires_at)
        .execute(&mut superuser)
        .await
        .unwrap();
    }

    /// Gives an org's keys a scope that its members do not hold.
    pub async fn widen_api_keys(&self, org: OrgId, scope: &str) {
        let org = org.uuid();
        self.run(format!(
            "update api_keys set scopes = array_append(scopes, '{scope}') where org_id = '{org}'"
        ))
        .await;
    }

    /// A login role of this name and these attributes.
    pub async fn role(&self, name: &str, attributes: &str) {
        self.run(format!("create role {name} login {attributes}")).await;
    }
}
