//! Tiers and their versions in the database, for those who write them.

use super::{By, Content, Tier};
use crate::{
    error::{Error, OptionExt as _, Result, SqlExt as _},
    tenancy::{
        PlatformTx,
        gate::{Announced, TierRow},
    },
};
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use time::OffsetDateTime;

pub async fn select_all(tx: &mut PlatformTx, now: OffsetDateTime) -> Result<Vec<Tier>> {
    let rows = sqlx::query_as!(
        TierRow,
        "select slug, name, version, policies, entitlements, is_public, effective_at, revision, announced
         from tiers order by slug"
    );
    rows.fetch_all(&mut **tx).await?.into_iter().map(|row| Tier::of(row, now)).collect()
}

pub async fn select(tx: &mut PlatformTx, slug: &str, now: OffsetDateTime) -> Result<Option<Tier>> {
    let row = sqlx::query_as!(
        TierRow,
        "select slug, name, version, policies, entitlements, is_public, effective_at, revision, announced
         from tiers where slug = $1",
        slug
    );
    row.fetch_optional(&mut **tx).await?.map(|row| Tier::of(row, now)).transpose()
}

/// Locks the tier to the end of the transaction, and moves what has come due into its place.
pub async fn lock(tx: &mut PlatformTx, slug: &str, now: OffsetDateTime) -> Result<Option<Tier>> {
    let row = sqlx::query_as!(
        TierRow,
        "select slug, name, version, policies, entitlements, is_public, effective_at, revision, announced
         from tiers where slug = $1 for update",
        slug
    );
    let Some(row) = row.fetch_optional(&mut **tx).await? else { return Ok(None) };
    let stored = row.version;
    let tier = Tier::of(row, now)?;
    if tier.version != stored {
        return replace(tx, slug, tier.version, &tier.content, tier.effective_at).await.map(Some);
    }
    Ok(Some(tier))
}

/// Versions are numbered on and on, also past those that never held and those of a tier that was deleted.
pub(super) async fn next_version(tx: &mut PlatformTx, slug: &str) -> Result<i64> {
    let last = sqlx::query_scalar!("select max(version) from tier_versions where slug = $1", slug);
    Ok(last.fetch_one(&mut **tx).await?.unwrap_or(0) + 1)
}

pub(super) async fn insert(
    tx: &mut PlatformTx,
    slug: &str,
    version: i64,
    content: &Content,
    at: OffsetDateTime,
) -> Result<Tier> {
    let row = sqlx::query_as!(
        TierRow,
        "insert into tiers (slug, name, version, policies, entitlements, is_public, effective_at, revision)
         values ($1, $2, $3, $4, $5, $6, $7, $3)
         returning slug, name, version, policies, entitlements, is_public, effective_at, revision, announced",
        slug,
        content.name,
        version,
        policies(content)?,
        Value::Object(content.entitlements.clone()),
        content.is_public,
        at
    )
    .fetch_one(&mut **tx)
    .await
    .on_constraint("tiers_pkey", || {
        Error::conflict("slug_taken", format!("there is a tier {slug} already"))
    })?;
    Tier::of(row, at)
}

pub(super) async fn replace(
    tx: &mut PlatformTx,
    slug: &str,
    version: i64,
    content: &Content,
    at: OffsetDateTime,
) -> Result<Tier> {
    let row = sqlx::query_as!(
        TierRow,
        "update tiers
         set name = $2, version = $3, policies = $4, entitlements = $5, is_public = $6, effective_at = $7,
             revision = revision + 1, announced = null
         where slug = $1
         returning slug, name, version, policies, entitlements, is_public, effective_at, revision, announced",
        slug,
        content.name,
        version,
        policies(content)?,
        Value::Object(content.entitlements.clone()),
        content.is_public,
        at
    );
    Tier::of(row.fetch_one(&mut **tx).await?, at)
}

pub(super) async fn announce(
    tx: &mut PlatformTx,
    by: &By<'_>,
    slug: &str,
    version: i64,
    content: &Content,
    at: OffsetDateTime,
) -> Result<Tier> {
    let announced = Announced {
        version,
        name: content.name.clone(),
        policies: policies(content)?,
        entitlements: content.entitlements.clone(),
        is_public: content.is_public,
        effective_at: at,
        reason: by.reason.to_owned(),
    };
    let announced = serde_json::to_value(announced).map_err(|error| Error::Internal(error.into()))?;
    set_announced(tx, slug, Some(announced), by.trail.at).await
}

pub(super) async fn unannounce(tx: &mut PlatformTx, slug: &str, now: OffsetDateTime) -> Result<Tier> {
    set_announced(tx, slug, None, now).await
}

async fn set_announced(
    tx: &mut PlatformTx,
    slug: &str,
    announced: Option<Value>,
    now: OffsetDateTime,
) -> Result<Tier> {
    let row = sqlx::query_as!(
        TierRow,
        "update tiers set announced = $2, revision = revision + 1 where slug = $1
         returning slug, name, version, policies, entitlements, is_public, effective_at, revision, announced",
        slug,
        announced
    );
    Tier::of(row.fetch_one(&mut **tx).await?, now)
}

/// Keeps a version, with who and why.
pub(super) async fn keep(
    tx: &mut PlatformTx,
    by: &By<'_>,
    slug: &str,
    version: i64,
    content: &Content,
    effective_at: OffsetDateTime,
) -> Result<()> {
    sqlx::query!(
        "insert into tier_versions (slug, version, name, policies, entitlements, is_public, author, reason, at,
                                    effective_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        slug,
        version,
        content.name,
        policies(content)?,
        Value::Object(content.entitlements.clone()),
        content.is_public,
        by.operator.map(crate::authn::Actor::uuid),
        by.reason,
        by.trail.at,
        effective_at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn mark_withdrawn(
    tx: &mut PlatformTx,
    slug: &str,
    version: i64,
    at: OffsetDateTime,
) -> Result<()> {
    sqlx::query!(
        "update tier_versions set withdrawn_at = $3 where slug = $1 and version = $2",
        slug,
        version,
        at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// How many a change of a tier is about.
#[derive(Debug, Default, Serialize)]
pub struct Touched {
    pub orgs: i64,
    /// Who have its limits on users though their organisation is on another.
    pub members: i64,
}

impl Touched {
    pub fn add(&mut self, other: &Self) {
        self.orgs += other.orgs;
        self.members += other.members;
    }
}

impl fmt::Display for Touched {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} organisations and {} members", self.orgs, self.members)
    }
}

pub async fn touched(tx: &mut PlatformTx, slug: &str) -> Result<Touched> {
    let touched = sqlx::query_as!(
        Touched,
        r#"select (select count(*) from org_control where tier = $1) as "orgs!",
                  (select count(*) from members where tier = $1) as "members!""#,
        slug
    );
    Ok(touched.fetch_one(&mut **tx).await?)
}

pub(super) async fn delete(tx: &mut PlatformTx, slug: &str) -> Result<()> {
    sqlx::query_scalar!("delete from tiers where slug = $1 returning true", slug)
        .fetch_optional(&mut **tx)
        .await?
        .or_not_found()?;
    Ok(())
}

/// Last: the counter of changes is locked from here to the commit.
pub async fn tell_replicas(tx: &mut PlatformTx) -> Result<()> {
    sqlx::query!("select control_change('tier', null, null)").execute(&mut **tx).await?;
    Ok(())
}

fn policies(content: &Content) -> Result<Value> {
    serde_json::to_value(&content.policies).map_err(|error| Error::Internal(error.into()))
}
