//! A private Redis: in memory only, reached over a unix socket, up as long as its value is held.

use super::{
    binaries,
    claim::Claim,
    encode,
    place::{self, SocketDir},
    supervise::{Server, leashed},
};
use anyhow::{Context, Result};
use std::{
    io::{Read as _, Write as _},
    os::unix::{ffi::OsStrExt as _, net::UnixStream},
    path::Path,
    time::Duration,
};
use tokio::task::spawn_blocking;

const SOCKET: &str = "redis.sock";

/// A running server of our own. Dropping it stops the server and waits until it is down.
pub struct Redis {
    server: Server,
    socket_dir: SocketDir,
}

impl Redis {
    /// Starts an empty server whose socket and log are in `dir`, with the `redis-server` in `bin`, else
    /// the one on the PATH.
    pub async fn start(dir: &Path, bin: Option<&Path>) -> Result<Self> {
        let (dir, bin) = (dir.to_owned(), bin.map(Path::to_owned));
        spawn_blocking(move || Self::start_blocking(&dir, bin.as_deref())).await?
    }

    pub fn start_blocking(dir: &Path, bin: Option<&Path>) -> Result<Self> {
        start(dir, bin).with_context(|| format!("cannot start Redis in {}", dir.display()))
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", encode(self.socket_dir.path.join(SOCKET).as_os_str().as_bytes()))
    }

    pub async fn stop(self) -> Result<()> {
        spawn_blocking(move || self.stop_blocking()).await?
    }

    pub fn stop_blocking(self) -> Result<()> {
        self.server.stop().context("cannot stop Redis")
    }
}

fn start(dir: &Path, bin: Option<&Path>) -> Result<Redis> {
    let dir = place::settle(dir, None)?;
    let claim = Claim::take(&dir)?;
    let socket_dir = SocketDir::find(&dir, SOCKET, None)?;

    let mut command = leashed(&binaries::redis_server(bin)?);
    command.args(["--port", "0", "--unixsocket", SOCKET, "--unixsocketperm", "700"]);
    command.args(["--save", "", "--appendonly", "no"]).current_dir(&socket_dir.path);
    let socket = socket_dir.path.join(SOCKET);
    let server = Server::start(command, claim, || answers(&socket).unwrap_or(false))?;
    Ok(Redis { server, socket_dir })
}

/// The socket file of a killed server is still there, but refuses.
fn answers(socket: &Path) -> std::io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG")
}
