//! The real program, as its users start it.

use super::{Database, Dir, until, wait::PATIENCE};
use std::{
    ffi::OsString,
    fs::File,
    path::Path,
    process::{Command as StdCommand, ExitStatus, Stdio},
};
use tokio::process::{Child, Command};

/// A running `insula`, killed when dropped.
pub struct Binary {
    child: Child,
    dir: Dir,
}

impl Binary {
    /// With these settings and no others from the environment, but for where the servers' programs are.
    pub fn start(args: &[&str], settings: &[(&str, &str)]) -> Self {
        let dir = Dir::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_insula"));
        let ours = |name: &OsString| name.to_string_lossy().starts_with("INSULA_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name) && name != "INSULA_DEV__PG_BIN") {
            command.env_remove(name);
        }
        command.env("INSULA_STORAGE__FOLDER", dir.path().join("files"));
        command.env("INSULA_USAGE__JOURNAL", dir.path().join("usage"));
        command.args(args).envs(settings.iter().copied()).kill_on_drop(true).stdin(Stdio::null());
        let file = |name| File::create(dir.path().join(name)).unwrap();
        command.stdout(file("stdout")).stderr(file("stderr"));
        Self { child: command.spawn().unwrap(), dir }
    }

    /// Another replica of the platform of a `TestApp` on this database: what one signs is good at the other.
    pub fn serve(database: &Database, settings: &[(&str, &str)]) -> Self {
        let (app, platform) = (database.url("insula_app"), database.url("insula_platform"));
        let ours = [
            ("INSULA_AUTH__MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            ("INSULA_DATABASE__APP_URL", app.as_str()),
            ("INSULA_DATABASE__PLATFORM_URL", &platform),
            ("INSULA_HTTP__LISTEN", "127.0.0.1:0"),
            ("INSULA_HTTP__PUBLIC_URL", "http://insula.test"),
            ("INSULA_STORAGE__FOLDER", database.files.to_str().unwrap()),
        ];
        Self::start(&["serve"], &[&ours[..], settings].concat())
    }

    /// A worker beside it, which serves nothing.
    pub fn work(database: &Database, settings: &[(&str, &str)]) -> Self {
        let (app, platform) = (database.url("insula_app"), database.url("insula_platform"));
        let ours = [
            ("INSULA_AUTH__MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            ("INSULA_DATABASE__APP_URL", app.as_str()),
            ("INSULA_DATABASE__PLATFORM_URL", &platform),
            ("INSULA_STORAGE__FOLDER", database.files.to_str().unwrap()),
        ];
        Self::start(&["worker"], &[&ours[..], settings].concat())
    }

    /// Starts it, lets it end, and tells its code and what it said to both sides.
    pub async fn run(args: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
        let mut binary = Self::start(args, settings);
        let code = binary.ended().await.code().unwrap();
        (code, format!("{}{}", binary.stdout(), binary.stderr()))
    }

    pub fn stdout(&self) -> String {
        self.dir.read("stdout")
    }

    pub fn stderr(&self) -> String {
        self.dir.read("stderr")
    }

    /// Where `serve` serves: it was told port 0.
    pub async fn base(&mut self) -> String {
        let mut base = String::new();
        until("it serves", async || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", self.stderr());
            let told = self.stderr();
            let address = told.split_once(r#""address":""#).and_then(|(_, rest)| rest.split_once('"'));
            base = address.map_or(String::new(), |(address, _)| format!("http://{address}"));
            !base.is_empty()
        })
        .await;
        base
    }

    pub fn signal(&self, signal: &str) {
        signal_to(self.child.id().unwrap(), signal);
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end: {}", self.stderr())).unwrap()
    }
}

pub fn signal_to(pid: u32, signal: &str) {
    let sent = StdCommand::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// The command lines of all processes in which this path occurs.
pub fn processes_of(path: &Path) -> Vec<String> {
    let listed = StdCommand::new("ps").args(["-eo", "args="]).output().unwrap();
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    text.lines().filter(|line| line.contains(path.to_str().unwrap())).map(str::to_owned).collect()
}
