//! `OrgDirectory`: what must be known of an org before its data is touched, remembered per replica.

use super::gate;
use crate::{
    db::Pools,
    error::{Error, Result},
    ids::OrgId,
    networks::Networks,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use time::OffsetDateTime;
use uuid::Uuid;

/// Remembered orgs; about 200 bytes each.
const CAPACITY: u64 = 100_000;
/// The bus forgets a changed org at once; this bounds what a lost race between load and change could leave.
const LONGEST: Duration = Duration::from_secs(30);

/// An org's control row, as it is remembered between requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    pub status: Status,
    pub tier: String,
    /// Goes up with every change of who may do what in the org.
    pub policy_version: i64,
    pub access: Access,
    /// Those that hold, and those that ended within 32 days; oldest first.
    pub overrides: Box<[Override]>,
}

/// An exception from a policy of the org's tier, as it is stored; it holds from `from` until just before `until`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Override {
    pub id: Uuid,
    /// The member it is for; with `api_key`, the whole org where neither is given.
    pub user: Option<Uuid>,
    pub api_key: Option<Uuid>,
    pub policy: String,
    pub quota: u32,
    pub window_seconds: Option<u32>,
    pub burst: Option<u32>,
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

/// What an org asks of whoever comes in, beside good credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Access {
    /// Members must have signed in with a second factor.
    pub require_mfa: bool,
    /// Members must have confirmed their e-mail address.
    pub require_verified_email: bool,
    /// The networks that members and API keys must come from; any where empty.
    #[schema(value_type = Vec<String>, example = json!(["203.0.113.0/24"]), max_items = 100)]
    pub allowed_ips: Networks,
}

/// The part of it that the opening message of every transaction reads again.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Opening {
    pub status: Status,
    pub policy_version: i64,
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema, sqlx::Type,
)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Status {
    Active,
    Suspended,
    Deleted,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
        }
    }
}

#[derive(Clone)]
pub struct OrgDirectory {
    pools: Pools,
    orgs: moka::sync::Cache<OrgId, Arc<Control>>,
    changes: Arc<AtomicU64>,
}

impl OrgDirectory {
    pub fn new(pools: Pools) -> Self {
        let orgs = moka::sync::Cache::builder().max_capacity(CAPACITY).time_to_live(LONGEST).build();
        Self { pools, orgs, changes: Arc::default() }
    }

    /// The org's control row, at most a second old.
    ///
    /// # Errors
    /// 404 for an org that does not exist, 503 when it can't be asked for.
    pub async fn get(&self, org: OrgId) -> Result<Arc<Control>> {
        if let Some(known) = self.orgs.get(&org) {
            return Ok(known);
        }
        let before = self.changes.load(Ordering::SeqCst);
        let loaded = Arc::new(gate::control(&self.pools, org).await?.ok_or(Error::NotFound)?);
        // What changed while it was read may have been read too early: answer it, but do not keep it.
        if self.changes.load(Ordering::SeqCst) == before {
            self.orgs.insert(org, Arc::clone(&loaded));
        }
        Ok(loaded)
    }

    /// The org's control row, where it is remembered.
    pub fn at_hand(&self, org: OrgId) -> Option<Arc<Control>> {
        self.orgs.get(&org)
    }

    pub fn forget(&self, org: OrgId) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.orgs.invalidate(&org);
    }

    pub fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.orgs.invalidate_all();
    }
}
