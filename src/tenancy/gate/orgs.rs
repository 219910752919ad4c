//! What must be known of an org before its data is touched.

use crate::{
    db::Pools,
    error::Result,
    ids::OrgId,
    tenancy::{Control, Status},
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
        require_mfa: row.require_mfa,
        require_verified_email: row.require_verified_email,
        // Postgres prints what it has parsed.
        allowed_ips: row.allowed_ips.iter().filter_map(|net| net.parse().ok()).collect(),
    }))
}
