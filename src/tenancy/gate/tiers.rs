//! Tiers as they are stored, and what the limiter keeps in Postgres.

use crate::{db::Pools, error::Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

/// A tier as it is stored.
#[derive(Clone, Debug)]
pub struct TierRow {
    pub slug: String,
    pub name: String,
    pub version: i64,
    pub policies: Value,
    pub entitlements: Value,
    pub is_public: bool,
    pub effective_at: OffsetDateTime,
    pub revision: i64,
    pub announced: Option<Value>,
}

/// What will hold of a tier from a moment on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announced {
    pub version: i64,
    pub name: String,
    pub policies: Value,
    pub entitlements: Map<String, Value>,
    pub is_public: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub effective_at: OffsetDateTime,
    pub reason: String,
}

impl TierRow {
    /// The tier as it holds at `now`, and what is announced beyond: what has come due is in force, whoever moved it.
    pub fn at(mut self, now: OffsetDateTime) -> Result<(Self, Option<Announced>)> {
        let announced: Option<Announced> = self
            .announced
            .take()
            .map(serde_json::from_value)
            .transpose()
            .map_err(|error| anyhow::Error::new(error).context("an announced tier can't be read"))?;
        match announced {
            Some(due) if due.effective_at <= now => {
                let Announced { version, name, policies, entitlements, is_public, effective_at, .. } = due;
                let (entitlements, revision) = (Value::Object(entitlements), self.revision + 1);
                let slug = self.slug;
                let announced = None;
                let row = Self {
                    slug,
                    name,
                    version,
                    policies,
                    entitlements,
                    is_public,
                    effective_at,
                    revision,
                    announced,
                };
                Ok((row, None))
            }
            announced => Ok((self, announced)),
        }
    }
}

pub async fn tier(pools: &Pools, slug: &str) -> Result<Option<TierRow>> {
    Ok(sqlx::query_as!(
        TierRow,
        "select slug, name, version, policies, entitlements, is_public, effective_at, revision, announced
         from tiers where slug = $1",
        slug
    )
    .fetch_optional(&pools.app)
    .await?)
}

/// The tiers that anybody may read of, now or once what is announced holds.
pub async fn public_tiers(pools: &Pools) -> Result<Vec<TierRow>> {
    Ok(sqlx::query_as!(
        TierRow,
        "select slug, name, version, policies, entitlements, is_public, effective_at, revision, announced
         from tiers where is_public or announced is not null order by slug"
    )
    .fetch_all(&pools.app)
    .await?)
}

/// A version that held before.
pub struct PastTier {
    pub version: i64,
    pub policies: Value,
    pub effective_at: OffsetDateTime,
}

/// The versions of a tier before one, oldest first, as far back as `since` and `how_many` reach.
pub async fn tier_past(
    pools: &Pools,
    slug: &str,
    before: i64,
    since: OffsetDateTime,
    how_many: i64,
) -> Result<Vec<PastTier>> {
    let mut past = sqlx::query_as!(
        PastTier,
        r#"select version as "version!", policies as "policies!", effective_at as "effective_at!"
           from gate_tier_past($1, $2, $3, $4)"#,
        slug,
        before,
        since,
        how_many
    )
    .fetch_all(&pools.app)
    .await?;
    past.reverse();
    Ok(past)
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
