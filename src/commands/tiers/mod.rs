//! `insula tiers`: every tier in a file, that is kept and reviewed like code, compared, and put in force whole.

mod file;
mod plan;

use self::{file::File, plan::Plan};
use crate::{
    clock::Clock,
    config::Config,
    db::Pools,
    tenancy::PlatformDb,
    tiers::{self, By},
    trail::Trail,
};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Subcommand)]
pub enum Tiers {
    /// Write every tier, as it holds now, to a file: .toml, .yaml or .yml
    Export {
        /// To be written over where it is there
        file: PathBuf,
    },
    /// Tell what applying a file would change, and whom that touches; exit status 0 is nothing, 2 is something
    Plan {
        /// As `export` writes it: .toml, .yaml or .yml
        file: PathBuf,
        /// Delete tiers that are not in the file
        #[arg(long)]
        prune: bool,
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// Put a file in force: all of it, or nothing where anything stands against it
    Apply {
        /// As `export` writes it: .toml, .yaml or .yml
        file: PathBuf,
        /// Delete tiers that are not in the file
        #[arg(long)]
        prune: bool,
        /// Even over changes that were made, or announced, after the file was written
        #[arg(long)]
        force: bool,
        /// Why, for those who ask later
        #[arg(long, value_parser = reason)]
        reason: String,
    },
}

/// What `plan` ends with where there are changes.
const CHANGES: u8 = 2;

pub async fn run(config: &Config, command: Tiers) -> anyhow::Result<ExitCode> {
    let read = |path: &Path| file::read(path).map_err(|faults| unusable(path, &faults));
    let now = Clock::system().now();
    match command {
        Tiers::Export { file } => {
            let mut tx = open(config).await?.begin().await?;
            let all = tiers::select_all(&mut tx, now).await?;
            let (announced, count) = (all.iter().filter(|tier| tier.announced.is_some()).count(), all.len());
            file::write(&file, &File::of(all))?;
            println!("{count} tiers are in {}.", file.display());
            if announced > 0 {
                println!("What is announced of {announced} of them is not: a file says what holds now.");
            }
        }
        Tiers::Plan { file, prune, json } => {
            let wanted = read(&file)?;
            let mut tx = open(config).await?.begin().await?;
            let all = tiers::select_all(&mut tx, now).await?;
            let plan = Plan::make(&mut tx, &wanted, all, prune).await?;
            if json {
                println!("{}", serde_json::to_string_pretty(&plan)?);
            } else {
                print!("{plan}");
            }
            return Ok(if plan.changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(CHANGES) });
        }
        Tiers::Apply { file, prune, force, reason } => {
            let wanted = read(&file)?;
            let trail = Trail::of_the_house(now);
            let plan =
                apply(config, &wanted, prune, force, &By { operator: None, trail: &trail, reason: &reason })
                    .await
                    .with_context(|| format!("nothing of {} was applied", file.display()))?;
            print!("{plan}");
            if !plan.changes.is_empty() {
                println!(
                    "Applied. Export again before the next change: the file's versions are those from before."
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn open(config: &Config) -> anyhow::Result<PlatformDb> {
    Ok(PlatformDb::new(Pools::open(&config.database).await?))
}

async fn apply(
    config: &Config,
    wanted: &File,
    prune: bool,
    force: bool,
    by: &By<'_>,
) -> anyhow::Result<Plan> {
    let mut tx = open(config).await?.begin().await?;
    let mut all = Vec::new();
    // In the order of their slugs, so that of two who do this one waits.
    for tier in tiers::select_all(&mut tx, by.trail.at).await? {
        all.extend(tiers::lock(&mut tx, &tier.slug, by.trail.at).await?);
    }
    let plan = Plan::make(&mut tx, wanted, all, prune).await?;
    let obstacles = plan.obstacles(force);
    if !obstacles.is_empty() {
        bail!("this stands against it:{}", lines(&obstacles));
    }
    if plan.changes.is_empty() {
        return Ok(plan);
    }
    for change in &plan.changes {
        change.carry_out(&mut tx, by).await.with_context(|| change.tier.clone())?;
    }
    tiers::tell_replicas(&mut tx).await?;
    tx.commit().await?;
    Ok(plan)
}

fn unusable(path: &Path, faults: &[String]) -> anyhow::Error {
    anyhow::anyhow!("{} can't be used:{}", path.display(), lines(faults))
}

fn lines(faults: &[String]) -> String {
    format!("\n  {}", faults.join("\n  "))
}

/// As long as one may be that is given to the API.
fn reason(text: &str) -> Result<String, &'static str> {
    match text.chars().count() {
        1..=500 => Ok(text.to_owned()),
        _ => Err("must have 1 to 500 characters"),
    }
}
