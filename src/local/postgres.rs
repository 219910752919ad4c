//! A private Postgres: made when missing, reached over a unix socket, up as long as its value is held.

use super::{
    binaries::Binaries,
    claim::Claim,
    cluster, encode,
    place::{self, Account, SocketDir, run_as},
    supervise::{Server, leashed},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Instant,
};
use tokio::task::spawn_blocking;

pub(super) const SOCKET: &str = ".s.PGSQL.5432";

/// What a power cut may cost. Killing the server costs nothing either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that was committed.
    Kept,
    /// Everything, in return for speed.
    Throwaway,
}

/// A running server of our own. Dropping it stops the server and waits until it is down.
pub struct Postgres {
    server: Server,
    dir: PathBuf,
    socket_dir: SocketDir,
}

impl Postgres {
    /// Starts the cluster in `dir`, which is made when missing, with the binaries in `pg_bin`, else the
    /// newest installed. Under root it runs as `postgres` or `nobody`, and moves to the temp dir, with a
    /// warning, when that account cannot reach `dir`.
    pub async fn start(dir: &Path, pg_bin: Option<&Path>, durability: Durability) -> Result<Self> {
        let (dir, pg_bin) = (dir.to_owned(), pg_bin.map(Path::to_owned));
        spawn_blocking(move || Self::start_blocking(&dir, pg_bin.as_deref(), durability)).await?
    }

    pub fn start_blocking(dir: &Path, pg_bin: Option<&Path>, durability: Durability) -> Result<Self> {
        start(dir, pg_bin, durability).with_context(|| format!("cannot start Postgres in {}", dir.display()))
    }

    /// Where the cluster, its log and its holder's pid are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// For sqlx and for psql. The port only completes the socket's name: nothing listens on TCP.
    pub fn url(&self, role: &str, database: &str) -> String {
        let (role, database) = (encode(role.as_bytes()), encode(database.as_bytes()));
        let host = encode(self.socket_dir.path.as_os_str().as_bytes());
        format!("postgres://{role}@localhost:5432/{database}?host={host}&sslmode=disable")
    }

    pub fn superuser_url(&self) -> String {
        self.url("postgres", "postgres")
    }

    /// Ends open sessions and returns when the server is down.
    pub async fn stop(self) -> Result<()> {
        spawn_blocking(move || self.stop_blocking()).await?
    }

    pub fn stop_blocking(self) -> Result<()> {
        self.server.stop().context("cannot stop Postgres")
    }
}

fn start(dir: &Path, pg_bin: Option<&Path>, durability: Durability) -> Result<Postgres> {
    let began = Instant::now();
    let account = Account::to_step_down_to()?;
    let dir = place::settle(dir, account)?;
    let claim = Claim::take(&dir)?;

    let data = dir.join("data");
    let account = account.map(|account| account.or_owner_of(&data));
    let made_by = cluster::made_by(&data)?;
    let binaries = Binaries::find(pg_bin, made_by)?;
    match made_by {
        None => cluster::create(&data, &binaries, account, durability, &claim)?,
        Some(major) => ensure!(
            major == binaries.major,
            "{} was made by Postgres {major}, and the binaries are of Postgres {}: install {major}, or move it away",
            data.display(),
            binaries.major,
        ),
    }
    let socket_dir = SocketDir::find(&data, SOCKET, account)?;
    cluster::clear(&data, &socket_dir.path)?;

    let mut command = leashed(&binaries.program("postgres"));
    command.arg("-D").arg(&data);
    for setting in settings(&socket_dir.path, durability) {
        command.args(["-c", &setting]);
    }
    run_as(account, &mut command);
    // Cleared above, so that what it says is this server's word.
    let pid_file = data.join("postmaster.pid");
    let ready = || fs::read_to_string(&pid_file).is_ok_and(|text| text.lines().any(|l| l.trim() == "ready"));
    let server = Server::start(command, claim, ready)?;
    tracing::debug!(dir = %dir.display(), elapsed = ?began.elapsed(), "started Postgres");
    Ok(Postgres { server, dir, socket_dir })
}

fn settings(socket_dir: &Path, durability: Durability) -> Vec<String> {
    // A list to Postgres: quoted, so that a comma or a space in the path is part of it.
    let socket_dir = socket_dir.display().to_string().replace('"', r#""""#);
    let mut settings = vec![
        "listen_addresses=".to_owned(),
        "port=5432".to_owned(),
        format!(r#"unix_socket_directories="{socket_dir}""#),
        "unix_socket_permissions=0700".to_owned(),
        "max_connections=200".to_owned(),
    ];
    if durability == Durability::Throwaway {
        let fast = [
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "wal_level=minimal",
            "max_wal_senders=0",
        ];
        settings.extend(fast.map(str::to_owned));
    }
    settings
}
