//! Ties a server's life to ours: a shell holds our pipe, and interrupts the server when the pipe closes.

use super::claim::Claim;
use anyhow::{Context, Result, bail, ensure};
use std::{
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

pub const POLL: Duration = Duration::from_millis(3);
/// Crash recovery after a power cut may take this long; an ordinary start takes 50 ms.
const PATIENCE: Duration = Duration::from_mins(1);

/// The reader ends when the pipe closes (we are gone), or when the server does. It asks more than once:
/// a shell's background job ignores SIGINT until its program says otherwise, some milliseconds later.
/// Background jobs also read from /dev/null, hence the detour of our pipe by way of fd 3.
const LEASH: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- & server=$!
{ read -r _; while kill -INT "$server"; do sleep 1; done; } <&3 >/dev/null 2>&1 & reader=$!
exec 3<&-
wait "$server"; status=$?
kill "$reader" 2>/dev/null
exit "$status"
"#;

/// A running server. It is down when this has been dropped, and soon after we were killed.
pub struct Server {
    child: Child,
    claim: Claim,
}

/// A command that runs `program` on a leash; its arguments are the server's.
pub fn leashed(program: &Path) -> Command {
    let mut shell = Command::new("/bin/sh");
    // A group of its own: a terminal's Ctrl-C reaches us first, and requests in flight can finish.
    // LC_ALL: Redis and Postgres on macOS refuse to start under a locale that isn't installed.
    shell.args(["-c", LEASH, "leash"]).arg(program).process_group(0).env("LC_ALL", "C");
    shell
}

impl Server {
    /// Starts `command` and returns when `ready` says so; fails when the server ends before that.
    pub fn start(mut command: Command, claim: Claim, ready: impl Fn() -> bool) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(claim.log()?).stderr(claim.log()?);
        let child = command.spawn().context("cannot run /bin/sh")?;
        let mut server = Self { child, claim };

        let deadline = Instant::now() + PATIENCE;
        while !ready() {
            if let Some(status) = server.child.try_wait()? {
                bail!("it ended at once ({status}):\n{}", server.claim.last_words());
            }
            ensure!(Instant::now() < deadline, "not ready in {PATIENCE:?}:\n{}", server.claim.last_words());
            thread::sleep(POLL);
        }
        Ok(server)
    }

    /// Closes the pipe and waits until the server is down.
    pub fn stop(mut self) -> Result<()> {
        let status = self.close()?;
        ensure!(status.success(), "it did not end well ({status}):\n{}", self.claim.last_words());
        Ok(())
    }

    fn close(&mut self) -> io::Result<ExitStatus> {
        // Closes stdin first; asked again, it remembers the answer.
        self.child.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "could not wait for a private server to end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, process, sync::mpsc};

    #[test]
    fn a_server_dropped_before_it_can_listen_to_signals_stops_too() {
        let dir = env::temp_dir().join(format!("insula-leash-{}", process::id()));
        fs::create_dir(&dir).unwrap();
        let claim = Claim::take(&dir).unwrap();
        let mut slow = leashed(Path::new("/bin/sh"));
        slow.args(["-c", r#"sleep 0.2; exec redis-server --port 0 --unixsocket "$0" --save ''"#]);
        slow.arg(dir.join("redis.sock"));

        let (done, dropped) = mpsc::channel();
        thread::spawn(move || {
            drop(Server::start(slow, claim, || true).unwrap());
            done.send(()).unwrap();
        });
        dropped.recv_timeout(Duration::from_secs(10)).unwrap();
        fs::remove_dir_all(dir).unwrap();
    }
}
