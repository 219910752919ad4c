//! Roles of an org's own: what they may be, who may change them, and that nobody rises by it.

use super::support::{Org, Persona, Reply, TestApp, id, pointers};
use futures::future::join;
use insula::people;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const ROLES: &str = "/api/v1/roles";

async fn role(by: &Persona, body: Value) -> Value {
    by.post(ROLES, body).await.expect(201)
}

fn path(role: &Value) -> String {
    format!("{ROLES}/{}", id(role))
}

/// The names of the roles that `who` sees.
async fn names(who: &Persona) -> Vec<String> {
    let roles = who.get(ROLES).await.expect(200);
    roles["data"].as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap().to_owned()).collect()
}

/// Somebody who holds these roles.
async fn holder(app: &TestApp, org: &Org, roles: &[&str]) -> Persona {
    let who = app.member(org.id, &org.slug, "viewer").await;
    people::set_member(&app.state.platform, org.id, who.user(), roles).await.unwrap();
    who
}

/// A role that may change roles, and little else.
async fn steward(app: &TestApp, org: &Org) -> Persona {
    let permissions =
        ["roles:read", "roles:create", "roles:update", "roles:delete", "products:read", "products:update"];
    role(&org.owner, json!({"name": "steward", "permissions": permissions})).await;
    holder(app, org, &["steward"]).await
}

#[tokio::test]
async fn a_role_exists_only_for_its_own_org() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let body = json!({"name": "clerk", "description": "Sells", "inherits": ["viewer"],
                      "permissions": ["orders:create"], "denied": ["orders:refund"]});
    let reply = acme.admin.post(ROLES, body.clone()).await;
    let made = reply.expect(201);
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(made[field], *value, "{field}");
    }
    assert_eq!((&made["built_in"], &made["version"]), (&json!(false), &json!(1)));
    assert_eq!((reply.header("location"), reply.header("etag")), (path(&made).as_str(), "\"1\""));
    let got = acme.viewer.get(&path(&made)).await;
    assert_eq!((got.expect(200), got.header("etag")), (made.clone(), "\"1\""));
    assert_eq!(names(&acme.viewer).await, ["admin", "member", "owner", "viewer", "clerk"]);

    assert_eq!(names(&globex.owner).await, ["admin", "member", "owner", "viewer"]);
    let missing = globex.owner.get(&format!("{ROLES}/rol_01jd8yq3c5f4x7t9k2m6n8p0rs")).await;
    missing.expect_problem(404, "not_found");
    for theirs in [
        globex.owner.get(&path(&made)).await,
        globex.owner.patch(&path(&made), json!({"description": "mine"})).await,
        globex.owner.delete(&path(&made)).await,
        globex.owner.delete(&format!("{}?move_to=viewer", path(&made))).await,
        globex.owner.post(&format!("{}/preview", path(&made)), json!({"delete": true})).await,
    ] {
        assert_eq!(theirs.without_request_id(), missing.without_request_id());
    }
    let stranger = json!({"name": "x", "inherits": ["clerk"]});
    assert_eq!(
        pointers(&globex.owner.post(ROLES, stranger).await.expect_problem(422, "invalid")),
        ["/inherits/0"]
    );
    role(&globex.owner, json!({"name": "clerk"})).await;

    acme.member.post(ROLES, json!({"name": "x"})).await.expect_problem(403, "permission_denied");
    acme.member.patch(&path(&made), json!({})).await.expect_problem(403, "permission_denied");
    acme.member.delete(&path(&made)).await.expect_problem(403, "permission_denied");
    acme.admin.delete(&path(&made)).await.expect(204);
    acme.admin.get(&path(&made)).await.expect_problem(404, "not_found");
    assert_eq!(names(&globex.owner).await.last().unwrap(), "clerk");
}

