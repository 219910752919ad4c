//! Who may give or take a role: nobody who does not hold all of it themselves.

use super::{Action, OrgPolicy, Permission, Resource};
use crate::error::{Error, Problem, Result};
use axum::http::StatusCode;

/// # Errors
/// 403 `beyond_your_own`, which names the first of `roles` that holds more than what `may` be done, and what that is.
pub fn no_more_than(
    may: impl Fn(Permission) -> bool,
    policy: &OrgPolicy,
    roles: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<()> {
    for role in roles {
        let role = role.as_ref();
        let beyond: Vec<String> = policy
            .permissions_of(role)
            .filter(|permission| !may(*permission))
            .map(|permission| permission.to_string())
            .collect();
        if !beyond.is_empty() {
            let detail = format!(
                "the role {role} holds {}, which you do not: ask somebody who does",
                beyond.join(", ")
            );
            return Err(Error::Forbidden(Box::new(
                Problem::new(StatusCode::FORBIDDEN, "beyond_your_own", detail)
                    .with("role", role)
                    .with("permissions", beyond),
            )));
        }
    }
    Ok(())
}

/// Whether one of `roles` lets its holders change who may do what.
pub fn gives_power(policy: &OrgPolicy, roles: impl IntoIterator<Item = impl AsRef<str>>) -> bool {
    const POWER: Permission = Permission { resource: Resource::Users, action: Action::Update };
    let holders = policy.granted_by(POWER);
    roles.into_iter().any(|role| holders.contains(&role.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::OrgId;
    use std::collections::HashSet;

    #[tokio::test]
    async fn whoever_may_give_a_set_of_roles_holds_all_that_it_gives() {
        let policy = OrgPolicy::build(OrgId::new(), 1, Vec::new()).await.unwrap();
        let held: Vec<HashSet<String>> = policy
            .roles()
            .iter()
            .map(|role| policy.permissions_of(role).map(|held| held.to_string()).collect())
            .collect();
        let count = policy.roles().len();
        for (giver, own) in held.iter().enumerate() {
            for set in 0_u32..1 << count {
                let given: Vec<usize> = (0..count).filter(|at| set & 1 << at != 0).collect();
                let within = given.iter().all(|at| held[*at].is_subset(own));
                let roles = given.iter().map(|at| &policy.roles()[*at]);
                let may = |permission: Permission| own.contains(&permission.to_string());
                let answer = no_more_than(may, &policy, roles);
                assert_eq!(answer.is_ok(), within, "{} gives {given:?}", policy.roles()[giver]);
            }
        }
    }

    #[tokio::test]
    async fn an_admin_gives_what_they_hold_and_not_what_an_owner_does() {
        let policy = OrgPolicy::build(OrgId::new(), 1, Vec::new()).await.unwrap();
        let admin: HashSet<_> = policy.permissions_of("admin").collect();
        let may = |permission| admin.contains(&permission);
        assert!(no_more_than(may, &policy, ["viewer", "member", "admin"]).is_ok());
        let Err(Error::Forbidden(refusal)) = no_more_than(may, &policy, ["viewer", "owner"]) else {
            panic!("an admin made an owner")
        };
        assert_eq!((refusal.code, &refusal.extra["role"]), ("beyond_your_own", &"owner".into()));
        assert_eq!(refusal.extra["permissions"], serde_json::json!(["org:delete"]));
        assert!(no_more_than(may, &policy, ["operator"]).is_err());
        for (role, power) in [("owner", true), ("admin", true), ("member", false), ("nobody", false)] {
            assert_eq!(gives_power(&policy, ["viewer", role]), power, "{role}");
        }
    }
}
