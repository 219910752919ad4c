//! The pools of the two serving roles, the migrator, and the checks without which nothing is served.

mod permits;
mod writes;

pub use permits::{Permit, Permits};
pub use writes::{PendingWrite, Writes};

use crate::{config, error};
use anyhow::{Context as _, bail, ensure};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{
    io,
    str::FromStr as _,
    time::{Duration, Instant},
};

pub static MIGRATOR: Migrator = sqlx::migrate!();

/// Statement texts are a bounded set; all of them stay prepared.
const STATEMENTS: usize = 512;

/// A connection used this lately is taken to be there.
const UNDOUBTED: Duration = Duration::from_secs(1);
/// A server that accepts and never answers is as good as gone.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Before these, row-level security has published holes (CVE-2025-8713 and older).
const OLDEST_SAFE: [i32; 3] = [150_014, 160_010, 170_006];

/// One to listen, one to ask for changes, one to ask for what has changed.
const BUS: u32 = 4;

/// A pool per serving role. Only `tenancy` and `bus` take connections from it.
#[derive(Clone)]
pub struct Pools {
    pub(crate) app: PgPool,
    /// Shares them among the orgs.
    pub permits: Permits,
    /// Of this process, to each org.
    pub writes: Writes,
    /// For what is asked and done before an org is known: whoever knocks, however many they are, waits for one another
    /// and keeps nobody from their work who is inside.
    pub(crate) gate: PgPool,
    pub(crate) platform: PgPool,
    /// For the bus and what it tells of: whatever the others are busy with, changes are heard.
    pub(crate) bus: PgPool,
}

impl Pools {
    /// Connects, waiting out a database that is still starting, and refuses one that can't be trusted.
    pub async fn open(config: &config::Database) -> anyhow::Result<Self> {
        let patience = Duration::from_secs(config.connect_seconds);
        let acquire = Duration::from_secs(config.acquire_seconds);
        let pool = |url: &SecretString, size, key| {
            let options = PgConnectOptions::from_str(url.expose_secret())
                .with_context(|| format!("{key} is no Postgres address"))?
                .application_name("insula")
                .statement_cache_capacity(STATEMENTS);
            // A ping before each use would be one more round trip for every request: only what has been idle
            // for a while is asked whether it is still there.
            let pool = PgPoolOptions::new()
                .max_connections(size)
                .acquire_timeout(acquire)
                .test_before_acquire(false)
                .before_acquire(|connection, about| {
                    Box::pin(async move {
                        if about.idle_for > UNDOUBTED {
                            connection.ping().await?;
                        }
                        Ok(true)
                    })
                });
            anyhow::Ok(pool.connect_lazy_with(options))
        };
        let app = pool(&config.app_url, config.app_connections, "INSULA_DATABASE__APP_URL")?;
        let gate = pool(&config.app_url, config.gate_connections, "INSULA_DATABASE__APP_URL")?;
        let permits = Permits::new(config.connections_of_an_org(), config.org_queue, acquire);
        let platform =
            pool(&config.platform_url, config.platform_connections, "INSULA_DATABASE__PLATFORM_URL")?;
        let bus = pool(&config.platform_url, BUS, "INSULA_DATABASE__PLATFORM_URL")?;
        let mut connection =
            reach(&config.platform_url, patience).await.context("as INSULA_DATABASE__PLATFORM_URL")?;
        check_version(&mut connection).await?;
        check_migrations(&mut connection).await?;
        check_powerless(&mut connection).await?;
        let mut connection = reach(&config.app_url, patience).await.context("as INSULA_DATABASE__APP_URL")?;
        check_powerless(&mut connection).await?;
        check_confined(&mut connection).await?;
        Ok(Self { app, permits, writes: Writes::default(), gate, platform, bus })
    }

    /// Whether the database answers the app role right now.
    pub async fn answers(&self) -> bool {
        sqlx::query("select 1").execute(&self.app).await.is_ok()
    }

    pub async fn close(&self) {
        tokio::join!(self.app.close(), self.gate.close(), self.platform.close(), self.bus.close());
    }
}