#[tokio::test]
async fn built_in_roles_are_the_same_everywhere_and_stay_as_they_are() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let all = acme.viewer.get(ROLES).await.expect(200);
    assert_eq!(all["data"], globex.viewer.get(ROLES).await.expect(200)["data"]);
    assert_eq!((&all["has_more"], &all["next_cursor"]), (&json!(false), &Value::Null));
    for role in all["data"].as_array().unwrap() {
        assert_eq!(role["built_in"], true);
        assert!(role["description"].as_str().unwrap().len() > 10, "{role}");
        assert_eq!(acme.viewer.get(&path(role)).await.expect(200), *role);
        acme.owner.patch(&path(role), json!({"description": "x"})).await.expect_problem(409, "built_in");
        acme.owner.delete(&path(role)).await.expect_problem(409, "built_in");
        let preview = acme.owner.post(&format!("{}/preview", path(role)), json!({})).await;
        preview.expect_problem(409, "built_in");
    }
    let member = all["data"].as_array().unwrap().iter().find(|role| role["name"] == "member").unwrap();
    assert_eq!(member["inherits"], json!(["viewer"]));
    assert!(member["permissions"].as_array().unwrap().contains(&json!("orders:cancel_own")));
}

#[tokio::test]
async fn a_role_that_cannot_be_is_pointed_at() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    role(&acme.owner, json!({"name": "clerk"})).await;
    for (field, value, pointer) in [
        ("name", json!("Clerk"), "/name"),
        ("name", json!(""), "/name"),
        ("name", json!("9lives"), "/name"),
        ("name", json!("a b"), "/name"),
        ("name", json!("x".repeat(41)), "/name"),
        ("name", json!(null), "/name"),
        ("description", json!("x".repeat(501)), "/description"),
        ("permissions", json!(["products:read", "products:fly"]), "/permissions/1"),
        ("permissions", json!(["org:refund"]), "/permissions/0"),
        ("permissions", json!(["platform_orgs:read"]), "/permissions/0"),
        ("permissions", json!(["products"]), "/permissions/0"),
        ("permissions", json!(vec!["products:read"; 201]), "/permissions"),
        ("denied", json!(["nothing:read"]), "/denied/0"),
        ("inherits", json!(["viewer", "ghost"]), "/inherits/1"),
        ("inherits", json!(["operator"]), "/inherits/0"),
        ("inherits", json!(vec!["viewer"; 21]), "/inherits"),
        ("colour", json!("red"), "/colour"),
    ] {
        let mut body = json!({"name": "new"});
        body[field] = value.clone();
        let problem = acme.owner.post(ROLES, body).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [pointer], "{value}");
    }
    let both =
        json!({"name": "new", "permissions": ["orders:pay"], "denied": ["orders:refund", "orders:pay"]});
    assert_eq!(pointers(&acme.owner.post(ROLES, both).await.expect_problem(422, "invalid")), ["/denied/1"]);
    for taken in ["clerk", "viewer", "owner", "operator"] {
        acme.owner.post(ROLES, json!({"name": taken})).await.expect_problem(409, "role_taken");
    }
    let other =
        role(&acme.owner, json!({"name": "other", "permissions": ["orders:pay", "orders:pay"]})).await;
    assert_eq!(other["permissions"], json!(["orders:pay"]));
    for taken in ["clerk", "member"] {
        acme.owner.patch(&path(&other), json!({"name": taken})).await.expect_problem(409, "role_taken");
    }
    acme.owner.patch(&path(&other), json!({"name": "other"})).await.expect(200);
}

#[tokio::test]
async fn a_cycle_is_named_and_a_chain_is_at_most_five_deep() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let mut made = vec![role(&acme.owner, json!({"name": "r1", "inherits": ["viewer"]})).await];
    for at in 2..=5 {
        let body = json!({"name": format!("r{at}"), "inherits": [format!("r{}", at - 1)]});
        made.push(role(&acme.owner, body).await);
    }
    let deep = acme.owner.post(ROLES, json!({"name": "r6", "inherits": ["r5"]})).await;
    assert_eq!(deep.expect_problem(422, "invalid")["errors"][0]["code"], "too_deep");
    for (body, named) in [
        (json!({"inherits": ["r1"]}), "r1 -> r1"),
        (json!({"inherits": ["member", "r3"]}), "r1 -> r3 -> r2 -> r1"),
        (json!({"name": "first", "inherits": ["r2"]}), "first -> r2 -> first"),
    ] {
        let problem = acme.owner.patch(&path(&made[0]), body).await.expect_problem(422, "invalid");
        assert_eq!((pointers(&problem), &problem["errors"][0]["code"]), (vec!["/inherits"], &json!("cycle")));
        let detail = problem["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.ends_with(named), "{detail}");
    }
    // Not only of what is new: whatever stands above goes up with it.
    role(&acme.owner, json!({"name": "low"})).await;
    let problem =
        acme.owner.patch(&path(&made[0]), json!({"inherits": ["low"]})).await.expect_problem(422, "invalid");
    assert_eq!(problem["errors"][0]["code"], "too_deep");
    let deepest = holder(&app, &acme, &["r5"]).await;
    deepest.get("/api/v1/products").await.expect(200);
}

