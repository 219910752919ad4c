//! Who may do what, as a whole: the built-in roles of `policies/roles.csv`, decided by Casbin.

use super::support::{Document, TestApp};
use insula::{
    authz::{Action, OrgPolicy, Permission, Resource},
    ids::OrgId,
};
use std::{collections::BTreeSet, fmt::Write as _};

async fn policy() -> OrgPolicy {
    OrgPolicy::build(OrgId::new(), 1, &[], Vec::new()).await.unwrap()
}

/// What a role may do, by inheritance or by itself.
fn held_by(policy: &OrgPolicy, role: &str) -> BTreeSet<String> {
    let held = Permission::all().filter(|permission| policy.granted_by(*permission).contains(&role));
    held.map(|permission| permission.to_string()).collect()
}

#[tokio::test]
async fn the_roles_hold_what_the_matrix_says() {
    let policy = policy().await;
    let mut matrix = String::new();
    for role in policy.roles() {
        writeln!(matrix, "{role}").unwrap();
        for &resource in Resource::ALL {
            let may = |action: &&Action| {
                let permission = Permission { resource, action: **action };
                policy.granted_by(permission).contains(&role.as_str())
            };
            let actions: Vec<&str> = Action::ALL.iter().filter(may).map(|action| action.as_str()).collect();
            let actions = if actions.is_empty() { "-".to_owned() } else { actions.join(" ") };
            writeln!(matrix, "    {:<20}{actions}", resource.as_str()).unwrap();
        }
    }
    insta::assert_snapshot!(matrix);
}

#[tokio::test]
async fn each_role_may_all_that_the_one_below_it_may_and_operators_stand_apart() {
    let policy = policy().await;
    let ladder = ["viewer", "member", "admin", "owner"].map(|role| held_by(&policy, role));
    assert!(ladder.is_sorted_by(BTreeSet::is_subset));

    let (owner, operator) = (&ladder[3], held_by(&policy, "operator"));
    assert!(owner.iter().all(|permission| !permission.starts_with("platform_")), "{owner:?}");
    assert!(operator.iter().all(|permission| permission.starts_with("platform_")), "{operator:?}");
    assert!(!operator.is_empty());
}

#[tokio::test]
async fn what_routes_ask_for_and_what_roles_hold_is_the_same() {
    let policy = policy().await;
    let document = Document::of(&TestApp::start().await).await;
    let asked: BTreeSet<String> = document
        .operations()
        .iter()
        .flat_map(|operation| {
            let asked: Vec<_> = operation.permission().into_iter().chain(operation.further()).collect();
            for permission in &asked {
                let known = permission.parse::<Permission>();
                assert!(known.is_ok(), "{operation} asks for {permission}: no such thing");
                let told = known.unwrap().is_platforms() || known.unwrap().sentence().is_some();
                assert!(told, "{permission} needs a sentence in authz/permission.rs");
            }
            asked.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let held: BTreeSet<String> = policy.roles().iter().flat_map(|role| held_by(&policy, role)).collect();

    let nobodys: Vec<_> = asked.difference(&held).collect();
    assert!(nobodys.is_empty(), "no role holds these, so nobody can come in: {nobodys:?}");
    let idle: Vec<_> = held.difference(&asked).collect();
    assert!(idle.is_empty(), "no route asks for these: {idle:?}");
}
