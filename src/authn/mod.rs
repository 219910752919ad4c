//! Who you are: passwords, tokens and keys, each proven in a file of its own.

pub mod api_key;
mod credential;
pub mod jwt;
mod key_set;
mod key_uses;
pub mod keyring;
pub mod opaque;
pub mod password;
mod revoked;
pub mod totp;

pub use credential::Credential;
pub use revoked::RevokedSessions;

use crate::ids::{ApiKeyId, OrgId, SessionId, UserId};
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
        /// When they last proved who they are, in seconds since 1970.
        signed_in_at: i64,
        /// And gave a second factor.
        mfa: bool,
        /// Their e-mail address was confirmed when the token was made.
        email_verified: bool,
    },
    /// A key has no roles: its scopes are its permissions.
    ApiKey { key: ApiKeyId, scopes: Arc<[String]> },
}

impl Actor {
    /// As the audit calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User { .. } => "user",
            Self::ApiKey { .. } => "api_key",
        }
    }

    /// What limits, idempotency and audit know it by.
    pub fn uuid(&self) -> Uuid {
        match self {
            Self::User { user, .. } => user.uuid(),
            Self::ApiKey { key, .. } => key.uuid(),
        }
    }

    /// The same as two columns of which one is set: a user and a key.
    pub fn columns(&self) -> (Option<Uuid>, Option<Uuid>) {
        match self {
            Self::User { user, .. } => (Some(user.uuid()), None),
            Self::ApiKey { key, .. } => (None, Some(key.uuid())),
        }
    }
}

/// The id in two such columns, as it is told.
pub fn id_in(user: Option<UserId>, key: Option<ApiKeyId>) -> Option<String> {
    user.map(|user| user.to_string()).or_else(|| key.map(|key| key.to_string()))
}
