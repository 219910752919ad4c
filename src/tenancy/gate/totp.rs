//! Second factors: the secrets shared with people's apps, which codes were taken, and recovery codes.

use super::Letter;
use crate::{
    db::Pools,
    error::Result,
    ids::{SessionId, UserId},
    trail::Trail,
};
use time::OffsetDateTime;

/// What is known of a person's second factor.
pub struct Totp {
    /// Shared with their app; sealed.
    pub secret: Vec<u8>,
    /// None while nobody has shown that the app has it: nothing is asked for yet.
    pub confirmed_at: Option<OffsetDateTime>,
    pub recovery_codes: i64,
}

pub async fn totp(pools: &Pools, person: UserId) -> Result<Option<Totp>> {
    Ok(sqlx::query_as!(
        Totp,
        r#"select secret as "secret!", confirmed_at, recovery_codes as "recovery_codes!" from gate_totp($1)"#,
        person.uuid()
    )
    .fetch_optional(&pools.gate)
    .await?)
}

/// Keeps a secret until it is confirmed, in the place of one that never was; false where one is confirmed already.
pub async fn start_totp(pools: &Pools, person: UserId, sealed: &[u8], at: OffsetDateTime) -> Result<bool> {
    let started = sqlx::query_scalar!("select gate_start_totp($1, $2, $3)", person.uuid(), sealed, at);
    Ok(started.fetch_one(&pools.gate).await? == Some(true))
}

/// A code that was shown for a secret not yet confirmed.
pub struct Shown<'a> {
    /// The secret, as it is kept.
    pub sealed: &'a [u8],
    /// The step of the code.
    pub step: i64,
    /// By whom.
    pub session: SessionId,
}

/// From here on `person` is asked for a code; false where the secret has been replaced or confirmed since.
pub async fn confirm_totp(
    pools: &Pools,
    person: UserId,
    shown: &Shown<'_>,
    recovery_codes: &[Vec<u8>],
    letter: &Letter,
    trail: &Trail,
) -> Result<bool> {
    let confirmed = sqlx::query_scalar!(
        "select gate_confirm_totp($1, $2, $3, $4, $5, $6, $7)",
        person.uuid(),
        shown.sealed,
        shown.step,
        shown.session.uuid(),
        recovery_codes,
        letter.to_json(),
        trail.to_json()
    );
    Ok(confirmed.fetch_one(&pools.gate).await? == Some(true))
}

/// Takes the code of one step; false where that one or a later one was taken before.
pub async fn take_totp_step(pools: &Pools, person: UserId, step: i64) -> Result<bool> {
    let taken = sqlx::query_scalar!("select gate_take_totp_step($1, $2)", person.uuid(), step);
    Ok(taken.fetch_one(&pools.gate).await? == Some(true))
}

/// Takes the recovery code with this hash; false where there is none (any more).
pub async fn take_recovery_code(pools: &Pools, person: UserId, hash: &[u8], trail: &Trail) -> Result<bool> {
    let taken = sqlx::query_scalar!(
        "select gate_take_recovery_code($1, $2, $3)",
        person.uuid(),
        hash,
        trail.to_json()
    );
    Ok(taken.fetch_one(&pools.gate).await? == Some(true))
}

/// False where no second factor is confirmed.
pub async fn renew_recovery_codes(
    pools: &Pools,
    person: UserId,
    hashes: &[Vec<u8>],
    trail: &Trail,
) -> Result<bool> {
    let renewed = sqlx::query_scalar!(
        "select gate_renew_recovery_codes($1, $2, $3)",
        person.uuid(),
        hashes,
        trail.to_json()
    );
    Ok(renewed.fetch_one(&pools.gate).await? == Some(true))
}

/// False where there was none to take off.
pub async fn disable_totp(pools: &Pools, person: UserId, letter: &Letter, trail: &Trail) -> Result<bool> {
    let disabled = sqlx::query_scalar!(
        "select gate_disable_totp($1, $2, $3)",
        person.uuid(),
        letter.to_json(),
        trail.to_json()
    );
    Ok(disabled.fetch_one(&pools.gate).await? == Some(true))
}
