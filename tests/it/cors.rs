//! Which pages may call the API, and what their scripts may read of the answers.

use super::support::{Persona, Reply, TestApp, cog};
use reqwest::Method;
use serde_json::Value;

const OURS: &str = "https://app.example.com";
const PRODUCTS: &str = "/api/v1/products";

async fn app() -> TestApp {
    TestApp::start_with(&format!("[http]\nallowed_origins = [\"{OURS}\"]\nbody_limit_bytes = 1024")).await
}

async fn call(who: &Persona, origin: &str, method: Method, path: &str, body: Option<&Value>) -> Reply {
    let request = who.request(method, path).header("origin", origin);
    Reply::of(match body {
        Some(body) => request.json(body),
        None => request,
    })
    .await
}

async fn preflight(who: &Persona, origin: &str) -> Reply {
    let request = who.request(Method::OPTIONS, PRODUCTS).header("origin", origin);
    let request = request.header("access-control-request-method", "PATCH");
    Reply::of(request.header("access-control-request-headers", "authorization,if-match,idempotency-key"))
        .await
}

#[tokio::test]
async fn our_own_pages_may_ask_before_they_call() {
    let app = app().await;
    let asked = preflight(&app.anon(), OURS).await;
    asked.expect(200);
    assert_eq!(asked.header("access-control-allow-origin"), OURS);
    let (methods, headers) =
        (asked.header("access-control-allow-methods"), asked.header("access-control-allow-headers"));
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        assert!(methods.contains(method), "{methods}");
    }
    for header in ["authorization", "content-type", "if-match", "if-none-match", "idempotency-key"] {
        assert!(headers.contains(header), "{headers}");
    }
    assert_eq!(asked.header("access-control-allow-credentials"), "", "tokens, never cookies");
}

#[tokio::test]
async fn our_own_pages_read_answers_and_errors_and_their_headers() {
    let app = app().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let too_large = Value::String("x".repeat(2_000));
    for (reply, status) in [
        (call(&acme.owner, OURS, Method::GET, PRODUCTS, None).await, 200),
        (call(&acme.owner, OURS, Method::POST, PRODUCTS, Some(&cog())).await, 201),
        (call(&app.anon(), OURS, Method::GET, PRODUCTS, None).await, 401),
        (call(&globex.viewer, OURS, Method::POST, PRODUCTS, Some(&cog())).await, 403),
        (call(&acme.owner, OURS, Method::GET, "/api/v1/nothing", None).await, 404),
        (call(&acme.owner, OURS, Method::PUT, PRODUCTS, None).await, 405),
        (call(&acme.owner, OURS, Method::POST, PRODUCTS, Some(&too_large)).await, 413),
    ] {
        reply.expect(status);
        assert_eq!(reply.header("access-control-allow-origin"), OURS, "{status}");
        let exposed = reply.header("access-control-expose-headers");
        for header in
            ["etag", "link", "location", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id"]
        {
            assert!(exposed.split(',').any(|exposed| exposed.trim() == header), "{header} of {exposed}");
        }
        assert!(
            reply.headers.get_all("vary").iter().any(|varies| varies.to_str().unwrap().contains("origin"))
        );
    }
}

#[tokio::test]
async fn pages_of_others_get_no_leave() {
    let app = app().await;
    let acme = app.org().await;
    for origin in
        ["https://evil.example.com", "http://app.example.com", "https://app.example.com.evil.com", "null"]
    {
        for reply in [
            preflight(&app.anon(), origin).await,
            call(&acme.owner, origin, Method::GET, PRODUCTS, None).await,
        ] {
            assert_eq!(reply.header("access-control-allow-origin"), "", "{origin}");
        }
    }
    let closed = TestApp::start().await;
    assert_eq!(
        preflight(&closed.anon(), OURS).await.header("access-control-allow-origin"),
        "",
        "none unless set"
    );
}
