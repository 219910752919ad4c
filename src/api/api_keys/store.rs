//! What Postgres is told of API keys.

use super::{ApiKey, Draft};
use crate::{
    authn::api_key::NewKey,
    error::{Error, Result},
    ids::ApiKeyId,
    networks::Networks,
    tenancy::TenantTx,
};
use time::OffsetDateTime;

/// Keys of an org that work, at any moment.
const MOST: i64 = 1_000;

/// # Errors
/// 409 `too_many_api_keys` where no more can be made. From here to its end, `tx` makes keys alone in its org.
pub async fn make_room(tx: &mut TenantTx, at: OffsetDateTime) -> Result<()> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('api_keys ' || $1, 0))",
        tx.org().to_string()
    )
    .execute(&mut **tx)
    .await?;
    let live = sqlx::query_scalar!(
        r#"select count(*) as "live!" from api_keys
           where org_id = $1 and expires_at > $2 and revoked_at is null"#,
        tx.org().uuid(),
        at
    )
    .fetch_one(&mut **tx)
    .await?;
    if live >= MOST {
        return Err(Error::conflict(
            "too_many_api_keys",
            format!("there are {live} keys that work, and {MOST} is the most: revoke some that nobody needs"),
        ));
    }
    Ok(())
}

pub async fn insert(tx: &mut TenantTx, draft: &Draft<'_>, key: &NewKey) -> Result<ApiKey> {
    let api_key = sqlx::query_as!(
        ApiKey,
        r#"insert into api_keys (org_id, id, name, mode, prefix, scopes, allowed_ips, created_by, created_at, expires_at,
                                 rotated_from)
           values ($1, $2, $3, $4, $5, $6, $7::text[]::cidr[], $8, $9, $10, $11)
           returning id as "id: _", name, mode as "mode: _", prefix, scopes,
                     allowed_ips::text[] as "allowed_ips!: Vec<String>", created_by as "created_by: _", created_at,
                     expires_at, revoked_at, rotated_from as "rotated_from: _", rotated_to as "rotated_to: _",
                     last_used_at, host(last_used_ip) as last_used_ip"#,
        tx.org().uuid(),
        ApiKeyId::new().uuid(),
        draft.name,
        draft.mode.as_str(),
        key.prefix,
        draft.scopes,
        &draft.allowed_ips.to_texts(),
        draft.created_by.uuid(),
        draft.created_at,
        draft.expires_at,
        draft.rotated_from.map(ApiKeyId::uuid)
    )
    .fetch_one(&mut **tx)
    .await?;
    sqlx::query!("select gate_add_api_key_secret($1, $2)", api_key.id.uuid(), key.hash)
        .execute(&mut **tx)
        .await?;
    Ok(api_key)
}

pub async fn select(tx: &mut TenantTx, id: ApiKeyId) -> Result<Option<ApiKey>> {
    let api_key = sqlx::query_as!(
        ApiKey,
        r#"select id as "id: _", name, mode as "mode: _", prefix, scopes,
                  allowed_ips::text[] as "allowed_ips!: Vec<String>", created_by as "created_by: _", created_at,
                  expires_at, revoked_at, rotated_from as "rotated_from: _", rotated_to as "rotated_to: _",
                  last_used_at, host(last_used_ip) as last_used_ip
           from api_keys where org_id = $1 and id = $2"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(api_key.fetch_optional(&mut **tx).await?)
}

/// The same, locked to the end of the transaction.
pub async fn lock(tx: &mut TenantTx, id: ApiKeyId) -> Result<Option<ApiKey>> {
    sqlx::query!(
        "select from api_keys where org_id = $1 and id = $2 for no key update",
        tx.org().uuid(),
        id.uuid()
    )
    .execute(&mut **tx)
    .await?;
    select(tx, id).await
}

pub async fn update(tx: &mut TenantTx, id: ApiKeyId, name: &str, allowed_ips: &Networks) -> Result<ApiKey> {
    let api_key = sqlx::query_as!(
        ApiKey,
        r#"update api_keys set name = $3, allowed_ips = $4::text[]::cidr[]
           where org_id = $1 and id = $2
           returning id as "id: _", name, mode as "mode: _", prefix, scopes,
                     allowed_ips::text[] as "allowed_ips!: Vec<String>", created_by as "created_by: _", created_at,
                     expires_at, revoked_at, rotated_from as "rotated_from: _", rotated_to as "rotated_to: _",
                     last_used_at, host(last_used_ip) as last_used_ip"#,
        tx.org().uuid(),
        id.uuid(),
        name,
        &allowed_ips.to_texts()
    );
    Ok(api_key.fetch_one(&mut **tx).await?)
}

pub async fn revoke(tx: &mut TenantTx, id: ApiKeyId, at: OffsetDateTime) -> Result<()> {
    sqlx::query!(
        "update api_keys set revoked_at = $3 where org_id = $1 and id = $2",
        tx.org().uuid(),
        id.uuid(),
        at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// From `at` on the key is no good.
pub async fn end(tx: &mut TenantTx, id: ApiKeyId, at: OffsetDateTime) -> Result<()> {
    sqlx::query!(
        "update api_keys set expires_at = $3 where org_id = $1 and id = $2",
        tx.org().uuid(),
        id.uuid(),
        at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Names the key that takes the place of `id`.
pub async fn succeed(tx: &mut TenantTx, id: ApiKeyId, next: ApiKeyId) -> Result<()> {
    sqlx::query!(
        "update api_keys set rotated_to = $3 where org_id = $1 and id = $2",
        tx.org().uuid(),
        id.uuid(),
        next.uuid()
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Every replica forgets what it remembers of the key. Last in a transaction: the bus is locked until it ends.
pub async fn tell(tx: &mut TenantTx, id: ApiKeyId) -> Result<()> {
    sqlx::query!("select control_change('api_key', $1, $2)", tx.org().uuid(), id.uuid())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
