//! The audit as it lies in the database, for what no client can see or do.

use super::{Database, Reply, TestApp, until};
use insula::{
    authn::Actor,
    ids::{JournalId, OrgId, RequestId, SessionId, UserId},
    tenancy::{Mode, TenantTx},
    trail::Trail,
    vault::Vault,
    worker,
};
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

/// An event, as it was recorded.
#[derive(Debug, Clone, FromRow)]
pub struct Recorded {
    pub org_id: OrgId,
    pub actor_type: String,
    pub actor_id: Option<Uuid>,
    pub action: String,
    pub target_type: String,
    pub target: Option<String>,
    pub ip: Option<String>,
}

impl Database {
    /// What was recorded of the request that this answers.
    pub async fn recorded_of(&self, reply: &Reply) -> Vec<Recorded> {
        let request: RequestId = reply.header("x-request-id").parse().unwrap();
        let query = format!(
            "select org_id, actor_type, actor_id, action, target_type, target, host(ip) as ip
             from audit_events where request_id = '{}'",
            request.uuid()
        );
        sqlx::query_as(AssertSqlSafe(query)).fetch_all(&mut self.superuser().await).await.unwrap()
    }

    /// What was told in an org by events of one type, the first first: their objects, with the ids of those.
    pub async fn told_by(&self, org: OrgId, kind: &str) -> Vec<serde_json::Value> {
        let query = "select object || jsonb_build_object('id', target) from events
                     where org_id = $1 and type = $2 order by at, id";
        let told = sqlx::query_scalar(query).bind(org.uuid()).bind(kind);
        told.fetch_all(&mut self.superuser().await).await.unwrap()
    }

    /// As if a process had begun this journal of what is asked for.
    pub async fn knows_journal(&self, id: JournalId) {
        sqlx::query("insert into usage_journals (id, changed_at) values ($1, now())")
            .bind(id.uuid())
            .execute(&mut self.superuser().await)
            .await
            .unwrap();
    }

    pub async fn unsealed(&self) -> i64 {
        self.count("select count(*) from audit_events where seq is null").await
    }

    /// How many events an org's chain holds.
    pub async fn sealed(&self, org: OrgId) -> i64 {
        self.count(format!("select count(seq) from audit_events where org_id = '{}'", org.uuid())).await
    }

    /// Nobody seals until this is dropped.
    pub async fn hold_sealer(&self) -> sqlx::PgConnection {
        let mut connection = self.superuser().await;
        let lock = "select pg_advisory_lock(hashtextextended('insula audit chain', 0))";
        sqlx::query(lock).execute(&mut connection).await.unwrap();
        connection
    }

    /// Whether these letters are in any row of any table, as text.
    pub async fn mentions(&self, letters: &str) -> Vec<String> {
        self.rows().await.into_iter().filter(|row| row.contains(letters)).collect()
    }

    /// All that is kept, as text: each row after its table.
    pub async fn rows(&self) -> Vec<String> {
        let mut superuser = self.superuser().await;
        let tables = "select oid::regclass::text from pg_class
                      where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace order by 1";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut superuser).await.unwrap();
        assert!(tables.len() > 20, "there are more tables than {tables:?}");
        let mut rows = Vec::new();
        for table in tables {
            let all = AssertSqlSafe(format!("select t::text from {table} t"));
            let texts: Vec<String> = sqlx::query_scalar(all).fetch_all(&mut superuser).await.unwrap();
            rows.extend(texts.into_iter().map(|row| format!("{table}: {row}")));
        }
        rows
    }

    /// The private halves of the signing keys, which this master key unseals, by their kids.
    pub async fn signing_seeds(&self, master: &[u8; 32]) -> Vec<(String, Vec<u8>)> {
        let sealed = "select kid, seed from signing_keys where seed is not null";
        let sealed: Vec<(String, Vec<u8>)> =
            sqlx::query_as(sealed).fetch_all(&mut self.superuser().await).await.unwrap();
        let vault = Vault::new(master).unwrap();
        let open = |(kid, seed): (String, Vec<u8>)| {
            let opened = vault.open(&format!("signing key {kid}"), &seed).unwrap();
            (kid, opened)
        };
        sealed.into_iter().map(open).collect()
    }
}

impl TestApp {
    /// Returns once nothing is left to be sealed. The app's own sealer may be at it at the same time.
    pub async fn seal(&self) {
        until("everything is sealed", async || {
            worker::seal_audit(&self.state.platform).await.unwrap();
            self.database.unsealed().await == 0
        })
        .await;
    }

    /// Has all events that are committed numbered.
    pub async fn number(&self) {
        until("all that was committed has its number", async || {
            worker::number_events(&self.state.platform).await.unwrap();
            self.database.count("select count(*) from events where seq is null").await == 0
        })
        .await;
    }

    /// A transaction of an org in which somebody has done something, and which is not committed yet.
    pub async fn doing(&self, org: OrgId, action: &'static str) -> TenantTx {
        let (mut tx, _) = TenantTx::begin(&self.state.pools, org, Mode::Write).await.unwrap();
        let trail = Trail::of_the_house(self.clock.now());
        let actor = Actor::User {
            user: UserId::new(),
            session: SessionId::new(),
            signed_in_at: trail.at.unix_timestamp(),
            mfa: false,
            email_verified: true,
        };
        let entry = insula::events::Entry::new(action, "org", org.uuid().to_string());
        let entry = entry.after(serde_json::json!({"price": 12.5, "name": "Zoë", "roles": ["b", "a"]}));
        insula::events::record(&mut tx, &actor, &trail, entry).await.unwrap();
        tx
    }

    pub async fn done(&self, org: OrgId, action: &'static str) {
        self.doing(org, action).await.commit().await.unwrap();
    }
}
