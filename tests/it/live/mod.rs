//! Streams of events: each listener hears all that happens and that they may read, once, for as long as they may.

mod places;
mod slow;
mod sockets;
mod tickets;

use crate::support::{Listener, Org, Reply, Socket, TestApp, claims, handshake, id, product, until};
use serde_json::{Value, json};

pub const EVENTS: &str = "/api/v1/events";
const PRODUCTS: &str = "/api/v1/products";
const CATEGORIES: &str = "/api/v1/categories";

pub async fn make(acme: &Org, sku: &str) -> Value {
    acme.owner.post(PRODUCTS, product(sku, 5)).await.expect(201)
}

#[tokio::test]
async fn what_happens_is_heard_and_after_a_break_at_another_replica_all_that_was_missed_and_nothing_twice() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.number().await;
    let mut listener = Listener::open(&acme.viewer, None).await;
    globex.owner.post(PRODUCTS, product("THEIRS", 1)).await.expect(201);
    let first = make(&acme, "FIRST").await;
    let heard = listener.next().await;
    assert_eq!((heard.kind.as_str(), &heard.data["data"]["object"]["id"]), ("product.created", &first["id"]));
    let history = format!("{EVENTS}/history/{}", id(&heard.data));
    assert_eq!(heard.data, acme.viewer.get(&history).await.expect(200));
    drop(listener);

    for sku in ["SECOND", "THIRD"] {
        make(&acme, sku).await;
    }
    let other = app.replica().await;
    let mut listener = Listener::open(&acme.viewer.at(&other.base), heard.id).await;
    let mut numbers = vec![heard.id.unwrap()];
    for sku in ["SECOND", "THIRD"] {
        let heard = listener.next().await;
        assert_eq!(heard.data["data"]["object"]["sku"], sku);
        numbers.push(heard.id.unwrap());
    }
    // And what happens at the other replica from here on.
    acme.owner.delete(&format!("{PRODUCTS}/{}", id(&first))).await.expect(204);
    let heard = listener.next().await;
    assert_eq!(
        (heard.kind.as_str(), &heard.data["data"]["object"]["sku"]),
        ("product.deleted", &json!("FIRST"))
    );
    numbers.push(heard.id.unwrap());
    assert!(numbers.is_sorted_by(|one, next| next - one == 1), "{numbers:?}");
}

#[tokio::test]
async fn a_listener_hears_what_they_may_read_when_it_is_sent() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let role = json!({"name": "stocktaker", "permissions": ["events:read", "products:read"]});
    acme.owner.post("/api/v1/roles", role).await.expect(201);
    let path = format!("/api/v1/users/{}", acme.viewer.user());
    app.number().await;
    let mut everything = Listener::open(&acme.owner, None).await;
    let mut listener = Listener::open(&acme.viewer, None).await;
    acme.owner.post(CATEGORIES, json!({"name": "Before"})).await.expect(201);
    assert_eq!(listener.next().await.kind, "category.created");

    acme.owner.patch(&path, json!({"roles": ["stocktaker"]})).await.expect(200);
    acme.owner.post(CATEGORIES, json!({"name": "After"})).await.expect(201);
    make(&acme, "COG").await;
    assert_eq!(listener.next().await.kind, "product.created", "neither who is a member nor categories");
    for kind in ["category.created", "member.roles_changed", "category.created", "product.created"] {
        assert_eq!(everything.next().await.kind, kind);
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_listener_would_not_be_let_in_any_more() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let key = app.api_key(&acme, &["events:read", "products:read"]).await;
    let keys = acme.owner.get("/api/v1/api-keys").await.expect(200);
    let of_the_key = Listener::open(&key, None).await;
    let of_the_viewer = Listener::open(&acme.viewer, None).await;
    let of_the_admin = Listener::open(&acme.admin, None).await;
    let of_theirs = Listener::open(&globex.owner, None).await;

    acme.owner.delete(&format!("/api/v1/api-keys/{}", id(&keys["data"][0]))).await.expect(204);
    of_the_key.rest().await;
    let token = json!({"access_token": acme.viewer.token});
    acme.viewer
        .delete(&format!("/api/v1/me/sessions/{}", claims(&token)["sid"].as_str().unwrap()))
        .await
        .expect(204);
    of_the_viewer.rest().await;
    let member = format!("/api/v1/users/{}", acme.admin.user());
    acme.owner.patch(&member, json!({"status": "suspended"})).await.expect(200);
    of_the_admin.rest().await;
    let operator = app.operator().await;
    let suspended = json!({"status": "suspended", "reason": "a drill"});
    operator.patch(&format!("/operator/v1/orgs/{}", globex.id), suspended).await.expect(200);
    of_theirs.rest().await;
}

