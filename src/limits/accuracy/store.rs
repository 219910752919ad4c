//! What is kept of it for two months.

use super::{Counts, Key, MINUTE};
use crate::{
    clock::at_micros,
    error::Result,
    tenancy::{PlatformDb, PlatformTx},
};
use std::collections::BTreeMap;
use time::{Duration, OffsetDateTime};

/// The month that is being billed, and the one before.
const KEPT: Duration = Duration::days(62);

pub(super) async fn write(platform: &PlatformDb, counted: &BTreeMap<(u64, Key), Counts>) -> Result<()> {
    let of = |column: fn(&Counts) -> i64| counted.values().map(column).collect::<Vec<_>>();
    let minutes: Vec<_> = counted.keys().map(|(minute, _)| at_micros(minute * MINUTE)).collect();
    let tiers: Vec<_> = counted.keys().map(|(_, key)| key.tier.clone().into_string()).collect();
    let policies: Vec<_> = counted.keys().map(|(_, key)| key.policy.clone().into_string()).collect();
    let countings: Vec<_> = counted.keys().map(|(_, key)| key.counting.as_str().to_owned()).collect();
    let mut tx = platform.begin().await?;
    sqlx::query!(
        "insert into limit_accuracy_minutes
             (minute, tier, policy, counting, decisions, admitted_units, refused, over_units, under_units)
         select c.minute, c.tier, c.policy, c.counting, c.decisions, c.admitted_units, c.refused, c.over_units,
                c.under_units
         from unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
                     $8::bigint[], $9::bigint[])
             as c (minute, tier, policy, counting, decisions, admitted_units, refused, over_units, under_units)
         order by c.minute, c.tier, c.policy, c.counting
         on conflict (minute, tier, policy, counting) do update
         set decisions = limit_accuracy_minutes.decisions + excluded.decisions,
             admitted_units = limit_accuracy_minutes.admitted_units + excluded.admitted_units,
             refused = limit_accuracy_minutes.refused + excluded.refused,
             over_units = limit_accuracy_minutes.over_units + excluded.over_units,
             under_units = limit_accuracy_minutes.under_units + excluded.under_units",
        &minutes,
        &tiers,
        &policies,
        &countings,
        &of(|counts| counts.decisions),
        &of(|counts| counts.admitted_units),
        &of(|counts| counts.refused),
        &of(|counts| counts.over_units),
        &of(|counts| counts.under_units)
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Deletes what nobody can ask about any more.
pub async fn sweep_accuracy(tx: &mut PlatformTx, now: OffsetDateTime) -> Result<()> {
    sqlx::query!("delete from limit_accuracy_minutes where minute < $1", now - KEPT)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
