//! What a member may do, and by which of their roles.

use crate::{
    authn::Actor,
    authz::{Action::Read, Permission, Resource::Users, RoleGraph, Source},
    caller::Caller,
    error::{OptionExt as _, Result},
    extract::{Json, Path, TenantDb},
    ids::UserId,
    middleware::TenantRoutes,
    tenancy::TenantTx,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Users).allow_members(routes!(get_user_permissions)).further(Read)
}

#[derive(Serialize, ToSchema)]
pub struct UserPermissions {
    pub user: UserId,
    #[schema(example = json!(["member"]), max_items = 100)]
    pub roles: Vec<String>,
    /// Somebody who is suspended may nothing, whatever their roles.
    pub suspended: bool,
    #[schema(max_items = 200)]
    pub permissions: Vec<HeldPermission>,
    /// What a role of theirs denies, whichever other one allows it.
    #[schema(max_items = 200)]
    pub denied: Vec<HeldPermission>,
}

#[derive(Serialize, ToSchema)]
pub struct HeldPermission {
    #[schema(example = "products:read", max_length = 60)]
    pub permission: String,
    /// By which roles: first one that they hold, last the one that says it.
    #[schema(example = json!(["member > viewer"]), max_items = 200)]
    pub sources: Vec<String>,
}

impl From<Source> for HeldPermission {
    fn from(Source { permission, paths }: Source) -> Self {
        Self { permission: permission.to_string(), sources: paths }
    }
}

/// Tell what a member may do
///
/// Everybody may ask about themselves; about others, who holds `users:read`.
#[utoipa::path(get, path = "/users/{id}/permissions", tag = "roles", params(("id" = UserId, Path)),
    responses((status = 200, description = "All that they may do, and why.", body = UserPermissions)))]
async fn get_user_permissions(db: TenantDb, Path(user): Path<UserId>) -> Result<Json<UserPermissions>> {
    const OTHERS: Permission = Permission { resource: Users, action: Read };
    let (mut tx, caller) = db.read_as().await?;
    let (roles, suspended) = select(&mut tx, user).await?.or_not_found()?;
    if !is_oneself(&caller, user) && !caller.exercise(OTHERS) {
        return Err(caller.refusal(OTHERS));
    }
    let graph = RoleGraph::load(&mut tx).await?;
    let told = |sources: Vec<Source>| sources.into_iter().map(Into::into).collect();
    let permissions = if suspended { Vec::new() } else { told(graph.sources(&roles)) };
    let denied = told(graph.denials(&roles));
    Ok(Json(UserPermissions { user, roles, suspended, permissions, denied }))
}

fn is_oneself(caller: &Caller, other: UserId) -> bool {
    matches!(caller.actor(), Actor::User { user, .. } if *user == other)
}

async fn select(tx: &mut TenantTx, user: UserId) -> Result<Option<(Vec<String>, bool)>> {
    let row = sqlx::query!(
        "select roles, status from members where org_id = $1 and user_id = $2",
        tx.org().uuid(),
        user.uuid()
    );
    Ok(row.fetch_optional(&mut **tx).await?.map(|row| (row.roles, row.status == "suspended")))
}
