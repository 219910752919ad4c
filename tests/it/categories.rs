//! How an org sorts its products: a tree that stays one.

use super::support::{Org, Reply, TestApp, id, pointers, product};
use futures::future::join;
use reqwest::Method;
use serde_json::{Value, json};

const CATEGORIES: &str = "/api/v1/categories";

async fn category(org: &Org, name: &str, parent: Option<&Value>) -> Value {
    let parent = parent.map(|parent| id(parent));
    org.member.post(CATEGORIES, json!({"name": name, "parent_id": parent})).await.expect(201)
}

fn path(category: &Value) -> String {
    format!("{CATEGORIES}/{}", id(category))
}

#[tokio::test]
async fn a_category_exists_only_for_its_own_org() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let reply = acme.member.post(CATEGORIES, json!({"name": "Wheels"})).await;
    let made = reply.expect(201);
    assert_eq!((&made["parent_id"], &made["version"]), (&Value::Null, &json!(1)));
    assert_eq!(reply.header("location"), path(&made));
    let got = acme.viewer.get(&path(&made)).await;
    assert_eq!((got.expect(200), got.header("etag")), (made.clone(), "\"1\""));
    assert_eq!(acme.viewer.get(CATEGORIES).await.expect(200)["data"], json!([made]));

    let missing = globex.owner.get(&format!("{CATEGORIES}/cat_01jd8yq3c5f4x7t9k2m6n8p0rs")).await;
    missing.expect_problem(404, "not_found");
    for theirs in [
        globex.owner.get(&path(&made)).await,
        globex.owner.patch(&path(&made), json!({"name": "mine"})).await,
        globex.owner.delete(&path(&made)).await,
    ] {
        assert_eq!(theirs.without_request_id(), missing.without_request_id());
    }
    assert_eq!(globex.owner.get(CATEGORIES).await.expect(200)["data"], json!([]));
    let below = globex.owner.post(CATEGORIES, json!({"name": "x", "parent_id": made["id"]})).await;
    assert_eq!(pointers(&below.expect_problem(422, "invalid")), ["/parent_id"]);
    category(&globex, "Wheels", None).await;

    acme.viewer.post(CATEGORIES, json!({"name": "x"})).await.expect_problem(403, "permission_denied");
    acme.member.delete(&path(&made)).await.expect_problem(403, "permission_denied");
    acme.admin.delete(&path(&made)).await.expect(204);
    acme.admin.get(&path(&made)).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_name_is_taken_at_its_place_of_the_tree() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (wheels, cogs) = (category(&acme, "Wheels", None).await, category(&acme, "Cogs", None).await);
    let small = category(&acme, "Small", Some(&wheels)).await;
    let other = category(&acme, "Small", Some(&cogs)).await;

    acme.member.post(CATEGORIES, json!({"name": "Wheels"})).await.expect_problem(409, "name_taken");
    let again = json!({"name": "Small", "parent_id": wheels["id"]});
    acme.member.post(CATEGORIES, again).await.expect_problem(409, "name_taken");
    acme.member.patch(&path(&cogs), json!({"name": "Wheels"})).await.expect_problem(409, "name_taken");
    let beside = json!({"parent_id": wheels["id"]});
    acme.member.patch(&path(&other), beside).await.expect_problem(409, "name_taken");
    acme.member.patch(&path(&small), json!({"name": "Small"})).await.expect(200);
}

#[tokio::test]
async fn a_patch_moves_and_renames_and_null_moves_to_the_top() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (wheels, small) = (category(&acme, "Wheels", None).await, category(&acme, "Small", None).await);
    let moved = acme.member.patch(&path(&small), json!({"parent_id": wheels["id"]})).await.expect(200);
    assert_eq!(
        (&moved["parent_id"], &moved["name"], &moved["version"]),
        (&wheels["id"], &json!("Small"), &json!(2))
    );
    let below = acme.viewer.get(&format!("{CATEGORIES}?parent_id={}", id(&wheels))).await.expect(200);
    assert_eq!(below["data"], json!([moved]));
    let renamed = acme.member.patch(&path(&small), json!({"name": "Tiny"})).await.expect(200);
    assert_eq!((&renamed["parent_id"], &renamed["name"]), (&wheels["id"], &json!("Tiny")));
    let top = acme.member.patch(&path(&small), json!({"parent_id": null})).await.expect(200);
    assert_eq!(top["parent_id"], Value::Null);

    for (patch, pointer) in [
        (json!({"name": null}), "/name"),
        (json!({"name": ""}), "/name"),
        (json!({"name": "x".repeat(201)}), "/name"),
        (json!({"parent_id": "cat_01jd8yq3c5f4x7t9k2m6n8p0rs"}), "/parent_id"),
        (json!({"parent_id": "nonsense"}), "/parent_id"),
        (json!({"version": 9}), "/version"),
        (json!({"colour": 9}), "/colour"),
    ] {
        let problem = acme.member.patch(&path(&small), patch).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [pointer]);
    }
    let unsaid = acme.member.request(Method::PATCH, &path(&small)).json(&json!({"name": "x"}));
    Reply::of(unsaid).await.expect_problem(428, "if_match_required");
    let unsaid = acme.admin.request(Method::DELETE, &path(&small));
    Reply::of(unsaid).await.expect_problem(428, "if_match_required");
    acme.member.patch_if(&path(&small), "\"3\"", json!({"name": "x"})).await.expect_problem(412, "stale");
    acme.member.patch_if(&path(&small), "\"3\", \"4\"", json!({"name": "x"})).await.expect(200);
}

