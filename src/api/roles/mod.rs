//! Roles: what the members of an organisation may do, by roles that are built in and roles of its own.

mod desk;
mod preview;
mod store;

use super::given;
use crate::{
    authz::{
        Action::{Create, Delete, Read, Update},
        CustomRole, Permission,
        Resource::Roles,
        RoleGraph, guard,
    },
    error::{Error, OptionExt as _, Problem, Result},
    events::{self, Entry},
    extract::{ETag, IfMatch, Json, Path, Query, SignedIn, TenantDb},
    ids::RoleId,
    middleware::TenantRoutes,
    state::AppState,
    trail::Trail,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use desk::Desk;
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Roles)
        .allow(Read, routes!(list_roles))
        .allow(Create, routes!(create_role))
        .allow(Read, routes!(get_role))
        .allow(Update, routes!(update_role))
        .allow(Delete, routes!(delete_role))
        .allow(Update, routes!(preview::preview_role))
}

#[derive(Clone, Serialize, ToSchema)]
pub struct Role {
    /// That of a built-in role is the same in every organisation.
    pub id: RoleId,
    #[schema(example = "clerk", max_length = 40)]
    pub name: String,
    #[schema(max_length = 500)]
    pub description: String,
    /// The names of the roles whose permissions this one has too.
    #[schema(example = json!(["viewer"]), max_items = 20)]
    pub inherits: Vec<String>,
    #[schema(example = json!(["orders:create"]), max_items = 200)]
    pub permissions: Vec<String>,
    /// What its holders may not do, whatever other roles allow them.
    #[schema(example = json!(["orders:refund"]), max_items = 200)]
    pub denied: Vec<String>,
    /// Built-in roles stay as they are, and can be inherited.
    pub built_in: bool,
    #[schema(example = 1)]
    pub version: i64,
    /// None where it is built in.
    #[serde(with = "time::serde::rfc3339::option")]
    pub created_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub updated_at: Option<OffsetDateTime>,
}

/// All roles: there are never so many as to need pages.
#[derive(Serialize, ToSchema)]
pub struct AllRoles {
    /// The built-in ones first.
    #[schema(max_items = 110)]
    pub data: Vec<Role>,
    #[schema(max_length = 2_000)]
    pub next_cursor: Option<String>,
    pub has_more: bool,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// Unique among the organisation's roles and the built-in ones.
    #[garde(custom(is_name))]
    #[schema(example = "clerk", pattern = "^[a-z][a-z0-9_-]{0,39}$")]
    pub name: String,
    #[garde(length(chars, max = 500))]
    #[serde(default)]
    #[schema(max_length = 500)]
    pub description: String,
    #[garde(length(max = 20), inner(length(bytes, max = 40)))]
    #[serde(default)]
    #[schema(example = json!(["viewer"]), max_items = 20)]
    pub inherits: Vec<String>,
    /// None but what you hold yourself.
    #[garde(length(max = 200), inner(length(bytes, max = 60)))]
    #[serde(default)]
    #[schema(example = json!(["orders:create"]), max_items = 200)]
    pub permissions: Vec<String>,
    #[garde(length(max = 200), inner(length(bytes, max = 60)))]
    #[serde(default)]
    #[schema(example = json!(["orders:refund"]), max_items = 200)]
    pub denied: Vec<String>,
}

#[derive(Default, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolePatch {
    /// Members and roles that have it by its old name have it by the new one.
    #[garde(inner(custom(is_name)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "senior-clerk", pattern = "^[a-z][a-z0-9_-]{0,39}$")]
    pub name: Option<String>,
    #[garde(inner(length(chars, max = 500)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_length = 500)]
    pub description: Option<String>,
    #[garde(inner(length(max = 20), inner(length(bytes, max = 40))))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = json!(["viewer"]), max_items = 20)]
    pub inherits: Option<Vec<String>>,
    #[garde(inner(length(max = 200), inner(length(bytes, max = 60))))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = json!(["orders:create", "orders:pay"]), max_items = 200)]
    pub permissions: Option<Vec<String>>,
    #[garde(inner(length(max = 200), inner(length(bytes, max = 60))))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_items = 200)]
    pub denied: Option<Vec<String>>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Farewell {
    /// The name of the role that its members get instead; required where there are any.
    #[param(max_length = 40)]
    move_to: Option<String>,
}

