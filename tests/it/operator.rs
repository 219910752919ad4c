//! What operators can do, and nobody else.

use super::support::{TestApp, cog};
use serde_json::json;

#[tokio::test]
async fn an_org_on_another_tier_has_its_limits_at_the_next_request_less_what_it_used() {
    let app = TestApp::start().await;
    let (acme, globex, operator) = (app.org_on("free").await, app.org_on("free").await, app.operator().await);
    for _ in 0..60 {
        acme.owner.get("/api/v1/products").await.expect(200);
    }
    acme.owner.get("/api/v1/products").await.expect_problem(429, "rate_limited");

    let org = format!("/operator/v1/orgs/{}", acme.id);
    let moved = operator.patch(&org, json!({"tier": "pro", "reason": "upgraded"})).await.expect(200);
    assert_eq!(moved["tier"], "pro");

    let reply = acme.owner.get("/api/v1/products").await;
    reply.expect(200);
    assert_eq!(reply.header("ratelimit-policy"), r#""user";q=1200;w=60, "org";q=6000;w=60"#);
    assert!(
        reply.header("ratelimit").starts_with(r#""user";r=478;"#),
        "600 less 120 less 2: {}",
        reply.header("ratelimit")
    );
    assert!(globex.owner.get("/api/v1/products").await.header("ratelimit-policy").contains("q=120"));

    operator.patch(&org, json!({"tier": "gold", "reason": "?"})).await.expect_problem(422, "invalid");
    operator.patch(&org, json!({"tier": "free"})).await.expect_problem(422, "invalid");
}

#[tokio::test]
async fn a_suspended_org_is_shut_to_its_members_and_keys_until_it_is_restored() {
    let app = TestApp::start().await;
    let (acme, globex, operator) = (app.org().await, app.org().await, app.operator().await);
    let key = app.api_key(&acme, &["products:read"]).await;
    let org = format!("/operator/v1/orgs/{}", acme.id);

    operator.patch(&org, json!({"status": "suspended", "reason": "unpaid"})).await.expect(200);
    acme.owner.get("/api/v1/products").await.expect_problem(403, "org_suspended");
    key.get("/api/v1/products").await.expect_problem(403, "org_suspended");
    globex.owner.get("/api/v1/products").await.expect(200);

    operator.patch(&org, json!({"status": "active", "reason": "paid"})).await.expect(200);
    acme.owner.get("/api/v1/products").await.expect(200);
    key.get("/api/v1/products").await.expect(200);
}

#[tokio::test]
async fn operators_find_every_org_but_their_own() {
    let app = TestApp::start().await;
    let (acme, globex, operator) = (app.org().await, app.org_on("pro").await, app.operator().await);

    let all = operator.get("/operator/v1/orgs?sort=slug").await.expect(200);
    let slugs: Vec<&str> =
        all["data"].as_array().unwrap().iter().map(|org| org["slug"].as_str().unwrap()).collect();
    let sandbox = |slug: &str| format!("{slug}-sandbox");
    assert_eq!(slugs, [&acme.slug, &sandbox(&acme.slug), &globex.slug, &sandbox(&globex.slug)]);

    let found = operator.get(&format!("/operator/v1/orgs?q={}&tier=pro", globex.slug)).await.expect(200);
    assert_eq!(found["data"][0]["id"], globex.id.to_string());
    assert_eq!(found["data"].as_array().unwrap().len(), 1);

    let one = operator.get(&format!("/operator/v1/orgs/{}", acme.id)).await.expect(200);
    assert_eq!(one["status"], "active");
    operator.get("/operator/v1/orgs/org_01jd8yq3c5f4x7t9k2m6n8p0rs").await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_changed_tier_is_live_at_the_next_request_and_versioned() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org_on("free").await, app.operator().await);
    acme.owner.get("/api/v1/products").await.expect(200);

    let free = operator.get("/operator/v1/tiers/free").await;
    let etag = free.header("etag").to_owned();
    assert_eq!(free.expect(200)["version"], 1);
    let change = json!({
        "name": "Free",
        "policies": [{"name": "user", "scope": "user", "quota": 10, "window_seconds": 3600, "burst": 10}],
        "reason": "less for free",
    });
    let path = "/operator/v1/tiers/free";
    let bare = operator.request(reqwest::Method::PUT, path).json(&change).send().await.unwrap();
    assert_eq!(bare.status(), 428);
    let changed = operator.put_if(path, &etag, change.clone()).await;
    assert_eq!(changed.expect(200)["version"], 2);
    operator.put_if(path, &etag, change).await.expect_problem(412, "stale");

    let reply = acme.owner.get("/api/v1/products").await;
    reply.expect(200);
    assert_eq!(reply.header("ratelimit-policy"), r#""user";q=10;w=3600"#);
    let left = acme.owner.get("/api/v1/limits").await.expect(200);
    assert_eq!(left["data"][0]["remaining"], 6, "2 of the old limit and 2 of the new are used");
    assert_eq!(left["data"][0]["source"], "tier:free@v2");

    let wrong = json!({"name": "Free", "policies": [{"name": "user", "scope": "user", "quota": 0, "window_seconds": 60}], "reason": "?"});
    let problem = operator.put(path, wrong).await.expect_problem(422, "invalid");
    assert!(problem["errors"][0]["pointer"].as_str().unwrap().starts_with("/policies/0/"), "{problem}");
    let gone = json!({"name": "Gold", "policies": [], "reason": "?"});
    operator.put("/operator/v1/tiers/gold", gone).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn nobody_but_an_operator_comes_in() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org().await, app.operator().await);
    let key = app.api_key(&acme, &["products:read"]).await;
    for stranger in [&acme.owner, &acme.viewer, &key] {
        stranger.get("/operator/v1/orgs").await.expect_problem(403, "operators_only");
    }
    app.anon().get("/operator/v1/orgs").await.expect_problem(401, "unauthenticated");
    // And an operator runs the platform, not somebody's shop.
    operator.post("/api/v1/products", cog()).await.expect_problem(403, "permission_denied");
}
