//! What programs may do with a key, and for how long.

use super::support::{Persona, TestApp, cog, id, pointers};
use serde_json::{Value, json};
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const KEYS: &str = "/api/v1/api-keys";

fn reader() -> Value {
    json!({"name": "shop", "scopes": ["products:read"]})
}

fn bearer(app: &TestApp, created: &Value) -> Persona {
    app.bearer(created["key"].as_str().unwrap())
}

#[tokio::test]
async fn a_key_is_shown_once_and_recognised_by_its_first_letters_after() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let reply = acme.admin.post(KEYS, reader()).await;
    let made = reply.expect(201);
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with(made["prefix"].as_str().unwrap()), "{made}");
    assert!(key.len() > made["prefix"].as_str().unwrap().len() + 30);

    let path = reply.header("location");
    let got = acme.admin.get(path).await;
    let listed = acme.admin.get(KEYS).await;
    for answer in [&got, &listed] {
        answer.expect(200);
        assert!(!answer.text.contains(key) && !answer.text.contains(r#""key""#), "{}", answer.text);
    }
    let mut shown = made.clone();
    shown.as_object_mut().unwrap().remove("key");
    assert_eq!(got.json(), shown);
    assert_eq!(listed.json()["data"], json!([shown]));
    assert_eq!(made["created_by"], acme.admin.user().to_string());

    // It is nobody else's: neither another org's, nor of those who may not see keys.
    let mut missing = Vec::new();
    for path in [path, &format!("{KEYS}/key_01jd8yq3c5f4x7t9k2m6n8p0rs"), &format!("{KEYS}/nonsense")] {
        missing.push(globex.owner.get(path).await.without_request_id());
        missing.push(globex.owner.delete(path).await.without_request_id());
    }
    missing.dedup();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert_eq!(globex.owner.get(KEYS).await.expect(200)["data"], json!([]));
    acme.member.get(path).await.expect_problem(403, "permission_denied");
    bearer(&app, &made).get("/api/v1/products").await.expect(200);
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_and_is_told_which_one_it_lacks() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let key = app.api_key(&acme, &["products:read", "products:create"]).await;
    let made = key.post("/api/v1/products", cog()).await.expect(201);
    let path = format!("/api/v1/products/{}", id(&made));
    key.get(&path).await.expect(200);
    for (refused, permission) in [
        (key.patch(&path, json!({"name": "x"})).await, "products:update"),
        (key.delete(&path).await, "products:delete"),
        (key.get("/api/v1/orders").await, "orders:read"),
        (key.get(KEYS).await, "api_keys:read"),
    ] {
        let problem = refused.expect_problem(403, "permission_denied");
        assert_eq!(problem["permission"], permission);
        assert_eq!(problem["your_roles"], json!([]), "a key has none");
    }
    let theirs = app.api_key(&globex, &["products:read"]).await;
    theirs.get(&path).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn nobody_passes_on_what_they_do_not_hold() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let scopes = json!(["products:read", "platform_orgs:read", "products:fly", "nonsense", ""]);
    let problem = acme.owner.post(KEYS, json!({"name": "x", "scopes": scopes})).await;
    let problem = problem.expect_problem(422, "invalid");
    assert_eq!(pointers(&problem), ["/scopes/1", "/scopes/2", "/scopes/3", "/scopes/4"]);
    assert_ne!(problem["errors"][0]["detail"], problem["errors"][1]["detail"], "not held, and no such thing");

    acme.member.post(KEYS, reader()).await.expect_problem(403, "permission_denied");
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("x".repeat(101))),
        ("scopes", json!([])),
        ("mode", json!("prod")),
        ("expires_at", json!("tomorrow")),
        ("expires_at", json!(app.clock.now().format(&Rfc3339).unwrap())),
        ("key", json!("insula_live_mine")),
    ] {
        let mut key = reader();
        key[field] = value;
        let problem = acme.owner.post(KEYS, key).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [format!("/{field}")]);
    }
}

