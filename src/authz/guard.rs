//! Who may change roles, and how: nobody gives what they do not hold, by whatever way round.
//!
//! Pure: each function is asked with the roles as they are and what the writer holds under them, and answers the roles
//! as they would be. Whoever writes them down asks while nobody else can.

use super::{CustomRole, DEEPEST, Permission, PermissionSet, RoleGraph};
use crate::error::{Error, Flaw, Problem, Result};
use axum::http::StatusCode;

/// Of one org.
pub const MOST_ROLES: usize = 100;

/// The roles with one more.
///
/// # Errors
/// 409 `role_taken`; 422 for what is unknown, a cycle, or too many; 403 `beyond_your_own`.
pub fn create(graph: &RoleGraph, own: PermissionSet, role: &CustomRole) -> Result<RoleGraph> {
    if graph.roles().filter(|(_, node)| !node.built_in).count() >= MOST_ROLES {
        let detail = format!("an organisation has at most {MOST_ROLES} roles of its own");
        return Err(Error::invalid("", "too_many_roles", detail));
    }
    free(graph, &role.name)?;
    place(graph.clone(), own, role, PermissionSet::default(), PermissionSet::default())
}

/// The roles with `name` become `role`, which may have another name.
///
/// # Errors
/// As for [`create`], and 409 `built_in`.
pub fn update(graph: &RoleGraph, own: PermissionSet, name: &str, role: &CustomRole) -> Result<RoleGraph> {
    let node = within(graph, own, name)?;
    let (direct, denied) = (node.allowed, graph.denied(&[name]));
    let mut renamed = graph.clone();
    if role.name != name {
        free(graph, &role.name)?;
        renamed.rename(name, &role.name);
    }
    place(renamed, own, role, direct, denied)
}

/// The roles without `name`, whose holders get `move_to` in its place.
///
/// # Errors
/// 409 `role_in_use` where others inherit it, 409 `built_in`, 400 for a `move_to` that can't be, 403
/// `beyond_your_own`.
pub fn delete(graph: &RoleGraph, own: PermissionSet, name: &str, move_to: Option<&str>) -> Result<RoleGraph> {
    within(graph, own, name)?;
    let heirs: Vec<&str> =
        graph.roles().filter(|(_, node)| inherits(node, name)).map(|(heir, _)| heir).collect();
    if !heirs.is_empty() {
        let detail = format!("the role {name} is inherited by {}: change those first", heirs.join(", "));
        return Err(Error::conflict("role_in_use", detail));
    }
    if let Some(other) = move_to {
        if other == name || !is_open(graph, other) {
            let detail = format!("move_to is the name of another role, and {other:?} is none");
            return Err(Error::malformed("bad_parameter", detail));
        }
        let given = graph.effective(&[other]) | (graph.denied(&[name]) - graph.denied(&[other]));
        no_more_than(own, other, given)?;
    }
    let mut without = graph.clone();
    without.remove(name);
    Ok(without)
}

/// Whether somebody's roles may become others.
///
/// # Errors
/// 403 `beyond_your_own` where a role that is given or taken holds more than the writer, or where they would come to
/// hold what the writer does not: a role that denies is not taken from them for nothing.
pub fn assign(graph: &RoleGraph, own: PermissionSet, before: &[String], after: &[String]) -> Result<()> {
    let changed = |from: &[String], to: &[String]| -> Vec<String> {
        to.iter().filter(|role| !from.contains(role)).cloned().collect()
    };
    let (given, taken) = (changed(before, after), changed(after, before));
    for role in given.iter().chain(&taken) {
        no_more_than(own, role, graph.effective(&[role]))?;
    }
    let gained = graph.effective(after) - graph.effective(before);
    taken.iter().chain(&given).take(1).try_for_each(|role| no_more_than(own, role, gained))
}

/// Whether whoever holds `own` may have anything to do with who holds these roles.
///
/// # Errors
/// 403 `beyond_your_own` where one of them holds more.
pub fn reaches<'a>(
    graph: &RoleGraph,
    own: PermissionSet,
    roles: impl IntoIterator<Item = &'a String>,
) -> Result<()> {
    roles.into_iter().try_for_each(|role| no_more_than(own, role, graph.effective(&[role])))
}

/// Whether somebody still answers for the org: one of the active members who are owners, given by their roles before
/// and after, to whom no other role denies what owners may do.
///
/// # Errors
/// 409 `last_owner`.
pub fn keeps_an_owner(
    before: (&RoleGraph, &[Vec<String>]),
    after: (&RoleGraph, &[Vec<String>]),
) -> Result<()> {
    let has_one = |(graph, owners): (&RoleGraph, &[Vec<String>])| {
        let whole = graph.effective(&["owner"]);
        let is_one = |roles: &Vec<String>| {
            roles.iter().any(|role| role == "owner") && whole.is_subset(&graph.effective(roles))
        };
        owners.iter().any(is_one)
    };
    if has_one(before) && !has_one(after) {
        let detail = "this would leave nobody who may do all that owners may";
        return Err(Error::conflict("last_owner", detail));
    }
    Ok(())
}

