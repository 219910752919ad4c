//! Tickets: they stand for credentials, once and for a moment, where these can't be sent.

use crate::{db::Pools, error::Result, ids::SessionId};
use serde_json::Value;
use time::OffsetDateTime;

pub async fn issue_ticket(
    pools: &Pools,
    hash: &[u8],
    session: Option<SessionId>,
    credential: &Value,
    expires_at: OffsetDateTime,
) -> Result<()> {
    sqlx::query!(
        "select gate_issue_ticket($1, $2, $3, $4)",
        hash,
        session.map(SessionId::uuid),
        credential,
        expires_at
    )
    .execute(&pools.gate)
    .await?;
    Ok(())
}

/// Uses a ticket up, and answers what it stands for; none where it is unknown, used or expired, or its session has ended.
pub async fn use_ticket(pools: &Pools, hash: &[u8], at: OffsetDateTime) -> Result<Option<Value>> {
    let used = sqlx::query_scalar!("select gate_use_ticket($1, $2)", hash, at);
    Ok(used.fetch_one(&pools.gate).await?)
}
