//! `TierBook`: the tiers as they stand in the database, compiled and remembered per replica.

use super::{Entitlements, Fault, Tier, TierPlan};
use crate::{
    clock::{self, Clock},
    db::Pools,
    error::{Error, Result},
    tenancy::gate,
};
use anyhow::{Context as _, anyhow};
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use time::OffsetDateTime;

/// The bus forgets a changed tier at once; this bounds what a lost race between load and change could leave.
const LONGEST: Duration = Duration::from_secs(30);

/// No policy's bucket takes longer to refill, so nobody owes anything under a version that ended before.
const LONGEST_OWED: Duration = Duration::from_hours(24 * 366);
/// Versions that a count can be carried over one by one; over those before it is carried at once.
const PAST: i64 = 64;

#[derive(Clone)]
pub struct TierBook {
    pools: Pools,
    clock: Clock,
    tiers: moka::sync::Cache<String, Arc<Known>>,
    changes: Arc<AtomicU64>,
}

/// All that a version of a tier is.
#[derive(Clone)]
pub struct Granted {
    pub plan: Arc<TierPlan>,
    pub entitlements: Entitlements,
}

/// A tier, and what is announced of it: every replica turns to that by its own clock.
struct Known {
    now: Granted,
    to_come: Option<(u64, Granted)>,
}

impl Known {
    fn at(&self, micros: u64) -> &Granted {
        match &self.to_come {
            Some((at, granted)) if *at <= micros => granted,
            _ => &self.now,
        }
    }
}

impl TierBook {
    pub fn new(pools: Pools, clock: Clock) -> Self {
        let tiers = moka::sync::Cache::builder().max_capacity(10_000).time_to_live(LONGEST).build();
        Self { pools, clock, tiers, changes: Arc::default() }
    }

    /// The plan of a tier, at most a second old.
    pub async fn plan(&self, slug: &str) -> Result<Arc<TierPlan>> {
        if let Some(plan) = self.at_hand(slug) {
            return Ok(plan);
        }
        Ok(self.granted(slug).await?.plan)
    }

    /// The same with all that the tier grants besides.
    pub async fn granted(&self, slug: &str) -> Result<Granted> {
        if let Some(known) = self.tiers.get(slug) {
            return Ok(known.at(self.clock.micros()).clone());
        }
        let before = self.changes.load(Ordering::SeqCst);
        let known = Arc::new(self.load(slug).await?);
        if self.changes.load(Ordering::SeqCst) == before {
            self.tiers.insert(slug.to_owned(), Arc::clone(&known));
        }
        Ok(known.at(self.clock.micros()).clone())
    }

    async fn load(&self, slug: &str) -> Result<Known> {
        let now = self.clock.now();
        let row = gate::tier(&self.pools, slug).await?.with_context(|| format!("no tier {slug}"))?;
        let (row, announced) = row.at(now)?;
        let past = gate::tier_past(&self.pools, slug, row.version, now - LONGEST_OWED, PAST).await?;
        let tier = |version: i64, policies: Value, effective_at: OffsetDateTime| {
            let policies = serde_json::from_value(policies).map_err(|error| Error::Internal(error.into()))?;
            let (slug, name) = (row.slug.clone(), row.name.clone());
            Ok::<_, Error>(Tier { slug, name, version, policies, effective_at })
        };
        let past = past.into_iter().map(|past| tier(past.version, past.policies, past.effective_at));
        let mut past = past.collect::<Result<Vec<_>>>()?;
        let current = tier(row.version, row.policies.clone(), row.effective_at)?;
        let entitlements = row.entitlements.as_object().map(Entitlements::of).unwrap_or_default();
        let entitled_then = announced.as_ref().map(|next| Entitlements::of(&next.entitlements));
        let announced =
            announced.map(|next| tier(next.version, next.policies, next.effective_at)).transpose()?;
        let unusable = |faults: Vec<Fault>| anyhow!("the tier {slug} can't be enforced: {faults:?}");
        let plan = TierPlan::announcing(&current, &past, announced.as_ref()).map_err(unusable)?;
        past.push(current);
        let to_come = match announced.zip(entitled_then) {
            None => None,
            Some((next, entitlements)) => {
                let plan = Arc::new(TierPlan::new(&next, &past).map_err(unusable)?);
                Some((clock::since_1970(next.effective_at), Granted { plan, entitlements }))
            }
        };
        Ok(Known { now: Granted { plan: Arc::new(plan), entitlements }, to_come })
    }

    fn at_hand(&self, slug: &str) -> Option<Arc<TierPlan>> {
        Some(Arc::clone(&self.tiers.get(slug)?.at(self.clock.micros()).plan))
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
        let plan = self.at_hand(slug)?;
        match members_own {
            None => Some(plan),
            Some(own) => Some(plan.with_users_of(&self.at_hand(own)?)),
        }
    }

    pub fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.tiers.invalidate_all();
    }
}
