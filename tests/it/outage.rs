//! What cannot be answered now is a 503 that says when to ask again, and nobody has to restart anything.

use super::support::{Private, Reply, TestApp, cog, until, within_a_second};
use axum::{Router, routing::get};
use insula::middleware;
use reqwest::Method;
use serde_json::json;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

#[track_caller]
fn expect_unavailable(reply: &Reply) {
    reply.expect_problem(503, "unavailable");
    assert!(reply.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{reply:?}");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn a_server_lives_through_a_restart_of_its_database() {
    let (mut private, database) = Private::migrated().await;
    let app = TestApp::start_on(database, "[database]\nacquire_seconds = 1").await;
    let (acme, globex) = (app.org().await, app.org().await);
    let made = acme.owner.post("/api/v1/products", cog()).await.expect(201);
    let path = format!("/api/v1/products/{}", made["id"].as_str().unwrap());
    app.anon().get("/health/ready").await.expect(200);

    private.stop().await;
    // More often than there are connections: the first ones are found broken, the later ones can't be made.
    for _ in 0..8 {
        expect_unavailable(&acme.owner.get(&path).await);
    }
    expect_unavailable(
        &acme
            .owner
            .post(
                "/api/v1/products",
                json!({"sku": "X", "name": "X", "price": {"amount": 1, "currency": "EUR"}}),
            )
            .await,
    );
    let login = json!({"email": "nobody@nowhere.example", "password": "correct horse battery"});
    expect_unavailable(&app.anon().post("/api/v1/auth/login", login).await);
    let unready = app.anon().get("/health/ready").await.expect_problem(503, "not_ready");
    assert_eq!(unready["database"], "out of reach");
    app.anon().get("/health/live").await.expect(200);

    private.start().await;
    until("it serves again", async || acme.owner.get(&path).await.status == 200).await;
    until("it is ready again", async || app.anon().get("/health/ready").await.status == 200).await;
    globex.owner.get(&path).await.expect_problem(404, "not_found");

    acme.owner.get("/api/v1/limits").await.expect(200);
    app.database.suspend(acme.id).await;
    within_a_second("it hears", async || acme.owner.get("/api/v1/limits").await.status == 403).await;
    globex.owner.get("/api/v1/products").await.expect(200);
}

#[tokio::test]
async fn whoever_finds_every_connection_taken_is_told_soon_to_come_back() {
    let app = TestApp::start_with("[database]\napp_connections = 3\nacquire_seconds = 1").await;
    let (acme, globex) = (app.org().await, app.org().await);
    let made = acme.owner.post("/api/v1/products", cog()).await.expect(201);
    let id = made["id"].as_str().unwrap();
    let path = format!("/api/v1/products/{id}");
    globex.owner.get("/api/v1/products?limit=1").await.expect(200);

    let lock = app.database.lock_product(id).await;
    let patches: Vec<_> = (0..3)
        .map(|stock| {
            let (owner, path) = (acme.owner.clone(), path.clone());
            tokio::spawn(async move { owner.patch(&path, json!({"stock": stock})).await })
        })
        .collect();
    until("three of them wait", async || app.database.waiting().await == 3).await;

    let started = Instant::now();
    expect_unavailable(&globex.owner.get("/api/v1/products").await);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    app.anon().get("/health/live").await.expect(200);

    lock.release().await;
    for patch in patches {
        patch.await.unwrap().expect(200);
    }
    globex.owner.get("/api/v1/products").await.expect(200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up_with_a_whole_answer() {
    let app = TestApp::start_with("[http]\ntimeout_seconds = 1").await;
    let (acme, globex) = (app.org().await, app.org().await);
    let made = acme.owner.post("/api/v1/products", cog()).await.expect(201);
    let id = made["id"].as_str().unwrap();
    let path = format!("/api/v1/products/{id}");

    let lock = app.database.lock_product(id).await;
    let reply = acme.owner.patch(&path, json!({"name": "Late"})).await;
    expect_unavailable(&reply);
    assert_eq!(reply.header("x-frame-options"), "DENY");
    globex.owner.get("/api/v1/products").await.expect(200);

    lock.release().await;
    until("what was given up is rolled back", async || app.database.left_open().await == 0).await;
    assert_eq!(acme.owner.get(&path).await.expect(200)["name"], "Cog");
    acme.owner.patch(&path, json!({"name": "In time"})).await.expect(200);
}

#[tokio::test]
async fn a_panic_is_a_clean_500_and_the_next_request_is_served() {
    let app = TestApp::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/panic", get(panics)).route("/fine", get(async || "fine"));
    let service = middleware::outer(&app.state, router).into_make_service_with_connect_info::<SocketAddr>();
    let serving = tokio::spawn(axum::serve(listener, service).into_future());

    let reply = Reply::of(app.anon().at(&base).request(Method::GET, "/panic")).await;
    reply.expect_problem(500, "internal");
    assert!(!reply.text.contains("told nobody"), "{}", reply.text);
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(app.anon().at(&base).get("/fine").await.text, "fine");
    serving.abort();
}

async fn panics() -> &'static str {
    panic!("what a client is told nobody knows")
}
