//! What holds for every answer, whoever asks for whatever.

use super::support::{Reply, TestApp, cog};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn the_framework_s_own_refusals_are_problems_too() {
    let app = TestApp::start_with("[http]\nbody_limit_bytes = 2000").await;
    let acme = app.org().await;
    let send = async |body: &'static str, content_type: &str| {
        let request =
            acme.owner.request(Method::POST, "/api/v1/products").header("content-type", content_type);
        Reply::of(request.body(body)).await
    };
    app.anon().get("/nowhere").await.expect_problem(404, "not_found");
    app.anon().get("/api/v1/nowhere").await.expect_problem(404, "not_found");
    let refused = acme.owner.delete("/api/v1/products").await;
    refused.expect_problem(405, "method_not_allowed");
    assert_eq!(refused.header("allow"), "GET,HEAD,POST");
    send("{", "application/json").await.expect_problem(400, "malformed_json");
    send("sku=1", "application/x-www-form-urlencoded").await.expect_problem(415, "unsupported_media_type");
    send("[]", "application/json").await.expect_problem(422, "invalid");
    let large = json!({"sku": "x".repeat(3_000)});
    acme.owner.post("/api/v1/products", large).await.expect_problem(413, "payload_too_large");
    acme.owner.get("/api/v1/products?%ff=1").await.expect_problem(400, "unknown_parameter");
}

#[tokio::test]
async fn every_answer_has_an_id_of_ours_and_headers_that_bind_browsers() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let request = acme.owner.request(Method::GET, "/api/v1/orders").header("x-request-id", "theirs");
    for reply in [
        Reply::of(request).await,
        app.anon().get("/nowhere").await,
        acme.viewer.post("/api/v1/products", cog()).await,
    ] {
        assert!(reply.header("x-request-id").starts_with("req_"), "{}", reply.header("x-request-id"));
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("strict-transport-security"), "", "not where plain http is accepted");
    }
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call_and_read_even_errors_and_others_may_not() {
    let app = TestApp::start_with("[http]\nallowed_origins = [\"https://app.example.com\"]").await;
    let from =
        |origin: &'static str, method, path: &str| app.anon().request(method, path).header("origin", origin);
    let ours = "https://app.example.com";

    let preflight = from(ours, Method::OPTIONS, "/api/v1/products")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,idempotency-key");
    let preflight = Reply::of(preflight).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (200, ours));
    assert!(preflight.header("access-control-allow-methods").contains("PATCH"));
    assert!(preflight.header("access-control-allow-headers").contains("idempotency-key"));

    let refused = Reply::of(from(ours, Method::GET, "/api/v1/products")).await;
    refused.expect_problem(401, "unauthenticated");
    assert_eq!(refused.header("access-control-allow-origin"), ours);
    for exposed in
        ["etag", "link", "location", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id"]
    {
        assert!(
            refused.header("access-control-expose-headers").split(',').any(|name| name == exposed),
            "{exposed}"
        );
    }

    let strange = Reply::of(from("https://evil.example.com", Method::GET, "/api/v1/products")).await;
    assert_eq!(strange.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn plain_http_is_refused_where_the_configuration_says_so() {
    let app = TestApp::start_with("[http]\nrequire_https = true\ntrusted_proxies = [\"127.0.0.0/8\"]").await;
    let by = |proto: &'static str| {
        app.anon().request(Method::GET, "/api/v1/tiers").header("x-forwarded-proto", proto)
    };

    app.anon().get("/api/v1/tiers").await.expect_problem(403, "https_required");
    Reply::of(by("http")).await.expect_problem(403, "https_required");
    let reply = Reply::of(by("https")).await;
    reply.expect(200);
    assert!(reply.header("strict-transport-security").contains("max-age=63072000"));
    app.anon().get("/health/ready").await.expect(200);

    // Nobody vouches for what a client says of itself.
    let app = TestApp::start_with("[http]\nrequire_https = true").await;
    let claim = app.anon().request(Method::GET, "/api/v1/tiers").header("x-forwarded-proto", "https");
    Reply::of(claim).await.expect_problem(403, "https_required");
}

#[tokio::test]
async fn the_documentation_asks_no_other_origin_for_anything() {
    let app = TestApp::start().await;
    for page in ["/docs/", "/redoc"] {
        let reply = app.anon().get(page).await;
        assert_eq!(reply.status, 200, "{page}");
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("http"), "{policy}");
        for attribute in ["src=\"", "href=\""] {
            for address in reply.text.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()) {
                if address.starts_with("data:") {
                    continue;
                }
                assert!(!address.contains("//"), "{page} asks for {address}");
                let asset =
                    if address.starts_with('/') { address.to_owned() } else { format!("/docs/{address}") };
                assert_eq!(app.anon().get(&asset).await.status, 200, "{asset}");
            }
        }
    }
    assert_eq!(app.anon().get("/openapi.json").await.expect(200)["openapi"], "3.1.0");
}
