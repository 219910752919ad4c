//! Finds the servers installed on this machine, and names the one command that installs a missing one.

use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where packages put a version each: Debian, RPMs and source builds, Homebrew.
const SHELVES: [&str; 6] = [
    "/usr/lib/postgresql",
    "/usr",
    "/usr/local",
    "/opt/homebrew/opt",
    "/usr/local/opt",
    "/home/linuxbrew/.linuxbrew/opt",
];

/// One installation of Postgres.
pub struct Binaries {
    bin: PathBuf,
    pub major: u32,
}

impl Binaries {
    /// The installation in `pg_bin` or else the newest; the one that fits existing data before any other.
    pub fn find(pg_bin: Option<&Path>, made_by: Option<u32>) -> Result<Self> {
        let bins = pg_bin.map_or_else(installed, |bin| vec![bin.to_owned()]);
        let mut found: Vec<_> = bins.into_iter().filter_map(Self::inspect).collect();
        // Stable: of one version, the package's comes before what PATH says.
        found.sort_by_key(|binaries| (Some(binaries.major) != made_by, u32::MAX - binaries.major));
        found.into_iter().next().with_context(|| {
            let lacking = match pg_bin {
                Some(bin) => format!("no postgres and initdb in {}", bin.display()),
                None => "Postgres is not installed".to_owned(),
            };
            format!("{lacking}: {}", remedy("postgresql", "postgresql@17", "PG_BIN"))
        })
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    fn inspect(bin: PathBuf) -> Option<Self> {
        if !bin.join("initdb").is_file() {
            return None;
        }
        let said = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
        // "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", "postgres (PostgreSQL) 19beta1"
        let version = String::from_utf8(said.stdout).ok()?.split_whitespace().nth(2)?.to_owned();
        let major = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Some(Self { bin, major })
    }
}

/// `redis-server`, from `bin` when given.
pub fn redis_server(bin: Option<&Path>) -> Result<PathBuf> {
    let found = match bin {
        Some(bin) => Some(bin.join("redis-server")).filter(|program| program.is_file()),
        None => on_path("redis-server"),
    };
    found.with_context(|| format!("no redis-server: {}", remedy("redis-server", "redis", "REDIS_BIN")))
}

fn installed() -> Vec<PathBuf> {
    let shelved = SHELVES.iter().filter_map(|shelf| fs::read_dir(shelf).ok()).flatten().flatten();
    let bins = shelved.map(|version| version.path().join("bin"));
    let on_path = on_path("postgres").and_then(|program| Some(program.parent()?.to_owned()));
    bins.chain(on_path).collect()
}

fn on_path(program: &str) -> Option<PathBuf> {
    let mut which = Command::new("/bin/sh");
    which.args(["-c", r#"command -v "$0""#, program]).stderr(Stdio::null());
    let found = PathBuf::from(String::from_utf8(which.output().ok()?.stdout).ok()?.trim_end());
    found.is_absolute().then_some(found)
}

fn remedy(apt: &str, brew: &str, setting: &str) -> String {
    let install = if cfg!(target_os = "macos") {
        format!("brew install {brew}")
    } else {
        format!("apt-get install {apt}")
    };
    format!("`{install}` installs it; {setting} names the directory of one that is elsewhere")
}
