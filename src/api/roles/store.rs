//! What Postgres is told of roles.

use super::Role;
use crate::{
    authz::CustomRole,
    error::{Error, Result, SqlExt as _},
    ids::{RoleId, UserId},
    tenancy::TenantTx,
};
use time::OffsetDateTime;
use uuid::Uuid;

struct RoleRow {
    id: RoleId,
    name: String,
    description: String,
    inherits: Vec<String>,
    permissions: Vec<String>,
    denied: Vec<String>,
    version: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<RoleRow> for Role {
    fn from(row: RoleRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            description: row.description,
            inherits: row.inherits,
            permissions: row.permissions,
            denied: row.denied,
            built_in: false,
            version: row.version,
            created_at: Some(row.created_at),
            updated_at: Some(row.updated_at),
        }
    }
}

/// An org's own, by name.
pub async fn select_all(tx: &mut TenantTx) -> Result<Vec<Role>> {
    let rows = sqlx::query_as!(
        RoleRow,
        r#"select id as "id: _", name, description, inherits, permissions, denied, version, created_at, updated_at
           from roles where org_id = $1 order by name collate "C""#,
        tx.org().uuid()
    );
    Ok(rows.fetch_all(&mut **tx).await?.into_iter().map(Into::into).collect())
}

/// A built-in role, or one of the org's own.
pub async fn select(tx: &mut TenantTx, id: RoleId) -> Result<Option<Role>> {
    if let Some(role) = Role::built_in().into_iter().find(|role| role.id == id) {
        return Ok(Some(role));
    }
    let row = sqlx::query_as!(
        RoleRow,
        r#"select id as "id: _", name, description, inherits, permissions, denied, version, created_at, updated_at
           from roles where org_id = $1 and id = $2"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(row.fetch_optional(&mut **tx).await?.map(Into::into))
}

pub async fn insert(
    tx: &mut TenantTx,
    rules: &CustomRole,
    description: &str,
    at: OffsetDateTime,
) -> Result<Role> {
    let row = sqlx::query_as!(
        RoleRow,
        r#"insert into roles (org_id, id, name, description, inherits, permissions, denied, created_at, updated_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $8)
           returning id as "id: _", name, description, inherits, permissions, denied, version, created_at, updated_at"#,
        tx.org().uuid(),
        RoleId::new().uuid(),
        rules.name,
        description,
        &rules.inherits,
        &rules.permissions,
        &rules.denied,
        at
    )
    .fetch_one(&mut **tx)
    .await
    .on_constraint("roles_name_taken", || name_taken(&rules.name))?;
    Ok(row.into())
}

pub async fn update(
    tx: &mut TenantTx,
    id: RoleId,
    rules: &CustomRole,
    description: &str,
    at: OffsetDateTime,
) -> Result<Role> {
    let row = sqlx::query_as!(
        RoleRow,
        r#"update roles
           set name = $3, description = $4, inherits = $5, permissions = $6, denied = $7, version = version + 1,
               updated_at = $8
           where org_id = $1 and id = $2
           returning id as "id: _", name, description, inherits, permissions, denied, version, created_at, updated_at"#,
        tx.org().uuid(),
        id.uuid(),
        rules.name,
        description,
        &rules.inherits,
        &rules.permissions,
        &rules.denied,
        at
    )
    .fetch_one(&mut **tx)
    .await
    .on_constraint("roles_name_taken", || name_taken(&rules.name))?;
    Ok(row.into())
}

pub async fn delete(tx: &mut TenantTx, id: RoleId) -> Result<()> {
    sqlx::query!("delete from roles where org_id = $1 and id = $2", tx.org().uuid(), id.uuid())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// How many hold a role, or are invited to. Whatever else comes to name roles is to be counted here and replaced below.
pub async fn count_members(tx: &mut TenantTx, role: &str) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"select (select count(*) from members where org_id = $1 and $2 = any (roles))
                + (select count(*) from invitations where org_id = $1 and status = 'pending' and $2 = any (roles))
                  as "count!""#,
        tx.org().uuid(),
        role
    );
    Ok(count.fetch_one(&mut **tx).await?)
}

/// Gives whoever has one role, or is invited to it, the other in its place, once.
pub async fn replace_in_members(tx: &mut TenantTx, from: &str, to: &str) -> Result<()> {
    sqlx::query!(
        r#"update members
           set version = version + 1, roles = (
               select array_agg(distinct role collate "C" order by role collate "C")
               from unnest(array_replace(roles, $2, $3)) role
           )
           where org_id = $1 and $2 = any (roles)"#,
        tx.org().uuid(),
        from,
        to
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        r#"update invitations
           set roles = (
               select array_agg(distinct role collate "C" order by role collate "C")
               from unnest(array_replace(roles, $2, $3)) role
           )
           where org_id = $1 and status = 'pending' and $2 = any (roles)"#,
        tx.org().uuid(),
        from,
        to
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The roles that inherit one inherit the other in its place.
pub async fn replace_in_heirs(tx: &mut TenantTx, from: &str, to: &str, at: OffsetDateTime) -> Result<()> {
    sqlx::query!(
        "update roles set inherits = array_replace(inherits, $2, $3), version = version + 1, updated_at = $4
         where org_id = $1 and $2 = any (inherits)",
        tx.org().uuid(),
        from,
        to,
        at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The distinct sets of roles of active members who are owners among other things.
pub async fn select_owners(tx: &mut TenantTx) -> Result<Vec<Vec<String>>> {
    let sets = sqlx::query_scalar!(
        "select distinct roles from members where org_id = $1 and status = 'active' and 'owner' = any (roles)",
        tx.org().uuid()
    );
    Ok(sets.fetch_all(&mut **tx).await?)
}

pub struct Holder {
    pub user: UserId,
    pub name: String,
    pub roles: Vec<String>,
}

/// Active members who hold one of these roles at least.
pub async fn select_holders(tx: &mut TenantTx, roles: &[&str], most: usize) -> Result<Vec<Holder>> {
    let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    let holders = sqlx::query_as!(
        Holder,
        r#"select user_id as "user: _", name, roles from members
           where org_id = $1 and status = 'active' and roles && $2 order by user_id limit $3"#,
        tx.org().uuid(),
        &roles,
        i64::try_from(most).unwrap_or(i64::MAX)
    );
    Ok(holders.fetch_all(&mut **tx).await?)
}

/// When these members last made use of what, of those uses since then.
pub async fn select_uses(
    tx: &mut TenantTx,
    users: &[UserId],
    since: OffsetDateTime,
) -> Result<Vec<((UserId, String), OffsetDateTime)>> {
    let users: Vec<Uuid> = users.iter().map(|user| user.uuid()).collect();
    let rows = sqlx::query!(
        r#"select user_id as "user: UserId", permission, last_used_at from permission_uses
           where org_id = $1 and user_id = any ($2) and last_used_at >= $3"#,
        tx.org().uuid(),
        &users,
        since
    );
    let rows = rows.fetch_all(&mut **tx).await?.into_iter();
    Ok(rows.map(|row| ((row.user, row.permission), row.last_used_at)).collect())
}

fn name_taken(name: &str) -> Error {
    Error::conflict("role_taken", format!("there is a role {name}: choose another name"))
}
