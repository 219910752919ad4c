//! What a change of a role would mean to its members, before it is made.

use super::{RolePatch, desk::Desk, is_name, store};
use crate::{
    api::given,
    authz::{PermissionSet, RoleGraph},
    error::{OptionExt as _, Result},
    extract::{Json, Path, SignedIn, TenantDb},
    ids::{RoleId, UserId},
    trail::Trail,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

/// How far back it is looked whether a permission was used.
const RECENT: Duration = Duration::days(30);
/// Of members that a change means anything to.
pub const MOST: usize = 500;

/// A change as `PATCH` takes it, or a deletion.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposedChange {
    #[garde(inner(custom(is_name)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, pattern = "^[a-z][a-z0-9_-]{0,39}$")]
    pub name: Option<String>,
    #[garde(inner(length(chars, max = 500)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_length = 500)]
    pub description: Option<String>,
    #[garde(inner(length(max = 20), inner(length(bytes, max = 40))))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_items = 20)]
    pub inherits: Option<Vec<String>>,
    #[garde(inner(length(max = 200), inner(length(bytes, max = 60))))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = json!(["orders:create", "orders:pay"]), max_items = 200)]
    pub permissions: Option<Vec<String>>,
    #[garde(inner(length(max = 200), inner(length(bytes, max = 60))))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_items = 200)]
    pub denied: Option<Vec<String>>,
    /// The role is to be deleted; nothing of the above counts.
    #[garde(skip)]
    #[serde(default)]
    pub delete: bool,
    /// With `delete`: the role that its members get instead.
    #[garde(inner(length(bytes, max = 40)))]
    #[serde(default)]
    #[schema(max_length = 40)]
    pub move_to: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Preview {
    #[schema(max_items = 500)]
    pub gains: Vec<Gain>,
    #[schema(max_items = 500)]
    pub loses: Vec<Loss>,
    /// More members hold the role than were looked at.
    pub truncated: bool,
}

/// What a member could do that they can't do now.
#[derive(Serialize, ToSchema)]
pub struct Gain {
    pub user: UserId,
    #[schema(example = "Ada Lovelace", max_length = 200)]
    pub name: String,
    #[schema(example = json!(["orders:pay"]), max_items = 200)]
    pub permissions: Vec<String>,
}

/// What a member could do no more.
#[derive(Serialize, ToSchema)]
pub struct Loss {
    pub user: UserId,
    #[schema(example = "Ada Lovelace", max_length = 200)]
    pub name: String,
    #[schema(example = json!(["orders:create"]), max_items = 200)]
    pub permissions: Vec<String>,
    /// Those of them that they have made use of in the last 30 days: known to the hour, and some seconds late.
    #[schema(max_items = 200)]
    pub used: Vec<RecentUse>,
}

#[derive(Serialize, ToSchema)]
pub struct RecentUse {
    #[schema(example = "orders:create", max_length = 60)]
    pub permission: String,
    #[serde(with = "time::serde::rfc3339")]
    pub last_used_at: OffsetDateTime,
}

/// Preview a change of a role
///
/// Who would gain and who would lose what by it, and what of that they have used lately. Nothing is stored; what the
/// change itself would be refused for, its preview is refused for too.
#[utoipa::path(post, path = "/roles/{id}/preview", tag = "roles", request_body = ProposedChange,
    params(("id" = RoleId, Path)),
    responses((status = 200, description = "What it would mean.", body = Preview),
              (status = 409, description = "The change would be refused, for the same reason (`role_taken`, `built_in`, `role_in_use`, `last_owner`).")))]
pub async fn preview_role(
    db: TenantDb,
    Path(id): Path<RoleId>,
    trail: Trail,
    Json(proposed): Json<ProposedChange>,
) -> Result<Json<Preview>> {
    let (mut tx, caller) = db.read_as().await?;
    let role = store::select(&mut tx, id).await?.or_not_found()?;
    SignedIn::of(&caller)?;
    let graph = RoleGraph::load(&mut tx).await?;
    let desk = Desk::of(&graph, &caller);
    let ProposedChange { name, description, inherits, permissions, denied, delete, move_to } = proposed;
    let change = if delete {
        let members = store::count_members(&mut tx, &role.name).await?;
        desk.removal(&role, move_to.as_deref(), members)?
    } else {
        desk.change(&role, RolePatch { name, description, inherits, permissions, denied })?
    };
    desk.check_owners(&mut tx, &change).await?;

    let mut affected = desk.graph.heirs(&role.name);
    affected.push(&role.name);
    let mut members = store::select_holders(&mut tx, &affected, MOST + 1).await?;
    let truncated = members.len() > MOST;
    members.truncate(MOST);
    let users: Vec<UserId> = members.iter().map(|member| member.user).collect();
    let recent: HashMap<_, _> =
        store::select_uses(&mut tx, &users, trail.at - RECENT).await?.into_iter().collect();
    drop(tx);

    let mut preview = Preview { gains: Vec::new(), loses: Vec::new(), truncated };
    for store::Holder { user, name, roles } in members {
        let before = desk.graph.effective(&roles);
        let after = change.graph.effective(&change.of_member(&roles));
        let (gained, lost): (PermissionSet, PermissionSet) = (after - before, before - after);
        if !gained.is_empty() {
            preview.gains.push(Gain { user, name: name.clone(), permissions: gained.texts() });
        }
        if !lost.is_empty() {
            let permissions = lost.texts();
            let used = permissions.iter().filter_map(|permission| {
                let last_used_at = *recent.get(&(user, permission.clone()))?;
                Some(RecentUse { permission: permission.clone(), last_used_at })
            });
            preview.loses.push(Loss { user, name, used: used.collect(), permissions });
        }
    }
    Ok(Json(preview))
}
