//! Every setting, read once from defaults, a file and the environment, and checked before anything starts.

mod checks;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use figment::{
    Figment,
    providers::{Env, Format as _, Toml},
};
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Documents every key with its default; `insula config` prints it.
pub const DEFAULTS: &str = include_str!("default.toml");

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub http: Http,
    pub database: Database,
    pub redis: Redis,
    pub auth: Auth,
    pub mail: Mail,
    pub storage: Storage,
    pub authz: Authz,
    pub cache: Cache,
    pub log: Log,
    pub metrics: Metrics,
    pub traces: Traces,
    pub limits: Limits,
    pub usage: Usage,
    pub decisions: Decisions,
    pub events: Events,
    pub jobs: Jobs,
    pub webhooks: Webhooks,
    pub dev: Dev,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub listen: SocketAddr,
    pub public_url: String,
    pub allowed_origins: Vec<String>,
    pub trusted_proxies: Vec<IpNet>,
    pub require_https: bool,
    pub timeout_seconds: u64,
    pub body_limit_bytes: usize,
    pub unread_seconds: u64,
    pub shutdown_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub app_url: SecretString,
    pub platform_url: SecretString,
    pub owner_url: SecretString,
    pub app_connections: u32,
    /// A quarter of them where not set.
    pub org_connections: Option<u32>,
    pub org_queue: usize,
    pub gate_connections: u32,
    pub platform_connections: u32,
    pub acquire_seconds: u64,
    pub connect_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    pub url: SecretString,
    pub cluster: bool,
    pub timeout_milliseconds: u64,
    pub assumed_replicas: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub master_key: SecretString,
    pub access_seconds: u32,
    pub refresh_idle_days: u32,
    pub session_days: u32,
    pub concurrent_hashes: usize,
    pub queued_hashes: usize,
    pub lock_after_failures: u16,
    pub lock_minutes: u16,
    pub totp_issuer: String,
    pub argon2_memory_kib: u32,
    pub argon2_passes: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    pub from: String,
    pub smtp_url: SecretString,
    pub folder: PathBuf,
    pub link_base: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    pub folder: PathBuf,
    pub bucket: String,
    pub prefix: String,
    pub region: String,
    pub endpoint: String,
    pub access_key_id: String,
    pub secret_access_key: SecretString,
    pub file_mebibytes: u32,
    pub import_mebibytes: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authz {
    pub policies_mebibytes: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    pub mebibytes: u32,
    pub max_age_milliseconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    #[serde(deserialize_with = "address_or_none")]
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// Empty: nowhere.
    pub otlp_url: String,
    pub sample: f64,
    pub service_name: String,
}

fn address_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
}

/// For `insula dev` alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dev {
    pub pg_bin: Option<PathBuf>,
    /// Set by `insula dev` itself and by no setting: the page shows everybody's mails to anybody.
    #[serde(skip)]
    pub mail_page: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub ip: IpLimit,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    pub sample: f64,
    pub retention_days: u32,
    pub mebibytes: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    pub journal: PathBuf,
    pub journal_mebibytes: u32,
    pub retention_days: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jobs {
    pub workers: u32,
    pub retention_days: u32,
    pub failed_retention_days: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    pub streams_per_org: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    pub in_flight: usize,
    pub timeout_milliseconds: u64,
    /// In order, one for each retry.
    pub retry_seconds: Vec<f64>,
    pub give_up_days: u32,
    pub retention_days: u32,
    pub allowed_networks: Vec<IpNet>,
    pub extra_roots_file: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpLimit {
    pub quota_per_minute: u32,
    pub burst: u32,
    /// Four times that of an address where not set.
    pub network_quota_per_minute: Option<u32>,
    pub network_burst: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}

/// A setting that can't be used: which one, why, and what would do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

impl Unusable {
    pub fn new(key: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("{key}: {why}"))
    }
}

impl Config {
    /// Reads `file` (when given) over the defaults, and the environment over both.
    pub fn load(file: Option<&Path>) -> Result<Self, Unusable> {
        let mut sources = Figment::from(Toml::string(DEFAULTS));
        if let Some(file) = file {
            sources = sources.merge(Toml::file_exact(file));
        }
        let prefixed = Env::prefixed("INSULA_").filter(|key| !key.starts_with("bootstrap__")).split("__");
        // What every Postgres tool calls it.
        let pg_bin = Env::raw().only(&["PG_BIN"]).map(|_| "dev.pg_bin".into());
        Self::from_sources(&sources.merge(pg_bin).merge(prefixed))
    }

    /// The defaults with a few keys set: what the tests run with.
    pub fn with(overrides: &str) -> Result<Self, Unusable> {
        Self::with_all(&[overrides])
    }

