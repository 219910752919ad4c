//! Tiers as they are stored, and what the limiter keeps in Postgres.

use crate::{db::Pools, error::Result};
use time::OffsetDateTime;

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

/// When the first Redis was born, in microseconds of its time: `born` if none was before, and whether that is so.
pub async fn first_redis_born(pools: &Pools, born: i64) -> Result<(i64, bool)> {
    let told =
        sqlx::query!("insert into redis_born (first) values ($1) on conflict (singleton) do nothing", born)
            .execute(&pools.platform)
            .await?;
    let first = sqlx::query_scalar!("select first from redis_born").fetch_one(&pools.platform).await?;
    Ok((first, told.rows_affected() > 0))
}
