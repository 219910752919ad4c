//! Under which plan everybody would be, were a tier changed: as it is now in all else.

use crate::{
    clock::{self, Clock},
    error::{Error, Result},
    ids::{OrgId, UserId},
    limits::{OverrideBook, Policy, Subject, Tier, TierPlan, Unit},
    state::AppState,
    tenancy::Control,
};
use anyhow::anyhow;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// The orgs that the tier is anything to, and the plans of theirs.
pub struct Plans {
    orgs: HashMap<OrgId, Arc<TierPlan>>,
    /// Members of these orgs with a tier of their own.
    members: HashMap<(OrgId, UserId), Arc<TierPlan>>,
    /// Those of these orgs that have exceptions: they hold when they held, and the replay's clock says when that is.
    excepted: HashMap<OrgId, Arc<Control>>,
    overrides: OverrideBook,
}

impl Plans {
    pub async fn load(state: &AppState, slug: &str, mut policies: Vec<Policy>, clock: Clock) -> Result<Self> {
        // How many requests were in flight is not recorded, and of a month's beginning nothing is kept.
        policies.retain(|policy| policy.unit == Unit::Requests && policy.period.is_none());
        let tier = Tier {
            slug: slug.to_owned(),
            name: slug.to_owned(),
            version: 0,
            policies,
            effective_at: clock::at_micros(0),
        };
        let candidate = TierPlan::new(&tier, &[])
            .map_err(|faults| Error::Internal(anyhow!("a simulation can't be enforced: {faults:?}")))?;
        let mut plans = HashMap::from([(slug.to_owned(), Arc::new(candidate))]);
        let mut tx = state.platform.begin().await?;
        let orgs = sqlx::query!(
            r#"select org_id as "org: OrgId", tier from org_control
               where tier = $1 or org_id in (select org_id from members where tier = $1)"#,
            slug
        )
        .fetch_all(&mut *tx)
        .await?;
        let members = sqlx::query!(
            r#"select m.org_id as "org: OrgId", m.user_id as "user: UserId", m.tier as "tier!"
               from members m join org_control c using (org_id)
               where m.tier is not null and (c.tier = $1 or m.org_id in (select org_id from members where tier = $1))"#,
            slug
        )
        .fetch_all(&mut *tx)
        .await?;
        let with_exceptions = sqlx::query_scalar!(
            r#"select distinct o.org_id as "org: OrgId" from overrides o join org_control c using (org_id)
               where c.tier = $1 or o.org_id in (select org_id from members where tier = $1)"#,
            slug
        )
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let mut excepted = HashMap::new();
        for org in with_exceptions {
            excepted.insert(org, state.directory.get(org).await?);
        }
        let named: HashSet<&String> =
            orgs.iter().map(|org| &org.tier).chain(members.iter().map(|member| &member.tier)).collect();
        for tier in named {
            if !plans.contains_key(tier) {
                plans.insert(tier.clone(), state.tiers.plan(tier).await?);
            }
        }
        let plan = |tier: &String| plans.get(tier).map(Arc::clone);
        Ok(Self {
            orgs: orgs.iter().filter_map(|org| Some((org.org, plan(&org.tier)?))).collect(),
            members: members
                .iter()
                .filter_map(|member| Some(((member.org, member.user), plan(&member.tier)?)))
                .collect(),
            excepted,
            overrides: OverrideBook::new(clock),
        })
    }

    /// As requests get theirs, at `at`, which is what the clock shows, and until when it stays so; nothing for whom the
    /// tier is nothing to.
    pub fn of(&self, org: OrgId, who: Subject, at: u64) -> Option<(Arc<TierPlan>, u64)> {
        let plan = self.orgs.get(&org)?;
        let own = match who {
            Subject::User(user) => self.members.get(&(org, user)),
            Subject::ApiKey(_) => None,
        };
        let plan = own.map_or_else(|| Arc::clone(plan), |own| plan.with_users_of(own));
        let Some(control) = self.excepted.get(&org) else { return Some((plan, u64::MAX)) };
        let bounds = control.overrides.iter().flat_map(|one| [one.from, one.until]).map(clock::since_1970);
        let until = bounds.filter(|bound| *bound > at).min().unwrap_or(u64::MAX);
        Some((self.overrides.apply(org, control, Some(who), plan), until))
    }

    /// How long anybody may owe something under one of these plans.
    pub fn memory(&self) -> std::time::Duration {
        self.orgs.values().chain(self.members.values()).map(|plan| plan.memory()).max().unwrap_or_default()
    }
}
