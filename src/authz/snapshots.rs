//! Which policy is in force in an org, and where a member stands under it.

use super::{CustomRole, OrgPolicy, Permission, Uses};
use crate::{
    clock::Clock,
    db::Pools,
    error::{Error, Result},
    ids::{OrgId, UserId},
    tenancy::{Mode, TenantTx},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

/// Policies in memory: about 40 KB each.
const POLICIES: u64 = 2_000;
const MEMBERS: u64 = 200_000;
/// The bus forgets a changed policy at once, and each transaction compares versions; this bounds the rest.
const LONGEST: Duration = Duration::from_secs(30);

/// The policies of the orgs seen lately.
#[derive(Clone)]
pub struct Authz {
    pools: Pools,
    policies: moka::sync::Cache<OrgId, Arc<OrgPolicy>>,
    members: moka::sync::Cache<(OrgId, i64, UserId), Option<Member>>,
    changes: Arc<AtomicU64>,
    uses: Uses,
}

#[derive(Clone)]
struct Member {
    roles: Arc<[String]>,
    tier: Option<Arc<str>>,
    suspended: bool,
}

impl Member {
    fn under(self, policy: Arc<OrgPolicy>) -> Standing {
        let Self { roles, tier, suspended } = self;
        Standing { set: policy.set_of(&roles), policy, roles, tier, suspended }
    }
}

/// A member under one version of an org's policy.
#[derive(Clone)]
pub struct Standing {
    policy: Arc<OrgPolicy>,
    set: Option<usize>,
    pub roles: Arc<[String]>,
    /// The tier whose limits on users hold for the member in place of the org's.
    pub tier: Option<Arc<str>>,
    pub suspended: bool,
}

impl Standing {
    pub fn may(&self, permission: Permission) -> bool {
        self.set.is_some_and(|set| self.policy.set_may(set, permission))
    }

    pub fn policy(&self) -> &OrgPolicy {
        &self.policy
    }
}

impl Authz {
    pub fn new(pools: Pools, clock: Clock) -> Self {
        Self {
            uses: Uses::new(clock),
            pools,
            policies: moka::sync::Cache::builder().max_capacity(POLICIES).time_to_live(LONGEST).build(),
            members: moka::sync::Cache::builder().max_capacity(MEMBERS).time_to_live(LONGEST).build(),
            changes: Arc::default(),
        }
    }

    /// Who makes use of what.
    pub fn uses(&self) -> &Uses {
        &self.uses
    }

    /// Where `user` stands in `org`, or none where they are no member, by what this replica remembers.
    pub async fn standing(&self, org: OrgId, user: UserId) -> Result<Option<Standing>> {
        let policy = self.policy(org).await?;
        self.under(policy, org, user).await
    }

    /// The same, under a policy no older than `version`: for a transaction that has just read it.
    pub async fn standing_at(&self, org: OrgId, user: UserId, version: i64) -> Result<Option<Standing>> {
        let mut policy = self.policy(org).await?;
        if policy.version() < version {
            self.forget(org);
            policy = self.policy(org).await?;
        }
        self.under(policy, org, user).await
    }

    /// Where `user` stands under the policy at `version`: asked of `tx` alone, which holds that version fast,
    /// so that nobody who waits for it is waited for.
    pub async fn standing_in(
        &self,
        tx: &mut TenantTx,
        version: i64,
        user: UserId,
    ) -> Result<Option<Standing>> {
        let known = self.policies.get(&tx.org()).filter(|known| known.version() == version);
        let policy = match known {
            Some(known) => known,
            None => Arc::new(load_in(tx, version).await?),
        };
        Ok(select_member(tx, user).await?.map(|member| member.under(policy)))
    }

    /// The tier of a member's own, where that is known without asking anybody.
    pub fn tier_at_hand(&self, org: OrgId, user: UserId) -> Option<Arc<str>> {
        let version = self.policies.get(&org)?.version();
        self.members.get(&(org, version, user))??.tier
    }

    /// The policy in force in `org`.
    pub async fn policy(&self, org: OrgId) -> Result<Arc<OrgPolicy>> {
        if let Some(known) = self.policies.get(&org) {
            return Ok(known);
        }
        let before = self.changes.load(Ordering::SeqCst);
        let policy = Arc::new(load(&self.pools, org).await?);
        if self.changes.load(Ordering::SeqCst) == before {
            self.policies.insert(org, Arc::clone(&policy));
        }
        Ok(policy)
    }

    /// Roles and policy of one version: a pair of two would be a decision that was never in force.
    async fn under(&self, mut policy: Arc<OrgPolicy>, org: OrgId, user: UserId) -> Result<Option<Standing>> {
        // A policy that moves on between each two readings is being hammered.
        for _ in 0..3 {
            let key = (org, policy.version(), user);
            if let Some(member) = self.members.get(&key) {
                return Ok(member.map(|member| member.under(policy)));
            }
            let (mut tx, control) = TenantTx::begin(&self.pools, org, Mode::Read).await?;
            if control.policy_version == policy.version() {
                let member = select_member(&mut tx, user).await?;
                self.members.insert(key, member.clone());
                return Ok(member.map(|member| member.under(policy)));
            }
            // Loading needs a connection of its own.
            drop(tx);
            self.forget(org);
            policy = self.policy(org).await?;
        }
        Err(Error::Unavailable("the roles of this organisation are changing; try again in a moment"))
    }

    pub fn forget(&self, org: OrgId) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.policies.invalidate(&org);
    }

    pub fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.policies.invalidate_all();
        self.members.invalidate_all();
    }
}

async fn load(pools: &Pools, org: OrgId) -> Result<OrgPolicy> {
    let (mut tx, control) = TenantTx::begin(pools, org, Mode::Read).await?;
    let (custom, sets) = (select_custom(&mut tx).await?, select_sets(&mut tx).await?);
    drop(tx);
    OrgPolicy::build(org, control.policy_version, &custom, sets).await.map_err(Error::Internal)
}

async fn load_in(tx: &mut TenantTx, version: i64) -> Result<OrgPolicy> {
    let (custom, sets) = (select_custom(tx).await?, select_sets(tx).await?);
    OrgPolicy::build(tx.org(), version, &custom, sets).await.map_err(Error::Internal)
}

async fn select_custom(tx: &mut TenantTx) -> Result<Vec<CustomRole>> {
    let custom = sqlx::query_as!(
        CustomRole,
        "select name, inherits, permissions, denied from roles where org_id = $1 order by name",
        tx.org().uuid()
    );
    Ok(custom.fetch_all(&mut **tx).await?.into_iter().map(CustomRole::with_implied).collect())
}

async fn select_sets(tx: &mut TenantTx) -> Result<Vec<Vec<String>>> {
    let sets = sqlx::query_scalar!(
        "select distinct roles from members where org_id = $1 order by roles",
        tx.org().uuid()
    );
    Ok(sets.fetch_all(&mut **tx).await?)
}

async fn select_member(tx: &mut TenantTx, user: UserId) -> Result<Option<Member>> {
    let row = sqlx::query!(
        "select roles, tier, status from members where org_id = $1 and user_id = $2",
        tx.org().uuid(),
        user.uuid()
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| Member {
        roles: row.roles.into(),
        tier: row.tier.map(Into::into),
        suspended: row.status == "suspended",
    }))
}
