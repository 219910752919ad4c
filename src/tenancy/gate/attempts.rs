//! Attempts to prove who one is, counted by e-mail address on every replica at once, and challenges to prove more.

use super::{Letter, Person};
use crate::{db::Pools, error::Result, ids::UserId, trail::Trail};
use time::{Duration, OffsetDateTime};

/// How many attempts an address has, within how long.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub attempts: i32,
    /// And how long there are none after the last of them.
    pub span: Duration,
}

/// Whether an attempt may be made.
pub enum Admission {
    /// `last`: the next one will not be admitted, unless this one turns out right.
    Admitted { last: bool },
    /// There are attempts again from `until` on.
    Locked { until: OffsetDateTime },
}

/// Takes one of the attempts of `email`, known or not, before anything is compared.
pub async fn begin_attempt(
    pools: &Pools,
    email: &str,
    budget: Budget,
    at: OffsetDateTime,
) -> Result<Admission> {
    let row = sqlx::query!(
        r#"select admitted as "admitted!", last as "last!", until as "until!"
           from gate_begin_attempt($1, $2, make_interval(secs => $3), $4)"#,
        email,
        budget.attempts,
        budget.span.as_seconds_f64(),
        at
    )
    .fetch_one(&pools.gate)
    .await?;
    Ok(if row.admitted {
        Admission::Admitted { last: row.last }
    } else {
        Admission::Locked { until: row.until }
    })
}

/// Gives back an attempt that compared nothing, or that was right and not yet the whole of the proof.
pub async fn take_back_attempt(pools: &Pools, email: &str) -> Result<()> {
    sqlx::query!("select gate_take_back_attempt($1)", email).execute(&pools.gate).await?;
    Ok(())
}

/// They are who they say: earlier attempts count no more.
pub async fn forget_attempts(pools: &Pools, email: &str) -> Result<()> {
    sqlx::query!("select gate_forget_attempts($1)", email).execute(&pools.gate).await?;
    Ok(())
}

/// Audits that the account of `email` is locked, and writes to its owner; does nothing where it is nobody's.
pub async fn account_locked(
    pools: &Pools,
    email: &str,
    budget: Budget,
    letter: &Letter,
    trail: &Trail,
) -> Result<()> {
    sqlx::query!(
        "select gate_account_locked($1, $2, $3, $4)",
        email,
        budget.attempts,
        letter.to_json(),
        trail.to_json()
    )
    .execute(&pools.gate)
    .await?;
    Ok(())
}

/// A sign-in that waits for its second factor.
pub struct Challenged {
    pub person: Person,
    /// The id or slug of the org that was asked for.
    pub org: Option<String>,
}

pub async fn add_challenge(
    pools: &Pools,
    hash: &[u8],
    person: UserId,
    org: Option<&str>,
    ends: OffsetDateTime,
    at: OffsetDateTime,
) -> Result<()> {
    sqlx::query!("select gate_add_challenge($1, $2, $3, $4, $5)", hash, person.uuid(), org, ends, at)
        .execute(&pools.gate)
        .await?;
    Ok(())
}

/// Takes one of the `tries` of a challenge; none where it is unknown, expired, met or used up.
pub async fn try_challenge(
    pools: &Pools,
    hash: &[u8],
    tries: i32,
    at: OffsetDateTime,
) -> Result<Option<Challenged>> {
    let row = sqlx::query!(
        r#"select id as "id!: UserId", email as "email!", name as "name!", org
           from gate_try_challenge($1, $2, $3)"#,
        hash,
        tries,
        at
    )
    .fetch_optional(&pools.gate)
    .await?;
    Ok(row.map(|row| Challenged {
        person: Person { id: row.id, email: row.email, name: row.name },
        org: row.org,
    }))
}

/// False where somebody else has met it already.
pub async fn meet_challenge(pools: &Pools, hash: &[u8]) -> Result<bool> {
    let met = sqlx::query_scalar!("select gate_meet_challenge($1)", hash);
    Ok(met.fetch_one(&pools.gate).await? == Some(true))
}
