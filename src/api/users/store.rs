//! What Postgres is told about members.

use super::{Member, Wanted};
use crate::{error::Result, ids::UserId, tenancy::TenantTx};

pub async fn select(tx: &mut TenantTx, id: UserId) -> Result<Option<Member>> {
    let member = sqlx::query_as!(
        Member,
        r#"select user_id as "id: _", email, name, roles, tier, status as "status: _", version, created_at
           from members where org_id = $1 and user_id = $2"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(member.fetch_optional(&mut **tx).await?)
}

pub async fn update(tx: &mut TenantTx, id: UserId, wanted: &Wanted) -> Result<Member> {
    let member = sqlx::query_as!(
        Member,
        r#"update members set roles = $3, status = $4, tier = $5, version = version + 1
           where org_id = $1 and user_id = $2
           returning user_id as "id: _", email, name, roles, tier, status as "status: _", version, created_at"#,
        tx.org().uuid(),
        id.uuid(),
        &wanted.roles,
        wanted.status.as_str(),
        wanted.tier
    );
    Ok(member.fetch_one(&mut **tx).await?)
}

/// From the org and its sandbox.
pub async fn delete(tx: &mut TenantTx, id: UserId) -> Result<()> {
    sqlx::query!("delete from members where org_id = $1 and user_id = $2", tx.org().uuid(), id.uuid())
        .execute(&mut **tx)
        .await?;
    sqlx::query!("select gate_remove_from_sandbox($1)", id.uuid()).execute(&mut **tx).await?;
    Ok(())
}

pub async fn is_last_owner(tx: &mut TenantTx, id: UserId) -> Result<bool> {
    let last = sqlx::query_scalar!(r#"select is_last_owner($1, $2) as "last!""#, tx.org().uuid(), id.uuid());
    Ok(last.fetch_one(&mut **tx).await?)
}

pub async fn is_public_tier(tx: &mut TenantTx, slug: &str) -> Result<bool> {
    let public = sqlx::query_scalar!(
        r#"select exists (select from tiers where slug = $1 and is_public) as "public!""#,
        slug
    );
    Ok(public.fetch_one(&mut **tx).await?)
}
