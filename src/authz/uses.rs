//! Which permissions people make use of: noted in memory, and written down many at a time, so that no request waits.

use super::Permission;
use crate::{
    clock::Clock,
    error::Result,
    ids::{OrgId, UserId},
    tenancy::PlatformDb,
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use time::OffsetDateTime;
use uuid::Uuid;

/// Uses that are known to have been noted, about 100 bytes each: one of these is let go when there are more, and noted
/// again.
const KNOWN: u64 = 100_000;
/// Noted between two writes. What comes beyond is noted in the next hour.
const MOST: usize = 50_000;

/// Who made use of what, to the hour.
#[derive(Clone)]
pub struct Uses {
    clock: Clock,
    known: moka::sync::Cache<(Use, i64), ()>,
    noted: Arc<Mutex<HashMap<Use, OffsetDateTime>>>,
}

type Use = (OrgId, UserId, usize);

impl Uses {
    pub fn new(clock: Clock) -> Self {
        Self { clock, known: moka::sync::Cache::new(KNOWN), noted: Arc::default() }
    }

    /// For the most part a look into a table: once an hour a use takes a lock.
    pub fn note(&self, org: OrgId, user: UserId, permission: Permission) {
        let (made, now) = ((org, user, permission.index()), self.clock.now());
        let this_hour = (made, now.unix_timestamp() / 3_600);
        if self.known.contains_key(&this_hour) {
            return;
        }
        let mut noted = self.noted.lock();
        if noted.len() < MOST || noted.contains_key(&made) {
            noted.insert(made, now);
        }
        drop(noted);
        self.known.insert(this_hour, ());
    }

    /// Writes down what was noted, and answers how much; on an error it is kept for the next time.
    pub async fn flush(&self, platform: &PlatformDb) -> Result<usize> {
        let noted = std::mem::take(&mut *self.noted.lock());
        if noted.is_empty() {
            return Ok(0);
        }
        let written = write(platform, &noted).await;
        if written.is_err() {
            let mut since = self.noted.lock();
            for (made, at) in noted {
                since.entry(made).or_insert(at);
            }
            return written.map(|()| 0);
        }
        Ok(noted.len())
    }
}

async fn write(platform: &PlatformDb, noted: &HashMap<Use, OffsetDateTime>) -> Result<()> {
    // In one order everywhere, so that no two replicas wait for each other.
    let mut rows: Vec<_> = noted.iter().collect();
    rows.sort();
    let texts: Vec<String> = Permission::all().map(|permission| permission.to_string()).collect();
    let (mut orgs, mut users, mut permissions, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((org, user, permission), at) in rows {
        orgs.push(org.uuid());
        users.push(user.uuid());
        permissions.push(texts[*permission].clone());
        times.push(*at);
    }
    let mut tx = platform.begin().await?;
    sqlx::query!(
        "insert into permission_uses (org_id, user_id, permission, last_used_at)
         select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[])
         on conflict (org_id, user_id, permission)
         do update set last_used_at = greatest(permission_uses.last_used_at, excluded.last_used_at)",
        &orgs as &[Uuid],
        &users as &[Uuid],
        &permissions,
        &times as &[OffsetDateTime]
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::{Action, Resource};

    #[test]
    fn a_use_is_noted_once_an_hour_and_memory_is_bounded() {
        let clock = Clock::frozen();
        let table = Uses::new(clock.clone());
        let permission = Permission { resource: Resource::Products, action: Action::Read };
        let (org, user) = (OrgId::new(), UserId::new());
        let made = (org, user, permission.index());
        table.note(org, user, permission);
        let first = table.noted.lock()[&made];
        clock.advance(std::time::Duration::from_secs(1));
        table.note(org, user, permission);
        assert_eq!(table.noted.lock()[&made], first, "the same hour");
        clock.advance(std::time::Duration::from_hours(1));
        table.note(org, user, permission);
        assert!(table.noted.lock()[&made] > first, "the next one");
        for _ in 0..MOST {
            table.note(org, UserId::new(), permission);
        }
        assert_eq!(table.noted.lock().len(), MOST);
    }
}