#[tokio::test]
async fn two_changes_at_once_close_no_cycle_together() {
    let app = TestApp::start().await;
    let there = app.replica().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let (a, b) =
        (role(&acme.owner, json!({"name": "a"})).await, role(&acme.owner, json!({"name": "b"})).await);
    let other = acme.owner.at(&there.base);
    for _ in 0..8 {
        let (first, second) = join(
            acme.owner.patch(&path(&a), json!({"inherits": ["b"]})),
            other.patch(&path(&b), json!({"inherits": ["a"]})),
        )
        .await;
        let mut answers = [first.status, second.status];
        answers.sort_unstable();
        assert_eq!(answers, [200, 422], "{} {}", first.text, second.text);
        for role in [&a, &b] {
            acme.owner.patch(&path(role), json!({"inherits": []})).await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_change_is_made_of_the_version_that_was_seen() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let path = path(&role(&acme.owner, json!({"name": "clerk", "permissions": ["orders:pay"]})).await);
    for method in [Method::PATCH, Method::DELETE] {
        let bare = acme.owner.request(method, &path).json(&json!({}));
        Reply::of(bare).await.expect_problem(428, "if_match_required");
    }
    let changed = acme.owner.patch_if(&path, "\"1\"", json!({"description": "Sells"})).await;
    assert_eq!(
        (changed.header("etag"), &changed.expect(200)["permissions"]),
        ("\"2\"", &json!(["orders:pay"]))
    );
    acme.owner.patch_if(&path, "\"1\"", json!({"description": "Buys"})).await.expect_problem(412, "stale");
    let gone = acme.owner.request(Method::DELETE, &path).header("if-match", "\"1\"");
    Reply::of(gone).await.expect_problem(412, "stale");
    assert_eq!(acme.owner.get(&path).await.expect(200)["description"], "Sells");
}

#[tokio::test]
async fn a_role_in_use_goes_only_when_its_members_have_somewhere_to_go() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let clerk = role(&acme.owner, json!({"name": "clerk", "permissions": ["orders:read"]})).await;
    let heir = role(&acme.owner, json!({"name": "chief", "inherits": ["clerk"]})).await;
    role(&globex.owner, json!({"name": "clerk", "permissions": ["orders:read"]})).await;
    let theirs = holder(&app, &globex, &["clerk"]).await;
    let (one, two) = (holder(&app, &acme, &["clerk"]).await, holder(&app, &acme, &["clerk", "viewer"]).await);

    let inherited = acme.owner.delete(&format!("{}?move_to=viewer", path(&clerk))).await;
    let inherited = inherited.expect_problem(409, "role_in_use");
    assert!(inherited["detail"].as_str().unwrap().contains("chief"), "{inherited}");
    acme.owner.delete(&path(&heir)).await.expect(204);

    let problem = acme.owner.delete(&path(&clerk)).await.expect_problem(409, "role_in_use");
    assert_eq!(problem["members"], 2);
    for nowhere in ["ghost", "clerk", "operator", ""] {
        let refused = acme.owner.delete(&format!("{}?move_to={nowhere}", path(&clerk))).await;
        refused.expect_problem(400, "bad_parameter");
    }
    acme.owner.delete(&format!("{}?to=viewer", path(&clerk))).await.expect_problem(400, "bad_parameter");
    one.get("/api/v1/orders").await.expect(200);

    acme.owner.delete(&format!("{}?move_to=viewer", path(&clerk))).await.expect(204);
    for who in [&one, &two] {
        assert_eq!(who.get("/api/v1/me").await.expect(200)["roles"], json!(["viewer"]));
        who.get("/api/v1/products").await.expect(200);
    }
    assert_eq!(theirs.get("/api/v1/me").await.expect(200)["roles"], json!(["clerk"]));
}

#[tokio::test]
async fn a_role_by_another_name_is_held_and_inherited_by_it() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let clerk = role(&acme.owner, json!({"name": "clerk", "permissions": ["orders:read"]})).await;
    let chief = role(&acme.owner, json!({"name": "chief", "inherits": ["clerk", "viewer"]})).await;
    role(&globex.owner, json!({"name": "clerk"})).await;
    let who = holder(&app, &acme, &["clerk", "viewer"]).await;
    acme.owner.patch(&path(&clerk), json!({"name": "teller"})).await.expect(200);
    assert_eq!(who.get("/api/v1/me").await.expect(200)["roles"], json!(["teller", "viewer"]));
    who.get("/api/v1/orders").await.expect(200);
    let chief = acme.owner.get(&path(&chief)).await.expect(200);
    assert_eq!((&chief["inherits"], &chief["version"]), (&json!(["teller", "viewer"]), &json!(2)));
    assert_eq!(names(&globex.owner).await.last().unwrap(), "clerk");
}

