//! API keys: `insula_live_…` and `insula_test_…` with a checksum, stored as a hash, remembered when verified.

use super::{Actor, Principal, key_uses::KeyUses, opaque::hash};
use crate::{
    clock::Clock,
    db::Pools,
    error::{Error, Problem, Result},
    ids::ApiKeyId,
    tenancy::gate::{self, KeyUse},
};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use utoipa::ToSchema;

const REMEMBERED: u64 = 50_000;
/// The bus forgets a revoked key at once; this bounds what a lost race between load and revocation could leave.
const LONGEST: Duration = Duration::from_secs(30);

/// Which of the org's two worlds a key works in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum KeyMode {
    #[default]
    Live,
    /// The org's sandbox.
    Test,
}

impl KeyMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

pub struct NewKey {
    /// For the person who makes it, once.
    pub text: String,
    /// To recognise it by later.
    pub prefix: String,
    pub hash: Vec<u8>,
}

const SECRET: usize = 32;
const CHECKSUM: usize = 6;
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

impl NewKey {
    /// 160 random bits in 32 letters, then 6 letters of checksum: secret scanners and [`well_formed`] tell a
    /// key from a look-alike without asking the database.
    pub fn new(mode: KeyMode) -> Self {
        let head = format!("insula_{}_", mode.as_str());
        let secret: String = rand::random::<[u8; SECRET]>()
            .iter()
            .map(|byte| LETTERS[usize::from(byte % 32)] as char)
            .collect();
        let text = format!("{head}{secret}{}", checksum(&secret));
        Self { prefix: text[..head.len() + 4].to_owned(), hash: hash(&text), text }
    }
}

fn checksum(secret: &str) -> String {
    hash(secret)[..CHECKSUM].iter().map(|byte| LETTERS[usize::from(byte % 32)] as char).collect()
}

/// Whether `text` could be a key of this platform.
pub fn well_formed(text: &str) -> bool {
    text.strip_prefix("insula_live_").or_else(|| text.strip_prefix("insula_test_")).is_some_and(|rest| {
        rest.len() == SECRET + CHECKSUM
            && rest.split_at_checked(SECRET).is_some_and(|(secret, sum)| checksum(secret) == sum)
    })
}

fn invalid() -> Error {
    Error::Unauthenticated {
        code: "invalid_api_key",
        detail: "this API key is unknown, expired or revoked: an admin of the organisation can make another",
    }
}

/// Finds out whose key it is.
#[derive(Clone)]
pub struct ApiKeys {
    pools: Pools,
    clock: Clock,
    known: moka::sync::Cache<Vec<u8>, Arc<Known>>,
    changes: Arc<AtomicU64>,
    uses: KeyUses,
}

struct Known {
    record: gate::KeyRecord,
    scopes: Arc<[String]>,
}

impl ApiKeys {
    pub fn new(pools: Pools, clock: Clock) -> Self {
        let known = moka::sync::Cache::builder()
            .max_capacity(REMEMBERED)
            .time_to_live(LONGEST)
            .support_invalidation_closures()
            .build();
        Self { pools, clock, known, changes: Arc::default(), uses: KeyUses::default() }
    }

    /// Whose key `text` is, used by `client`, and its hash.
    ///
    /// # Errors
    /// 401 `invalid_api_key`: unknown, expired, rotated out and revoked look the same. 403 `ip_not_allowed` where it is
    /// good, and used from outside its networks. 503 when it can't be asked for.
    pub async fn verify(&self, text: &str, client: IpAddr) -> Result<(Principal, Vec<u8>)> {
        if !well_formed(text) {
            return Err(invalid());
        }
        let hash = hash(text);
        Ok((self.ask_again(&hash, client).await?, hash))
    }

    /// The same of a key with this hash.
    ///
    /// # Errors
    /// As above.
    pub async fn ask_again(&self, hash: &[u8], client: IpAddr) -> Result<Principal> {
        let known = if let Some(known) = self.known.get(hash) {
            known
        } else {
            let before = self.changes.load(Ordering::SeqCst);
            let record = gate::api_key(&self.pools, hash).await?.ok_or_else(invalid)?;
            let known = Arc::new(Known { scopes: record.scopes.clone().into(), record });
            if self.changes.load(Ordering::SeqCst) == before {
                self.known.insert(hash.to_vec(), Arc::clone(&known));
            }
            known
        };
        let record = &known.record;
        let now = self.clock.now();
        if record.revoked || record.expires_at <= now {
            return Err(invalid());
        }
        if !record.allowed_ips.allow(client) {
            let detail = "this API key may not be used from your address";
            let problem = Problem::new(StatusCode::FORBIDDEN, "ip_not_allowed", detail);
            return Err(Error::Forbidden(Box::new(problem)));
        }
        self.uses.note(KeyUse { org: record.owner, key: record.id, at: now, ip: client });
        Ok(Principal {
            org: record.org,
            actor: Actor::ApiKey { key: record.id, scopes: Arc::clone(&known.scopes) },
        })
    }

    /// Writes down when keys were last used, for what was not written yet.
    pub async fn write_uses(&self) -> Result<()> {
        self.uses.write(&self.pools).await
    }

    pub fn forget(&self, key: ApiKeyId) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        // Refused only when the closures were not enabled, and they are.
        self.known.invalidate_entries_if(move |_, known| known.record.id == key).ok();
    }

    pub fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.known.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_is_well_formed_and_a_mistyped_one_is_not() {
        let key = NewKey::new(KeyMode::Test);
        assert!(key.text.starts_with("insula_test_") && well_formed(&key.text));
        assert!(key.text.starts_with(&key.prefix) && key.prefix.len() == "insula_test_".len() + 4);
        let last = if key.text.ends_with('a') { 'b' } else { 'a' };
        assert!(!well_formed(&format!("{}{last}", &key.text[..key.text.len() - 1])));
        for text in ["", "insula_live_", "insula_live_ä", "insula_prod_aaaa"] {
            assert!(!well_formed(text), "{text}");
        }
    }
}
