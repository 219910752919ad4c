//! What must be known of an org before its data is touched.

use crate::{
    db::Pools,
    error::Result,
    ids::OrgId,
    tenancy::{Access, Control, Status, TenantTx},
};

pub async fn control(pools: &Pools, org: OrgId) -> Result<Option<Control>> {
    let row = sqlx::query!(
        r#"select status as "status!: Status", tier as "tier!", policy_version as "policy_version!",
                  require_mfa as "require_mfa!", require_verified_email as "require_verified_email!",
                  allowed_ips as "allowed_ips!"
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
