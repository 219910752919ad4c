//! Where an API key leads, and when it was last used.

use crate::{
    db::Pools,
    error::Result,
    ids::{ApiKeyId, OrgId},
    networks::Networks,
};
use std::net::IpAddr;
use time::OffsetDateTime;

/// Where an API key leads.
#[derive(Debug, Clone)]
pub struct KeyRecord {
    pub id: ApiKeyId,
    /// Whose it is.
    pub owner: OrgId,
    /// Where it works: at its owner's, or in the owner's sandbox.
    pub org: OrgId,
    pub scopes: Vec<String>,
    pub allowed_ips: Networks,
    pub expires_at: OffsetDateTime,
    pub revoked: bool,
}

/// A use of a key of `org`, its owner.
#[derive(Debug, Clone, Copy)]
pub struct KeyUse {
    pub org: OrgId,
    pub key: ApiKeyId,
    pub at: OffsetDateTime,
    pub ip: IpAddr,
}

pub async fn api_key(pools: &Pools, hash: &[u8]) -> Result<Option<KeyRecord>> {
    Ok(sqlx::query_as!(
        KeyRecord,
        r#"select id as "id!: ApiKeyId", owner as "owner!: OrgId", org_id as "org!: OrgId", scopes as "scopes!",
                  allowed_ips as "allowed_ips!: Vec<String>", expires_at as "expires_at!", revoked as "revoked!"
           from gate_api_key($1)"#,
        hash
    )
    .fetch_optional(&pools.app)
    .await?)
}

/// Writes down the last uses of keys, of any org; what another replica has written of later ones stands. As the
/// platform role, in one statement.
pub async fn write_key_uses(pools: &Pools, uses: &[KeyUse]) -> Result<()> {
    let orgs: Vec<_> = uses.iter().map(|last| last.org.uuid()).collect();
    let keys: Vec<_> = uses.iter().map(|last| last.key.uuid()).collect();
    let times: Vec<_> = uses.iter().map(|last| last.at).collect();
    let ips: Vec<_> = uses.iter().map(|last| last.ip.to_string()).collect();
    // Locked in one order, so that two replicas never wait for each other.
    sqlx::query!(
        "with locked as (
             select k.org_id, k.id, used.at, used.ip
             from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[]) used (org_id, id, at, ip)
             join api_keys k on k.org_id = used.org_id and k.id = used.id
             where k.last_used_at is null or k.last_used_at < used.at
             order by k.org_id, k.id
             for no key update of k
         )
         update api_keys k set last_used_at = greatest(k.last_used_at, locked.at), last_used_ip = locked.ip::inet
         from locked where k.org_id = locked.org_id and k.id = locked.id",
        &orgs,
        &keys,
        &times,
        &ips
    )
    .execute(&pools.platform)
    .await?;
    Ok(())
}
