//! Sockets: the same events as by the other way, and a word of why it ends.

use super::{EVENTS, make};
use crate::support::{Listener, Persona, Reply, Socket, TestApp, claims, handshake, id, product};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PRODUCTS: &str = "/api/v1/products";
/// Within which nobody is told anything any more who may not be.
const PROMISED: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_socket_is_told_what_a_stream_is_and_after_a_break_all_that_was_missed_and_nothing_twice() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.number().await;
    let (mut socket, mut listener) =
        (Socket::open(&acme.viewer, "").await, Listener::open(&acme.viewer, None).await);
    make(&globex, "THEIRS").await;
    make(&acme, "FIRST").await;
    let first = socket.next().await;
    assert_eq!(first, listener.next().await.data);
    assert_eq!(first, acme.viewer.get(&format!("{EVENTS}/history/{}", id(&first))).await.expect(200));
    drop(socket);

    let second = make(&acme, "SECOND").await;
    acme.owner.delete(&format!("{PRODUCTS}/{}", id(&second))).await.expect(204);
    let other = app.replica().await;
    let after = first["seq"].as_i64().unwrap();
    let mut sockets = vec![Socket::open(&acme.viewer.at(&other.base), &format!("?after={after}")).await];
    let later = handshake(&acme.viewer, "?after=0").header("last-event-id", after.to_string());
    sockets.push(Socket::of(later, tokio::net::TcpSocket::new_v4().unwrap()).await);
    for mut socket in sockets {
        let (created, deleted) = (socket.next().await, socket.next().await);
        assert_eq!((&created["type"], &created["seq"]), (&json!("product.created"), &json!(after + 1)));
        assert_eq!((&deleted["type"], &deleted["seq"]), (&json!("product.deleted"), &json!(after + 2)));
        assert_eq!(deleted["data"]["object"]["sku"], "SECOND");
    }
}

#[tokio::test]
async fn a_socket_is_told_only_what_its_bearer_may_read_and_of_deletions_too() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let role = json!({"name": "sorter", "permissions": ["events:read", "categories:read"]});
    acme.owner.post("/api/v1/roles", role).await.expect(201);
    let member = format!("/api/v1/users/{}", acme.member.user());
    acme.owner.patch(&member, json!({"roles": ["sorter"]})).await.expect(200);
    app.number().await;
    let (mut of_the_sorter, mut of_the_owner) =
        (Socket::open(&acme.member, "").await, Socket::open(&acme.owner, "").await);
    let hidden = make(&acme, "HIDDEN").await;
    acme.owner.delete(&format!("{PRODUCTS}/{}", id(&hidden))).await.expect(204);
    let category = acme.owner.post("/api/v1/categories", json!({"name": "Tools"})).await.expect(201);
    acme.owner.delete(&format!("/api/v1/categories/{}", id(&category))).await.expect(204);
    for kind in ["category.created", "category.deleted"] {
        assert_eq!(of_the_sorter.next().await["type"], kind);
    }
    for kind in ["product.created", "product.deleted", "category.created", "category.deleted"] {
        assert_eq!(of_the_owner.next().await["type"], kind);
    }
}

#[tokio::test]
async fn who_asks_for_what_is_not_kept_any_more_is_told_of_the_gap() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    make(&acme, "COG").await;
    app.number().await;
    let of_acme = format!("org_id = '{}'", acme.id.uuid());
    let last = app.database.count(format!("select max(seq) from events where {of_acme}")).await;
    app.database.run(format!("delete from events where {of_acme} and seq < {last}")).await;
    let mut socket = Socket::open(&acme.owner, "?after=0").await;
    assert_eq!(socket.next().await, json!({"type": "gap", "after": 0, "before": last}));
    assert_eq!(socket.next().await["seq"], last);
    Reply::of(handshake(&acme.owner, "?after=-1")).await.expect_problem(400, "bad_parameter");
}