#[tokio::test]
async fn no_category_is_below_itself_however_far() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let top = category(&acme, "a", None).await;
    let middle = category(&acme, "b", Some(&top)).await;
    let bottom = category(&acme, "c", Some(&middle)).await;
    for under in [&top, &middle, &bottom] {
        let problem = acme.member.patch(&path(&top), json!({"parent_id": under["id"]})).await;
        let problem = problem.expect_problem(422, "invalid");
        assert_eq!(
            (pointers(&problem), &problem["errors"][0]["code"]),
            (vec!["/parent_id"], &json!("cycle"))
        );
    }
    acme.member.patch(&path(&bottom), json!({"parent_id": top["id"]})).await.expect(200);
}

#[tokio::test]
async fn two_moves_that_would_close_a_cycle_together_do_not_both_happen() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    for round in 0..10 {
        let left = category(&acme, &format!("l{round}"), None).await;
        let right = category(&acme, &format!("r{round}"), None).await;
        let (left_path, right_path) = (path(&left), path(&right));
        let (one, other) = join(
            acme.member.patch(&left_path, json!({"parent_id": right["id"]})),
            acme.owner.patch(&right_path, json!({"parent_id": left["id"]})),
        )
        .await;
        let (won, lost) = if one.status == 200 { (one, other) } else { (other, one) };
        won.expect(200);
        lost.expect_problem(422, "invalid");
    }
}

#[tokio::test]
async fn a_category_goes_when_nothing_is_in_it_any_more() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let wheels = category(&acme, "Wheels", None).await;
    let small = category(&acme, "Small", Some(&wheels)).await;
    acme.admin.delete(&path(&wheels)).await.expect_problem(409, "category_in_use");

    let mut wheel = product("W-1", 1);
    wheel["category_id"] = small["id"].clone();
    let wheel = acme.member.post("/api/v1/products", wheel).await.expect(201);
    acme.admin.delete(&path(&small)).await.expect_problem(409, "category_in_use");
    acme.admin.delete(&format!("/api/v1/products/{}", id(&wheel))).await.expect(204);
    acme.admin.delete(&path(&small)).await.expect(204);
    acme.admin.delete(&path(&wheels)).await.expect(204);
    assert_eq!(acme.admin.get(CATEGORIES).await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn categories_are_listed_by_name_byte_by_byte() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    for name in ["b", "Ä", "a", "C"] {
        category(&acme, name, None).await;
    }
    let (mut names, mut path) = (Vec::new(), format!("{CATEGORIES}?sort=name&limit=1"));
    loop {
        let reply = acme.viewer.get(&path).await;
        names.push(reply.expect(200)["data"][0]["name"].as_str().unwrap().to_owned());
        let Some(next) = reply.link("next") else { break };
        path = next;
    }
    assert_eq!(names, ["C", "a", "b", "Ä"]);
    acme.viewer.get(&format!("{CATEGORIES}?name=a")).await.expect_problem(400, "unknown_parameter");
}

#[tokio::test]
async fn what_is_in_a_category_can_be_moved_as_it_is_deleted() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (old, new) = (category(&acme, "Old", None).await, category(&acme, "New", None).await);
    let below = category(&acme, "Below", Some(&old)).await;
    let clash = category(&acme, "Below", Some(&new)).await;
    let theirs = category(&globex, "Theirs", None).await;
    let mut cog = product("COG", 5);
    cog["category_id"] = old["id"].clone();
    let cog = acme.owner.post("/api/v1/products", cog).await.expect(201);

    let to = |to: &Value| format!("{}?move_to={}", path(&old), to.as_str().unwrap());
    acme.admin.delete(&path(&old)).await.expect_problem(409, "category_in_use");
    acme.admin.delete(&to(&new["id"])).await.expect_problem(409, "name_taken");
    for place in [&old["id"], &below["id"]] {
        acme.admin.delete(&to(place)).await.expect_problem(400, "cycle");
    }
    for place in [&theirs["id"], &json!("cat_01jd8yq3c5f4x7t9k2m6n8p0rs")] {
        acme.admin.delete(&to(place)).await.expect_problem(400, "unknown_category");
    }
    acme.admin.delete(&to(&json!("nonsense"))).await.expect_problem(400, "bad_parameter");
    acme.admin.delete(&format!("{}?to=x", path(&old))).await.expect_problem(400, "bad_parameter");
    acme.admin.patch(&path(&clash), json!({"name": "Beside"})).await.expect(200);
    let in_old = || async { acme.viewer.get(&format!("/api/v1/products?category_id={}", id(&old))).await };
    assert_eq!(in_old().await.expect(200)["data"].as_array().unwrap().len(), 1, "nothing has moved so far");

    acme.admin.delete(&to(&new["id"])).await.expect(204);
    acme.viewer.get(&path(&old)).await.expect_problem(404, "not_found");
    let moved = acme.viewer.get(&path(&below)).await.expect(200);
    assert_eq!((&moved["parent_id"], &moved["version"]), (&new["id"], &json!(2)));
    let moved = acme.viewer.get(&format!("/api/v1/products/{}", id(&cog))).await.expect(200);
    assert_eq!((&moved["category_id"], &moved["version"]), (&new["id"], &json!(2)));
    globex.viewer.get(&path(&theirs)).await.expect(200);
}
