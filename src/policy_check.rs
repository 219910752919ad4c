//! `insula policy check`: what is wrong with the policy files, and with the roles of organisations.

use crate::{
    authz::{self, MODEL, ROLES, check},
    db::Pools,
    error::{OptionExt as _, Result},
    ids::{OrgId, UserId},
    tenancy::{Mode, PlatformDb, TenantTx},
};
use anyhow::Context as _;
use std::{fs, path::Path};

/// Which organisations are looked at.
pub enum Whose {
    /// By slug or id.
    One(String),
    All,
}

/// The faults of the files in `dir`; of those that this program was built with where none is given.
///
/// # Errors
/// Where the files can't be read.
pub fn of_files(dir: Option<&Path>) -> anyhow::Result<Vec<String>> {
    let Some(dir) = dir else { return Ok(check::files(MODEL, ROLES)) };
    let read =
        |name| fs::read_to_string(dir.join(name)).with_context(|| format!("{}", dir.join(name).display()));
    Ok(check::files(&read("model.conf")?, &read("roles.csv")?))
}

/// The faults of organisations, and how many were looked at.
///
/// # Errors
/// 404 where there is no such organisation; 503 where the database is out of reach.
pub async fn of_orgs(pools: &Pools, whose: &Whose) -> Result<(usize, Vec<String>)> {
    let orgs = select_orgs(&PlatformDb::new(pools.clone()), whose).await?;
    let mut found = Vec::new();
    for (org, slug) in &orgs {
        // As the app role, which sees this org alone.
        let (mut tx, _) = TenantTx::begin(pools, *org, Mode::Read).await?;
        let (roles, members) = (authz::own_roles(&mut tx).await?, select_members(&mut tx).await?);
        found.extend(check::org(&roles, &members).into_iter().map(|fault| format!("{slug}: {fault}")));
    }
    Ok((orgs.len(), found))
}

async fn select_orgs(platform: &PlatformDb, whose: &Whose) -> Result<Vec<(OrgId, String)>> {
    let mut tx = platform.begin().await?;
    let (slug, id) = match whose {
        Whose::All => (None, None),
        Whose::One(name) => (Some(name.as_str()), name.parse().ok().map(OrgId::uuid)),
    };
    let orgs = sqlx::query!(
        r#"select id as "id: OrgId", slug from orgs where $1::text is null or slug = $1 or id = $2 order by slug"#,
        slug,
        id
    )
    .fetch_all(&mut *tx)
    .await?;
    let orgs: Vec<_> = orgs.into_iter().map(|org| (org.id, org.slug)).collect();
    (!orgs.is_empty()).then_some(orgs).or_not_found()
}

async fn select_members(tx: &mut TenantTx) -> Result<Vec<(String, Vec<String>)>> {
    let members = sqlx::query!(
        r#"select user_id as "user: UserId", roles from members where org_id = $1 order by user_id"#,
        tx.org().uuid()
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(members.into_iter().map(|member| (member.user.to_string(), member.roles)).collect())
}
