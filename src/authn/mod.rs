//! Who you are: passwords, tokens and keys, each proven in a file of its own.

pub mod api_key;
pub mod jwt;
pub mod password;
pub mod refresh_token;
mod revoked;

pub use revoked::RevokedSessions;

use crate::ids::{ApiKeyId, OrgId, SessionId, UserId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use std::sync::Arc;
use uuid::Uuid;

/// Proof that a request carried good credentials, and the one org it may speak for.
#[derive(Clone, Debug)]
pub struct Principal {
    pub org: OrgId,
    pub actor: Actor,
}

#[derive(Clone, Debug)]
pub enum Actor {
    User {
        user: UserId,
        session: SessionId,
    },
    /// A key has no roles: its scopes are its permissions.
    ApiKey {
        key: ApiKeyId,
        scopes: Arc<[String]>,
    },
}

impl Actor {
    /// What limits, idempotency and audit know it by.
    pub fn uuid(&self) -> Uuid {
        match self {
            Self::User { user, .. } => user.uuid(),
            Self::ApiKey { key, .. } => key.uuid(),
        }
    }
}

/// A key for one purpose, from the platform's master key: HMAC-SHA-256 as a key derivation (NIST SP 800-108r1).
pub fn derive(master: &[u8; 32], purpose: &str) -> [u8; 32] {
    // HMAC pads a key to its block.
    let mut block = [0; 64];
    block[..32].copy_from_slice(master);
    <Hmac<sha2::Sha256>>::new(&block.into()).chain_update(purpose).finalize().into_bytes().into()
}
