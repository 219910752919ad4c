//! Sessions and the refresh tokens that continue them.

use crate::{
    db::Pools,
    error::Result,
    ids::{OrgId, SessionId, UserId},
    trail::Trail,
};
use std::time::Duration;
use time::OffsetDateTime;

/// A session to be opened: somebody has just proven who they are.
pub struct NewSession {
    pub id: SessionId,
    pub user: UserId,
    pub org: OrgId,
    /// A second factor was given.
    pub mfa: bool,
    /// Nobody stays signed in beyond this.
    pub ends: OffsetDateTime,
}

/// Which token a session is continued by, and until when.
pub struct NewToken<'a> {
    pub hash: &'a [u8],
    pub expires_at: OffsetDateTime,
}

/// When and how the person of a session last proved who they are.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    pub at: OffsetDateTime,
    pub mfa: bool,
}

/// What became of a refresh token that was presented.
pub enum Refreshed {
    Rotated {
        session: SessionId,
        user: UserId,
        org: OrgId,
        proof: Proof,
    },
    /// Used before, longer ago than the grace: the session was ended.
    Reused {
        session: SessionId,
    },
    /// Its user is no active member of the org it speaks for: it stays as good as it was.
    NoMember {
        user: UserId,
        org: OrgId,
    },
    Refused,
}

pub async fn open_session(
    pools: &Pools,
    new: &NewSession,
    token: &NewToken<'_>,
    trail: &Trail,
) -> Result<()> {
    sqlx::query!(
        "select gate_open_session($1, $2, $3, $4, $5, $6, $7, $8)",
        new.id.uuid(),
        new.user.uuid(),
        new.org.uuid(),
        new.mfa,
        new.ends,
        token.hash,
        token.expires_at,
        trail.to_json()
    )
    .execute(&pools.gate)
    .await?;
    Ok(())
}

/// Trades the refresh token with the hash `old` for `new`.
pub async fn refresh(pools: &Pools, old: &[u8], new: &NewToken<'_>, trail: &Trail) -> Result<Refreshed> {
    let row = sqlx::query!(
        r#"select outcome as "outcome!", session_id as "session: SessionId", user_id as "user: UserId",
                  org_id as "org: OrgId", authenticated_at, mfa
           from gate_refresh($1, $2, interval '10 seconds', $3, $4)"#,
        old,
        new.hash,
        new.expires_at,
        trail.to_json()
    )
    .fetch_one(&pools.gate)
    .await?;
    let proof = row.authenticated_at.zip(row.mfa).map(|(at, mfa)| Proof { at, mfa });
    Ok(match (row.outcome.as_str(), row.session, row.user, row.org, proof) {
        ("rotated", Some(session), Some(user), Some(org), Some(proof)) => {
            Refreshed::Rotated { session, user, org, proof }
        }
        ("reused", Some(session), ..) => Refreshed::Reused { session },
        ("no_member", _, Some(user), Some(org), _) => Refreshed::NoMember { user, org },
        _ => Refreshed::Refused,
    })
}

/// None when the session has ended or its user is no active member of `org`.
pub async fn switch(
    pools: &Pools,
    session: SessionId,
    org: OrgId,
    token: &NewToken<'_>,
    trail: &Trail,
) -> Result<Option<Proof>> {
    let switched = sqlx::query_as!(
        Proof,
        r#"select authenticated_at as "at!", mfa as "mfa!" from gate_switch($1, $2, $3, $4, $5)"#,
        session.uuid(),
        org.uuid(),
        token.hash,
        token.expires_at,
        trail.to_json()
    );
    Ok(switched.fetch_optional(&pools.gate).await?)
}

/// Ends a session of `user`; false where there was none to end. `org` is where it is audited.
pub async fn end_session(
    pools: &Pools,
    session: SessionId,
    user: UserId,
    org: OrgId,
    why: &str,
    trail: &Trail,
) -> Result<bool> {
    let ended = sqlx::query_scalar!(
        "select gate_end_session($1, $2, $3, $4, $5)",
        session.uuid(),
        user.uuid(),
        org.uuid(),
        why,
        trail.to_json()
    );
    Ok(ended.fetch_one(&pools.gate).await? == Some(true))
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
