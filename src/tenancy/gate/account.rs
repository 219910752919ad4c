//! All that is kept of one person, for that person, and its end.

use crate::{
    db::Pools,
    error::Result,
    ids::{ApiKeyId, AuditEventId, OrgId, RequestId, SessionId, UserId},
    mail::Template,
    tenancy::gate::Letter,
    trail::Trail,
};
use serde_json::json;
use time::OffsetDateTime;

pub struct ExportedPerson {
    pub id: UserId,
    pub email: String,
    pub name: String,
    pub email_verified_at: Option<OffsetDateTime>,
    pub created_at: OffsetDateTime,
}

pub struct ExportedSession {
    pub id: SessionId,
    pub created_at: OffsetDateTime,
    pub authenticated_at: OffsetDateTime,
    pub last_used_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
    pub revoked_at: Option<OffsetDateTime>,
    pub revoked_why: Option<String>,
    pub mfa: bool,
    pub ip: Option<String>,
    pub user_agent: Option<String>,
}

/// An API key that the person made, in an org they are in.
pub struct ExportedApiKey {
    pub org: OrgId,
    pub id: ApiKeyId,
    pub name: String,
    pub created_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
    pub revoked_at: Option<OffsetDateTime>,
}

/// What the person did in an org they are in.
pub struct ExportedEvent {
    pub org: OrgId,
    pub id: AuditEventId,
    pub at: OffsetDateTime,
    pub action: String,
    pub target_type: String,
    pub target: Option<String>,
    pub ip: Option<String>,
    pub request_id: Option<RequestId>,
}

pub async fn export_person(pools: &Pools, person: UserId) -> Result<Option<ExportedPerson>> {
    let found = sqlx::query_as!(
        ExportedPerson,
        r#"select id as "id!: UserId", email as "email!", name as "name!", email_verified_at,
                  created_at as "created_at!"
           from gate_export_person($1)"#,
        person.uuid()
    );
    Ok(found.fetch_optional(&pools.gate).await?)
}

/// The newest `how_many`.
pub async fn export_sessions(pools: &Pools, person: UserId, how_many: i64) -> Result<Vec<ExportedSession>> {
    let sessions = sqlx::query_as!(
        ExportedSession,
        r#"select id as "id!: SessionId", created_at as "created_at!", authenticated_at as "authenticated_at!",
                  last_used_at as "last_used_at!", expires_at as "expires_at!", revoked_at, revoked_why, mfa as "mfa!",
                  ip, user_agent
           from gate_export_sessions($1, $2)"#,
        person.uuid(),
        how_many
    );
    Ok(sessions.fetch_all(&pools.gate).await?)
}

/// The newest `how_many`.
pub async fn export_api_keys(pools: &Pools, person: UserId, how_many: i64) -> Result<Vec<ExportedApiKey>> {
    let keys = sqlx::query_as!(
        ExportedApiKey,
        r#"select org_id as "org!: OrgId", id as "id!: ApiKeyId", name as "name!", created_at as "created_at!",
                  expires_at as "expires_at!", revoked_at
           from gate_export_api_keys($1, $2)"#,
        person.uuid(),
        how_many
    );
    Ok(keys.fetch_all(&pools.gate).await?)
}

/// The newest `how_many`.
pub async fn export_events(pools: &Pools, person: UserId, how_many: i64) -> Result<Vec<ExportedEvent>> {
    let events = sqlx::query_as!(
        ExportedEvent,
        r#"select org_id as "org!: OrgId", id as "id!: AuditEventId", at as "at!", action as "action!",
                  target_type as "target_type!", target, ip, request_id as "request_id: RequestId"
           from gate_export_events($1, $2)"#,
        person.uuid(),
        how_many
    );
    Ok(events.fetch_all(&pools.gate).await?)
}

/// What became of the wish to end an account.
pub enum Deleted {
    /// It is gone, and these sessions with it.
    Gone { sessions: Vec<SessionId> },
    /// Nothing happened: these orgs, by their slugs, have no other owner.
    SoleOwnerOf(Vec<String>),
}

/// Ends the account of `person`, and tells them at the address they had.
pub async fn delete_account(pools: &Pools, person: UserId, trail: &Trail) -> Result<Deleted> {
    let letter = Letter::new(Template::AccountDeleted, json!({}));
    let row = sqlx::query!(
        r#"select sole_owner_of as "sole_owner_of!", ended as "ended!: Vec<SessionId>"
           from gate_delete_account($1, $2, $3)"#,
        person.uuid(),
        letter.to_json(),
        trail.to_json()
    )
    .fetch_one(&pools.gate)
    .await?;
    Ok(if row.sole_owner_of.is_empty() {
        Deleted::Gone { sessions: row.ended }
    } else {
        Deleted::SoleOwnerOf(row.sole_owner_of)
    })
}
