//! Sessions that ended before their last access token did.

use crate::ids::SessionId;
use std::time::Duration;

/// Refuses the access tokens of ended sessions until they would have expired anyway.
#[derive(Clone)]
pub struct RevokedSessions(moka::sync::Cache<SessionId, ()>);

impl RevokedSessions {
    /// `lifetime` is that of access tokens: after it a session's id need not be known any more.
    pub fn new(lifetime: Duration) -> Self {
        Self(moka::sync::Cache::builder().time_to_live(lifetime).build())
    }

    pub fn add(&self, session: SessionId) {
        self.0.insert(session, ());
    }

    pub fn contains(&self, session: SessionId) -> bool {
        self.0.contains_key(&session)
    }
}
