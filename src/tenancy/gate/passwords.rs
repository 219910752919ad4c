//! Passwords forgotten and changed.

use super::{Confirmation, Letter, Person};
use crate::{
    db::Pools,
    error::Result,
    ids::{SessionId, UserId},
    trail::Trail,
};
use time::OffsetDateTime;

/// What a person's password is checked against.
pub async fn password_of(pools: &Pools, user: UserId) -> Result<Option<String>> {
    Ok(sqlx::query_scalar!("select gate_password_of($1)", user.uuid()).fetch_one(&pools.gate).await?)
}

/// Puts `new` in the place of `old`, a hash of the same password; nothing where that has been replaced meanwhile.
pub async fn rehash(pools: &Pools, user: UserId, old: &str, new: &str) -> Result<()> {
    sqlx::query!("select gate_rehash($1, $2, $3)", user.uuid(), old, new).execute(&pools.gate).await?;
    Ok(())
}

/// Sends `letter` to whom `email` belongs; to nobody, after the same work, where it is nobody's.
pub async fn forgot_password(
    pools: &Pools,
    email: &str,
    letter: &Confirmation,
    at: OffsetDateTime,
) -> Result<()> {
    sqlx::query!("select gate_forgot_password($1, $2, $3)", email, letter.to_json(), at)
        .execute(&pools.gate)
        .await?;
    Ok(())
}

/// Whom the token with this hash would let set a new password.
pub async fn password_reset(pools: &Pools, token: &[u8], at: OffsetDateTime) -> Result<Option<Person>> {
    Ok(sqlx::query_as!(
        Person,
        r#"select id as "id!: UserId", email as "email!", name as "name!" from gate_password_reset($1, $2)"#,
        token,
        at
    )
    .fetch_optional(&pools.gate)
    .await?)
}

/// Sets a new password by a token and ends every session of its person: those are answered, or None where the token
/// is no good. `letter` tells of it.
pub async fn reset_password(
    pools: &Pools,
    token: &[u8],
    new_hash: &str,
    letter: &Letter,
    trail: &Trail,
) -> Result<Option<Vec<SessionId>>> {
    let ended = sqlx::query_scalar!(
        r#"select gate_reset_password($1, $2, $3, $4) as "ended: Vec<SessionId>""#,
        token,
        new_hash,
        letter.to_json(),
        trail.to_json()
    );
    Ok(ended.fetch_one(&pools.gate).await?)
}

/// A password that is to take the place of another.
pub struct PasswordChange<'a> {
    pub user: UserId,
    pub old_hash: &'a str,
    pub new_hash: &'a str,
    /// Goes on; every other session of theirs ends.
    pub session: SessionId,
}

/// The sessions that ended; None where the old password had been replaced meanwhile. `letter` tells of it.
pub async fn change_password(
    pools: &Pools,
    change: &PasswordChange<'_>,
    letter: &Letter,
    trail: &Trail,
) -> Result<Option<Vec<SessionId>>> {
    let ended = sqlx::query_scalar!(
        r#"select gate_change_password($1, $2, $3, $4, $5, $6) as "ended: Vec<SessionId>""#,
        change.user.uuid(),
        change.old_hash,
        change.new_hash,
        change.session.uuid(),
        letter.to_json(),
        trail.to_json()
    );
    Ok(ended.fetch_one(&pools.gate).await?)
}