    /// The same, each over the one before.
    pub fn with_all(overrides: &[&str]) -> Result<Self, Unusable> {
        let defaults = Figment::from(Toml::string(DEFAULTS));
        Self::from_sources(
            &overrides.iter().fold(defaults, |sources, toml| sources.merge(Toml::string(toml))),
        )
    }

    fn from_sources(sources: &Figment) -> Result<Self, Unusable> {
        sources.extract().map_err(|error| {
            let key = error.path.join("__").to_uppercase();
            let kind = error.kind.to_string();
            Unusable(if key.is_empty() { kind } else { format!("INSULA_{key}: {kind}") })
        })
    }

    /// Where the links in mails begin.
    pub fn link_base(&self) -> &str {
        let Mail { link_base, .. } = &self.mail;
        if link_base.is_empty() { &self.http.public_url } else { link_base }.trim_end_matches('/')
    }

    /// The secret that every other key of the platform is derived from or sealed with.
    pub fn master_key(&self) -> Result<[u8; 32], Unusable> {
        let text = self.auth.master_key.expose_secret();
        STANDARD.decode(text).ok().and_then(|key| key.try_into().ok()).ok_or_else(|| {
            Unusable(
                "INSULA_AUTH__MASTER_KEY: expected 32 random bytes in base64; make them with `openssl rand -base64 32`"
                    .to_owned(),
            )
        })
    }
}

impl Database {
    /// How many of the connections that serve tenants one org may use at a time.
    pub fn connections_of_an_org(&self) -> usize {
        let quarter = (self.app_connections / 4).max(1);
        self.org_connections.unwrap_or(quarter).min(self.app_connections) as usize
    }
}

impl IpLimit {
    /// Quota and burst of a whole network.
    pub fn of_networks(&self) -> (u32, u32) {
        (
            self.network_quota_per_minute.unwrap_or(self.quota_per_minute.saturating_mul(4)),
            self.network_burst.unwrap_or(self.burst.saturating_mul(4)),
        )
    }
}

impl Usage {
    /// How long a journal may get.
    pub fn journal_bytes(&self) -> u64 {
        u64::from(self.journal_mebibytes) << 20
    }

    /// How long counts by route and key are kept.
    pub fn retention(&self) -> time::Duration {
        time::Duration::days(self.retention_days.into())
    }
}

impl Storage {
    /// The largest file that is taken.
    pub fn file_bytes(&self) -> u64 {
        u64::from(self.file_mebibytes) << 20
    }

    /// The largest file of an import.
    pub fn import_bytes(&self) -> u64 {
        u64::from(self.import_mebibytes) << 20
    }
}

impl Authz {
    pub fn policies_bytes(&self) -> u64 {
        u64::from(self.policies_mebibytes) << 20
    }
}

impl Cache {
    pub fn bytes(&self) -> u64 {
        u64::from(self.mebibytes) << 20
    }

    pub fn max_age(&self) -> Duration {
        Duration::from_millis(self.max_age_milliseconds)
    }
}

impl Http {
    pub fn unread(&self) -> Duration {
        Duration::from_secs(self.unread_seconds)
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_cannot_be_used_is_named_with_its_reason() {
        let wrong = Config::with("[http]\nlisten = \"nowhere\"").unwrap_err().to_string();
        assert!(wrong.starts_with("INSULA_HTTP__LISTEN: "), "{wrong}");

        let unknown = Config::with("[http]\nlisen = \"0.0.0.0:1\"").unwrap_err().to_string();
        assert!(unknown.contains("lisen"), "{unknown}");
    }

    #[test]
    fn a_network_has_four_times_what_an_address_has_unless_told_otherwise() {
        let of_networks = |toml| Config::with(toml).unwrap().limits.ip.of_networks();
        assert_eq!(of_networks(""), (240, 120));
        assert_eq!(of_networks("[limits.ip]\nburst = 10\nnetwork_quota_per_minute = 7"), (7, 40));
    }

    #[test]
    fn an_org_has_a_quarter_of_the_connections_and_at_least_one_unless_told_otherwise() {
        let of_an_org = |toml: &str| {
            Config::with(&format!("[database]\n{toml}")).unwrap().database.connections_of_an_org()
        };
        assert_eq!(of_an_org(""), 4);
        assert_eq!(of_an_org("app_connections = 3"), 1);
        assert_eq!(of_an_org("app_connections = 10\norg_connections = 5"), 5);
        assert_eq!(of_an_org("app_connections = 10\norg_connections = 50"), 10);
    }

    #[test]
    fn a_short_master_key_is_refused() {
        let config = Config::with("[auth]\nmaster_key = \"c2hvcnQ=\"").unwrap();
        assert!(config.master_key().unwrap_err().to_string().contains("INSULA_AUTH__MASTER_KEY"));
    }
}
