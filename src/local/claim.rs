//! Lets one owner at a time into a directory, and only after the servers of the last one are gone.

use super::supervise::POLL;
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

/// A process forked elsewhere in this program keeps our files open until it execs.
const FORK: Duration = Duration::from_millis(250);
const SHUTDOWN: Duration = Duration::from_secs(30);

/// The sole right to a directory, by two file locks, which the kernel takes back however we end.
pub struct Claim {
    path: PathBuf,
    /// Servers inherit this file as their stderr, and its lock with it: while the lock is taken, one lives.
    log: File,
    _holder: File,
}

impl Claim {
    pub fn take(dir: &Path) -> Result<Self> {
        let (holder_path, path) = (dir.join("holder"), dir.join("log"));
        let mut holder = open(&holder_path)?;
        if !lock(&holder, FORK)? {
            let pid = fs::read_to_string(holder_path).unwrap_or_default();
            bail!("{} is held by another insula, pid {}", dir.display(), pid.trim());
        }
        let log = open(&path)?;
        if !lock(&log, SHUTDOWN)? {
            bail!("a server still runs in {} although the insula that started it is gone", dir.display());
        }
        log.set_len(0)?;
        holder.set_len(0)?;
        writeln!(holder, "{}", process::id())?;
        Ok(Self { path, log, _holder: holder })
    }

    pub fn log(&self) -> io::Result<File> {
        self.log.try_clone()
    }

    /// The end of the log, for error messages.
    pub fn last_words(&self) -> String {
        let log = fs::read(&self.path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options.open(path).with_context(|| format!("cannot open {}", path.display()))
}

fn lock(file: &File, patience: Duration) -> Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(POLL),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}
