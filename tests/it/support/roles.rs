//! Roles of an org's own, made behind the API: for what its checks would not let in, and for what is not about them.

use super::Database;
use insula::ids::{OrgId, RoleId};

impl Database {
    /// In force from here on.
    pub async fn custom_role(
        &self,
        org: OrgId,
        name: &str,
        inherits: &[&str],
        permissions: &[&str],
        denied: &[&str],
    ) {
        let texts = |texts: &[&str]| format!("'{{{}}}'", texts.join(","));
        self.run(format!(
            "begin;
             insert into roles (org_id, id, name, inherits, permissions, denied)
             values ('{org}', '{role}', '{name}', {}, {}, {});
             update org_control set policy_version = policy_version + 1 where org_id = '{org}';
             select control_change('policy', '{org}', null);
             commit",
            texts(inherits),
            texts(permissions),
            texts(denied),
            org = org.uuid(),
            role = RoleId::new().uuid(),
        ))
        .await;
    }
}
