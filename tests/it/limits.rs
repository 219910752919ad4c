//! What a client can see of the limits of its tier.

use super::support::{Persona, TestApp, cog};
use reqwest::Method;
use std::time::Duration;

const MISSING: &str = "/api/v1/products/prd_01jd8yq3c5f4x7t9k2m6n8p0rs";

/// What `/limits` says is left of a policy; asking is free.
async fn left(who: &Persona, policy: &str) -> u64 {
    let limits = who.get("/api/v1/limits").await.expect(200);
    let reading = limits["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|reading| reading["policy"] == policy)
        .unwrap()
        .clone();
    reading["remaining"].as_u64().unwrap()
}

#[tokio::test]
async fn each_answer_says_what_is_left_and_a_request_takes_its_documented_cost() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);

    let reply = acme.owner.get("/api/v1/products").await;
    reply.expect(200);
    assert_eq!(reply.header("ratelimit-policy"), r#""user";q=120;w=60, "org";q=600;w=60"#);
    assert!(reply.header("ratelimit").starts_with(r#""user";r=118;t="#), "{}", reply.header("ratelimit"));
    assert_eq!(left(&acme.owner, "user").await, 118, "a list costs 2, and asking for the limits nothing");

    acme.owner.post("/api/v1/products", cog()).await.expect(201);
    assert_eq!(left(&acme.owner, "user").await, 115, "a write costs 3");
    acme.owner.get(MISSING).await.expect(404);
    assert_eq!(left(&acme.owner, "user").await, 114, "what is not found was looked for");
    acme.viewer.post("/api/v1/products", cog()).await.expect(403);
    assert_eq!(left(&acme.viewer, "user").await, 117, "what was refused by role was asked for");
    acme.owner.get("/api/v1/me").await.expect(200);
    assert_eq!(left(&acme.owner, "user").await, 114, "one's own matters are free");

    // All of the org draw on the org's policy, and nobody else's.
    assert_eq!(left(&acme.admin, "org").await, 600 - 6 - 3);
    assert_eq!(left(&globex.owner, "org").await, 600);
}

#[tokio::test]
async fn a_used_up_limit_is_a_429_that_says_which_how_much_and_until_when() {
    let app = TestApp::start().await;
    let acme = app.org_on("free").await;
    for _ in 0..60 {
        acme.owner.get("/api/v1/products").await.expect(200);
    }

    let refused = acme.owner.get("/api/v1/products").await;
    let problem = refused.expect_problem(429, "rate_limited");
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(problem["violated_policies"], serde_json::json!(["user"]));
    let limit = &problem["limits"][0];
    assert_eq!((&limit["policy"], &limit["scope"]), (&"user".into(), &"user".into()));
    assert_eq!((&limit["limit"], &limit["used"], &limit["cost"]), (&120.into(), &120.into(), &2.into()));
    assert_eq!(limit["source"], "tier:free@v1");
    assert_eq!(refused.header("retry-after"), "1", "two units come back within a second");
    assert!(refused.header("ratelimit").starts_with(r#""user";r=0;t=1"#), "{}", refused.header("ratelimit"));

    // Nothing was burnt, here or at the org, so that waiting for exactly as long as was said is enough.
    assert_eq!(left(&acme.admin, "org").await, 480);
    app.clock.advance(Duration::from_secs(1));
    acme.owner.get("/api/v1/products").await.expect(200);
    acme.owner.get("/api/v1/products").await.expect_problem(429, "rate_limited");
    // A colleague has a limit of their own.
    acme.admin.get("/api/v1/products").await.expect(200);
}

#[tokio::test]
async fn an_address_is_limited_on_public_routes_and_for_bad_credentials_only() {
    let app = TestApp::start_with("[limits.ip]\nquota_per_minute = 6\nburst = 3").await;
    let acme = app.org().await;
    let guess = app.bearer("not.a.token");
    for _ in 0..3 {
        guess.get("/api/v1/products").await.expect_problem(401, "invalid_token");
    }
    let refused = guess.get("/api/v1/products").await;
    refused.expect_problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "10");
    app.anon().get("/api/v1/tiers").await.expect_problem(429, "rate_limited");

    // Good credentials from the same address go on, and so do probes and those who verify tokens.
    acme.owner.get("/api/v1/products").await.expect(200);
    app.anon().get("/health/ready").await.expect(200);
    app.anon().get("/.well-known/jwks.json").await.expect(200);

    // Who is not behind a trusted proxy can't put on another address.
    let forged = app.anon().request(Method::GET, "/api/v1/tiers").header("x-forwarded-for", "198.51.100.7");
    assert_eq!(forged.send().await.unwrap().status(), 429);

    app.clock.advance(Duration::from_secs(10));
    app.anon().get("/api/v1/tiers").await.expect(200);
}

#[tokio::test]
async fn the_published_plans_are_the_numbers_that_are_enforced() {
    let app = TestApp::start().await;
    let tiers = app.anon().get("/api/v1/tiers").await.expect(200);
    let tiers = tiers["data"].as_array().unwrap();
    let slugs: Vec<&str> = tiers.iter().map(|tier| tier["slug"].as_str().unwrap()).collect();
    assert_eq!(slugs, ["enterprise", "free", "pro"], "and not the platform's own");
    for tier in tiers {
        let org = app.org_on(tier["slug"].as_str().unwrap()).await;
        let enforced = org.owner.get("/api/v1/limits").await.expect(200);
        for policy in tier["policies"].as_array().unwrap() {
            let reading = enforced["data"]
                .as_array()
                .unwrap()
                .iter()
                .find(|reading| reading["policy"] == policy["name"]);
            let reading = reading.unwrap();
            assert_eq!(reading["limit"], policy["quota"]);
            assert_eq!(reading["window_seconds"], policy["window_seconds"]);
            assert_eq!(reading["remaining"], policy["burst"]);
        }
    }
}