#[tokio::test]
async fn whoever_holds_several_roles_may_what_one_allows_and_none_denies() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    role(&acme.owner, json!({"name": "no-orders", "denied": ["orders:read"]})).await;
    let who = holder(&app, &acme, &["no-orders", "viewer"]).await;
    who.get("/api/v1/products").await.expect(200);
    let refused = who.get("/api/v1/orders").await.expect_problem(403, "permission_denied");
    assert_eq!(refused["your_roles"], json!(["no-orders", "viewer"]));
}

#[tokio::test]
async fn nobody_makes_or_changes_a_role_that_holds_more_than_they_do() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let steward = steward(&app, &acme).await;
    let beyond = |reply: &Reply, permission: &str| {
        let problem = reply.expect_problem(403, "beyond_your_own");
        assert!(problem["permissions"].as_array().unwrap().contains(&json!(permission)), "{problem}");
    };
    for body in [
        json!({"name": "x", "permissions": ["products:read", "products:delete"]}),
        json!({"name": "x", "inherits": ["admin"]}),
        json!({"name": "x", "inherits": ["admin"], "denied": ["orders:read"]}),
    ] {
        beyond(&steward.post(ROLES, body).await, "products:delete");
    }
    beyond(&steward.post(ROLES, json!({"name": "x", "inherits": ["viewer"]})).await, "orders:read");
    let own =
        role(&steward, json!({"name": "own", "permissions": ["products:read"], "denied": ["orders:read"]}))
            .await;
    beyond(&steward.patch(&path(&own), json!({"permissions": ["products:delete"]})).await, "products:delete");
    beyond(&steward.patch(&path(&own), json!({"inherits": ["viewer"]})).await, "org:read");
    // Whoever holds another role as well would gain by it.
    beyond(&steward.patch(&path(&own), json!({"denied": []})).await, "orders:read");
    // Neither does a deny that covers it for now make it theirs to give.
    let covered = json!({"name": "covered", "inherits": ["own"], "permissions": ["orders:read"]});
    beyond(&steward.post(ROLES, covered).await, "orders:read");

    let above = role(&acme.owner, json!({"name": "above", "permissions": ["products:delete"]})).await;
    beyond(&steward.patch(&path(&above), json!({"description": "x"})).await, "products:delete");
    beyond(&steward.patch(&path(&above), json!({"permissions": []})).await, "products:delete");
    beyond(&steward.delete(&path(&above)).await, "products:delete");
    beyond(
        &steward.post(&format!("{}/preview", path(&above)), json!({"delete": true})).await,
        "products:delete",
    );

    let held = role(&steward, json!({"name": "held", "permissions": ["products:read"]})).await;
    holder(&app, &acme, &["held"]).await;
    beyond(&steward.delete(&format!("{}?move_to=above", path(&held))).await, "products:delete");
    steward.delete(&format!("{}?move_to=own", path(&held))).await.expect(204);
    // Their own role is within what they hold; from the next request on they hold less.
    let all = steward.get(ROLES).await.expect(200);
    let mine = all["data"].as_array().unwrap().iter().find(|role| role["name"] == "steward").unwrap();
    steward.patch(&path(mine), json!({"permissions": ["roles:update"]})).await.expect(200);
    beyond(
        &steward.patch(&path(mine), json!({"permissions": ["roles:update", "products:read"]})).await,
        "products:read",
    );
}

