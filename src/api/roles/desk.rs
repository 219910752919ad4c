//! What a change of roles is decided by: the roles as they are, and what the writer may do under them.

use super::{Role, RolePatch, in_use, store};
use crate::{
    authz::{CustomRole, PermissionSet, RoleGraph, guard},
    caller::Caller,
    error::Result,
    tenancy::TenantTx,
};

pub struct Desk<'a> {
    pub graph: &'a RoleGraph,
    /// All that the writer may do.
    pub own: PermissionSet,
}

/// What a change would come to.
pub struct Change {
    pub graph: RoleGraph,
    pub rules: CustomRole,
    /// Members have the second role where they had the first.
    pub moved: (String, String),
    pub gives_power: bool,
}

impl<'a> Desk<'a> {
    pub fn of(graph: &'a RoleGraph, writer: &Caller) -> Self {
        Self { graph, own: writer.own(graph) }
    }

    /// # Errors
    /// Those of [`guard::update`].
    pub fn change(&self, role: &Role, patch: RolePatch) -> Result<Change> {
        let rules = patch.apply(role);
        let graph = guard::update(self.graph, self.own, &role.name, &rules)?;
        let gives_power = guard::gives_power(self.graph, Some(&role.name), &graph, &rules.name);
        Ok(Change { graph, moved: (role.name.clone(), rules.name.clone()), rules, gives_power })
    }

    /// # Errors
    /// Those of [`guard::delete`], and 409 `role_in_use` where `members` are to get nothing in its place.
    pub fn removal(&self, role: &Role, move_to: Option<&str>, members: i64) -> Result<Change> {
        let graph = guard::delete(self.graph, self.own, &role.name, move_to)?;
        if members > 0 && move_to.is_none() {
            return Err(in_use(&role.name, members));
        }
        let gives_power =
            move_to.is_some_and(|other| guard::gives_power(self.graph, Some(&role.name), &graph, other));
        let moved = (role.name.clone(), move_to.unwrap_or(&role.name).to_owned());
        Ok(Change { graph, rules: role.rules(), moved, gives_power })
    }

    /// # Errors
    /// 409 `last_owner`.
    pub async fn check_owners(&self, tx: &mut TenantTx, change: &Change) -> Result<()> {
        let before = store::select_owners(tx).await?;
        let after: Vec<_> = before.iter().map(|roles| change.of_member(roles)).collect();
        guard::keeps_an_owner((self.graph, &before), (&change.graph, &after))
    }
}

impl Change {
    /// What roles a member has after it.
    pub fn of_member(&self, roles: &[String]) -> Vec<String> {
        let (from, to) = &self.moved;
        roles.iter().map(|role| if role == from { to } else { role }).cloned().collect()
    }
}