#[tokio::test]
async fn a_key_makes_no_keys() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let key = app.api_key(&acme, &["api_keys:create", "products:read"]).await;
    key.post(KEYS, reader()).await.expect_problem(403, "user_required");
    assert_eq!(acme.owner.get(KEYS).await.expect(200)["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn revoked_expired_and_made_up_keys_look_the_same() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let soon = (app.clock.now() + time::Duration::hours(1)).format(&Rfc3339).unwrap();
    let expiring = json!({"name": "x", "scopes": ["products:read"], "expires_at": soon});
    let expiring = acme.owner.post(KEYS, expiring).await.expect(201);
    let revoked = acme.owner.post(KEYS, reader()).await.expect(201);
    let lasting = globex.owner.post(KEYS, reader()).await.expect(201);
    let all = [&expiring, &revoked, &lasting];
    for key in all {
        bearer(&app, key).get("/api/v1/products").await.expect(200);
    }
    let path = format!("{KEYS}/{}", id(&revoked));
    acme.owner.delete(&path).await.expect(204);
    let at = acme.owner.get(&path).await.expect(200)["revoked_at"].clone();
    app.clock.advance(Duration::from_mins(10));
    // Again is no error, and changes nothing.
    app.signed_in(acme.owner.user(), acme.id).await.delete(&path).await.expect(204);
    app.clock.advance(Duration::from_mins(50));

    let owner = app.signed_in(acme.owner.user(), acme.id).await;
    assert_eq!(owner.get(&path).await.expect(200)["revoked_at"], at);
    let refused = bearer(&app, &revoked).get("/api/v1/products").await;
    refused.expect_problem(401, "invalid_api_key");
    let made_up = insula::authn::api_key::NewKey::new(insula::authn::api_key::KeyMode::Live).text;
    for other in [expiring["key"].as_str().unwrap(), made_up.as_str(), "insula_live_mistyped"] {
        let other = app.bearer(other).get("/api/v1/products").await;
        assert_eq!(other.without_request_id(), refused.without_request_id());
    }
    bearer(&app, &lasting).get("/api/v1/products").await.expect(200);
}

#[tokio::test]
async fn a_key_lives_ninety_days_unless_told_otherwise() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let made = acme.owner.post(KEYS, reader()).await.expect(201);
    let expires = OffsetDateTime::parse(made["expires_at"].as_str().unwrap(), &Rfc3339).unwrap();
    assert_eq!(expires - app.clock.now(), time::Duration::days(90));
    let key = bearer(&app, &made);
    app.clock.advance(Duration::from_hours(24 * 90) - Duration::from_secs(1));
    key.get("/api/v1/products").await.expect(200);
    app.clock.advance(Duration::from_secs(1));
    key.get("/api/v1/products").await.expect_problem(401, "invalid_api_key");
}

#[tokio::test]
async fn a_test_key_works_in_the_sandbox_and_never_in_the_live_org() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let scopes = ["products:read", "products:create"];
    let (live, test) = (app.api_key(&acme, &scopes).await, app.api_key_in(&acme, "test", &scopes).await);
    assert!(test.token.as_deref().unwrap().starts_with("insula_test_"));
    live.post("/api/v1/products", cog()).await.expect(201);
    assert_eq!(test.get("/api/v1/products").await.expect(200)["data"], json!([]));
    // The same sku, so it is another org's indeed.
    let tried = test.post("/api/v1/products", cog()).await.expect(201);
    let path = format!("/api/v1/products/{}", id(&tried));
    test.get(&path).await.expect(200);
    acme.owner.get(&path).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_key_outlives_the_membership_of_who_made_it() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let key = bearer(&app, &acme.admin.post(KEYS, reader()).await.expect(201));
    app.leave(&acme.admin, &acme).await;
    acme.admin.get("/api/v1/products").await.expect_problem(403, "not_a_member");
    key.get("/api/v1/products").await.expect(200);
}

#[tokio::test]
async fn each_key_of_an_org_has_limits_of_its_own_and_all_draw_on_the_org_s() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    let (first, second) =
        (app.api_key(&acme, &["products:read"]).await, app.api_key(&acme, &["products:read"]).await);
    for _ in 0..60 {
        first.get("/api/v1/products").await.expect(200);
    }
    let refused = first.get("/api/v1/products").await.expect_problem(429, "rate_limited");
    assert_eq!(refused["violated_policies"], json!(["user"]));
    let left = async |who: &Persona| {
        let limits = who.get("/api/v1/limits").await.expect(200);
        let of = |at: usize| limits["data"][at]["remaining"].as_u64().unwrap();
        (of(0), of(1))
    };
    // Two keys were made, at 3 units each, by the owner.
    assert_eq!(left(&second).await, (120, 600 - 120 - 6));
    assert_eq!(left(&acme.owner).await, (120 - 6, 600 - 120 - 6));
    second.get("/api/v1/products").await.expect(200);
    assert_eq!(left(&globex.owner).await, (120, 600));
}

#[tokio::test]
async fn keys_are_listed_by_name_and_by_when_they_expire() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    for (name, mode, days) in [("b", "live", 3), ("a", "test", 9), ("c", "live", 6)] {
        let expires_at = (app.clock.now() + time::Duration::days(days)).format(&Rfc3339).unwrap();
        let body = json!({"name": name, "mode": mode, "scopes": ["org:read"], "expires_at": expires_at});
        acme.owner.post(KEYS, body).await.expect(201);
    }
    globex.owner.post(KEYS, reader()).await.expect(201);
    let week = (app.clock.now() + time::Duration::days(6)).format(&Rfc3339).unwrap();
    for (query, names) in [
        ("sort=name".to_owned(), "abc"),
        ("sort=-name".to_owned(), "cba"),
        ("sort=expires_at".to_owned(), "bca"),
        ("sort=name&mode=live".to_owned(), "bc"),
        (format!("sort=name&expires_before={week}"), "b"),
        (format!("sort=name&expires_after={week}"), "ac"),
    ] {
        let page = acme.owner.get(&format!("{KEYS}?{query}")).await.expect(200);
        let listed: String =
            page["data"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
        assert_eq!(listed, names, "{query}");
    }
    acme.owner.get(&format!("{KEYS}?status=active")).await.expect_problem(400, "unknown_parameter");
}