#[tokio::test]
async fn no_role_takes_from_the_last_owner_what_owners_may() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let burden = role(&acme.owner, json!({"name": "burden"})).await;
    people::set_member(&app.state.platform, acme.id, acme.owner.user(), &["owner", "burden"]).await.unwrap();
    let deny = json!({"denied": ["products:read"]});
    acme.admin.patch(&path(&burden), deny.clone()).await.expect_problem(409, "last_owner");
    acme.admin
        .post(&format!("{}/preview", path(&burden)), deny.clone())
        .await
        .expect_problem(409, "last_owner");
    acme.owner.get("/api/v1/products").await.expect(200);
    let second = app.member(acme.id, &acme.slug, "owner").await;
    acme.admin.patch(&path(&burden), deny).await.expect(200);
    acme.owner.get("/api/v1/products").await.expect_problem(403, "permission_denied");
    second.get("/api/v1/products").await.expect(200);
    globex.owner.get("/api/v1/products").await.expect(200);
}

#[tokio::test]
async fn who_lost_the_right_while_they_waited_for_their_turn_changes_nothing() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let clerk = path(&role(&acme.owner, json!({"name": "clerk", "permissions": ["orders:pay"]})).await);
    acme.admin.patch(&clerk, json!({"description": "theirs"})).await.expect(200);
    let turn = app
        .database
        .turn(
            acme.id,
            &format!(
                "update members set roles = '{{viewer}}' where user_id = '{}'",
                acme.admin.user().uuid()
            ),
        )
        .await;
    let (admin, at) = (acme.admin.clone(), clerk.clone());
    let waiting =
        tokio::spawn(async move { admin.patch(&at, json!({"permissions": ["orders:refund"]})).await });
    super::support::until("they wait for their turn", async || app.database.waiting().await == 1).await;
    turn.done().await;
    let refused = waiting.await.unwrap().expect_problem(403, "permission_denied");
    assert_eq!(
        (&refused["permission"], &refused["your_roles"]),
        (&json!("roles:update"), &json!(["viewer"]))
    );
    assert_eq!(acme.owner.get(&clerk).await.expect(200)["permissions"], json!(["orders:pay"]));
}

#[tokio::test]
async fn roles_are_changed_by_people_and_not_by_keys() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let clerk = path(&role(&acme.owner, json!({"name": "clerk"})).await);
    let key = app.api_key(&acme, &["roles:read", "roles:create", "roles:update", "roles:delete"]).await;
    key.get(&clerk).await.expect(200);
    for refused in [
        key.post(ROLES, json!({"name": "x"})).await,
        key.patch(&clerk, json!({"description": "x"})).await,
        key.delete(&clerk).await,
        key.post(&format!("{clerk}/preview"), json!({})).await,
    ] {
        refused.expect_problem(403, "user_required");
    }
    assert_eq!(acme.owner.get(&clerk).await.expect(200)["version"], 1);
}

