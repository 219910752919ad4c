//! Addresses confirmed and changed.

use super::{Confirmation, Letter};
use crate::{
    db::Pools,
    error::{Error, Result, SqlExt as _},
    ids::{SessionId, UserId},
    trail::Trail,
};
use time::OffsetDateTime;

/// Whether a person has shown that they read the mail of their address.
pub async fn email_verified(pools: &Pools, user: UserId) -> Result<bool> {
    let verified = sqlx::query_scalar!("select gate_email_verified($1)", user.uuid());
    Ok(verified.fetch_one(&pools.gate).await?.unwrap_or_default())
}

/// Sends `letter` to an address that is not verified yet.
pub async fn send_verification(
    pools: &Pools,
    user: UserId,
    letter: &Confirmation,
    at: OffsetDateTime,
) -> Result<()> {
    sqlx::query!("select gate_send_verification($1, $2, $3)", user.uuid(), letter.to_json(), at)
        .execute(&pools.gate)
        .await?;
    Ok(())
}

/// An address that is to take the place of another, once both have confirmed it.
pub struct EmailChange<'a> {
    pub user: UserId,
    pub email: &'a str,
    /// Goes on; every other session of theirs ends with the change.
    pub session: SessionId,
    pub to_old: &'a Confirmation,
    pub to_new: &'a Confirmation,
}

/// Writes to both addresses; an earlier wish of the same person is void from here on.
pub async fn request_email_change(pools: &Pools, change: &EmailChange<'_>, trail: &Trail) -> Result<()> {
    sqlx::query!(
        "select gate_request_email_change($1, $2, $3, $4, $5, $6)",
        change.user.uuid(),
        change.email,
        change.session.uuid(),
        change.to_old.to_json(),
        change.to_new.to_json(),
        trail.to_json()
    )
    .execute(&pools.gate)
    .await?;
    Ok(())
}

/// Takes a token for what it proves; the sessions that ended with it, or None where it is no good. `letter` tells the
/// address so far, where that changes by it.
///
/// # Errors
/// 409 `email_taken` where somebody has signed up with the new address meanwhile.
pub async fn confirm_email(
    pools: &Pools,
    token: &[u8],
    letter: &Letter,
    trail: &Trail,
) -> Result<Option<Vec<SessionId>>> {
    let confirmed = sqlx::query_scalar!(
        r#"select ended as "ended!: Vec<SessionId>" from gate_confirm_email($1, $2, $3)"#,
        token,
        letter.to_json(),
        trail.to_json()
    );
    confirmed.fetch_optional(&pools.gate).await.on_constraint("users_email_key", || {
        Error::conflict("email_taken", "somebody has signed up with this address meanwhile")
    })
}