#[tokio::test]
async fn a_ping_is_answered_and_whatever_else_is_said_is_passed_over_until_it_is_too_much() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    app.number().await;
    let mut socket = Socket::open(&acme.owner, "").await;
    for said in ["hello", "{", r#"{"type":"subscribe"}"#, "[]", "null", r#"{"type":"ping"}"#] {
        socket.say(said).await;
    }
    assert_eq!(socket.next().await, json!({"type": "pong"}));
    make(&acme, "COG").await;
    assert_eq!(socket.next().await["type"], "product.created");
    for _ in 0..100 {
        socket.say("hello").await;
    }
    assert_eq!(socket.rest().await, (Vec::<Value>::new(), 1008, "too_many_messages".to_owned()));

    let mut socket = Socket::open(&acme.owner, "").await;
    socket.say(&"x".repeat(5_000)).await;
    assert_eq!(socket.rest().await, (Vec::<Value>::new(), 1002, "unreadable_message".to_owned()));
}

#[tokio::test]
async fn both_ways_end_within_five_seconds_where_the_bearer_would_not_be_let_in_any_more() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let deaf = json!({"name": "deaf", "permissions": ["products:read"]});
    acme.owner.post("/api/v1/roles", deaf).await.expect(201);
    let key = app.api_key(&acme, &["events:read"]).await;
    let keys = acme.owner.get("/api/v1/api-keys").await.expect(200);
    app.number().await;

    let mut followed = Vec::new();
    for who in [&acme.viewer, &acme.member, &key] {
        followed.push((Listener::open(who, None).await, Socket::open(who, "").await));
    }
    let session = claims(&json!({"access_token": acme.viewer.token}))["sid"].as_str().unwrap().to_owned();
    acme.viewer.delete(&format!("/api/v1/me/sessions/{session}")).await.expect(204);
    let member = format!("/api/v1/users/{}", acme.member.user());
    acme.owner.patch(&member, json!({"roles": ["deaf"]})).await.expect(200);
    acme.owner.delete(&format!("/api/v1/api-keys/{}", id(&keys["data"][0]))).await.expect(204);
    let ended = Instant::now();
    for ((listener, socket), why) in
        followed.into_iter().zip(["session_ended", "permission_denied", "invalid_api_key"])
    {
        listener.rest().await;
        let (_, code, reason) = socket.rest().await;
        assert_eq!((code, reason.as_str()), (1008, why));
    }
    assert!(ended.elapsed() < PROMISED, "{:?}", ended.elapsed());
}

#[tokio::test]
async fn a_socket_ends_with_its_token_and_says_where_it_was_when_the_server_stops() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    app.number().await;
    let other = app.replica().await;
    let mut of_the_other = Socket::open(&acme.owner.at(&other.base), "").await;
    acme.owner.post(PRODUCTS, product("COG", 1)).await.expect(201);
    let last = of_the_other.next().await["seq"].as_i64().unwrap();
    drop(other);
    assert_eq!(of_the_other.rest().await, (Vec::<Value>::new(), 1001, format!("after={last}")));

    let socket = Socket::open(&acme.owner, "").await;
    app.clock.advance(Duration::from_mins(16));
    assert_eq!(socket.rest().await, (Vec::<Value>::new(), 1008, "token_expired".to_owned()));
}

#[tokio::test]
async fn pages_of_other_origins_and_whatever_is_no_handshake_are_told_so() {
    let app = TestApp::start_with("[http]\nallowed_origins = [\"https://app.example.com\"]").await;
    let acme = app.org().await;
    let from = |origin: &'static str| handshake(&acme.owner, "").header("origin", origin);
    for stranger in ["https://evil.example.com", "https://app.example.com.evil.example", "null"] {
        Reply::of(from(stranger)).await.expect_problem(403, "origin_not_allowed");
    }
    for ours in ["https://app.example.com", "http://insula.test"] {
        Socket::of(from(ours), tokio::net::TcpSocket::new_v4().unwrap()).await.say("hello").await;
    }
    let plain = acme.owner.get("/api/v1/ws").await;
    plain.expect_problem(426, "upgrade_required");
    assert_eq!((plain.header("upgrade"), plain.header("sec-websocket-version")), ("websocket", "13"));
    let nobody: Persona = app.anon();
    Reply::of(handshake(&nobody, "")).await.expect_problem(401, "unauthenticated");
}