/// One connection, tried again for as long as `patience` lasts when the server is not there (yet).
pub async fn reach(url: &SecretString, patience: Duration) -> anyhow::Result<PgConnection> {
    let options = PgConnectOptions::from_str(url.expose_secret())?;
    let (started, mut pause) = (Instant::now(), Duration::from_millis(100));
    loop {
        let attempt = tokio::time::timeout(ATTEMPT.min(patience.max(pause)), options.connect());
        match attempt.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())) {
            Ok(connection) => return Ok(connection),
            Err(refusal) if error::transient(&refusal) && started.elapsed() < patience => {
                tracing::warn!(
                    host = options.get_host(),
                    port = options.get_port(),
                    waited_seconds = started.elapsed().as_secs(),
                    "the database can't be reached yet: {refusal}"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            Err(refusal) => {
                return Err(refusal).with_context(|| {
                    format!(
                        "the database {:?} on {}:{} can't be reached as {:?} (tried for {} s)",
                        options.get_database().unwrap_or_default(),
                        options.get_host(),
                        options.get_port(),
                        options.get_username(),
                        started.elapsed().as_secs()
                    )
                });
            }
        }
    }
}

async fn check_version(connection: &mut PgConnection) -> anyhow::Result<()> {
    let version: i32 =
        sqlx::query_scalar("select current_setting('server_version_num')::int").fetch_one(connection).await?;
    let safe = OLDEST_SAFE.iter().any(|oldest| version / 10_000 == oldest / 10_000 && version >= *oldest);
    ensure!(
        safe || version / 10_000 > OLDEST_SAFE[OLDEST_SAFE.len() - 1] / 10_000,
        "this Postgres ({version}) has known holes in row-level security: 15.14, 16.10, 17.6 or newer is needed"
    );
    Ok(())
}

async fn check_migrations(connection: &mut PgConnection) -> anyhow::Result<()> {
    let ran: Option<bool> = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await?;
    let mut applied = Vec::new();
    if ran == Some(true) {
        applied = sqlx::query_scalar::<_, i64>("select version from _sqlx_migrations where success")
            .fetch_all(connection)
            .await?;
    }
    let pending: Vec<_> = MIGRATOR
        .iter()
        .filter(|step| !applied.contains(&step.version))
        .map(|step| step.description.as_ref())
        .collect();
    if !pending.is_empty() {
        bail!(
            "{} migrations are pending ({}): run `insula migrate` first",
            pending.len(),
            pending.join(", ")
        );
    }
    Ok(())
}

/// Row-level security is only as good as the role is weak.
async fn check_powerless(connection: &mut PgConnection) -> anyhow::Result<()> {
    refuse(
        connection,
        "select 'is a member of ' || rolname || ', a superuser or bypassrls role' from pg_roles
         where (rolsuper or rolbypassrls) and pg_has_role(oid, 'member')
         union all
         select 'may create roles' from pg_roles where rolcreaterole and rolname = current_user
         union all
         select 'owns the table ' || relname from pg_class
         where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace and pg_has_role(relowner, 'member')
         union all
         select 'may create in the schema public' where has_schema_privilege('public', 'create')",
    )
    .await
}

/// The app role must be held by every fence: a role that a policy lets past is not for serving tenants.
async fn check_confined(connection: &mut PgConnection) -> anyhow::Result<()> {
    refuse(
        connection,
        "select distinct 'is a member of ' || rolname || ', whom the policies of operators let past'
         from pg_policy join pg_roles on pg_roles.oid = any (polroles)
         where pg_get_expr(polqual, polrelid) = 'true' and pg_has_role(pg_roles.oid, 'member')",
    )
    .await
}

/// Fails with every power of the connected role that `powers`, a select of one text column, finds.
async fn refuse(connection: &mut PgConnection, powers: &'static str) -> anyhow::Result<()> {
    let powers: Vec<String> = sqlx::query_scalar(powers).fetch_all(&mut *connection).await?;
    if powers.is_empty() {
        return Ok(());
    }
    let role: String = sqlx::query_scalar("select current_user::text").fetch_one(connection).await?;
    bail!(
        "the role {role} could step around row-level security, so nothing is served: it {}. \
         `insula bootstrap` makes roles that can't",
        powers.join("; it ")
    )
}
