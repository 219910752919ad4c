//! The database of `insula dev`: a private one in the data dir, or the one that the settings name.

use super::report::step;
use crate::{
    bootstrap::{self, Passwords},
    config::Config,
    local::{Durability, Postgres},
};
use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

const DATABASE: &str = "insula";

/// What was started and has to be stopped.
pub struct Servers {
    postgres: Option<Postgres>,
}

impl Servers {
    pub async fn stop(self) -> anyhow::Result<()> {
        match self.postgres {
            Some(postgres) => postgres.stop().await,
            None => Ok(()),
        }
    }
}

/// Fills in the settings that `serve` would want from somebody.
pub async fn start(config: &mut Config, data_dir: &Path, fresh: bool) -> anyhow::Result<Servers> {
    if config.auth.master_key.expose_secret().is_empty() {
        config.auth.master_key = master_key(&data_dir.join("master.key"))?;
    }
    let database = &mut config.database;
    let named = [&database.app_url, &database.platform_url, &database.owner_url]
        .map(|url| !url.expose_secret().is_empty());
    let patience = Duration::from_secs(database.connect_seconds);
    let postgres = if named.contains(&true) {
        ensure!(
            named == [true; 3],
            "to use a server that you have, set all three of INSULA_DATABASE__OWNER_URL, INSULA_DATABASE__APP_URL \
             and INSULA_DATABASE__PLATFORM_URL (`insula bootstrap` makes the roles); set none for a private server"
        );
        ensure!(
            !fresh,
            "--fresh would empty the server that you have: leave it out, or drop the database yourself"
        );
        None
    } else {
        let dir = data_dir.join("postgres");
        let what = if dir.exists() { "starting Postgres" } else { "making a private Postgres cluster" };
        let pg_bin = config.dev.pg_bin.clone();
        let starting = Postgres::start(&dir, pg_bin.as_deref(), Durability::Kept);
        let postgres = step(what, starting).await?;
        let admin = SecretString::from(postgres.superuser_url());
        if fresh {
            // Not its files: only who holds the cluster may touch it.
            bootstrap::drop_database(&admin, DATABASE).await?;
        }
        bootstrap::bootstrap(&admin, DATABASE, &Passwords::default(), patience).await?;
        database.owner_url = postgres.url("insula_owner", DATABASE).into();
        database.app_url = postgres.url("insula_app", DATABASE).into();
        database.platform_url = postgres.url("insula_platform", DATABASE).into();
        Some(postgres)
    };
    step("bringing the schema up to date", bootstrap::migrate(&database.owner_url, patience)).await?;
    Ok(Servers { postgres })
}

/// Made once, so that sessions outlive a restart.
fn master_key(file: &Path) -> anyhow::Result<SecretString> {
    if let Ok(key) = fs::read_to_string(file) {
        return Ok(key.trim().to_owned().into());
    }
    let key = STANDARD.encode(rand::random::<[u8; 32]>());
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(file)
        .and_then(|mut file| file.write_all(key.as_bytes()))
        .context("can't keep the master key")?;
    Ok(key.into())
}
