//! What somebody came in by, as far as it takes to ask later whether it is still good; nobody comes in by this itself.

use super::jwt::Vouched;
use crate::ids::SessionId;
use serde::{Deserialize, Serialize};

/// Credentials that were good. What goes on longer than a request asks again by them, and tickets stand for them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// What an access token says.
    Token(Vouched),
    /// The hash of an API key.
    ApiKey(Vec<u8>),
}

impl Credential {
    /// The session whose end is theirs too; none for an API key.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Token(vouched) => Some(vouched.session()),
            Self::ApiKey(_) => None,
        }
    }
}
