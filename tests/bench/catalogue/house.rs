//! A private Postgres with a large catalogue and many small ones, and two servers on it: one that keeps answers, and one
//! that does not.

use crate::{
    client::{Client, Request},
    server::told,
};
use insula::{
    bootstrap::{self, Passwords},
    local::{Durability, Postgres},
};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub struct House {
    /// Reads what there is, each time.
    pub bare: Door,
    pub keeping: Door,
    /// Tokens of the owner of the large one, and of one of the small ones.
    pub large: String,
    pub small: String,
    pub products: u32,
    _postgres: Postgres,
    dir: PathBuf,
}

pub struct Door {
    pub address: SocketAddr,
    server: Child,
}

impl House {
    pub fn build(large: u32, small: u32) -> Self {
        let orgs: u32 = super::setting("CATALOGUE_ORGS", 1_000);
        let dir = env::temp_dir().join(format!("insula-catalogue-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let postgres = Postgres::start_blocking(&dir.join("pg"), None, Durability::Throwaway).unwrap();
        let admin = SecretString::from(postgres.superuser_url());
        let owner = SecretString::from(postgres.url("insula_owner", "insula"));
        block_on(async {
            let patience = Duration::from_secs(10);
            bootstrap::bootstrap(&admin, "insula", &Passwords::default(), patience).await.unwrap();
            bootstrap::migrate(&owner, patience).await.unwrap();
        });
        let [bare, keeping] = ["0", "64"].map(|mebibytes| Door::open(&postgres, &dir, mebibytes));
        let [of_large, of_small] = ["large", "small"].map(|name| sign_up(bare.address, name));
        let begun = Instant::now();
        // The index of words is made at once, as it would not be where products come one by one.
        run(
            &postgres,
            &format!(
                "insert into orgs (id, slug, name)
                 select gen_random_uuid(), 'crowd-' || at, 'Crowd ' || at from generate_series(2, {orgs}) at;
                 drop index products_search;
                 insert into products (org_id, id, sku, name, description, price, currency, created_at)
                 select o.id, gen_random_uuid(), 'SKU-' || at,
                        'Common ' || (array['cog', 'lantern', 'compressor', 'bracket', 'valve'])[1 + at % 5] || ' ' || at,
                        'Made of fine steel.', at, 'EUR', now() - at * interval '1 minute'
                 from orgs o cross join generate_series(1, case when o.name = 'large' then {large} else {small} end) at
                 where o.sandbox_of is null and o.slug <> 'platform';
                 create index products_search on products using gin (org_id, search) with (fastupdate = off)
                     where deleted_at is null;
                 update org_control set tier = 'enterprise'
                 where org_id in (select id from orgs where name in ('large', 'small'));
                 select control_change('org', id, null) from orgs where name in ('large', 'small')"
            ),
        );
        run(&postgres, "vacuum analyze products");
        println!(
            "{large} products of one organisation, and {small} of each of {orgs} others, after {:.0} s",
            begun.elapsed().as_secs_f64()
        );
        Self { bare, keeping, large: of_large, small: of_small, products: large, _postgres: postgres, dir }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for door in [&mut self.bare, &mut self.keeping] {
            door.server.kill().ok();
            door.server.wait().ok();
        }
        fs::remove_dir_all(&self.dir).ok();
    }
}

impl Door {
    fn open(postgres: &Postgres, dir: &Path, mebibytes: &str) -> Self {
        let mut server = Command::new(env!("CARGO_BIN_EXE_insula"))
            .arg("serve")
            .env("INSULA_HTTP__LISTEN", "127.0.0.1:0")
            .env("INSULA_AUTH__MASTER_KEY", format!("{}=", "A".repeat(43)))
            .env("INSULA_DATABASE__APP_URL", postgres.url("insula_app", "insula"))
            .env("INSULA_DATABASE__PLATFORM_URL", postgres.url("insula_platform", "insula"))
            .env("INSULA_STORAGE__FOLDER", dir.join("files"))
            .env("INSULA_CACHE__MEBIBYTES", mebibytes)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let address = told(&mut server);
        Self { address, server }
    }
}

fn sign_up(address: SocketAddr, name: &str) -> String {
    let account = json!({"email": format!("owner@{name}.example"), "password": "correct horse battery",
                         "name": "Olivia Owner", "org_name": name});
    let request = Request::new("POST", "/api/v1/auth/register", None, "", &account.to_string());
    let (status, body) = Client::new(address).send(&request).unwrap();
    assert_eq!(status, 201, "{body}");
    let session: Value = serde_json::from_str(&body).unwrap();
    session["access_token"].as_str().unwrap().to_owned()
}

fn run(postgres: &Postgres, sql: &str) {
    block_on(async {
        let mut superuser = PgConnection::connect(&postgres.url("postgres", "insula")).await.unwrap();
        superuser.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
    });
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
