//! `insula policy`: whether what roles may do is sound, in the files and in each organisation.

use crate::{
    config::Config,
    db::Pools,
    error::Error,
    policy_check::{self, Whose},
    telemetry,
};
use anyhow::anyhow;
use clap::Subcommand;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Subcommand)]
pub enum Policy {
    /// Tell what is wrong with the policy files and with the roles of organisations; a line each
    Check {
        /// Of one organisation too, by slug or id
        #[arg(long)]
        org: Option<String>,
        /// Of every organisation too
        #[arg(long, conflicts_with = "org")]
        all: bool,
        /// The folder with model.conf and roles.csv; those that this program was built with where absent
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

pub async fn check(config: &Config, whose: Option<Whose>, dir: Option<&Path>) -> anyhow::Result<ExitCode> {
    let mut found = policy_check::of_files(dir)?;
    let mut looked_at = "the policy files".to_owned();
    if let Some(whose) = whose {
        config.check_for_reading()?;
        telemetry::init(&config.log)?;
        let pools = Pools::open(&config.database).await?;
        let (orgs, faults) = policy_check::of_orgs(&pools, &whose).await.map_err(|error| match error {
            Error::NotFound => anyhow!("there is no such organisation"),
            error => error.into(),
        })?;
        found.extend(faults);
        looked_at = format!("{looked_at} and {orgs} organisations");
    }
    if found.is_empty() {
        println!("Nothing is wrong with {looked_at}.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", found.join("\n"));
    Ok(ExitCode::FAILURE)
}
