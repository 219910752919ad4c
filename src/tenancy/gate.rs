//! The gate: what is asked and done before an org is known, each one execute-only function of the database.

use super::directory::{Control, Status};
use crate::{
    db::Pools,
    error::{Error, Result, SqlExt as _},
    ids::{ApiKeyId, OrgId, SessionId, UserId},
};
use std::time::Duration;
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

/// Where an API key leads.
#[derive(Debug, Clone)]
pub struct KeyRecord {
    pub id: ApiKeyId,
    pub org: OrgId,
    pub scopes: Vec<String>,
    pub expires_at: OffsetDateTime,
    pub revoked: bool,
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
}

/// Which token a session is continued by, and until when.
pub struct NewToken<'a> {
    pub hash: &'a [u8],
    pub at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
}

/// What became of a refresh token that was presented.
pub enum Refreshed {
    Rotated {
        session: SessionId,
        user: UserId,
        org: OrgId,
    },
    /// Used before, longer ago than the grace: the session was ended.
    Reused {
        session: SessionId,
    },
    Refused,
}

pub async fn user_by_email(pools: &Pools, email: &str) -> Result<Option<Account>> {
    Ok(sqlx::query_as!(
        Account,
        r#"select id as "id!: UserId", email as "email!", name as "name!", password_hash as "password_hash!"
           from gate_user_by_email($1)"#,
        email
    )
    .fetch_optional(&pools.app)
    .await?)
}

pub async fn user(pools: &Pools, id: UserId) -> Result<Option<Person>> {
    Ok(sqlx::query_as!(
        Person,
        r#"select id as "id!: UserId", email as "email!", name as "name!" from gate_user($1)"#,
        id.uuid()
    )
    .fetch_optional(&pools.app)
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
    .fetch_all(&pools.app)
    .await?)
}

pub async fn control(pools: &Pools, org: OrgId) -> Result<Option<Control>> {
    Ok(sqlx::query_as!(
        Control,
        r#"select status as "status!: Status", tier as "tier!", policy_version as "policy_version!" from gate_org($1)"#,
        org.uuid()
    )
    .fetch_optional(&pools.app)
    .await?)
}

pub async fn api_key(pools: &Pools, hash: &[u8]) -> Result<Option<KeyRecord>> {
    Ok(sqlx::query_as!(
        KeyRecord,
        r#"select id as "id!: ApiKeyId", org_id as "org!: OrgId", scopes as "scopes!",
                  expires_at as "expires_at!", revoked as "revoked!"
           from gate_api_key($1)"#,
        hash
    )
    .fetch_optional(&pools.app)
    .await?)
}

/// # Errors
/// 409 `email_taken`, the documented exception to telling nobody who is registered; `slug_taken`.
pub async fn register(pools: &Pools, new: &Registration<'_>) -> Result<()> {
    sqlx::query!(
        "select gate_register($1, $2, $3, $4, $5, $6, $7, $8)",
        new.user.uuid(),
        new.email,
        new.name,
        new.password_hash,
        new.org.uuid(),
        new.slug,
        new.org_name,
        new.sandbox.uuid()
    )
    .execute(&pools.app)
    .await
    .on_constraint("users_email_key", || {
        Error::conflict("email_taken", "this e-mail address is registered: sign in")
    })
    .on_constraint("orgs_slug_key", || Error::conflict("slug_taken", "an organisation has this slug"))?;
    Ok(())
}

pub async fn open_session(
    pools: &Pools,
    session: SessionId,
    user: UserId,
    org: OrgId,
    session_ends: OffsetDateTime,
    token: &NewToken<'_>,
) -> Result<()> {
    sqlx::query!(
        "select gate_open_session($1, $2, $3, $4, $5, $6, $7)",
        session.uuid(),
        user.uuid(),
        org.uuid(),
        token.hash,
        token.at,
        session_ends,
        token.expires_at
    )
    .execute(&pools.app)
    .await?;
    Ok(())
}

/// Trades the refresh token with the hash `old` for `new`.
pub async fn refresh(pools: &Pools, old: &[u8], new: &NewToken<'_>) -> Result<Refreshed> {
    let row = sqlx::query!(
        r#"select outcome as "outcome!", session_id as "session: SessionId", user_id as "user: UserId",
                  org_id as "org: OrgId"
           from gate_refresh($1, $2, $3, interval '10 seconds', $4)"#,
        old,
        new.hash,
        new.at,
        new.expires_at
    )
    .fetch_one(&pools.app)
    .await?;
    Ok(match (row.outcome.as_str(), row.session, row.user, row.org) {
        ("rotated", Some(session), Some(user), Some(org)) => Refreshed::Rotated { session, user, org },
        ("reused", Some(session), ..) => Refreshed::Reused { session },
        _ => Refreshed::Refused,
    })
}

/// False when the session has ended or its user is no active member of `org`.
pub async fn switch(pools: &Pools, session: SessionId, org: OrgId, token: &NewToken<'_>) -> Result<bool> {
    let switched = sqlx::query_scalar!(
        "select gate_switch($1, $2, $3, $4, $5)",
        session.uuid(),
        org.uuid(),
        token.hash,
        token.at,
        token.expires_at
    )
    .fetch_one(&pools.app)
    .await?;
    Ok(switched == Some(true))
}

pub async fn end_session(pools: &Pools, session: SessionId, at: OffsetDateTime, why: &str) -> Result<()> {
    sqlx::query!("select gate_end_session($1, $2, $3)", session.uuid(), at, why).execute(&pools.app).await?;
    Ok(())
}

/// Sessions whose access tokens may still be about. Asked by the platform role, for every org at once.
pub async fn sessions_revoked_within(pools: &Pools, lifetime: Duration) -> Result<Vec<SessionId>> {
    Ok(sqlx::query_scalar!(
        r#"select id as "id: SessionId" from sessions where revoked_at > now() - make_interval(secs => $1)"#,
        lifetime.as_secs_f64()
    )
    .fetch_all(&pools.platform)
    .await?)
}

/// A tier as it is stored.
pub struct TierRow {
    pub slug: String,
    pub name: String,
    pub version: i64,
    pub policies: serde_json::Value,
    pub effective_at: OffsetDateTime,
}

pub async fn tier(pools: &Pools, slug: &str) -> Result<Option<TierRow>> {
    Ok(sqlx::query_as!(
        TierRow,
        "select slug, name, version, policies, effective_at from tiers where slug = $1",
        slug
    )
    .fetch_optional(&pools.app)
    .await?)
}

/// The plans that anybody may read of.
pub async fn public_tiers(pools: &Pools) -> Result<Vec<TierRow>> {
    Ok(sqlx::query_as!(
        TierRow,
        "select slug, name, version, policies, effective_at from tiers where is_public order by slug"
    )
    .fetch_all(&pools.app)
    .await?)
}

/// When the first Redis was born, in microseconds of its time; `born` if none was before.
pub async fn first_redis_born(pools: &Pools, born: i64) -> Result<i64> {
    sqlx::query!("insert into redis_born (first) values ($1) on conflict (singleton) do nothing", born)
        .execute(&pools.platform)
        .await?;
    Ok(sqlx::query_scalar!("select first from redis_born").fetch_one(&pools.platform).await?)
}
