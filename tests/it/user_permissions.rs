//! What a member may do is what is enforced, and the answer says by which roles.

use super::support::{Org, TestApp};
use insula::{authz::Permission, ids::UserId, people};
use proptest::{
    prelude::*,
    sample::{select, subsequence},
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn of(user: UserId) -> String {
    format!("/api/v1/users/{user}/permissions")
}

fn texts(held: &Value) -> BTreeSet<String> {
    held.as_array().unwrap().iter().map(|held| held["permission"].as_str().unwrap().to_owned()).collect()
}

async fn role(org: &Org, role: Value) {
    org.owner.post("/api/v1/roles", role).await.expect(201);
}

#[tokio::test]
async fn each_permission_comes_with_the_roles_it_is_held_by() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    role(&acme, json!({"name": "clerk", "inherits": ["member"], "denied": ["orders:fulfil"]})).await;
    role(&acme, json!({"name": "buyer", "permissions": ["orders:create", "products:read"]})).await;
    let user = acme.viewer.user();
    people::set_member(&app.state.platform, acme.id, user, &["clerk", "buyer"]).await.unwrap();

    let told = acme.viewer.get(&of(user)).await.expect(200);
    assert_eq!((&told["user"], &told["roles"]), (&json!(user), &json!(["buyer", "clerk"])));
    let sources = |list: &str, permission: &str| {
        let held = told[list].as_array().unwrap().iter().find(|held| held["permission"] == permission);
        held.map_or(Value::Null, |held| held["sources"].clone())
    };
    assert_eq!(sources("permissions", "products:read"), json!(["buyer", "clerk > member > viewer"]));
    assert_eq!(sources("permissions", "orders:create"), json!(["buyer", "clerk > member"]));
    assert_eq!(sources("permissions", "orders:fulfil"), Value::Null);
    assert_eq!(sources("denied", "orders:fulfil"), json!(["clerk"]));

    let missing = globex.owner.get(&of(UserId::new())).await;
    let foreign = globex.owner.get(&of(user)).await;
    foreign.expect_problem(404, "not_found");
    assert_eq!(foreign.without_request_id(), missing.without_request_id());
}

#[tokio::test]
async fn everybody_may_ask_about_themselves_and_about_others_who_may_see_members() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let intern = app.member(acme.id, &acme.slug, "intern").await;
    assert_eq!(intern.get(&of(intern.user())).await.expect(200)["permissions"], json!([]));
    let refused = intern.get(&of(acme.owner.user())).await.expect_problem(403, "permission_denied");
    assert_eq!(refused["permission"], "users:read");
    let key = app.api_key(&acme, &["users:read"]).await;
    let other = app.api_key(&acme, &["products:read"]).await;
    for who in [&acme.viewer, &acme.admin, &key] {
        let told = who.get(&of(acme.owner.user())).await.expect(200);
        assert!(texts(&told["permissions"]).contains("roles:update"));
    }
    other.get(&of(acme.owner.user())).await.expect_problem(403, "permission_denied");
    globex.owner.get(&of(acme.owner.user())).await.expect_problem(404, "not_found");
    acme.owner.get("/api/v1/users/nobody/permissions").await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn who_is_suspended_may_nothing_whatever_their_roles() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    app.database.suspend_member(acme.id, acme.admin.user()).await;
    let told = acme.owner.get(&of(acme.admin.user())).await.expect(200);
    assert_eq!((&told["suspended"], &told["permissions"]), (&json!(true), &json!([])));
    acme.admin.get("/api/v1/products").await.expect_problem(403, "member_suspended");
}

/// One draw of `strategy`, always the same for the same runner.
fn draw<S: Strategy>(runner: &mut TestRunner, strategy: &S) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

#[tokio::test]
async fn the_answer_equals_enforcement_on_ten_thousand_random_probes() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let catalogue = acme.owner.get("/api/v1/permissions").await.expect(200);
    let all: Vec<String> = texts(&catalogue["data"]).into_iter().collect();

    let mut names: Vec<String> = ["viewer", "member", "admin", "owner"].map(ToOwned::to_owned).into();
    while names.len() < 40 {
        let name = format!("r{}", names.len());
        let inherits = draw(
            &mut runner,
            &prop_oneof![
                1 => Just(Vec::new()),
                3 => subsequence(names.clone(), 1..=2),
            ],
        );
        let permissions = draw(&mut runner, &subsequence(all.clone(), 0..=6));
        let mut denied = draw(&mut runner, &subsequence(all.clone(), 0..=3));
        denied.retain(|text| !permissions.contains(text));
        let body = json!({"name": name, "inherits": inherits, "permissions": permissions, "denied": denied});
        // Too deep, for some.
        if acme.owner.post("/api/v1/roles", body).await.status == 201 {
            names.push(name);
        }
    }
    let sets = prop_oneof![
        subsequence(names.clone(), 1..=3),
        select(names.clone()).prop_map(|name| vec![name, "no-such-role".to_owned()]),
    ];
    let mut members = Vec::new();
    for at in 0..90 {
        let roles = draw(&mut runner, &sets);
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        let user = app.person(&format!("probe{at}@acme.example")).await;
        people::set_member(&app.state.platform, acme.id, user, &roles).await.unwrap();
        members.push(user);
    }
    let (mut probes, mut allowed) = (0, 0);
    for user in members {
        let told = texts(&acme.owner.get(&of(user)).await.expect(200)["permissions"]);
        let standing = app.state.authz.standing(acme.id, user).await.unwrap().unwrap();
        for permission in Permission::all() {
            let may = standing.may(permission);
            assert_eq!(may, told.contains(&permission.to_string()), "{permission} with {:?}", standing.roles);
            probes += 1;
            allowed += u32::from(may);
        }
        // And at a door.
        let at_door = app.signed_in(user, acme.id).await.get("/api/v1/categories?limit=1").await.status;
        assert_eq!(at_door == 200, told.contains("categories:read"), "{:?}", standing.roles);
    }
    assert!(probes >= 10_000 && allowed > 500 && allowed < probes - 500, "{allowed} of {probes}");
}
