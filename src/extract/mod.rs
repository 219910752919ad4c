//! What handlers ask for, each with rejections that are problem+json.

mod form;
mod granularity;
mod if_match;
mod json;
mod list;
mod path;
mod query;
mod shape;
mod span;
mod tenant_db;
mod view;

pub use form::{Form, Part, too_large};
pub use granularity::Granularity;
pub use if_match::{ETag, IfMatch};
pub use json::{Action, Json, read};
pub use list::{List, ListParams, Listed};
pub use path::Path;
pub use query::Query;
pub use shape::{Expansion, Shape};
pub use span::Span;
pub use tenant_db::{TenantDb, Turn};
pub use view::{View, ViewParams};

use crate::{
    authn::Actor,
    caller::{Caller, refused},
    clock::Clock,
    error::{Error, Result},
    ids::{RequestId, SessionId, UserId},
    state::AppState,
    trail::{ClientIp, Trail},
};
use anyhow::anyhow;
use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};

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
    /// In seconds since 1970.
    proven_at: i64,
    pub mfa: bool,
}

/// How long after proving who one is one may do what can't be undone.
const FRESH: i64 = 5 * 60;

impl SignedIn {
    /// # Errors
    /// 403 `user_required` for an API key.
    pub fn of(caller: &Caller) -> Result<Self> {
        match *caller.actor() {
            Actor::User { user, session, signed_in_at, mfa, .. } => {
                Ok(Self { user, session, proven_at: signed_in_at, mfa })
            }
            Actor::ApiKey { .. } => {
                Err(refused("user_required", "an API key can't do this: sign in as a person"))
            }
        }
    }

    /// # Errors
    /// 401 `step_up_required` where the person last proved who they are more than five minutes ago (RFC 9470).
    pub fn check_fresh(&self, clock: &Clock) -> Result<()> {
        if clock.now().unix_timestamp() - self.proven_at > FRESH {
            return Err(Error::Unauthenticated {
                code: "step_up_required",
                detail: "this needs a sign-in at most five minutes old: prove who you are at POST /api/v1/auth/step-up",
            });
        }
        Ok(())
    }
}

/// A person who has proven who they are within the last five minutes.
#[derive(Clone, Copy)]
pub struct FreshlySignedIn(pub SignedIn);

impl FromRequestParts<AppState> for FreshlySignedIn {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let signed_in = SignedIn::from_request_parts(parts, state).await?;
        signed_in.check_fresh(&state.clock)?;
        Ok(Self(signed_in))
    }
}

/// Where the request came from.
impl FromRequestParts<AppState> for Trail {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self {
            at: state.clock.now(),
            ip: parts.extensions.get::<ClientIp>().map(|client| client.ip),
            request: parts.extensions.get::<RequestId>().copied(),
            user_agent: user_agent.map(|text| text.chars().take(LONGEST_USER_AGENT).collect()),
        })
    }
}

const LONGEST_USER_AGENT: usize = 200;

impl<S: Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        Self::of(&Caller::from_request_parts(parts, state).await?)
    }
}
