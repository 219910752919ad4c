//! How often one address may knock before it is known who it is.

use super::support::{PASSWORD, Persona, Reply, TestApp, cog};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const STRICT: &str = "[limits.ip]\nquota_per_minute = 6\nburst = 3";
const LOGIN: &str = "/api/v1/auth/login";

fn wrong() -> Value {
    json!({"email": "nobody@example.com", "password": "a wrong password"})
}

async fn from(who: &Persona, ip: &str, path: &str) -> Reply {
    Reply::of(who.request(Method::GET, path).header("x-forwarded-for", ip)).await
}

#[tokio::test]
async fn public_routes_are_few_for_one_address_and_come_back_with_time() {
    let app = TestApp::start_with(STRICT).await;
    let acme = app.org().await;
    let anybody = app.anon();
    anybody.get("/api/v1/tiers").await.expect(200);
    anybody.post(LOGIN, wrong()).await.expect_problem(401, "invalid_credentials");
    anybody
        .post("/api/v1/auth/refresh", json!({"refresh_token": "x"}))
        .await
        .expect_problem(401, "invalid_refresh_token");

    let right = json!({"email": format!("owner@{}.example", acme.slug), "password": PASSWORD});
    let refused = anybody.post(LOGIN, right.clone()).await;
    let problem = refused.expect_problem(429, "rate_limited");
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(problem["violated_policies"], json!(["ip"]));
    assert_eq!(refused.header("retry-after"), "10");
    anybody.post("/api/v1/auth/register", json!({})).await.expect_problem(429, "rate_limited");

    app.clock.advance(Duration::from_secs(9));
    anybody.post(LOGIN, right.clone()).await.expect_problem(429, "rate_limited");
    app.clock.advance(Duration::from_secs(1));
    anybody.post(LOGIN, right).await.expect(200);
    anybody.get("/api/v1/tiers").await.expect_problem(429, "rate_limited");
}

#[tokio::test]
async fn who_guesses_is_slowed_down_and_who_knows_is_not() {
    let app = TestApp::start_with(STRICT).await;
    let (acme, globex) = (app.org().await, app.org().await);
    let key = app.api_key(&globex, &["products:create"]).await;
    for token in ["nonsense", "insula_live_nonsense", "a.b.c"] {
        app.bearer(token).get("/api/v1/products").await.expect(401);
    }
    app.bearer("nonsense").get("/api/v1/products").await.expect_problem(429, "rate_limited");
    app.anon().get("/api/v1/products").await.expect_problem(429, "rate_limited");
    for _ in 0..10 {
        acme.owner.get("/api/v1/products").await.expect(200);
    }
    key.post("/api/v1/products", cog()).await.expect(201);
}

#[tokio::test]
async fn probes_keys_and_documents_are_for_everybody_at_any_time() {
    let app = TestApp::start_with(STRICT).await;
    for _ in 0..5 {
        app.bearer("nonsense").get("/api/v1/products").await;
    }
    for path in ["/health/live", "/health/ready", "/.well-known/jwks.json", "/openapi.json", "/redoc"] {
        for _ in 0..5 {
            app.anon().get(path).await.expect(200);
        }
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_counts_for_itself() {
    let settings = format!("[http]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{STRICT}");
    let app = TestApp::start_with(&settings).await;
    let anybody = app.anon();
    for _ in 0..3 {
        from(&anybody, "203.0.113.1", "/api/v1/tiers").await.expect(200);
    }
    from(&anybody, "203.0.113.1", "/api/v1/tiers").await.expect_problem(429, "rate_limited");
    // What stands further left is the client's own claim.
    from(&anybody, "198.51.100.9, 203.0.113.1", "/api/v1/tiers").await.expect_problem(429, "rate_limited");
    from(&anybody, "203.0.113.2", "/api/v1/tiers").await.expect(200);
    // Of IPv6 a household has a whole /64.
    for host in ["::1", "::2", "::3"] {
        from(&anybody, &format!("2001:db8:0:1{host}"), "/api/v1/tiers").await.expect(200);
    }
    from(&anybody, "2001:db8:0:1::4", "/api/v1/tiers").await.expect_problem(429, "rate_limited");
    from(&anybody, "2001:db8:0:2::1", "/api/v1/tiers").await.expect(200);
}

#[tokio::test]
async fn without_a_trusted_proxy_nobody_chooses_their_address() {
    let app = TestApp::start_with(STRICT).await;
    let anybody = app.anon();
    for at in 0..3 {
        from(&anybody, &format!("203.0.113.{at}"), "/api/v1/tiers").await.expect(200);
    }
    from(&anybody, "203.0.113.99", "/api/v1/tiers").await.expect_problem(429, "rate_limited");
}
