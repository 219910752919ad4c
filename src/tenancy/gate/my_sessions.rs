//! A person's own sessions: which there are, ending the others, and proving anew who one is.

use super::Proof;
use crate::{
    db::Pools,
    error::Result,
    ids::{OrgId, SessionId, UserId},
    trail::Trail,
};
use time::OffsetDateTime;

/// A session that can still be continued.
pub struct OpenSession {
    pub id: SessionId,
    pub created_at: OffsetDateTime,
    pub last_used_at: OffsetDateTime,
    pub authenticated_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    pub mfa: bool,
}

/// The open sessions of `user`, `current` first and then the last used, 100 at most; with `wanted` that one alone.
pub async fn sessions_of(
    pools: &Pools,
    user: UserId,
    current: SessionId,
    wanted: Option<SessionId>,
    at: OffsetDateTime,
) -> Result<Vec<OpenSession>> {
    Ok(sqlx::query_as!(
        OpenSession,
        r#"select id as "id!: SessionId", created_at as "created_at!", last_used_at as "last_used_at!",
                  authenticated_at as "authenticated_at!", expires_at as "expires_at!", ip, user_agent, mfa as "mfa!"
           from gate_sessions_of($1, $2, $3, $4)"#,
        user.uuid(),
        current.uuid(),
        wanted.map(SessionId::uuid),
        at
    )
    .fetch_all(&pools.gate)
    .await?)
}

/// Ends every session of `user` but `but`, and answers which. `org` is where they are audited.
pub async fn end_other_sessions(
    pools: &Pools,
    user: UserId,
    but: SessionId,
    org: OrgId,
    why: &str,
    trail: &Trail,
) -> Result<Vec<SessionId>> {
    Ok(sqlx::query_scalar!(
        r#"select gate_end_other_sessions as "id!: SessionId" from gate_end_other_sessions($1, $2, $3, $4, $5)"#,
        user.uuid(),
        but.uuid(),
        org.uuid(),
        why,
        trail.to_json()
    )
    .fetch_all(&pools.gate)
    .await?)
}

/// The person of a session has proven anew who they are; none where it has ended.
pub async fn step_up(
    pools: &Pools,
    session: SessionId,
    user: UserId,
    org: OrgId,
    mfa: bool,
    trail: &Trail,
) -> Result<Option<Proof>> {
    let proof = sqlx::query_as!(
        Proof,
        r#"select authenticated_at as "at!", mfa as "mfa!" from gate_step_up($1, $2, $3, $4, $5)"#,
        session.uuid(),
        user.uuid(),
        org.uuid(),
        mfa,
        trail.to_json()
    );
    Ok(proof.fetch_optional(&pools.gate).await?)
}
