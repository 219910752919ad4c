//! How a request that cannot be read is refused, whoever in the house refuses it.

use super::support::{Persona, Reply, TestApp, cog};
use reqwest::Method;
use serde_json::json;

const PRODUCTS: &str = "/api/v1/products";

async fn send(who: &Persona, content_type: Option<&str>, body: &str) -> Reply {
    let request = who.request(Method::POST, PRODUCTS).body(body.to_owned());
    Reply::of(match content_type {
        Some(content_type) => request.header("content-type", content_type),
        None => request,
    })
    .await
}

#[tokio::test]
async fn the_frameworks_own_refusals_are_problems_too() {
    let app = TestApp::start_with("[http]\nbody_limit_bytes = 1024").await;
    let (acme, globex) = (app.org().await, app.org().await);
    for nowhere in
        ["/", "/api/v1/nothing", "/api/v1/products/", "/api/v2/products", "/docs/nothing", "/operator/v1"]
    {
        for who in [&acme.owner, &globex.owner, &app.anon()] {
            who.get(nowhere).await.expect_problem(404, "not_found");
        }
    }
    for (path, allowed) in [(PRODUCTS, "POST"), ("/api/v1/auth/login", "POST"), ("/health/live", "GET")] {
        let refused = acme.owner.put(path, json!({})).await;
        refused.expect_problem(405, "method_not_allowed");
        assert!(refused.header("allow").contains(allowed), "{}", refused.header("allow"));
    }
    let json = Some("application/json");
    for body in ["", "{", "nonsense", "{\"sku\": \"\u{1}\"}", "{'sku': 1}"] {
        send(&acme.owner, json, body).await.expect_problem(400, "malformed_json");
    }
    for content_type in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("text/json")]
    {
        send(&acme.owner, content_type, "{}").await.expect_problem(415, "unsupported_media_type");
    }
    send(&acme.owner, json, "{}").await.expect_problem(422, "invalid");
    send(&acme.owner, json, &"x".repeat(1_025)).await.expect_problem(413, "payload_too_large");
    send(&app.anon(), json, &"x".repeat(1_025)).await.expect_problem(401, "unauthenticated");
    let declared = Some("Application/JSON; charset=utf-8");
    send(&acme.owner, declared, &cog().to_string()).await.expect(201);
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit_and_not_a_byte_further() {
    let app = TestApp::start_with("[http]\nbody_limit_bytes = 1024").await;
    let acme = app.org().await;
    let fits = format!("{:<1024}", cog().to_string());
    send(&acme.owner, Some("application/json"), &fits).await.expect(201);
    let over = format!("{fits} ");
    send(&acme.owner, Some("application/json"), &over).await.expect_problem(413, "payload_too_large");
}

#[tokio::test]
async fn every_answer_has_a_name_of_our_own_making() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let mut names = Vec::new();
    for path in [PRODUCTS, "/api/v1/nothing", "/health/live", "/api/v1/products/nonsense"] {
        let theirs = acme.owner.request(Method::GET, path).header("x-request-id", "req_mine");
        let reply = Reply::of(theirs).await;
        let name = reply.header("x-request-id").to_owned();
        assert!(name.starts_with("req_") && name.len() == 30, "{name}");
        if reply.status >= 400 {
            let problem = reply.json();
            assert_eq!(problem["instance"], format!("urn:insula:request:{name}"));
        }
        names.push(name);
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 4);
}

#[tokio::test]
async fn a_problem_says_what_kind_it_is_to_people_and_programs() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    for reply in [
        app.anon().get(PRODUCTS).await,
        acme.viewer.post(PRODUCTS, cog()).await,
        acme.owner.get("/api/v1/products/nonsense").await,
        acme.owner.post(PRODUCTS, json!({})).await,
        acme.owner.get("/api/v1/products?colour=red").await,
    ] {
        let problem = reply.json();
        for member in ["type", "title", "detail", "code", "request_id", "instance"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
        }
        assert_eq!(problem["status"], reply.status);
        assert_eq!(problem["type"], format!("urn:insula:problem:{}", problem["code"].as_str().unwrap()));
        assert_eq!(reply.header("content-type"), "application/problem+json");
    }
}

#[tokio::test]
async fn browsers_are_told_to_do_nothing_with_an_answer_but_read_it() {
    let app = TestApp::start_with("[http]\nbody_limit_bytes = 1024").await;
    let acme = app.org().await;
    for reply in [
        acme.owner.get("/api/v1/org").await,
        acme.owner.get("/api/v1/nothing").await,
        acme.owner.put(PRODUCTS, json!({})).await,
        app.anon().get(PRODUCTS).await,
        acme.viewer.post(PRODUCTS, cog()).await,
        send(&acme.owner, Some("application/json"), &"x".repeat(2_000)).await,
    ] {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(reply.header(name), value, "{name} of a {}", reply.status);
        }
        assert_eq!(reply.header("strict-transport-security"), "", "over plain http, where that is allowed");
    }
}

#[tokio::test]
async fn where_https_is_a_must_only_a_trusted_proxy_vouches_for_it() {
    let settings = "[http]\nrequire_https = true\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let app = TestApp::start_with(settings).await;
    let anybody = app.anon();
    let over = async |proto: &str| {
        let request = anybody.request(Method::GET, "/api/v1/tiers").header("x-forwarded-for", "203.0.113.9");
        Reply::of(request.header("x-forwarded-proto", proto)).await
    };
    let plain = anybody.get("/api/v1/tiers").await;
    plain.expect_problem(403, "https_required");
    over("http").await.expect_problem(403, "https_required");
    over("https, http").await.expect_problem(403, "https_required");
    let secure = over("https").await;
    secure.expect(200);
    for reply in [&plain, &secure] {
        assert_eq!(reply.header("strict-transport-security"), "max-age=63072000; includeSubDomains");
    }
    anybody.get("/health/live").await.expect(200);

    let app = TestApp::start_with("[http]\nrequire_https = true").await;
    let claim = app.anon().request(Method::GET, "/api/v1/tiers").header("x-forwarded-proto", "https");
    Reply::of(claim).await.expect_problem(403, "https_required");
}
