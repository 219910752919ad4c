//! What a role may do: permissions, the built-in roles of `policies/`, and decisions by Casbin.

mod answers;
mod built_in;
pub mod check;
#[cfg(test)]
mod differential;
mod field;
pub mod guard;
#[cfg(test)]
mod histories;
mod judge;
mod kept;
mod org_policy;
mod permission;
mod permission_set;
mod role_graph;
mod ruling;
mod snapshots;
mod uses;

pub use built_in::ROLES;
pub use field::Field;
pub use judge::MODEL;
pub use org_policy::{CustomRole, OrgPolicy};
pub use permission::{Action, Permission, Resource};
pub use permission_set::PermissionSet;
pub use role_graph::{DEEPEST, RoleGraph, RoleNode, Source};
pub use ruling::Ruling;
pub use snapshots::{Authz, Standing, own_roles};
pub use uses::Uses;

use crate::error::{Error, Problem};
use axum::http::StatusCode;

/// A 403 that says what would have let the request in.
pub fn refusal(policy: &OrgPolicy, permission: Permission, your_roles: &[String]) -> Error {
    let granted_by = policy.granted_by(permission);
    let grantors = policy.grantors(permission);
    let denial = policy.denial(your_roles, permission);
    let rule = denial.as_ref().and_then(|ruling| ruling.rule.as_deref());
    let detail = match (rule, granted_by.as_slice()) {
        (Some(rule), _) => format!(
            "the rule `{rule}` denies you the permission {permission}, whatever else you hold: \
             ask an admin to change it, or to take the role from you"
        ),
        // A key's scopes are what it may do; people have roles.
        (None, _) if your_roles.is_empty() => format!(
            "this needs the permission {permission}, which is none of this key's scopes: make a key that has it"
        ),
        (None, []) => {
            format!("this needs the permission {permission}, which no role of this organisation holds")
        }
        (None, roles) => format!(
            "this needs the permission {permission}: ask an admin for one of the roles {}; {}",
            roles.join(", "),
            match grantors {
                0 => "nobody here can give it at the moment".to_owned(),
                1 => "one member can give it".to_owned(),
                many => format!("{many} members can give it"),
            }
        ),
    };
    let mut problem = Problem::new(StatusCode::FORBIDDEN, "permission_denied", detail)
        .with("permission", permission.to_string())
        .with("your_roles", your_roles)
        .with("granted_by", granted_by)
        .with("grantors", grantors);
    if let Some(rule) = rule {
        problem = problem.with("rule", rule);
    }
    Error::Forbidden(Box::new(problem))
}
