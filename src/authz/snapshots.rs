//! Which policy is in force in an org, and where a member stands under it.

use super::{CustomRole, OrgPolicy, Permission, Uses, kept::Kept};
use crate::{
    clock::Clock,
    db::Pools,
    error::{Error, Result},
    ids::{OrgId, UserId},
    tenancy::{Mode, TenantTx},
};
use std::{sync::Arc, time::Duration};

const MEMBERS: u64 = 200_000;
/// What is remembered of a member holds for one version of the policy; this bounds what a change that forgot to raise
/// the version could leave.
const LONGEST: Duration = Duration::from_mins(5);

/// The policies of the orgs seen lately.
#[derive(Clone)]
pub struct Authz {
    pools: Pools,
    policies: Arc<Kept>,
    members: moka::sync::Cache<(OrgId, i64, UserId), Option<Member>>,
    uses: Uses,
}

#[derive(Clone)]
struct Member {
    roles: Arc<[String]>,
    tier: Option<Arc<str>>,
    suspended: bool,
    /// Which of a policy's sets of roles these are: looked up once and not for each decision.
    place: Option<(u64, Option<usize>)>,
}

impl Member {
    fn placed_in(self, policy: &OrgPolicy) -> Self {
        Self { place: Some((policy.id(), policy.set_of(&self.roles))), ..self }
    }

