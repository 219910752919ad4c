//! Invitations as whoever holds the link sees them, in no org yet.

use crate::{
    db::Pools,
    error::{Error, Result, SqlExt as _},
    ids::{OrgId, UserId},
    trail::Trail,
};
use time::OffsetDateTime;

/// An invitation that can be accepted now.
pub struct OpenInvitation {
    pub org: OrgId,
    pub email: String,
    /// Of whoever has the address already.
    pub account: Option<Invited>,
}

/// An account that is invited.
pub struct Invited {
    pub id: UserId,
    pub email: String,
    pub name: String,
    pub password_hash: Option<String>,
}

/// What it takes to make a person of somebody who has none yet.
pub struct Newcomer<'a> {
    pub name: &'a str,
    pub password_hash: &'a str,
}

pub async fn invitation(
    pools: &Pools,
    secret_hash: &[u8],
    at: OffsetDateTime,
) -> Result<Option<OpenInvitation>> {
    let row = sqlx::query!(
        r#"select org_id as "org!: OrgId", email as "email!", user_id as "user: UserId", user_email, user_name,
                  password_hash
           from gate_invitation($1, $2)"#,
        secret_hash,
        at
    )
    .fetch_optional(&pools.gate)
    .await?;
    Ok(row.map(|row| {
        let account = match (row.user, row.user_email, row.user_name) {
            (Some(id), Some(email), Some(name)) => {
                Some(Invited { id, email, name, password_hash: row.password_hash })
            }
            _ => None,
        };
        OpenInvitation { org: row.org, email: row.email, account }
    }))
}

/// Makes `user` a member by the invitation that the secret opens, and `new` a person first; false where it opens none
/// (any more), or none for them.
///
/// # Errors
/// 409 `email_taken` where somebody has signed up with the address in between.
pub async fn accept_invitation(
    pools: &Pools,
    secret_hash: &[u8],
    user: UserId,
    new: Option<&Newcomer<'_>>,
    trail: &Trail,
) -> Result<bool> {
    let accepted = sqlx::query_scalar!(
        "select gate_accept_invitation($1, $2, $3, $4, $5)",
        secret_hash,
        user.uuid(),
        new.map(|new| new.name),
        new.map(|new| new.password_hash),
        trail.to_json()
    )
    .fetch_one(&pools.gate)
    .await
    .on_constraint("users_email_key", || {
        Error::conflict(
            "email_taken",
            "this e-mail address has just been registered: accept with its password",
        )
    })?;
    Ok(accepted == Some(true))
}
