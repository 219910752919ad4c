//! What a request is charged, to the unit, and what a refusal is not.

use super::support::{Org, Reply, TestApp, cog};
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;

const PRODUCTS: &str = "/api/v1/products";
const ORG: &str = "/api/v1/org";
const NOWHERE: &str = "/api/v1/products/prd_01jd8yq3c5f4x7t9k2m6n8p0rs";

/// The `r` of a policy in `RateLimit`.
#[track_caller]
fn remaining(reply: &Reply, policy: &str) -> u32 {
    let header = reply.header("ratelimit");
    let policies = header.split(", ").find_map(|item| item.strip_prefix(&format!("\"{policy}\";r=")));
    policies.and_then(|rest| rest.split(';').next()?.parse().ok()).unwrap_or_else(|| panic!("{header:?}"))
}

async fn used_up(org: &Org) {
    for reply in join_all((0..60).map(|_| org.owner.get(PRODUCTS))).await {
        reply.expect(200);
    }
}

#[tokio::test]
async fn reads_lists_and_writes_cost_one_two_and_three_refused_or_not() {
    let app = TestApp::start().await;
    let acme = app.org_on("free").await;
    let mut left = 120;
    let mut charge = |reply: &Reply, cost: u32| {
        left -= cost;
        assert_eq!(remaining(reply, "user"), left, "{} {}", reply.status, reply.text);
    };
    charge(&acme.member.get(ORG).await, 1);
    charge(&acme.member.get(PRODUCTS).await, 2);
    let made = acme.member.post(PRODUCTS, cog()).await;
    charge(&made, 3);
    charge(&acme.member.get(made.header("location")).await, 1);
    charge(&acme.member.patch(made.header("location"), json!({"stock": 1})).await, 3);
    // What is refused behind authentication is charged as what it wanted to be.
    let refused = acme.member.delete(made.header("location")).await;
    refused.expect_problem(403, "permission_denied");
    charge(&refused, 3);
    let missing = acme.member.get(NOWHERE).await;
    missing.expect_problem(404, "not_found");
    charge(&missing, 1);
    let flawed = acme.member.post(PRODUCTS, json!({})).await;
    flawed.expect_problem(422, "invalid");
    charge(&flawed, 3);
    let unread = acme.member.get(&format!("{PRODUCTS}?colour=red")).await;
    unread.expect_problem(400, "unknown_parameter");
    charge(&unread, 2);
    for free in ["/api/v1/limits", "/api/v1/me"] {
        let reply = acme.member.get(free).await;
        reply.expect(200);
        charge(&reply, 0);
    }
}

#[tokio::test]
async fn past_the_limit_waiting_comes_before_any_other_answer_but_what_is_free() {
    let app = TestApp::start().await;
    let acme = app.org_on("free").await;
    let viewer = &acme.viewer;
    join_all((0..60).map(|_| viewer.get(PRODUCTS))).await;
    viewer.post(PRODUCTS, cog()).await.expect_problem(429, "rate_limited");
    viewer.get(NOWHERE).await.expect_problem(429, "rate_limited");
    // Free of charge, and never refused.
    viewer.get("/api/v1/limits").await.expect(200);
    viewer.get("/api/v1/me").await.expect(200);
    acme.member.get(PRODUCTS).await.expect(200);
}

#[tokio::test]
async fn a_refusal_burns_nothing() {
    let app = TestApp::start().await;
    let acme = app.org_on("free").await;
    used_up(&acme).await;
    app.clock.advance(Duration::from_secs(1));
    for _ in 0..20 {
        let refused = acme.owner.post(PRODUCTS, cog()).await;
        refused.expect_problem(429, "rate_limited");
        assert_eq!(remaining(&refused, "user"), 2);
    }
    let list = acme.owner.get(PRODUCTS).await;
    list.expect(200);
    assert_eq!(remaining(&list, "user"), 0);
    app.clock.advance(Duration::from_mins(1));
    let recovered = acme.owner.get(ORG).await;
    recovered.expect(200);
    assert_eq!((remaining(&recovered, "user"), remaining(&recovered, "org")), (119, 599));
}

