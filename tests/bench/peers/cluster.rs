//! The harness's Postgres, and the database in it that is Insula's.

use insula::config::Config;
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::{env, path::PathBuf};

pub const DATABASE: &str = "insula";
/// Everybody's.
pub const PASSWORD: &str = "bench-password";

pub struct Cluster {
    host: String,
    port: String,
    /// The database of the other servers.
    theirs: String,
}

/// How much there is of everything; the harness loads less for a trial.
#[derive(sqlx::FromRow)]
pub struct Scale {
    pub orgs: i32,
    pub products: i32,
    pub categories: i32,
    pub orders: i32,
}

impl Cluster {
    pub fn of_the_harness() -> Self {
        let or = |name, default: &str| told(name).unwrap_or_else(|| default.to_owned());
        Self {
            host: or("PGHOST", "127.0.0.1"),
            port: or("PGPORT", "5432"),
            theirs: or("PGDATABASE", "bench"),
        }
    }

    pub fn url(&self, role: &str) -> String {
        self.url_of(role, DATABASE)
    }

    fn url_of(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@{}:{}/{database}", self.host, self.port)
    }

    /// As the others have it: the same connections, hashes as dear, tokens that outlive the run, no line for each request.
    pub fn config(&self) -> Config {
        let pool: u32 = told("POOL").map_or(8, |pool| pool.parse().unwrap());
        let [app, platform] = ["insula_app", "insula_platform"].map(|role| self.url(role));
        let files = lab().join("insula-files");
        Config::with(&format!(
            "[http]\nlisten = \"127.0.0.1:0\"\npublic_url = {:?}\n\
             [database]\napp_url = {app:?}\nplatform_url = {platform:?}\napp_connections = {}\n\
             [auth]\nmaster_key = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\naccess_seconds = 86400\n\
             argon2_memory_kib = 65536\nargon2_passes = 3\n\
             [limits.ip]\nquota_per_minute = 1000000\nburst = 1000000\n\
             [storage]\nfolder = \"{}\"\n\
             [cache]\nmax_age_milliseconds = {}\n\
             [log]\nfilter = \"warn\"\n",
            base_url(),
            2 * pool,
            files.display(),
            told("CACHE_MILLISECONDS").unwrap_or_else(|| "1000".to_owned()),
        ))
        .unwrap()
    }

    /// The roles and the database are made by then.
    pub async fn superuser(&self) -> PgConnection {
        PgConnection::connect(&self.url_of("postgres", DATABASE)).await.unwrap()
    }

    pub async fn scale(&self) -> Scale {
        let mut theirs = PgConnection::connect(&self.url_of("postgres", &self.theirs)).await.unwrap();
        sqlx::query_as(
            "select orgs, (select count(*) from products)::int / orgs as products,
                    (select count(*) from categories)::int / orgs as categories,
                    (select count(*) from orders)::int / orgs as orders
             from (select count(*)::int from tenants) as tenants (orgs)",
        )
        .fetch_one(&mut theirs)
        .await
        .unwrap()
    }

    /// As the superuser, whom row-level security does not hold, knowing the scale; one statement after the other, since some
    /// are lawful only outside a transaction.
    pub async fn run(&self, script: &str) {
        let mut superuser = self.superuser().await;
        let Scale { orgs, products, categories, orders } = self.scale().await;
        for (name, value) in
            [("orgs", orgs), ("products", products), ("categories", categories), ("orders", orders)]
        {
            let set = format!("set bench.{name} = {value}");
            superuser.execute(AssertSqlSafe(set)).await.unwrap();
        }
        for statement in script.split(";\n").filter(|statement| !statement.trim().is_empty()) {
            superuser.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
        }
    }
}

pub fn admin() -> SecretString {
    told("BENCH_ADMIN_URL").unwrap().into()
}

pub fn base_url() -> String {
    told("BENCH_BASE_URL").unwrap()
}

/// Where the harness keeps what it makes.
pub fn lab() -> PathBuf {
    told("BENCH_LAB").map_or_else(env::temp_dir, PathBuf::from)
}

#[expect(clippy::disallowed_methods, reason = "the harness says everything by its environment")]
pub fn told(name: &str) -> Option<String> {
    env::var(name).ok()
}
