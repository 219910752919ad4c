//! Who works at which simulation, and what came of it.

use crate::{
    clock,
    error::Result,
    ids::SimulationId,
    limits::{Outcomes, Replayed},
    state::AppState,
};
use time::OffsetDateTime;
use uuid::Uuid;

/// Outcomes written by one statement.
const CHUNK: usize = 10_000;
/// After so many replicas have died at it, it is not tried again.
const ATTEMPTS: i32 = 3;

/// A simulation that is this replica's to do, until it is not heard of for ten seconds.
pub struct Claimed {
    pub id: SimulationId,
    pub claim: Uuid,
    pub tier: String,
    pub policies: serde_json::Value,
    pub starts_at: OffsetDateTime,
    pub ends_at: OffsetDateTime,
    pub attempts: i32,
}

/// Takes the one that has waited longest, or that nobody works at any more. One that reaches to the present waits until
/// every replica has written down what it had decided.
pub async fn claim(state: &AppState) -> Result<Option<Claimed>> {
    let mut tx = state.platform.begin().await?;
    let at = state.clock.now();
    sqlx::query!(
        "update simulations set status = 'failed', finished_at = $2, error = 'it was begun three times and never finished'
         where status = 'running' and heard_at < now() - interval '10 seconds' and attempts >= $1",
        ATTEMPTS,
        at
    )
    .execute(&mut *tx)
    .await?;
    let claimed = sqlx::query_as!(
        Claimed,
        r#"update simulations
           set status = 'running', heard_at = now(), claim = gen_random_uuid(), attempts = attempts + 1, done = 0
           where id = (
               select id from simulations
               where (status = 'queued' and least(queued_at, ends_at) < now() - interval '2500 milliseconds')
                  or (status = 'running' and heard_at < now() - interval '10 seconds')
               order by queued_at limit 1 for update skip locked
           )
           returning id as "id: _", claim as "claim!", tier, policies, starts_at, ends_at, attempts"#
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(claimed)
}

/// Says that it is under way; false if it is no longer ours to do.
pub async fn keep(state: &AppState, claimed: &Claimed, done: i64, total: i64) -> Result<bool> {
    let mut tx = state.platform.begin().await?;
    let kept = sqlx::query!(
        "update simulations set heard_at = now(), done = $3, total = $4
         where id = $1 and claim = $2 and status = 'running'",
        claimed.id.uuid(),
        claimed.claim,
        done,
        total
    );
    let kept = kept.execute(&mut *tx).await?.rows_affected() > 0;
    tx.commit().await?;
    Ok(kept)
}

/// Leaves it to whoever comes first.
pub async fn give_back(state: &AppState, claimed: &Claimed) -> Result<()> {
    let mut tx = state.platform.begin().await?;
    sqlx::query!(
        "update simulations set status = 'queued', claim = null
         where id = $1 and claim = $2 and status = 'running'",
        claimed.id.uuid(),
        claimed.claim
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

pub async fn fail(state: &AppState, claimed: &Claimed, error: &str) -> Result<()> {
    if claimed.attempts < ATTEMPTS {
        return give_back(state, claimed).await;
    }
    let mut tx = state.platform.begin().await?;
    sqlx::query!(
        "update simulations set status = 'failed', finished_at = $3, error = $4
         where id = $1 and claim = $2 and status = 'running'",
        claimed.id.uuid(),
        claimed.claim,
        state.clock.now(),
        error
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Writes down what came of it, all of it or nothing, and nothing at all if it is no longer ours.
pub async fn finish(state: &AppState, claimed: &Claimed, done: i64, outcomes: &Outcomes) -> Result<()> {
    let mut tx = state.platform.begin().await?;
    let finished = sqlx::query!(
        "update simulations set status = 'succeeded', finished_at = $3, done = $4, total = $4
         where id = $1 and claim = $2 and status = 'running'",
        claimed.id.uuid(),
        claimed.claim,
        state.clock.now(),
        done
    );
    if finished.execute(&mut *tx).await?.rows_affected() == 0 {
        return Ok(());
    }
    let rows: Vec<(Uuid, &str, &Replayed)> = outcomes
        .iter()
        .flat_map(|(org, routes)| routes.iter().map(|(route, tally)| (org.uuid(), route.as_str(), tally)))
        .collect();
    for chunk in rows.chunks(CHUNK) {
        let number = |column: fn(&Replayed) -> u64| -> Vec<i64> {
            chunk.iter().map(|(.., tally)| i64::try_from(column(tally)).unwrap_or(i64::MAX)).collect()
        };
        let moment = |column: fn(&Replayed) -> Option<u64>| -> Vec<Option<OffsetDateTime>> {
            chunk.iter().map(|(.., tally)| column(tally).map(clock::at_micros)).collect()
        };
        sqlx::query!(
            "insert into simulation_outcomes (simulation_id, org, route, decisions, refused, first_refused_at,
                                              refused_really, newly_hurt, first_newly_hurt_at, relieved,
                                              first_relieved_at, refused_in_shadow)
             select $1, * from unnest($2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::timestamptz[],
                                      $7::bigint[], $8::bigint[], $9::timestamptz[], $10::bigint[],
                                      $11::timestamptz[], $12::bigint[])",
            claimed.id.uuid(),
            &chunk.iter().map(|(org, ..)| *org).collect::<Vec<_>>(),
            &chunk.iter().map(|(_, route, _)| (*route).to_owned()).collect::<Vec<_>>(),
            &number(|tally| tally.decisions),
            &number(|tally| tally.refused),
            &moment(|tally| tally.first_refused_at) as &[Option<OffsetDateTime>],
            &number(|tally| tally.refused_really),
            &number(|tally| tally.newly_hurt),
            &moment(|tally| tally.first_newly_hurt_at) as &[Option<OffsetDateTime>],
            &number(|tally| tally.relieved),
            &moment(|tally| tally.first_relieved_at) as &[Option<OffsetDateTime>],
            &number(|tally| tally.refused_in_shadow)
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}