    fn under(self, policy: Arc<OrgPolicy>) -> Standing {
        let set = match self.place {
            Some((id, set)) if id == policy.id() => set,
            _ => policy.set_of(&self.roles),
        };
        let Self { roles, tier, suspended, .. } = self;
        Standing { policy, set, roles, tier, suspended }
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
    /// `capacity`, in bytes, is for the policies; members come on top.
    pub fn new(pools: Pools, clock: Clock, capacity: u64) -> Self {
        Self {
            uses: Uses::new(clock.clone()),
            pools,
            policies: Arc::new(Kept::new(clock, capacity)),
            members: moka::sync::Cache::builder().max_capacity(MEMBERS).time_to_live(LONGEST).build(),
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
        let policy = self.no_older_than(version, org).await?;
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
        let known = self.policies.at_hand(tx.org()).filter(|known| known.version() == version);
        let policy = match known {
            Some(known) => known,
            None => Arc::new(read(tx, version).await?),
        };
        Ok(select_member(tx, user).await?.map(|member| member.under(policy)))
    }

    /// The tier of a member's own, where that is known without asking anybody.
    pub fn tier_at_hand(&self, org: OrgId, user: UserId) -> Option<Arc<str>> {
        let version = self.policies.at_hand(org)?.version();
        self.members.get(&(org, version, user))??.tier
    }

    /// The policy in force in `org`, at most a second behind; where it can't be asked for, the one that was in force
    /// within the last 30 s.
    ///
    /// # Errors
    /// 503 where there is none.
    pub async fn policy(&self, org: OrgId) -> Result<Arc<OrgPolicy>> {
        self.policies.get(org, |known| self.load(org, known)).await
    }

    async fn no_older_than(&self, version: i64, org: OrgId) -> Result<Arc<OrgPolicy>> {
        let known = self.policies.at_hand(org);
        if let Some(known) = known.filter(|known| known.version() >= version) {
            return Ok(known);
        }
        // The first may be a reading that others began before the change.
        for _ in 0..2 {
            let policy = self.policies.latest(org, |known| self.load(org, known)).await?;
            if policy.version() >= version {
                return Ok(policy);
            }
        }
        Err(Error::Unavailable("the roles of this organisation are changing; try again in a moment"))
    }

    /// Roles and policy of one version: a pair of two would be a decision that was never in force.
    async fn under(&self, mut policy: Arc<OrgPolicy>, org: OrgId, user: UserId) -> Result<Option<Standing>> {
        // A policy that moves on between each two readings is being hammered.
        for _ in 0..3 {
            let key = (org, policy.version(), user);
            if let Some(member) = self.members.get(&key) {
                // The policy was let go and read again since.
                if let Some(Member { place: Some((id, _)), .. }) = &member
                    && *id != policy.id()
                {
                    self.members.insert(key, member.clone().map(|member| member.placed_in(&policy)));
                }
                return Ok(member.map(|member| member.under(policy)));
            }
            let (mut tx, control) = TenantTx::begin(&self.pools, org, Mode::Read).await?;
            if control.policy_version == policy.version() {
                let member = select_member(&mut tx, user).await?.map(|member| member.placed_in(&policy));
                self.members.insert(key, member.clone());
                return Ok(member.map(|member| member.under(policy)));
            }
            // Loading needs a connection of its own.
            drop(tx);
            policy = self.no_older_than(control.policy_version, org).await?;
        }
        Err(Error::Unavailable("the roles of this organisation are changing; try again in a moment"))
    }

    pub fn forget(&self, org: OrgId) {
        self.policies.forget(org);
    }

    pub fn forget_all(&self) {
        self.policies.forget_all();
        self.members.invalidate_all();
    }

    /// How many policies are remembered, and what they weigh in bytes.
    pub fn size(&self) -> (u64, u64) {
        self.policies.size()
    }

    /// The org's policy; `known` where that is it.
    async fn load(&self, org: OrgId, known: Option<Arc<OrgPolicy>>) -> Result<Arc<OrgPolicy>> {
        let (mut tx, control) = TenantTx::begin(&self.pools, org, Mode::Read).await?;
        match known {
            Some(known) if known.version() == control.policy_version => Ok(known),
            _ => Ok(Arc::new(read(&mut tx, control.policy_version).await?)),
        }
    }
}

/// What a transaction sees of the policy, which is `version` of it.
async fn read(tx: &mut TenantTx, version: i64) -> Result<OrgPolicy> {
    let custom: Vec<_> = own_roles(tx).await?.into_iter().map(CustomRole::with_implied).collect();
    let sets = sqlx::query!(
        r#"select roles, count(*) filter (where status = 'active') as "members!"
           from members where org_id = $1 group by roles"#,
        tx.org().uuid()
    )
    .fetch_all(&mut **tx)
    .await?;
    let held = sets.iter().map(|set| set.roles.clone()).collect();
    let policy = OrgPolicy::build(tx.org(), version, &custom, held).await.map_err(Error::Internal)?;
    let members = |count| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(policy.counting(sets.into_iter().map(|set| (set.roles, members(set.members)))))
}

/// The roles that the org of `tx` has made for itself.
pub async fn own_roles(tx: &mut TenantTx) -> Result<Vec<CustomRole>> {
    let custom = sqlx::query_as!(
        CustomRole,
        "select name, inherits, permissions, denied from roles where org_id = $1 order by name",
        tx.org().uuid()
    );
    Ok(custom.fetch_all(&mut **tx).await?)
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
        place: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_among_the_sets_of_one_reading_says_nothing_of_another() {
        let (org, permission) = (OrgId::new(), "products:create".parse().unwrap());
        let reading = async |sets: &[&str]| {
            let sets = sets.iter().map(|role| vec![(*role).to_owned()]).collect();
            Arc::new(OrgPolicy::build(org, 1, &[], sets).await.unwrap())
        };
        let (first, second) = (reading(&["viewer"]).await, reading(&["member", "viewer"]).await);
        let viewer =
            Member { roles: ["viewer".to_owned()].into(), tier: None, suspended: false, place: None };
        let placed = viewer.clone().placed_in(&first);
        assert_eq!(placed.place, Some((first.id(), Some(0))));
        for member in [viewer, placed] {
            for policy in [&first, &second] {
                let standing = member.clone().under(Arc::clone(policy));
                assert!(!standing.may(permission), "the first set of the second reading is that of members");
                assert!(standing.may("products:read".parse().unwrap()));
            }
        }
    }
}
