//! A Postgres data directory: made once, and cleared of what a killed server left behind before each start.

use super::{
    binaries::Binaries,
    claim::Claim,
    place::{Account, make_private, run_as},
    postgres::{Durability, SOCKET},
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

/// The major version of the Postgres that made `data`; None when there is no data yet.
pub fn made_by(data: &Path) -> Result<Option<u32>> {
    if !data.try_exists()? {
        return Ok(None);
    }
    let version = fs::read_to_string(data.join("PG_VERSION"));
    let version = version.with_context(|| format!("{} is not a Postgres cluster of ours", data.display()))?;
    Ok(Some(version.trim().parse().with_context(|| format!("PG_VERSION of {}", data.display()))?))
}

/// Makes `data`, whole or not at all: a kill half-way leaves only what the next start throws away.
pub fn create(
    data: &Path,
    binaries: &Binaries,
    account: Option<Account>,
    durability: Durability,
    claim: &Claim,
) -> Result<()> {
    let making = data.with_extension("making");
    remove(fs::remove_dir_all(&making))?;
    fs::create_dir(&making)?;
    make_private(&making, account)?;

    let mut initdb = Command::new(binaries.program("initdb"));
    initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8"]).arg("-D").arg(&making);
    if binaries.major >= 17 {
        // Collates alike everywhere: macOS and slim images know no C.UTF-8 of their own.
        initdb.args(["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
    } else {
        initdb.arg(if cfg!(target_os = "macos") { "--locale=C" } else { "--locale=C.UTF-8" });
    }
    if durability == Durability::Throwaway {
        initdb.args(["--no-sync", "--wal-segsize=1"]);
    }
    run_as(account, &mut initdb).stdin(Stdio::null()).stdout(claim.log()?).stderr(claim.log()?);
    let status = initdb.status().context("cannot run initdb")?;
    ensure!(status.success(), "initdb failed ({status}):\n{}", claim.last_words());
    fs::rename(&making, data)?;
    Ok(())
}

/// Removes the pid and socket files of a server that was killed. Postgres itself would only ask whether
/// the old pid is taken, and after a restart of the machine or container it often is, by something else.
pub fn clear(data: &Path, socket_dir: &Path) -> Result<()> {
    let pid_file = data.join("postmaster.pid");
    let pid = fs::read_to_string(&pid_file).unwrap_or_default();
    let pid = pid.lines().next().and_then(|line| line.parse().ok());
    if let Some(pid) = pid.filter(|pid| serves(*pid, data)) {
        bail!("postgres, pid {pid}, serves {} already, and not for insula: stop it first", data.display());
    }
    for left in [socket_dir.join(SOCKET), socket_dir.join(format!("{SOCKET}.lock")), pid_file] {
        remove(fs::remove_file(left))?;
    }
    Ok(())
}

/// In doubt, yes. Our own servers are known to be down: the claim waited for them.
fn serves(pid: u32, data: &Path) -> bool {
    let args = if Path::new("/proc/self").exists() {
        fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
    } else {
        let ps = Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()]).output();
        ps.map(|ps| ps.stdout).unwrap_or_default()
    };
    // A server's working directory is its data; /proc hides that from a root without CAP_SYS_PTRACE.
    String::from_utf8_lossy(&args).contains("postgres")
        && fs::read_link(format!("/proc/{pid}/cwd")).map_or(true, |cwd| cwd == data)
}

fn remove(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