/// List roles
#[utoipa::path(get, path = "/roles", tag = "roles",
    responses((status = 200, description = "All of them.", body = AllRoles)))]
async fn list_roles(db: TenantDb) -> Result<Json<AllRoles>> {
    let mut data = Role::built_in();
    data.extend(store::select_all(&mut db.read().await?).await?);
    Ok(Json(AllRoles { data, next_cursor: None, has_more: false }))
}

/// Create a role
///
/// Of permissions that you hold yourself, and of roles that hold no more than you do.
#[utoipa::path(post, path = "/roles", tag = "roles", request_body = NewRole,
    responses((status = 201, description = "It exists; nobody holds it yet.", body = Role),
              (status = 409, description = "The name is taken (`role_taken`).")))]
async fn create_role(
    State(state): State<AppState>,
    db: TenantDb,
    signed_in: SignedIn,
    trail: Trail,
    Json(new): Json<NewRole>,
) -> Result<Response> {
    let mut turn = db.in_turn().await?;
    let desk = Desk::of(&turn.graph, &turn.caller);
    let NewRole { name, description, inherits, permissions, denied } = new;
    let rules = CustomRole { name, inherits, permissions, denied };
    let graph = guard::create(desk.graph, desk.own, &rules)?;
    if guard::gives_power(desk.graph, None, &graph, &rules.name) {
        signed_in.check_fresh(&state.clock)?;
    }
    let role = store::insert(&mut turn.tx, &rules.clone().distinct(), &description, trail.at).await?;
    let entry = Entry::new("role.created", "role", role.id.uuid().to_string()).after(role.audited());
    events::record(&mut turn.tx, turn.caller.actor(), &trail, entry).await?;
    turn.commit(&state).await?;
    let location = [(header::LOCATION, format!("/api/v1/roles/{}", role.id))];
    Ok((StatusCode::CREATED, location, tagged(role)).into_response())
}

/// Fetch one role
#[utoipa::path(get, path = "/roles/{id}", tag = "roles", params(("id" = RoleId, Path)),
    responses((status = 200, description = "The role.", body = Role)))]
async fn get_role(db: TenantDb, Path(id): Path<RoleId>) -> Result<Response> {
    let role = store::select(&mut db.read().await?, id).await?.or_not_found()?;
    Ok(tagged(role).into_response())
}

/// Change a role
///
/// Its holders may do what it says from their next request on. Only a role that holds no more than you do, before and
/// after.
#[utoipa::path(patch, path = "/roles/{id}", tag = "roles", request_body = RolePatch,
    params(("id" = RoleId, Path), IfMatch),
    responses((status = 200, description = "The changed role.", body = Role),
              (status = 409, description = "The name is taken, or the role is built in (`role_taken`, `built_in`, `last_owner`).")))]
async fn update_role(
    State(state): State<AppState>,
    db: TenantDb,
    Path(id): Path<RoleId>,
    expected: IfMatch,
    trail: Trail,
    Json(patch): Json<RolePatch>,
) -> Result<Response> {
    let mut turn = db.in_turn().await?;
    let before = store::select(&mut turn.tx, id).await?.or_not_found()?;
    let signed_in = SignedIn::of(&turn.caller)?;
    expected.check(before.version)?;
    let desk = Desk::of(&turn.graph, &turn.caller);
    let description = patch.description.clone().unwrap_or(before.description.clone());
    let change = desk.change(&before, patch)?;
    desk.check_owners(&mut turn.tx, &change).await?;
    if change.gives_power {
        signed_in.check_fresh(&state.clock)?;
    }
    let role =
        store::update(&mut turn.tx, id, &change.rules.clone().distinct(), &description, trail.at).await?;
    if role.name != before.name {
        store::replace_in_members(&mut turn.tx, &before.name, &role.name).await?;
        store::replace_in_heirs(&mut turn.tx, &before.name, &role.name, trail.at).await?;
    }
    let entry = Entry::new("role.updated", "role", id.uuid().to_string())
        .before(before.audited())
        .after(role.audited());
    events::record(&mut turn.tx, turn.caller.actor(), &trail, entry).await?;
    turn.commit(&state).await?;
    Ok(tagged(role).into_response())
}

