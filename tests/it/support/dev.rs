//! A developer's `insula dev`, on a port and in a directory of a test's own.

use super::{Binary, Dir, Persona, until_within};
use serde_json::Value;
use std::{net::TcpListener, time::Duration};

/// Makes a cluster, hashes a dozen passwords and stocks three shops, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_mins(1);

pub struct Dev {
    pub binary: Binary,
    /// What its demo.json says.
    pub demo: Value,
}

impl Dev {
    /// Ready, on what an earlier one left in `dir`.
    pub async fn start(dir: &Dir, args: &[&str], settings: &[(&str, &str)]) -> Self {
        let port = free_port().to_string();
        let path = dir.path().to_str().unwrap();
        let mut binary =
            Binary::start(&[&["dev", "--port", &port, "--data-dir", path], args].concat(), settings);
        // The file of an earlier run is about another port.
        until_within(PATIENCE, "insula dev is ready", async || {
            assert!(binary.is_running(), "{}{}", binary.stdout(), binary.stderr());
            dir.read("demo.json").contains(&format!("\"http://localhost:{port}\""))
        })
        .await;
        let demo = serde_json::from_str(&dir.read("demo.json")).unwrap();
        Self { binary, demo }
    }

    pub fn base(&self) -> &str {
        self.demo["base_url"].as_str().unwrap()
    }

    /// Whoever holds the API key of the first organisation.
    pub fn key(&self) -> Persona {
        Persona::new(self.base(), Some(self.demo["orgs"][0]["api_key"].as_str().unwrap().to_owned()))
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