/// Whether those who held the role `from` and come to hold `to` may change who may do what by it, and could not before:
/// worth a fresh look at who is asking. A role that is new is `from` none.
pub fn gives_power(before: &RoleGraph, from: Option<&str>, after: &RoleGraph, to: &str) -> bool {
    let power = ["users:update", "roles:create", "roles:update"];
    let power: PermissionSet = power.iter().filter_map(|text| text.parse().ok()).collect();
    let from = from.as_slice();
    let lifted = before.denied(from) - after.denied(&[to]);
    let gained = (after.effective(&[to]) - before.effective(from)) | lifted;
    !(gained & power).is_empty()
}

/// Puts `role` into its place. `direct` and `denied` are what it allowed by itself and denied in all before.
fn place(
    mut graph: RoleGraph,
    own: PermissionSet,
    role: &CustomRole,
    direct: PermissionSet,
    denied: PermissionSet,
) -> Result<RoleGraph> {
    check_words(&graph, role)?;
    graph.set(role);
    if let Some(cycle) = graph.cycle(&role.name) {
        let detail = format!("these roles would inherit themselves: {}", cycle.join(" -> "));
        return Err(Error::invalid("/inherits", "cycle", detail));
    }
    if graph.depth() > DEEPEST {
        let detail = format!("more than {DEEPEST} of your roles would inherit one another in a row");
        return Err(Error::invalid("/inherits", "too_deep", detail));
    }
    // A deny that is lifted is a grant to whoever another role allows it, and what is allowed and denied at once comes
    // to light when the deny goes.
    let added = graph.get(&role.name).map_or(direct, |node| node.allowed) - direct;
    let lifted = denied - graph.denied(&[&role.name]);
    no_more_than(own, &role.name, graph.effective(&[&role.name]) | added | lifted)?;
    Ok(graph)
}

/// What the role's words stand for must exist, and be an org's to give.
fn check_words(graph: &RoleGraph, role: &CustomRole) -> Result<()> {
    let mut flaws = Vec::new();
    for (field, texts) in [("permissions", &role.permissions), ("denied", &role.denied)] {
        let unknown = texts.iter().enumerate().filter(|(_, text)| Permission::of_tenants(text).is_none());
        flaws.extend(unknown.map(|(at, _)| {
            let detail = "there is no such permission: GET /api/v1/permissions lists them";
            Flaw::new(format!("/{field}/{at}"), "unknown_permission", detail)
        }));
    }
    let both = role.denied.iter().enumerate().filter(|(_, text)| role.permissions.contains(text));
    flaws.extend(both.map(|(at, _)| {
        Flaw::new(format!("/denied/{at}"), "contradiction", "is among the role's own permissions too")
    }));
    let unknown =
        role.inherits.iter().enumerate().filter(|(_, name)| !is_open(graph, name) && **name != role.name);
    flaws.extend(
        unknown.map(|(at, _)| Flaw::new(format!("/inherits/{at}"), "unknown_role", "there is no such role")),
    );
    if flaws.is_empty() { Ok(()) } else { Err(Error::Invalid(flaws)) }
}

/// A role that may be inherited and given in an org: not an operator's.
fn is_open(graph: &RoleGraph, role: &str) -> bool {
    graph.get(role).is_some() && !graph.effective(&[role]).iter().any(Permission::is_platforms)
}

fn inherits(node: &super::RoleNode, name: &str) -> bool {
    node.inherits.iter().any(|other| other == name)
}

fn free(graph: &RoleGraph, name: &str) -> Result<()> {
    match graph.get(name) {
        None => Ok(()),
        Some(node) if node.built_in => {
            Err(Error::conflict("role_taken", format!("{name} is a built-in role: choose another name")))
        }
        Some(_) => Err(Error::conflict("role_taken", format!("there is a role {name}: choose another name"))),
    }
}

/// A role of the org's own that holds no more than the writer.
fn within<'a>(graph: &'a RoleGraph, own: PermissionSet, name: &str) -> Result<&'a super::RoleNode> {
    let node = graph.get(name).ok_or(Error::NotFound)?;
    if node.built_in {
        let detail = format!("{name} is built in and stays as it is: make a role that inherits it");
        return Err(Error::conflict("built_in", detail));
    }
    no_more_than(own, name, graph.effective(&[name]))?;
    Ok(node)
}

fn no_more_than(own: PermissionSet, role: &str, held: PermissionSet) -> Result<()> {
    let beyond = held - own;
    if beyond.is_empty() {
        return Ok(());
    }
    let beyond = beyond.texts();
    let detail = format!(
        "with the role {role} this is about {}, which you do not hold: ask somebody who does",
        beyond.join(", ")
    );
    Err(Error::Forbidden(Box::new(
        Problem::new(StatusCode::FORBIDDEN, "beyond_your_own", detail)
            .with("role", role)
            .with("permissions", beyond),
    )))
}
