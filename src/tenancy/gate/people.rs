//! People as the global tables know them: found, signed up, and the orgs they are in.

use super::Confirmation;
use crate::{
    db::Pools,
    error::{Error, Result, SqlExt as _},
    ids::{OrgId, UserId},
    tenancy::Status,
    trail::Trail,
};
use time::OffsetDateTime;

/// A person and what proves them.
pub struct Account {
    pub id: UserId,
    pub email: String,
    pub name: String,
    pub password_hash: String,
}

/// A person as the global table knows them.
pub struct Person {
    pub id: UserId,
    pub email: String,
    pub name: String,
}

/// An org seen by one of its members.
#[derive(Clone)]
pub struct Membership {
    pub id: OrgId,
    pub slug: String,
    pub name: String,
    pub tier: String,
    pub status: Status,
    pub created_at: OffsetDateTime,
    pub roles: Vec<String>,
    pub member_status: String,
}

pub struct Registration<'a> {
    pub user: UserId,
    pub email: &'a str,
    pub name: &'a str,
    pub password_hash: &'a str,
    pub org: OrgId,
    pub sandbox: OrgId,
    pub slug: &'a str,
    pub org_name: &'a str,
    /// Asks the person to show that the address is theirs.
    pub letter: &'a Confirmation,
}

pub async fn user_by_email(pools: &Pools, email: &str) -> Result<Option<Account>> {
    Ok(sqlx::query_as!(
        Account,
        r#"select id as "id!: UserId", email as "email!", name as "name!", password_hash as "password_hash!"
           from gate_user_by_email($1)"#,
        email
    )
    .fetch_optional(&pools.gate)
    .await?)
}

pub async fn user(pools: &Pools, id: UserId) -> Result<Option<Person>> {
    Ok(sqlx::query_as!(
        Person,
        r#"select id as "id!: UserId", email as "email!", name as "name!" from gate_user($1)"#,
        id.uuid()
    )
    .fetch_optional(&pools.gate)
    .await?)
}

pub async fn orgs_of(pools: &Pools, user: UserId) -> Result<Vec<Membership>> {
    Ok(sqlx::query_as!(
        Membership,
        r#"select id as "id!: OrgId", slug as "slug!", name as "name!", tier as "tier!", status as "status!: Status",
                  created_at as "created_at!", roles as "roles!", member_status as "member_status!"
           from gate_orgs_of($1)"#,
        user.uuid()
    )
    .fetch_all(&pools.gate)
    .await?)
}

/// # Errors
/// 409 `email_taken`, the documented exception to telling nobody who is registered; `slug_taken`.
pub async fn register(pools: &Pools, new: &Registration<'_>, trail: &Trail) -> Result<()> {
    sqlx::query!(
        "select gate_register($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        new.user.uuid(),
        new.email,
        new.name,
        new.password_hash,
        new.org.uuid(),
        new.slug,
        new.org_name,
        new.sandbox.uuid(),
        new.letter.to_json(),
        trail.to_json()
    )
    .execute(&pools.gate)
    .await
    .on_constraint("users_email_key", || {
        Error::conflict("email_taken", "this e-mail address is registered: sign in")
    })
    .on_constraint("orgs_slug_key", || Error::conflict("slug_taken", "an organisation has this slug"))?;
    Ok(())
}
