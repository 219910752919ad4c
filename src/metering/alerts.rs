//! Parts of quotas that were reached, of which nobody was told yet.

use crate::{error::Result, ids::OrgId, tenancy::PlatformTx};
use time::OffsetDateTime;

/// How many are told in one transaction.
const BATCH: i64 = 50;

/// A part of a quota that was reached, for the first time in its window.
#[derive(Debug)]
pub struct Alert {
    pub org: OrgId,
    pub policy: String,
    pub scope: String,
    pub percent: i16,
    /// Units, when it was reached.
    pub used: i64,
    pub quota: i64,
    pub window_start: OffsetDateTime,
    pub resets_at: OffsetDateTime,
}

/// Some that nobody was told of, as told from now on if `tx` commits. Who asks at the same time gets others.
pub async fn take_untold(tx: &mut PlatformTx, now: OffsetDateTime) -> Result<Vec<Alert>> {
    let alerts = sqlx::query_as!(
        Alert,
        r#"with due as (
               select org_id, policy, window_start, quota, percent from usage_alerts
               where told_at is null order by reached_at limit $2
               for no key update skip locked
           )
           update usage_alerts a set told_at = $1
           from due d
           where a.org_id = d.org_id and a.policy = d.policy and a.window_start = d.window_start
             and a.quota = d.quota and a.percent = d.percent
           returning a.org_id as "org: OrgId", a.policy, a.scope, a.percent, a.used, a.quota, a.window_start, a.resets_at"#,
        now,
        BATCH
    );
    Ok(alerts.fetch_all(&mut **tx).await?)
}