#[tokio::test]
async fn an_org_has_so_many_streams_and_no_more_and_another_has_its_own() {
    let app = TestApp::start_with("[events]\nstreams_per_org = 2\n[metrics]\nlisten = \"127.0.0.1:0\"").await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (_first, _second) =
        (Listener::open(&acme.viewer, None).await, Listener::open(&acme.owner, None).await);
    acme.member.get(EVENTS).await.expect_problem(429, "too_many_streams");
    Reply::of(handshake(&acme.member, "")).await.expect_problem(429, "too_many_streams");
    let _theirs = Listener::open(&globex.viewer, None).await;
    let _socket = Socket::open(&globex.viewer, "").await;
    let told = app.anon().at(app.metrics.as_ref().unwrap()).get("/metrics").await;
    assert!(told.text.contains(r#"insula_event_streams{carrier="sse"} 3"#), "{}", told.text);
    assert!(told.text.contains(r#"insula_event_streams{carrier="websocket"} 1"#), "{}", told.text);
}

#[tokio::test]
async fn what_hundreds_of_an_org_follow_each_of_them_hears_though_all_are_woken_at_once() {
    let app = TestApp::start_with("[events]\nstreams_per_org = 400").await;
    let acme = app.org().await;
    app.number().await;
    let mut listeners = Vec::new();
    // As many as may wait for the org's connections.
    for _ in 0..4 {
        let opening = (0..100).map(|_| Listener::open(&acme.viewer, None));
        listeners.extend(futures::future::join_all(opening).await);
    }
    for sku in ["FIRST", "SECOND"] {
        make(&acme, sku).await;
        let hearing = listeners.iter_mut().map(Listener::next);
        for heard in futures::future::join_all(hearing).await {
            assert_eq!(heard.data["data"]["object"]["sku"], sku);
        }
    }
}

#[tokio::test]
async fn a_stream_outlives_the_loss_of_every_connection_to_the_database() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    app.number().await;
    let mut listener = Listener::open(&acme.viewer, None).await;
    app.database
        .run(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and usename in ('insula_app', 'insula_platform')",
        )
        .await;
    until("the database is in reach again", async || {
        acme.owner.post(PRODUCTS, product("COG", 5)).await.status == 201
    })
    .await;
    assert_eq!(listener.next().await.data["data"]["object"]["sku"], "COG");
}

#[tokio::test]
async fn who_asks_for_what_is_not_kept_any_more_is_told_of_the_gap() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    make(&acme, "COG").await;
    let mut listener = Listener::open(&acme.owner, Some(0)).await;
    let mut heard = listener.next().await;
    while heard.kind != "product.created" {
        heard = listener.next().await;
    }
    let last = heard.id.unwrap();
    app.database
        .run(format!("delete from events where org_id = '{}' and seq < {last}", acme.id.uuid()))
        .await;
    let mut listener = Listener::open(&acme.owner, Some(0)).await;
    let gap = listener.next().await;
    assert_eq!((gap.kind.as_str(), gap.data), ("gap", json!({"after": 0, "before": last})));
    assert_eq!(listener.next().await.id, Some(last));
    let nonsense = acme.owner.request(reqwest::Method::GET, EVENTS).header("last-event-id", "first");
    Reply::of(nonsense).await.expect_problem(400, "bad_header");
    acme.owner.get(&format!("{EVENTS}?after=-1")).await.expect_problem(400, "bad_parameter");
    acme.owner.get(&format!("{EVENTS}?colour=red")).await.expect_problem(400, "bad_parameter");
}
