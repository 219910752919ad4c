//! A private Postgres, the program as it is run, and three organisations in it.

use crate::{
    client::{Client, Request},
    server::told,
};
use insula::{
    bootstrap::{self, Passwords},
    ids::ProductId,
    local::{Durability, Postgres},
};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

pub const PRODUCTS: u32 = 200_000;

pub struct House {
    pub address: SocketAddr,
    pub quiet: Org,
    /// On the tier that everybody begins with.
    pub loud: Org,
    pub slow: Org,
    superuser: String,
    server: Child,
    _postgres: Postgres,
    dir: PathBuf,
}

pub struct Org {
    pub token: String,
    pub product: String,
}

impl House {
    pub fn build() -> Self {
        let dir = env::temp_dir().join(format!("insula-neighbours-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let postgres = Postgres::start_blocking(&dir.join("pg"), None, Durability::Throwaway).unwrap();
        let admin = SecretString::from(postgres.superuser_url());
        let owner = SecretString::from(postgres.url("insula_owner", "insula"));
        block_on(async {
            let patience = Duration::from_secs(10);
            bootstrap::bootstrap(&admin, "insula", &Passwords::default(), patience).await.unwrap();
            bootstrap::migrate(&owner, patience).await.unwrap();
        });
        let mut server = Command::new(env!("CARGO_BIN_EXE_insula"))
            .arg("serve")
            .env("INSULA_HTTP__LISTEN", "127.0.0.1:0")
            .env("INSULA_AUTH__MASTER_KEY", format!("{}=", "A".repeat(43)))
            .env("INSULA_DATABASE__APP_URL", postgres.url("insula_app", "insula"))
            .env("INSULA_DATABASE__PLATFORM_URL", postgres.url("insula_platform", "insula"))
            .env("INSULA_STORAGE__FOLDER", dir.join("files"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let address = told(&mut server);
        let superuser = postgres.url("postgres", "insula");
        let [quiet, loud, slow] = ["quiet", "loud", "slow"].map(|name| Org::sign_up(address, name));
        let house = Self { address, quiet, loud, slow, superuser, server, _postgres: postgres, dir };
        house.run(&format!(
            "update org_control set tier = 'enterprise' where org_id in (select id from orgs where name in ('quiet', 'slow'));
             insert into products (org_id, id, sku, name, price, currency)
             select id, gen_random_uuid(), 'S-' || at, 'Product ' || at, at, 'EUR'
             from orgs cross join generate_series(1, case name when 'slow' then {PRODUCTS} else 1000 end) at
             where sandbox_of is null and slug <> 'platform';
             analyze products;
             select control_change('org', id, null) from orgs"
        ));
        house
    }

    /// Keeps the product of the slow one from being changed, again and again, until told to stop.
    pub fn hold_product(&self, stop: &AtomicBool) {
        let id = self.slow.product.parse::<ProductId>().unwrap().uuid();
        let held =
            format!("begin; select from products where id = '{id}' for update; select pg_sleep(0.3); commit");
        self.run_until(&held, stop);
    }

    /// Counts the products of the slow one, again and again, until told to stop; nobody is answered.
    pub fn count_products(&self, stop: &AtomicBool) -> Vec<u16> {
        let counted = "set max_parallel_workers_per_gather = 0;
                       select count(*) from products where org_id = (select id from orgs where name = 'slow' and sandbox_of is null)";
        self.run_until(counted, stop);
        Vec::new()
    }

    pub fn run(&self, sql: &str) {
        let enough = AtomicBool::new(false);
        self.run_while(sql, || !enough.swap(true, Ordering::Relaxed));
    }

    fn run_until(&self, sql: &str, stop: &AtomicBool) {
        self.run_while(sql, || !stop.load(Ordering::Relaxed));
    }

    /// On one connection: to open one costs more than most queries.
    fn run_while(&self, sql: &str, more: impl Fn() -> bool) {
        block_on(async {
            let mut superuser = PgConnection::connect(&self.superuser).await.unwrap();
            while more() {
                superuser.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
            }
        });
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
        fs::remove_dir_all(&self.dir).ok();
    }
}

impl Org {
    fn sign_up(address: SocketAddr, name: &str) -> Self {
        let account = json!({"email": format!("owner@{name}.example"), "password": "correct horse battery",
                             "name": "Olivia Owner", "org_name": name});
        let session = ask(address, "/api/v1/auth/register", None, &account);
        let token = session["access_token"].as_str().unwrap().to_owned();
        let cog = json!({"sku": "COG-1", "name": "Cog", "price": {"amount": 1999, "currency": "EUR"}});
        let made = ask(address, "/api/v1/products", Some(&token), &cog);
        Self { product: made["id"].as_str().unwrap().to_owned(), token }
    }
}

fn ask(address: SocketAddr, path: &str, token: Option<&str>, body: &Value) -> Value {
    let request = Request::new("POST", path, token, "", &body.to_string());
    let (status, body) = Client::new(address).send(&request).unwrap();
    assert_eq!(status, 201, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
