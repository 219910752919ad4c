//! What each org asked for, by the minute: counted in memory, and written down once a second, so that no request waits.

use super::decision::Decision;
use crate::{
    error::Result,
    ids::OrgId,
    tenancy::{PlatformDb, PlatformTx},
};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use time::{Duration, OffsetDateTime};

/// Orgs share a lock with one in so many others.
const SHARDS: usize = 64;
/// Minutes of orgs that one shard holds, a few hundred bytes each. What comes beyond, while nothing can be written, is
/// not counted.
const MOST: usize = 2_000;
/// Minutes of orgs that are written at once.
const BATCH: usize = 500;
/// The month that is being billed, and the one before.
pub(super) const KEPT: Duration = Duration::days(62);
const MINUTE: u64 = 60_000_000_000;

/// An org, and minutes since 1970.
type Key = (OrgId, u64);

/// Counts since the last write: all that is lost when the process is killed.
pub struct Usage {
    shards: Box<[Mutex<HashMap<Key, Counts>>]>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    requests: i64,
    units: i64,
    refused: i64,
    shadow_refused: i64,
    policies: SmallVec<[PolicyCounts; 2]>,
}

#[derive(Debug)]
struct PolicyCounts {
    source: Arc<str>,
    policy: String,
    weighed: i64,
    refused: i64,
    shadow_refused: i64,
}

impl Default for Usage {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, dropped: AtomicU64::default() }
    }
}

impl Usage {
    /// Counts one decision about somebody in `org`.
    pub fn count(&self, org: OrgId, decision: &Decision) {
        let key = (org, decision.now() / MINUTE);
        let mut shard = self.shard(org).lock();
        let full = shard.len() >= MOST;
        match shard.entry(key) {
            Entry::Occupied(mut counts) => counts.get_mut().count(decision),
            Entry::Vacant(place) if !full => place.insert(Counts::default()).count(decision),
            Entry::Vacant(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Adds what was counted to what is written. On an error it is kept for the next time; if it can't be known whether
    /// a write was committed it may be written twice.
    pub async fn flush(&self, platform: &PlatformDb) -> Result<()> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "more was decided than can be written down: the use of some orgs is not counted"
            );
        }
        let mut counted: Vec<(Key, Counts)> =
            self.shards.iter().flat_map(|shard| std::mem::take(&mut *shard.lock())).collect();
        // In one order, or replicas would wait for each other in a circle.
        counted.sort_unstable_by_key(|((org, minute), _)| (org.uuid(), *minute));
        while !counted.is_empty() {
            let batch = counted.split_off(counted.len().saturating_sub(BATCH));
            if let Err(error) = write(platform, &batch).await {
                self.keep(batch);
                self.keep(counted);
                return Err(error);
            }
        }
        Ok(())
    }

    fn keep(&self, counted: Vec<(Key, Counts)>) {
        for (key, counts) in counted {
            self.shard(key.0).lock().entry(key).or_default().add(counts);
        }
    }

    fn shard(&self, org: OrgId) -> &Mutex<HashMap<Key, Counts>> {
        // The last byte of a uuid v7 is random.
        &self.shards[usize::from(org.uuid().as_bytes()[15]) % SHARDS]
    }
}

impl Counts {
    fn count(&mut self, decision: &Decision) {
        self.requests += 1;
        if decision.admitted {
            self.units += i64::from(decision.cost);
        } else {
            self.refused += 1;
        }
        let mut in_shadow = false;
        for (rule, mark) in decision.each() {
            let (shadow, fits) = (rule.is_shadow(), mark.fits());
            if fits && !shadow {
                continue;
            }
            let counts = self.of(&rule.source, &rule.policy.name);
            counts.weighed += 1;
            if shadow && !fits {
                counts.shadow_refused += 1;
                in_shadow = true;
            } else if !fits {
                counts.refused += 1;
            }
        }
        self.shadow_refused += i64::from(in_shadow && decision.admitted);
    }

    fn of(&mut self, source: &Arc<str>, policy: &str) -> &mut PolicyCounts {
        let known = |counts: &PolicyCounts| counts.source == *source && counts.policy == policy;
        let place = self.policies.iter().position(known).unwrap_or_else(|| {
            self.policies.push(PolicyCounts {
                source: Arc::clone(source),
                policy: policy.to_owned(),
                weighed: 0,
                refused: 0,
                shadow_refused: 0,
            });
            self.policies.len() - 1
        });
        &mut self.policies[place]
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.units += other.units;
        self.refused += other.refused;
        self.shadow_refused += other.shadow_refused;
        for theirs in other.policies {
            let ours = self.of(&theirs.source, &theirs.policy);
            ours.weighed += theirs.weighed;
            ours.refused += theirs.refused;
            ours.shadow_refused += theirs.shadow_refused;
        }
    }
}

