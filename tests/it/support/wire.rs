//! The wire between a server and its database, on which an answer can get lost.

use super::{Database, Dir};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

/// What a tenant's transaction ends with, and what Postgres says to it.
const COMMIT: &[u8] = b"commit\0";
const COMMITTED: &[u8] = b"COMMIT\0";

pub struct Wire {
    dir: Dir,
    database: Database,
    loses: Arc<AtomicBool>,
    lost: Arc<AtomicU32>,
}

impl Wire {
    pub fn to(database: &Database) -> Self {
        let (dir, upstream) = (Dir::new(), socket_of(database));
        let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
        let wire = Self { dir, database: database.clone(), loses: Arc::default(), lost: Arc::default() };
        let (loses, lost) = (Arc::clone(&wire.loses), Arc::clone(&wire.lost));
        tokio::spawn(async move {
            while let Ok((server, _)) = listener.accept().await {
                let postgres = UnixStream::connect(&upstream).await.unwrap();
                tokio::spawn(carry(server, postgres, Arc::clone(&loses), Arc::clone(&lost)));
            }
        });
        wire
    }

    /// The database's address for one of the roles, over this wire.
    pub fn url(&self, role: &str) -> String {
        let url = self.database.url(role);
        let (before, rest) = url.split_once("host=").unwrap();
        let (_, after) = rest.split_once('&').unwrap();
        let here = self.dir.path().to_str().unwrap().replace('/', "%2F");
        format!("{before}host={here}&{after}")
    }

    /// From here on no server hears of its commits.
    pub fn lose_commits(&self) {
        self.loses.store(true, Ordering::SeqCst);
    }

    /// How many commits there were that nobody heard of.
    pub fn lost(&self) -> u32 {
        self.lost.load(Ordering::SeqCst)
    }
}

fn socket_of(database: &Database) -> String {
    let url = database.url("insula_app");
    let host = url.split_once("host=").unwrap().1.split('&').next().unwrap();
    format!(
        "{}/.s.PGSQL.5432",
        host.replace("%2F", "/").replace("%2E", ".").replace("%2D", "-").replace("%5F", "_")
    )
}

async fn carry(
    mut server: UnixStream,
    mut postgres: UnixStream,
    loses: Arc<AtomicBool>,
    lost: Arc<AtomicU32>,
) {
    let (mut asked, mut answered, mut silent) = (vec![0; 1 << 16], vec![0; 1 << 16], false);
    loop {
        tokio::select! {
            read = server.read(&mut asked) => match read {
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    silent |= loses.load(Ordering::SeqCst) && holds(&asked[..length], COMMIT);
                    if postgres.write_all(&asked[..length]).await.is_err() { return; }
                }
            },
            read = postgres.read(&mut answered) => match read {
                Ok(0) | Err(_) => return,
                Ok(length) if silent => {
                    lost.fetch_add(u32::from(holds(&answered[..length], COMMITTED)), Ordering::SeqCst);
                }
                Ok(length) => if server.write_all(&answered[..length]).await.is_err() { return; },
            },
        }
    }
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
