//! What Postgres is told about invitations. Whoever writes holds the org's turn, so what is read first still holds.

use super::Invitation;
use crate::{
    error::{Error, Result, SqlExt as _},
    ids::{InvitationId, UserId},
    tenancy::TenantTx,
};
use time::{Duration, OffsetDateTime};

const LIFE: Duration = Duration::days(7);
/// Of one organisation, so that nobody sends mail to half the world.
const MOST_PENDING: i64 = 100;

pub async fn insert(
    tx: &mut TenantTx,
    email: &str,
    roles: &[String],
    by: Option<UserId>,
    at: OffsetDateTime,
) -> Result<Invitation> {
    sqlx::query_as!(
        Invitation,
        r#"insert into invitations (org_id, id, email, roles, invited_by, created_at, expires_at)
           values ($1, $2, $3, $4, $5, $6, $7)
           returning id as "id: _", email, roles, status as "status: _", invited_by as "invited_by: _", created_at,
                     expires_at, accepted_at, accepted_by as "accepted_by: _""#,
        tx.org().uuid(),
        InvitationId::new().uuid(),
        email,
        roles,
        by.map(UserId::uuid),
        at,
        at + LIFE
    )
    .fetch_one(&mut **tx)
    .await
    .on_constraint("invitations_pending", || {
        Error::conflict("already_invited", "an invitation to this address is pending: send it again")
    })
}

pub async fn select(tx: &mut TenantTx, id: InvitationId) -> Result<Option<Invitation>> {
    let invitation = sqlx::query_as!(
        Invitation,
        r#"select id as "id: _", email, roles, status as "status: _", invited_by as "invited_by: _", created_at,
                  expires_at, accepted_at, accepted_by as "accepted_by: _"
           from invitations where org_id = $1 and id = $2"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(invitation.fetch_optional(&mut **tx).await?)
}

pub async fn extend(tx: &mut TenantTx, id: InvitationId, at: OffsetDateTime) -> Result<Invitation> {
    let invitation = sqlx::query_as!(
        Invitation,
        r#"update invitations set expires_at = $3 where org_id = $1 and id = $2
           returning id as "id: _", email, roles, status as "status: _", invited_by as "invited_by: _", created_at,
                     expires_at, accepted_at, accepted_by as "accepted_by: _""#,
        tx.org().uuid(),
        id.uuid(),
        at + LIFE
    );
    Ok(invitation.fetch_one(&mut **tx).await?)
}

pub async fn revoke(tx: &mut TenantTx, id: InvitationId) -> Result<()> {
    sqlx::query!(
        "update invitations set status = 'revoked' where org_id = $1 and id = $2",
        tx.org().uuid(),
        id.uuid()
    )
    .execute(&mut **tx)
    .await?;
    set_secret(tx, id, None).await
}

pub async fn set_secret(tx: &mut TenantTx, id: InvitationId, hash: Option<&[u8]>) -> Result<()> {
    sqlx::query!("select gate_set_invitation_secret($1, $2)", id.uuid(), hash).execute(&mut **tx).await?;
    Ok(())
}

/// An invitation that has expired makes room for a new one to the same address.
pub async fn expire(tx: &mut TenantTx, email: &str, at: OffsetDateTime) -> Result<()> {
    let expired = sqlx::query_scalar!(
        r#"select id as "id: InvitationId" from invitations
           where org_id = $1 and email = $2 and status = 'pending' and expires_at <= $3"#,
        tx.org().uuid(),
        email,
        at
    )
    .fetch_optional(&mut **tx)
    .await?;
    match expired {
        Some(id) => revoke(tx, id).await,
        None => Ok(()),
    }
}

pub async fn refuse_member(tx: &mut TenantTx, email: &str) -> Result<()> {
    let member = sqlx::query_scalar!(
        r#"select exists (select from members where org_id = $1 and lower(email) = $2) as "member!""#,
        tx.org().uuid(),
        email
    )
    .fetch_one(&mut **tx)
    .await?;
    if member {
        return Err(Error::conflict("already_member", "whoever has this address is a member already"));
    }
    Ok(())
}

/// Test keys come into a sandbox, and people do not.
pub async fn refuse_sandbox(tx: &mut TenantTx) -> Result<()> {
    let sandbox = sqlx::query_scalar!(
        r#"select sandbox_of is not null as "sandbox!" from orgs where id = $1"#,
        tx.org().uuid()
    )
    .fetch_one(&mut **tx)
    .await?;
    if sandbox {
        return Err(Error::conflict("sandbox", "nobody signs in to a sandbox: invite with a live key"));
    }
    Ok(())
}

pub async fn refuse_too_many(tx: &mut TenantTx, at: OffsetDateTime) -> Result<()> {
    let pending = sqlx::query_scalar!(
        r#"select count(*) as "count!" from invitations
           where org_id = $1 and status = 'pending' and expires_at > $2"#,
        tx.org().uuid(),
        at
    )
    .fetch_one(&mut **tx)
    .await?;
    if pending >= MOST_PENDING {
        return Err(Error::conflict(
            "too_many_pending",
            format!("{MOST_PENDING} invitations are pending: wait for some to be accepted, or revoke them"),
        ));
    }
    Ok(())
}

/// What the org and a member of it are called.
pub async fn names(tx: &mut TenantTx, member: Option<UserId>) -> Result<(String, Option<String>)> {
    let row = sqlx::query!(
        r#"select o.name as org, m.name as "member?"
           from orgs o left join members m on m.org_id = $1 and m.user_id = $2
           where o.id = $1"#,
        tx.org().uuid(),
        member.map(UserId::uuid)
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok((row.org, row.member))
}