#[tokio::test]
async fn power_over_others_is_given_by_who_has_just_proven_who_they_are() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let clerk = path(&role(&acme.admin, json!({"name": "clerk", "permissions": ["orders:pay"]})).await);
    let masked = json!({"name": "masked", "denied": ["roles:update"]});
    let masked = path(&role(&acme.admin, masked).await);
    role(&acme.admin, json!({"name": "chief", "permissions": ["roles:create"]})).await;
    holder(&app, &acme, &["clerk"]).await;
    app.clock.advance(Duration::from_mins(6));
    for refused in [
        acme.admin.post(ROLES, json!({"name": "x", "permissions": ["roles:create"]})).await,
        acme.admin.post(ROLES, json!({"name": "x", "inherits": ["admin"]})).await,
        acme.admin.patch(&clerk, json!({"inherits": ["chief"]})).await,
        acme.admin.patch(&masked, json!({"denied": []})).await,
        acme.admin.delete(&format!("{clerk}?move_to=chief")).await,
    ] {
        let problem = refused.expect_problem(401, "step_up_required");
        assert!(problem["detail"].as_str().unwrap().contains("step-up"), "{problem}");
    }
    role(&acme.admin, json!({"name": "y", "permissions": ["orders:pay"]})).await;
    acme.admin.patch(&clerk, json!({"permissions": ["orders:fulfil"]})).await.expect(200);
    acme.admin.post(&format!("{clerk}/preview"), json!({"inherits": ["chief"]})).await.expect(200);
    acme.admin.delete(&format!("{clerk}?move_to=viewer")).await.expect(204);
}

#[tokio::test]
async fn every_change_of_a_role_is_in_the_audit_as_it_was_and_as_it_became() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let clerk = path(&role(&acme.admin, json!({"name": "clerk", "permissions": ["orders:pay"]})).await);
    acme.admin.patch(&clerk, json!({"permissions": ["orders:refund"]})).await.expect(200);
    holder(&app, &acme, &["clerk"]).await;
    acme.admin.patch_if(&clerk, "\"1\"", json!({})).await.expect(412);
    acme.admin.delete(&format!("{clerk}?move_to=viewer")).await.expect(204);
    let told = app.database.count(format!(
        "select count(*) from audit_events
         where org_id = '{}' and actor_id = '{}' and target_type = 'role' and (
             action = 'role.created' and before is null and after -> 'permissions' = '[\"orders:pay\"]'
             or action = 'role.updated' and before -> 'permissions' = '[\"orders:pay\"]'
                 and after -> 'permissions' = '[\"orders:refund\"]'
             or action = 'role.deleted' and before ->> 'name' = 'clerk' and after ->> 'moved_to' = 'viewer'
                 and after -> 'members' = '1')",
        acme.id.uuid(),
        acme.admin.user().uuid()
    ));
    assert_eq!(told.await, 3);
    assert_eq!(app.database.count("select count(*) from audit_events where target_type = 'role'").await, 3);
}

#[tokio::test]
async fn an_org_has_at_most_a_hundred_roles_of_its_own() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    for at in 0..100 {
        role(&acme.owner, json!({"name": format!("r{at}")})).await;
    }
    let problem =
        acme.owner.post(ROLES, json!({"name": "one-too-many"})).await.expect_problem(422, "invalid");
    assert_eq!(problem["errors"][0]["code"], "too_many_roles");
    role(&globex.owner, json!({"name": "first"})).await;
}

