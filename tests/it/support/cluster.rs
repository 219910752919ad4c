//! One private Postgres for the whole run, and in it a database for each test, copied from a migrated one.

use insula::{
    bootstrap::{self, Passwords},
    local::{Durability, Postgres},
};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

const TEMPLATE: &str = "insula_template";
/// Stands in an address for any of the roles.
const ROLE: &str = "somebody";
const PATIENCE: Duration = Duration::from_secs(10);

/// An empty, migrated database. Its clones are the same database: that of several replicas.
#[derive(Clone)]
pub struct Database {
    /// With a placeholder for the role.
    address: String,
    /// Where the files are that it tells of.
    pub files: PathBuf,
}

impl Database {
    pub async fn new() -> Self {
        Self::made(&format!("template {TEMPLATE} strategy file_copy")).await
    }

    /// One in which no migration has run.
    pub async fn unmigrated() -> Self {
        Self::made("template template0").await
    }

    /// One of another cluster.
    pub fn of(postgres: &Postgres, name: &str) -> Self {
        static KNOWN: AtomicU32 = AtomicU32::new(0);
        let files = home().join(format!("files-{}", KNOWN.fetch_add(1, Ordering::SeqCst)));
        Self { address: postgres.url(ROLE, name), files }
    }

    async fn made(how: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let cluster = tokio::task::spawn_blocking(cluster).await.unwrap();
        let name = format!("t{}", MADE.fetch_add(1, Ordering::SeqCst));
        let mut admin = PgConnection::connect(&cluster.superuser_url()).await.unwrap();
        let create = format!("create database {name} owner insula_owner {how}");
        admin.execute(AssertSqlSafe(create)).await.unwrap();
        Self::of(cluster, &name)
    }

    /// Where processes on it keep their journals of what was asked for.
    pub fn usage(&self) -> PathBuf {
        self.files.with_extension("usage")
    }

    /// The address for one of the roles.
    pub fn url(&self, role: &str) -> String {
        self.address.replacen(&format!("//{ROLE}@"), &format!("//{role}@"), 1)
    }

    /// A connection as one of the roles, for what no client can see.
    pub async fn connect(&self, role: &str) -> PgConnection {
        PgConnection::connect(&self.url(role)).await.unwrap()
    }
}

fn cluster() -> &'static Postgres {
    static CLUSTER: OnceLock<Postgres> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let home = home();
        let postgres = Postgres::start_blocking(&home, None, Durability::Throwaway).unwrap();
        let admin = SecretString::from(postgres.superuser_url());
        let owner = SecretString::from(postgres.url("insula_owner", TEMPLATE));
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            bootstrap::bootstrap(&admin, TEMPLATE, &Passwords::default(), PATIENCE).await.unwrap();
            bootstrap::migrate(&owner, PATIENCE).await.unwrap();
        });
        postgres
    })
}

/// In memory where there is such a place. The server stops with this process; its folder is removed by the next run.
fn home() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    for entry in fs::read_dir(&base).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        if let Some(pid) = name.strip_prefix("insula-tests-")
            && !Path::new("/proc").join(pid).exists()
        {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
    base.join(format!("insula-tests-{}", std::process::id()))
}