#[tokio::test]
async fn whoever_waits_as_told_is_admitted_and_not_before() {
    let app = TestApp::start().await;
    let acme = app.org_on("free").await;
    used_up(&acme).await;
    let refused = acme.owner.post(PRODUCTS, cog()).await;
    refused.expect_problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "2", "three units at two a second");
    app.clock.advance(Duration::from_millis(1_499));
    acme.owner.post(PRODUCTS, cog()).await.expect_problem(429, "rate_limited");
    app.clock.advance(Duration::from_millis(501));
    acme.owner.post(PRODUCTS, cog()).await.expect(201);
}

#[tokio::test]
async fn of_requests_at_once_exactly_the_quota_is_admitted() {
    let app = TestApp::start().await;
    let acme = app.org_on("free").await;
    let replies = join_all((0..150).map(|_| acme.owner.get(NOWHERE))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 404).count(), 120);
    assert_eq!(replies.iter().filter(|reply| reply.status == 429).count(), 30);
}

#[tokio::test]
async fn an_org_shares_one_quota_among_its_people_and_keys() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    let key = app.api_key(&acme, &["org:read"]).await;
    let change = json!({"name": "Free", "reason": "a test of one quota", "policies": [
        {"name": "user", "scope": "user", "quota": 120, "window_seconds": 60},
        {"name": "org", "scope": "org", "quota": 6, "window_seconds": 60}]});
    let operator = app.operator().await;
    operator.put("/operator/v1/tiers/free", change).await.expect(200);

    // Three units went into making the key, and what was used stays used.
    for who in [&acme.owner, &acme.member, &key] {
        who.get(ORG).await.expect(200);
    }
    for who in [&acme.viewer, &acme.owner, &key] {
        let refused = who.get(ORG).await;
        let problem = refused.expect_problem(429, "rate_limited");
        assert_eq!(problem["violated_policies"], json!(["org"]));
        assert_eq!(problem["limits"][0]["source"], "tier:free@v2");
        assert!(
            refused.header("ratelimit").starts_with(r#""org";r=0;t=10"#),
            "{}",
            refused.header("ratelimit")
        );
    }
    globex.owner.get(ORG).await.expect(200);
}

#[tokio::test]
async fn limits_tell_what_the_headers_tell() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org_on("pro").await, app.org_on("free").await);
    let key = app.api_key(&acme, &["org:read"]).await;
    for (who, user, org, source) in [
        (&acme.owner, 1_200, 6_000, "tier:pro@v1"),
        (&key, 1_200, 6_000, "tier:pro@v1"),
        (&globex.viewer, 120, 600, "tier:free@v1"),
    ] {
        let reply = who.get(ORG).await;
        let limits = who.get("/api/v1/limits").await.expect(200);
        let limits = limits["data"].as_array().unwrap();
        let told: Vec<(&str, &str, i64, u32)> = limits.iter().map(|limit| told(limit, source)).collect();
        assert_eq!(
            told,
            [
                ("user", "user", user, remaining(&reply, "user")),
                ("org", "org", org, remaining(&reply, "org"))
            ]
        );
    }
    app.anon().get("/api/v1/limits").await.expect_problem(401, "unauthenticated");
}

fn told<'l>(limit: &'l Value, source: &str) -> (&'l str, &'l str, i64, u32) {
    assert_eq!((&limit["window_seconds"], &limit["unit"]), (&json!(60), &json!("requests")));
    assert_eq!(limit["source"], source);
    assert!(limit["burst"].is_u64() && limit["reset_seconds"].is_u64(), "{limit}");
    let remaining = limit["remaining"].as_u64().unwrap();
    let text = |name: &str| limit[name].as_str().unwrap();
    (text("policy"), text("scope"), limit["limit"].as_i64().unwrap(), u32::try_from(remaining).unwrap())
}
