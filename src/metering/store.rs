//! Where counts are kept: rows of minutes that are added to, in one transaction with how far the journal is counted.

use super::tally::{Asked, Became, ByPolicy, PartReached, Place, QuotaWindow, Tally};
use crate::{
    clock::at_micros,
    error::Result,
    ids::JournalId,
    tenancy::{PlatformDb, PlatformTx},
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// The month that is being billed, and the one before: as long as operators can look back, and longer than a journal.
const KEPT: Duration = Duration::days(62);
const MINUTE: u64 = 60_000_000;

/// Begins to know a journal that is counted up to there.
pub async fn begin(
    platform: &PlatformDb,
    journal: JournalId,
    counted: u64,
    now: OffsetDateTime,
) -> Result<()> {
    let mut tx = platform.begin().await?;
    sqlx::query!(
        "insert into usage_journals (id, counted, changed_at) values ($1, $2, $3)",
        journal.uuid(),
        signed(counted),
        now
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Up to where a journal is counted; `None` if this database does not know it.
pub async fn counted(platform: &PlatformDb, journal: JournalId) -> Result<Option<u64>> {
    let mut tx = platform.begin().await?;
    let counted = sqlx::query_scalar!("select counted from usage_journals where id = $1", journal.uuid())
        .fetch_optional(&mut *tx)
        .await?;
    Ok(counted.map(unsigned))
}

/// Adds what stands in a journal from one place to another, if it is counted up to just there; answers up to where it is
/// now. `None` if this database does not know it.
pub async fn add_from(
    platform: &PlatformDb,
    journal: JournalId,
    (from, to): (u64, u64),
    tally: &Tally,
    now: OffsetDateTime,
) -> Result<Option<u64>> {
    let mut tx = platform.begin().await?;
    let known = sqlx::query_scalar!(
        "select counted from usage_journals where id = $1 for no key update",
        journal.uuid()
    );
    let Some(counted) = known.fetch_optional(&mut *tx).await?.map(unsigned) else { return Ok(None) };
    if counted != from {
        return Ok(Some(counted));
    }
    add(&mut tx, tally).await?;
    sqlx::query!(
        "update usage_journals set counted = $2, changed_at = $3 where id = $1",
        journal.uuid(),
        signed(to),
        now
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Some(to))
}

/// An org that is gone has nobody who would ask.
pub async fn add(tx: &mut PlatformTx, tally: &Tally) -> Result<()> {
    add_minutes(tx, tally).await?;
    add_policies(tx, tally).await?;
    add_routes(tx, tally).await?;
    add_reached(tx, tally).await
}

async fn add_minutes(tx: &mut PlatformTx, Tally { minutes, .. }: &Tally) -> Result<()> {
    if minutes.is_empty() {
        return Ok(());
    }
    let of = |column: fn(&Asked) -> i64| minutes.values().map(column).collect::<Vec<_>>();
    let orgs: Vec<_> = minutes.keys().map(|(org, _)| org.uuid()).collect();
    let at: Vec<_> = minutes.keys().map(|(_, minute)| begins(*minute)).collect();
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
        &at,
        &of(|counts| counts.requests),
        &of(|counts| counts.units),
        &of(|counts| counts.refused),
        &of(|counts| counts.shadow_refused)
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn add_policies(tx: &mut PlatformTx, Tally { policies, .. }: &Tally) -> Result<()> {
    if policies.is_empty() {
        return Ok(());
    }
    let of = |column: fn(&ByPolicy) -> i64| policies.values().map(column).collect::<Vec<_>>();
    let orgs: Vec<_> = policies.keys().map(|((org, _), ..)| org.uuid()).collect();
    let at: Vec<_> = policies.keys().map(|((_, minute), ..)| begins(*minute)).collect();
    let sources: Vec<_> = policies.keys().map(|(_, source, _)| source.to_string()).collect();
    let names: Vec<_> = policies.keys().map(|(.., policy)| policy.to_string()).collect();
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
        &at,
        &sources,
        &names,
        &of(|counts| counts.weighed),
        &of(|counts| counts.refused),
        &of(|counts| counts.shadow_refused)
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn add_routes(tx: &mut PlatformTx, Tally { routes, .. }: &Tally) -> Result<()> {
    if routes.is_empty() {
        return Ok(());
    }
    let of = |column: fn(&Became) -> i64| routes.values().map(column).collect::<Vec<_>>();
    let text =
        |column: fn(&Place) -> &str| routes.keys().map(|key| column(key).to_owned()).collect::<Vec<_>>();
    let orgs: Vec<_> = routes.keys().map(|place| place.minute.0.uuid()).collect();
    let at: Vec<_> = routes.keys().map(|place| begins(place.minute.1)).collect();
    let keys: Vec<Uuid> = routes.keys().map(|place| place.key).collect();
    sqlx::query!(
        "insert into usage_route_minutes (org_id, minute, policy, route, api_key, passed, limited, shadow, errors, units)
         select c.org_id, c.minute, c.policy, c.route, c.api_key, c.passed, c.limited, c.shadow, c.errors, c.units
         from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::uuid[], $6::bigint[], $7::bigint[],
                     $8::bigint[], $9::bigint[], $10::bigint[])
             as c (org_id, minute, policy, route, api_key, passed, limited, shadow, errors, units)
         join orgs on orgs.id = c.org_id
         order by c.org_id, c.minute, c.policy, c.route, c.api_key
         on conflict (org_id, minute, policy, route, api_key) do update
         set passed = usage_route_minutes.passed + excluded.passed,
             limited = usage_route_minutes.limited + excluded.limited,
             shadow = usage_route_minutes.shadow + excluded.shadow,
             errors = usage_route_minutes.errors + excluded.errors,
             units = usage_route_minutes.units + excluded.units",
        &orgs,
        &at,
        &text(|place| &place.policy),
        &text(|place| &place.route),
        &keys,
        &of(|counts| counts.passed),
        &of(|counts| counts.limited),
        &of(|counts| counts.shadow),
        &of(|counts| counts.errors),
        &of(|counts| counts.units)
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Each part once. One that is passed together with a higher one is not told of by itself.
async fn add_reached(tx: &mut PlatformTx, Tally { reached, .. }: &Tally) -> Result<()> {
    if reached.is_empty() {
        return Ok(());
    }
    let window = |column: fn(&QuotaWindow) -> u64| reached.keys().map(column).map(signed).collect::<Vec<_>>();
    let part = |column: fn(&PartReached) -> u64| reached.values().map(column);
    let times = |micros: &mut dyn Iterator<Item = u64>| micros.map(at_micros).collect::<Vec<_>>();
    let orgs: Vec<_> = reached.keys().map(|window| window.org.uuid()).collect();
    let policies: Vec<_> = reached.keys().map(|window| window.policy.to_string()).collect();
    let percents: Vec<_> = reached.values().map(|part| i16::from(part.percent)).collect();
    let scopes: Vec<_> = reached.values().map(|part| part.scope.to_owned()).collect();
    sqlx::query!(
        "insert into usage_alerts
             (org_id, policy, window_start, quota, percent, scope, used, resets_at, reached_at, told_at)
         select r.org_id, r.policy, r.since, r.quota, part.percent, r.scope, r.used, r.until, r.at,
                case when part.percent < r.percent then r.at end
         from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::bigint[], $5::smallint[], $6::text[], $7::bigint[],
                     $8::timestamptz[], $9::timestamptz[])
             as r (org_id, policy, since, quota, percent, scope, used, until, at)
         join orgs on orgs.id = r.org_id
         join (values (50::smallint), (80), (100)) as part (percent) on part.percent <= r.percent
         order by r.org_id, r.policy, r.since, r.quota, part.percent
         on conflict do nothing",
        &orgs,
        &policies,
        &times(&mut reached.keys().map(|window| window.since)),
        &window(|window| window.quota),
        &percents,
        &scopes,
        &part(|part| part.used).map(signed).collect::<Vec<_>>(),
        &times(&mut part(|part| part.until)),
        &times(&mut part(|part| part.at))
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes what nobody can ask about any more, org by org, as the index goes: of routes and keys after `detailed`.
pub async fn sweep(tx: &mut PlatformTx, detailed: Duration, now: OffsetDateTime) -> Result<()> {
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
    sqlx::query!(
        "delete from usage_route_minutes u using orgs o where u.org_id = o.id and u.minute < $1",
        now - detailed
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "delete from usage_alerts a using orgs o where a.org_id = o.id and a.resets_at < $1",
        before
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("delete from usage_journals where changed_at < $1", before).execute(&mut **tx).await?;
    Ok(())
}

fn begins(minute: u64) -> OffsetDateTime {
    at_micros(minute.saturating_mul(MINUTE))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
