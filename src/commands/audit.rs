//! `insula audit`: whether what was kept of who did what is whole.

use crate::{audit, clock::Clock, config::Config, db::Pools, tenancy::PlatformDb};
use anyhow::Context as _;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Audit {
    /// Walk the hash chain of each organisation, and fail where one is broken
    Verify {
        /// Of this one alone, by its id or slug
        #[arg(long)]
        org: Option<String>,
    },
}

/// A line for each org that has an audit, and one for each break of its chain; whether there was none.
pub async fn verify(config: &Config, org: Option<&str>) -> anyhow::Result<bool> {
    let platform = PlatformDb::new(Pools::open(&config.database).await?);
    let only = match org {
        None => None,
        Some(org) => {
            Some(audit::find(&platform, org).await.with_context(|| format!("the organisation {org:?}"))?)
        }
    };
    let (mut orgs, mut broken) = (0_u64, 0_u64);
    let mut next = match only {
        None => audit::next_org(&platform, None).await?,
        only => only,
    };
    while let Some(org) = next {
        let mut told = 0;
        let found = audit::verify(&platform, org, |found| {
            told += 1;
            if told <= TOLD {
                println!("{org} BROKEN: {found}");
            }
        })
        .await
        .with_context(|| format!("walking the chain of {org}"))?;
        if found.breaks > TOLD {
            println!("{org} BROKEN: and in {} more places", found.breaks - TOLD);
        }
        println!("{}", account_of(&found, Clock::system().now()));
        orgs += 1;
        broken += u64::from(found.breaks > 0);
        next = if only.is_some() { None } else { audit::next_org(&platform, Some(org)).await? };
    }
    println!("{orgs} organisations, {broken} with a broken chain.");
    Ok(broken == 0)
}

/// Breaks told of one org, of a chain that may be broken everywhere.
const TOLD: u64 = 20;

fn account_of(found: &audit::Verified, now: time::OffsetDateTime) -> String {
    let audit::Verified { org, slug, sealed, head, unsealed, oldest_unsealed, .. } = found;
    let since = oldest_unsealed
        .map_or(String::new(), |at| format!(", the oldest for {} s", (now - at).whole_seconds().max(0)));
    format!("{org} {slug}: {sealed} events sealed, head {head}, {unsealed} not sealed yet{since}")
}
