//! `insula operator`: makes the first operators, whom nobody could invite.

use crate::{
    authn::password::{self, Hasher},
    clock::Clock,
    config::Config,
    db::Pools,
    people,
    tenancy::PlatformDb,
};
use anyhow::Context as _;

pub async fn run(config: &Config, email: &str) -> anyhow::Result<()> {
    let pools = Pools::open(&config.database).await?;
    let platform = PlatformDb::new(pools);
    let hasher = Hasher::new(1, 1)?;
    let password = password::generate();
    let user = people::create_user(&platform, &hasher, &email.to_lowercase(), email, password.clone().into())
        .await
        .context("making the user")?;
    people::make_operator(&platform, &Clock::system(), user).await.context("making the operator")?;
    println!("{email} is an operator now. Password, shown this once: {password}");
    Ok(())
}
