//! Where an API key leads.

use crate::{
    db::Pools,
    error::Result,
    ids::{ApiKeyId, OrgId},
};
use time::OffsetDateTime;

/// Where an API key leads.
#[derive(Debug, Clone)]
pub struct KeyRecord {
    pub id: ApiKeyId,
    pub org: OrgId,
    pub scopes: Vec<String>,
    pub expires_at: OffsetDateTime,
    pub revoked: bool,
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
