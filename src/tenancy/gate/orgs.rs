//! What must be known of an org before its data is touched, and what a person does to the orgs they are in.

use crate::{
    db::Pools,
    error::{Error, Result, SqlExt as _},
    ids::{OrgId, UserId},
    tenancy::{Access, Control, Override, Status, TenantTx},
    trail::Trail,
};

pub async fn control(pools: &Pools, org: OrgId) -> Result<Option<Control>> {
    let row = sqlx::query!(
        r#"select status as "status!: Status", tier as "tier!", policy_version as "policy_version!",
                  require_mfa as "require_mfa!", require_verified_email as "require_verified_email!",
                  allowed_ips as "allowed_ips!", overrides as "overrides!: sqlx::types::Json<Box<[Override]>>"
           from gate_org($1)"#,
        org.uuid()
    )
    .fetch_optional(&pools.app)
    .await?;
    Ok(row.map(|row| Control {
        status: row.status,
        tier: row.tier,
        policy_version: row.policy_version,
        access: Access {
            require_mfa: row.require_mfa,
            require_verified_email: row.require_verified_email,
            allowed_ips: row.allowed_ips.into(),
        },
        overrides: row.overrides.0,
    }))
}

/// Changes what the org of `tx` and its sandbox ask, and answers both, for the bus to tell of at the end of `tx`.
pub async fn change_access(tx: &mut TenantTx, access: &Access) -> Result<Vec<OrgId>> {
    let changed = sqlx::query_scalar!(
        r#"select gate_change_access($1, $2, $3) as "org!: OrgId""#,
        access.require_mfa,
        access.require_verified_email,
        &access.allowed_ips.to_texts()
    );
    Ok(changed.fetch_all(&mut **tx).await?)
}

/// An org to be founded.
pub struct NewOrg<'a> {
    pub id: OrgId,
    pub sandbox: OrgId,
    pub slug: &'a str,
    pub name: &'a str,
}

/// Founds an org that `owner` owns; false where they own `most` already.
///
/// # Errors
/// 409 `slug_taken`.
pub async fn found_org(
    pools: &Pools,
    owner: UserId,
    new: &NewOrg<'_>,
    most: i64,
    trail: &Trail,
) -> Result<bool> {
    let founded = sqlx::query_scalar!(
        "select gate_found_org($1, $2, $3, $4, $5, $6, $7)",
        owner.uuid(),
        new.id.uuid(),
        new.slug,
        new.name,
        new.sandbox.uuid(),
        most,
        trail.to_json()
    )
    .fetch_one(&pools.gate)
    .await
    .on_constraint("orgs_slug_key", || Error::conflict("slug_taken", "an organisation has this slug"))?;
    Ok(founded == Some(true))
}

/// What came of wanting to leave an org.
pub enum Leaving {
    Left,
    /// It is none of theirs.
    NotFound,
    /// Nobody else owns it.
    LastOwner,
    /// They are in no other.
    LastOrg,
}

/// Ends a person's own membership of an org.
pub async fn leave(pools: &Pools, user: UserId, org: OrgId, trail: &Trail) -> Result<Leaving> {
    let outcome =
        sqlx::query_scalar!("select gate_leave($1, $2, $3)", user.uuid(), org.uuid(), trail.to_json())
            .fetch_one(&pools.gate)
            .await?;
    Ok(match outcome.as_deref() {
        Some("left") => Leaving::Left,
        Some("last_owner") => Leaving::LastOwner,
        Some("last_org") => Leaving::LastOrg,
        _ => Leaving::NotFound,
    })
}

/// Deletes the org of `tx`, and its sandbox, if `tx` commits; answers both.
pub async fn delete_org(tx: &mut TenantTx) -> Result<Vec<OrgId>> {
    let deleted = sqlx::query_scalar!(r#"select gate_delete_org() as "id!: OrgId""#);
    Ok(deleted.fetch_all(&mut **tx).await?)
}
