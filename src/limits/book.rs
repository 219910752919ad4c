//! `TierBook`: the tiers as they stand in the database, compiled and remembered per replica.

use super::{Policy, Tier, TierPlan};
use crate::{
    db::Pools,
    error::{Error, Result},
    tenancy::gate,
};
use anyhow::{Context as _, anyhow};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The bus forgets a changed tier at once; this bounds what a lost race between load and change could leave.
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct TierBook {
    pools: Pools,
    plans: moka::sync::Cache<String, Arc<TierPlan>>,
    changes: Arc<AtomicU64>,
}

impl TierBook {
    pub fn new(pools: Pools) -> Self {
        let plans = moka::sync::Cache::builder().max_capacity(10_000).time_to_live(LONGEST).build();
        Self { pools, plans, changes: Arc::default() }
    }

    /// The plan of a tier, at most a second old.
    pub async fn plan(&self, slug: &str) -> Result<Arc<TierPlan>> {
        if let Some(known) = self.plans.get(slug) {
            return Ok(known);
        }
        let before = self.changes.load(Ordering::SeqCst);
        let row = gate::tier(&self.pools, slug).await?.with_context(|| format!("no tier {slug}"))?;
        let policies: Vec<Policy> =
            serde_json::from_value(row.policies).map_err(|error| Error::Internal(error.into()))?;
        let tier = Tier {
            slug: row.slug,
            name: row.name,
            version: row.version,
            policies,
            effective_at: row.effective_at,
        };
        let plan = TierPlan::new(&tier, &[])
            .map_err(|faults| anyhow!("the tier {slug} can't be enforced: {faults:?}"))?;
        let plan = Arc::new(plan);
        if self.changes.load(Ordering::SeqCst) == before {
            self.plans.insert(slug.to_owned(), Arc::clone(&plan));
        }
        Ok(plan)
    }

    /// The plan of an org's tier, for a member who may have the limits on users of another.
    pub async fn plan_for(&self, slug: &str, members_own: Option<&str>) -> Result<Arc<TierPlan>> {
        let plan = self.plan(slug).await?;
        match members_own {
            None => Ok(plan),
            Some(own) => Ok(plan.with_users_of(&self.plan(own).await?)),
        }
    }

    /// The same, where both tiers are remembered.
    pub fn plan_at_hand(&self, slug: &str, members_own: Option<&str>) -> Option<Arc<TierPlan>> {
        let plan = self.plans.get(slug)?;
        match members_own {
            None => Some(plan),
            Some(own) => Some(plan.with_users_of(&self.plans.get(own)?)),
        }
    }

    pub fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.plans.invalidate_all();
    }
}
