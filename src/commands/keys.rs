//! `insula keys`: the keys that access tokens are signed with.

use crate::{
    authn::keyring::{Keyring, Rotation},
    clock::Clock,
    config::Config,
    db::Pools,
    tenancy::{PlatformDb, gate},
    trail::Trail,
    vault::Vault,
};
use clap::Subcommand;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;

#[derive(Subcommand)]
pub enum Keys {
    /// Print the current key, the next one, and previous ones
    List,
    /// Sign with the next key from here on; tokens signed before are good until they expire
    Rotate {
        /// Even if services that verify our tokens may not know the next key yet
        #[arg(long)]
        force: bool,
        /// A key has leaked: drop those used so far, and every access token with them
        #[arg(long)]
        revoke: bool,
        /// Why, for those who ask later
        #[arg(long, default_value = "from the command line")]
        reason: String,
    },
}

pub async fn run(config: &Config, command: Keys) -> anyhow::Result<()> {
    let (pools, clock) = (Pools::open(&config.database).await?, Clock::system());
    if let Keys::Rotate { force, revoke, reason } = command {
        let (platform, vault) = (PlatformDb::new(pools.clone()), Vault::new(&config.master_key()?)?);
        let lifetime = Duration::from_secs(config.auth.access_seconds.into());
        let keyring = Keyring::open(pools.clone(), platform, vault, &clock, lifetime).await?;
        let trail = Trail::of_the_house(clock.now());
        keyring.rotate(&Rotation { force, revoke, reason }, None, &trail).await?;
    }
    for key in gate::signing_keys(&pools).await? {
        let since = key.retired_at.or(key.activated_at).unwrap_or(key.created_at);
        println!("{}  {:<8}  since {}", key.kid, key.state.as_str(), since.format(&Rfc3339)?);
    }
    Ok(())
}
