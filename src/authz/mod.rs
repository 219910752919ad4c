//! What a role may do: permissions, the built-in roles of `policies/`, and decisions by Casbin.

mod grants;
mod org_policy;
mod permission;
mod snapshots;

pub use grants::{gives_power, no_more_than};
pub use org_policy::{MODEL, OrgPolicy, ROLES};
pub use permission::{Action, Permission, Resource};
pub use snapshots::{Authz, Standing};

use crate::error::{Error, Problem};
use axum::http::StatusCode;

/// A 403 that says what would have let the request in.
pub fn refusal(policy: &OrgPolicy, permission: Permission, your_roles: &[String]) -> Error {
    let granted_by = policy.granted_by(permission);
    let detail = match granted_by.as_slice() {
        [] => format!("this needs the permission {permission}, which no role of this organisation holds"),
        roles => format!(
            "this needs the permission {permission}: ask an admin for one of the roles {}",
            roles.join(", ")
        ),
    };
    Error::Forbidden(Box::new(
        Problem::new(StatusCode::FORBIDDEN, "permission_denied", detail)
            .with("permission", permission.to_string())
            .with("your_roles", your_roles)
            .with("granted_by", granted_by),
    ))
}
