//! The keys that access tokens are signed with: the platform's own, asked for and changed by its role alone.

use super::super::{PLATFORM, PlatformTx};
use crate::{db::Pools, error::Result, ids::UserId, trail::Trail};
use serde_json::Value;
use time::OffsetDateTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum SigningKeyState {
    /// Published, so that it is known everywhere when it takes over.
    Standby,
    /// Signs.
    Current,
    /// Signs nothing any more, but its tokens are good until they expire.
    Previous,
}

impl SigningKeyState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Current => "current",
            Self::Previous => "previous",
        }
    }
}

/// A key as it is stored.
#[derive(Debug, Clone)]
pub struct SigningKey {
    pub kid: String,
    pub public_key: Vec<u8>,
    /// Sealed; none of a previous key.
    pub seed: Option<Vec<u8>>,
    pub state: SigningKeyState,
    pub created_at: OffsetDateTime,
    pub activated_at: Option<OffsetDateTime>,
    pub retired_at: Option<OffsetDateTime>,
}

/// All of them: the current one first, then the next, then the previous ones from the latest on. Asked beside the
/// bus, which tells of their changes: whatever operators hold, a revoked key is heard of.
pub async fn signing_keys(pools: &Pools) -> Result<Vec<SigningKey>> {
    Ok(sqlx::query_as!(
        SigningKey,
        r#"select kid, public_key, seed, state as "state: _", created_at, activated_at, retired_at from signing_keys
           order by state = 'previous', state, retired_at desc"#
    )
    .fetch_all(&pools.bus)
    .await?)
}

/// The same, once nobody else changes them until `tx` ends.
pub async fn lock_signing_keys(tx: &mut PlatformTx) -> Result<Vec<SigningKey>> {
    // There may be no row to lock yet.
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('insula signing keys', 0))")
        .execute(&mut **tx)
        .await?;
    let keys = sqlx::query_as!(
        SigningKey,
        r#"select kid, public_key, seed, state as "state: _", created_at, activated_at, retired_at from signing_keys
           order by state = 'previous', state, retired_at desc"#
    );
    Ok(keys.fetch_all(&mut **tx).await?)
}

pub async fn add_signing_key(tx: &mut PlatformTx, key: &SigningKey) -> Result<()> {
    sqlx::query!(
        "insert into signing_keys (kid, public_key, seed, state, created_at, activated_at, retired_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
        key.kid,
        key.public_key,
        key.seed,
        key.state as SigningKeyState,
        key.created_at,
        key.activated_at,
        key.retired_at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The current key signs nothing from here on.
pub async fn retire_signing_key(tx: &mut PlatformTx, at: OffsetDateTime) -> Result<()> {
    sqlx::query!(
        "update signing_keys set state = 'previous', seed = null, retired_at = $1 where state = 'current'",
        at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The current key and every previous one are gone; answers which.
pub async fn drop_used_signing_keys(tx: &mut PlatformTx) -> Result<Vec<String>> {
    let dropped = sqlx::query_scalar!("delete from signing_keys where state <> 'standby' returning kid");
    Ok(dropped.fetch_all(&mut **tx).await?)
}

/// Those that were retired by then are gone; answers which.
pub async fn drop_signing_keys_retired_by(tx: &mut PlatformTx, by: OffsetDateTime) -> Result<Vec<String>> {
    let dropped = sqlx::query_scalar!("delete from signing_keys where retired_at <= $1 returning kid", by);
    Ok(dropped.fetch_all(&mut **tx).await?)
}

/// The standby signs from here on.
pub async fn activate_signing_key(tx: &mut PlatformTx, at: OffsetDateTime) -> Result<()> {
    sqlx::query!("update signing_keys set state = 'current', activated_at = $1 where state = 'standby'", at)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// What was done to a key, by an operator or by the platform itself, is audited in the platform's org and told to
/// every replica when `tx` commits. Call it last.
pub async fn tell_of_signing_key(
    tx: &mut PlatformTx,
    action: &str,
    kid: &str,
    [before, after]: [Option<Value>; 2],
    by: Option<UserId>,
    trail: &Trail,
) -> Result<()> {
    sqlx::query!(
        "select audit_org($1, $2, $3, $4, 'signing_key', $5, $6, $7, $8)",
        PLATFORM.uuid(),
        if by.is_some() { "operator" } else { "system" },
        by.map(UserId::uuid),
        action,
        kid,
        before,
        after,
        trail.to_json()
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("select control_change('signing_keys', null, null)").execute(&mut **tx).await?;
    Ok(())
}