/// Delete a role
///
/// Its members get the role that `move_to` names. A role that others inherit stays.
#[utoipa::path(delete, path = "/roles/{id}", tag = "roles", params(("id" = RoleId, Path), IfMatch, Farewell),
    responses((status = 204, description = "It is gone."),
              (status = 409, description = "It is built in, inherited by others, or members hold it and `move_to` is missing (`built_in`, `role_in_use`, `last_owner`).")))]
async fn delete_role(
    State(state): State<AppState>,
    db: TenantDb,
    Path(id): Path<RoleId>,
    expected: IfMatch,
    Query(farewell): Query<Farewell>,
    trail: Trail,
) -> Result<StatusCode> {
    let mut turn = db.in_turn().await?;
    let role = store::select(&mut turn.tx, id).await?.or_not_found()?;
    let signed_in = SignedIn::of(&turn.caller)?;
    expected.check(role.version)?;
    let members = store::count_members(&mut turn.tx, &role.name).await?;
    let desk = Desk::of(&turn.graph, &turn.caller);
    let change = desk.removal(&role, farewell.move_to.as_deref(), members)?;
    desk.check_owners(&mut turn.tx, &change).await?;
    if change.gives_power {
        signed_in.check_fresh(&state.clock)?;
    }
    if let Some(other) = &farewell.move_to {
        store::replace_in_members(&mut turn.tx, &role.name, other).await?;
    }
    store::delete(&mut turn.tx, id).await?;
    let entry = Entry::new("role.deleted", "role", id.uuid().to_string())
        .before(role.audited())
        .after(json!({"moved_to": farewell.move_to, "members": members}));
    events::record(&mut turn.tx, turn.caller.actor(), &trail, entry).await?;
    turn.commit(&state).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Role {
    /// Those of `policies/roles.csv`, less the operators': they work in no organisation.
    fn built_in() -> Vec<Self> {
        let open = RoleGraph::built_in()
            .roles()
            .filter(|(_, node)| !node.allowed.iter().any(Permission::is_platforms));
        open.map(|(name, node)| Self {
            id: RoleId::of_built_in(name),
            name: name.to_owned(),
            description: RoleGraph::about_built_in(name).to_owned(),
            inherits: node.inherits.clone(),
            permissions: node.allowed.texts(),
            denied: node.denied.texts(),
            built_in: true,
            version: 1,
            created_at: None,
            updated_at: None,
        })
        .collect()
    }

    fn rules(&self) -> CustomRole {
        let Self { name, inherits, permissions, denied, .. } = self.clone();
        CustomRole { name, inherits, permissions, denied }
    }

    /// What the audit keeps of it.
    fn audited(&self) -> Value {
        let Self { name, description, inherits, permissions, denied, .. } = self;
        json!({"name": name, "description": description, "inherits": inherits, "permissions": permissions, "denied": denied})
    }
}

impl RolePatch {
    fn apply(self, to: &Role) -> CustomRole {
        let rules = to.rules();
        CustomRole {
            name: self.name.unwrap_or(rules.name),
            inherits: self.inherits.unwrap_or(rules.inherits),
            permissions: self.permissions.unwrap_or(rules.permissions),
            denied: self.denied.unwrap_or(rules.denied),
        }
    }
}

/// Members hold it, and nobody has said what they get instead.
fn in_use(role: &str, members: i64) -> Error {
    let detail = format!(
        "{members} members hold the role {role}: say with ?move_to=<role> which one they get instead"
    );
    Error::Blocked(Box::new(
        Problem::new(StatusCode::CONFLICT, "role_in_use", detail).with("members", members),
    ))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that garde calls")]
fn is_name(name: &str, (): &()) -> garde::Result {
    let mut letters = name.bytes();
    let begins = letters.next().is_some_and(|letter| letter.is_ascii_lowercase());
    let goes_on =
        |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"_-".contains(&letter);
    if begins && letters.all(goes_on) && name.len() <= 40 {
        return Ok(());
    }
    Err(garde::Error::new("is a lower case letter and up to 39 more, digits, - or _"))
}

fn tagged(role: Role) -> impl IntoResponse {
    (<[_; 1]>::from(ETag(role.version)), Json(role))
}
