//! What handlers ask for, each with rejections that are problem+json.

mod if_match;
mod json;
mod list;
mod path;
mod tenant_db;

pub use if_match::{ETag, IfMatch};
pub use json::{Action, Json};
pub use list::{List, ListParams, Listed};
pub use path::Path;
pub use tenant_db::TenantDb;

use crate::{
    authn::Actor,
    caller::{Caller, refused},
    error::{Error, Result},
    ids::{SessionId, UserId},
};
use anyhow::anyhow;
use axum::{extract::FromRequestParts, http::request::Parts};

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        // Missing only where a handler is mounted outside the tenant stack.
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Error::Internal(anyhow!("no caller was admitted")))
    }
}

/// A person who is signed in, where an API key would make no sense.
#[derive(Clone, Copy)]
pub struct SignedIn {
    pub user: UserId,
    pub session: SessionId,
}

impl<S: Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        match *Caller::from_request_parts(parts, state).await?.actor() {
            Actor::User { user, session } => Ok(Self { user, session }),
            Actor::ApiKey { .. } => {
                Err(refused("user_required", "an API key can't do this: sign in as a person"))
            }
        }
    }
}