async fn write(platform: &PlatformDb, batch: &[(Key, Counts)]) -> Result<()> {
    let mut tx = platform.begin().await?;
    add_minutes(&mut tx, batch).await?;
    add_policies(&mut tx, batch).await?;
    tx.commit().await
}

/// An org that is gone has nobody who would ask.
async fn add_minutes(tx: &mut PlatformTx, batch: &[(Key, Counts)]) -> Result<()> {
    let of = |column: fn(&Counts) -> i64| batch.iter().map(|(_, counts)| column(counts)).collect::<Vec<_>>();
    let orgs: Vec<_> = batch.iter().map(|((org, _), _)| org.uuid()).collect();
    let minutes: Vec<_> = batch.iter().map(|((_, minute), _)| moment(*minute)).collect();
    sqlx::query!(
        "insert into usage_minutes (org_id, minute, requests, units, refused, shadow_refused)
         select c.org_id, c.minute, c.requests, c.units, c.refused, c.shadow_refused
         from unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
             as c (org_id, minute, requests, units, refused, shadow_refused)
         join orgs on orgs.id = c.org_id
         order by c.org_id, c.minute
         on conflict (org_id, minute) do update
         set requests = usage_minutes.requests + excluded.requests,
             units = usage_minutes.units + excluded.units,
             refused = usage_minutes.refused + excluded.refused,
             shadow_refused = usage_minutes.shadow_refused + excluded.shadow_refused",
        &orgs,
        &minutes,
        &of(|counts| counts.requests),
        &of(|counts| counts.units),
        &of(|counts| counts.refused),
        &of(|counts| counts.shadow_refused)
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn add_policies(tx: &mut PlatformTx, batch: &[(Key, Counts)]) -> Result<()> {
    let rows: Vec<(&Key, &PolicyCounts)> = batch
        .iter()
        .flat_map(|(key, counts)| counts.policies.iter().map(move |policy| (key, policy)))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let of =
        |column: fn(&PolicyCounts) -> i64| rows.iter().map(|(_, counts)| column(counts)).collect::<Vec<_>>();
    let orgs: Vec<_> = rows.iter().map(|((org, _), _)| org.uuid()).collect();
    let minutes: Vec<_> = rows.iter().map(|((_, minute), _)| moment(*minute)).collect();
    let sources: Vec<String> = rows.iter().map(|(_, counts)| counts.source.as_ref().to_owned()).collect();
    let policies: Vec<String> = rows.iter().map(|(_, counts)| counts.policy.clone()).collect();
    sqlx::query!(
        "insert into usage_policy_minutes (org_id, minute, source, policy, weighed, refused, shadow_refused)
         select c.org_id, c.minute, c.source, c.policy, c.weighed, c.refused, c.shadow_refused
         from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[])
             as c (org_id, minute, source, policy, weighed, refused, shadow_refused)
         join orgs on orgs.id = c.org_id
         order by c.org_id, c.minute, c.source, c.policy
         on conflict (org_id, minute, source, policy) do update
         set weighed = usage_policy_minutes.weighed + excluded.weighed,
             refused = usage_policy_minutes.refused + excluded.refused,
             shadow_refused = usage_policy_minutes.shadow_refused + excluded.shadow_refused",
        &orgs,
        &minutes,
        &sources,
        &policies,
        &of(|counts| counts.weighed),
        &of(|counts| counts.refused),
        &of(|counts| counts.shadow_refused)
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes what nobody can ask about any more, org by org, as the index goes.
pub async fn sweep_usage(tx: &mut PlatformTx, now: OffsetDateTime) -> Result<()> {
    let before = now - KEPT;
    sqlx::query!("delete from usage_minutes u using orgs o where u.org_id = o.id and u.minute < $1", before)
        .execute(&mut **tx)
        .await?;
    sqlx::query!(
        "delete from usage_policy_minutes u using orgs o where u.org_id = o.id and u.minute < $1",
        before
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn moment(minute: u64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::minutes(i64::try_from(minute).unwrap_or(i64::MAX / 60))
}
