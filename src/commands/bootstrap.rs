//! `insula bootstrap`: a server becomes ready for the first migration.

use crate::bootstrap::{self, Passwords};
use clap::Args;
use secrecy::SecretString;
use std::time::Duration;

#[derive(Args)]
pub struct Bootstrap {
    /// An administrator's address, like `postgres://postgres:..@host/postgres`
    #[arg(long)]
    admin_url: SecretString,
    #[arg(long, default_value = "insula")]
    database: String,
    #[arg(long, env = "INSULA_BOOTSTRAP__OWNER_PASSWORD", hide_env_values = true)]
    owner_password: Option<SecretString>,
    #[arg(long, env = "INSULA_BOOTSTRAP__APP_PASSWORD", hide_env_values = true)]
    app_password: Option<SecretString>,
    #[arg(long, env = "INSULA_BOOTSTRAP__PLATFORM_PASSWORD", hide_env_values = true)]
    platform_password: Option<SecretString>,
}

pub async fn run(options: Bootstrap, patience: Duration) -> anyhow::Result<()> {
    let Bootstrap { admin_url, database, owner_password, app_password, platform_password } = options;
    let passwords = Passwords { owner: owner_password, app: app_password, platform: platform_password };
    bootstrap::bootstrap(&admin_url, &database, &passwords, patience).await?;
    println!("The roles and the database {database} are there. Next: `insula migrate`.");
    Ok(())
}