#[tokio::test]
async fn a_preview_says_who_gains_and_who_loses_and_changes_nothing() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let permissions = json!(["orders:read", "orders:pay", "orders:fulfil"]);
    let clerk = path(&role(&acme.owner, json!({"name": "clerk", "permissions": permissions})).await);
    role(&acme.owner, json!({"name": "chief", "inherits": ["clerk"]})).await;
    let (one, both, chief) = (
        holder(&app, &acme, &["clerk"]).await,
        holder(&app, &acme, &["clerk", "viewer"]).await,
        holder(&app, &acme, &["chief"]).await,
    );
    one.get("/api/v1/orders").await.expect(200);
    app.state.authz.uses().flush(&app.state.platform).await.unwrap();
    let before = acme.owner.get(ROLES).await.expect(200);
    let preview = async |change: Value| acme.owner.post(&format!("{clerk}/preview"), change).await;
    let of = |list: &Value, who: &Persona| {
        let user = who.user().to_string();
        list.as_array().unwrap().iter().find(|entry| entry["user"] == user).cloned().unwrap_or_default()
    };

    let told = preview(json!({"permissions": ["orders:pay", "orders:refund"]})).await.expect(200);
    for who in [&one, &chief] {
        assert_eq!(of(&told["gains"], who)["permissions"], json!(["orders:refund"]));
        assert_eq!(of(&told["loses"], who)["permissions"], json!(["orders:read", "orders:fulfil"]));
    }
    assert_eq!(
        of(&told["loses"], &both)["permissions"],
        json!(["orders:fulfil"]),
        "the other role has it too"
    );
    let used = &of(&told["loses"], &one)["used"];
    assert_eq!((used.as_array().unwrap().len(), &used[0]["permission"]), (1, &json!("orders:read")));
    assert_eq!(of(&told["loses"], &chief)["used"], json!([]));
    assert_eq!(told["truncated"], false);

    let told = preview(json!({"denied": ["products:read"]})).await.expect(200);
    assert_eq!(
        of(&told["loses"], &both)["permissions"],
        json!(["products:read"]),
        "a deny beats the other role"
    );
    assert_eq!((of(&told["loses"], &one), &told["gains"]), (Value::Null, &json!([])));
    let renamed = preview(json!({"name": "teller"})).await.expect(200);
    assert_eq!((&renamed["gains"], &renamed["loses"]), (&json!([]), &json!([])));

    // What would be refused is refused.
    preview(json!({"inherits": ["chief"]})).await.expect_problem(422, "invalid");
    preview(json!({"delete": true})).await.expect_problem(409, "role_in_use");
    preview(json!({"permissions": ["products:fly"]})).await.expect_problem(422, "invalid");
    acme.viewer.post(&format!("{clerk}/preview"), json!({})).await.expect_problem(403, "permission_denied");
    globex.owner.post(&format!("{clerk}/preview"), json!({})).await.expect_problem(404, "not_found");
    assert_eq!(acme.owner.get(ROLES).await.expect(200), before);

    // A month later nobody remembers.
    app.clock.advance(Duration::from_hours(31 * 24));
    let owner = app.signed_in(acme.owner.user(), acme.id).await;
    let told = owner.post(&format!("{clerk}/preview"), json!({"permissions": []})).await.expect(200);
    assert_eq!(of(&told["loses"], &one)["used"], json!([]));
}

#[tokio::test]
async fn a_preview_of_a_deletion_says_what_the_other_role_means() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let clerk = path(
        &role(&acme.owner, json!({"name": "clerk", "permissions": ["orders:pay", "orders:read"]})).await,
    );
    let who = holder(&app, &acme, &["clerk"]).await;
    let told =
        acme.owner.post(&format!("{clerk}/preview"), json!({"delete": true, "move_to": "viewer"})).await;
    let told = told.expect(200);
    assert_eq!(told["loses"][0]["permissions"], json!(["orders:pay"]));
    assert_eq!(told["gains"][0]["user"], who.user().to_string());
    assert!(told["gains"][0]["permissions"].as_array().unwrap().contains(&json!("products:read")));
    assert_eq!(who.get("/api/v1/me").await.expect(200)["roles"], json!(["clerk"]));
}

#[tokio::test]
async fn what_is_used_is_written_down_once_an_hour_for_each_who_uses_it() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let uses = app.state.authz.uses();
    uses.flush(&app.state.platform).await.unwrap();
    for _ in 0..3 {
        acme.viewer.get("/api/v1/products").await.expect(200);
        globex.viewer.get("/api/v1/products").await.expect(200);
        acme.viewer.post("/api/v1/products", json!({})).await.expect(403);
    }
    assert_eq!(uses.flush(&app.state.platform).await.unwrap(), 2, "what is refused is no use");
    acme.viewer.get("/api/v1/products").await.expect(200);
    assert_eq!(uses.flush(&app.state.platform).await.unwrap(), 0, "the same hour");
    app.clock.advance(Duration::from_hours(1));
    let viewer = app.signed_in(acme.viewer.user(), acme.id).await;
    viewer.get("/api/v1/products").await.expect(200);
    assert_eq!(uses.flush(&app.state.platform).await.unwrap(), 1);
    let rows = "select count(*) from permission_uses where permission = 'products:read'";
    assert_eq!(app.database.count(rows).await, 2);
}
