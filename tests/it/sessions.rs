//! How long one stays signed in, and what ends it.

use super::support::{Org, PASSWORD, Persona, Reply, TestApp, id};
use futures::future::join_all;
use serde_json::{Value, json};
use std::{collections::HashSet, time::Duration};

const DAY: Duration = Duration::from_hours(24);

async fn sign_in(app: &TestApp, org: &Org) -> Value {
    let email = format!("owner@{}.example", org.slug);
    app.anon().post("/api/v1/auth/login", json!({"email": email, "password": PASSWORD})).await.expect(200)
}

async fn refresh(app: &TestApp, session: &Value) -> Reply {
    app.anon().post("/api/v1/auth/refresh", json!({"refresh_token": session["refresh_token"]})).await
}

fn bearer(app: &TestApp, session: &Value) -> Persona {
    app.bearer(session["access_token"].as_str().unwrap())
}

#[tokio::test]
async fn a_refresh_trades_both_tokens_and_keeps_the_org() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.join(&acme.owner, &globex, "viewer").await;
    let first = sign_in(&app, &acme).await;
    let second = refresh(&app, &first).await.expect(200);
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    assert_eq!(
        (&second["org"], &second["user"], &second["orgs"]),
        (&first["org"], &first["user"], &first["orgs"])
    );
    bearer(&app, &second).get("/api/v1/me").await.expect(200);
    // An access token is good for its own time, whatever comes after it.
    bearer(&app, &first).get("/api/v1/me").await.expect(200);

    for nonsense in [json!("insula_refresh_nonsense"), json!("")] {
        let refused = refresh(&app, &json!({"refresh_token": nonsense})).await;
        refused.expect_problem(401, "invalid_refresh_token");
    }
}

#[tokio::test]
async fn tabs_that_refresh_at_once_each_stay_signed_in() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let first = sign_in(&app, &acme).await;
    let children: Vec<Value> =
        join_all((0..8).map(|_| refresh(&app, &first))).await.iter().map(|reply| reply.expect(200)).collect();
    let distinct: HashSet<_> = children.iter().map(|child| child["refresh_token"].to_string()).collect();
    assert_eq!(distinct.len(), 8);

    app.clock.advance(Duration::from_secs(10));
    let late = refresh(&app, &first).await.expect(200);
    for child in children.iter().chain([&late]) {
        refresh(&app, child).await.expect(200);
    }
}

#[tokio::test]
async fn a_grandparent_token_ends_the_session_and_its_access_tokens() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (other, bystander) = (sign_in(&app, &acme).await, sign_in(&app, &globex).await);
    let first = sign_in(&app, &acme).await;
    let second = refresh(&app, &first).await.expect(200);
    let third = refresh(&app, &second).await.expect(200);

    refresh(&app, &first).await.expect_problem(401, "invalid_refresh_token");
    refresh(&app, &third).await.expect_problem(401, "invalid_refresh_token");
    for session in [&first, &second, &third] {
        bearer(&app, session).get("/api/v1/me").await.expect_problem(401, "session_ended");
    }
    for session in [&other, &bystander] {
        bearer(&app, session).get("/api/v1/me").await.expect(200);
        refresh(&app, session).await.expect(200);
    }
}

#[tokio::test]
async fn a_used_token_ends_the_session_once_the_tabs_have_had_their_time() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let first = sign_in(&app, &acme).await;
    let second = refresh(&app, &first).await.expect(200);
    app.clock.advance(Duration::from_secs(11));
    refresh(&app, &first).await.expect_problem(401, "invalid_refresh_token");
    refresh(&app, &second).await.expect_problem(401, "invalid_refresh_token");
    bearer(&app, &second).get("/api/v1/me").await.expect_problem(401, "session_ended");
}

#[tokio::test]
async fn an_access_token_lives_a_quarter_of_an_hour() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let session = sign_in(&app, &acme).await;
    app.clock.advance(Duration::from_secs(899));
    bearer(&app, &session).get("/api/v1/me").await.expect(200);
    app.clock.advance(Duration::from_secs(1));
    let expired = bearer(&app, &session).get("/api/v1/me").await;
    expired.expect_problem(401, "token_expired");
    assert!(expired.header("www-authenticate").contains("invalid_token"));
    bearer(&app, &refresh(&app, &session).await.expect(200)).get("/api/v1/me").await.expect(200);
}

#[tokio::test]
async fn who_does_not_come_back_for_a_fortnight_is_signed_out() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let session = sign_in(&app, &acme).await;
    app.clock.advance(DAY * 13 + Duration::from_secs(86_399));
    let session = refresh(&app, &session).await.expect(200);
    app.clock.advance(DAY * 14);
    refresh(&app, &session).await.expect_problem(401, "invalid_refresh_token");
}

#[tokio::test]
async fn who_comes_back_all_the_time_is_signed_out_after_ninety_days() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let mut session = sign_in(&app, &acme).await;
    for _ in 0..8 {
        app.clock.advance(DAY * 11);
        session = refresh(&app, &session).await.expect(200);
    }
    app.clock.advance(DAY * 2);
    refresh(&app, &session).await.expect_problem(401, "invalid_refresh_token");
}

#[tokio::test]
async fn one_switches_to_another_org_and_back_and_to_no_strange_one() {
    let app = TestApp::start().await;
    let (acme, globex, initech) = (app.org().await, app.org().await, app.org().await);
    app.join(&acme.owner, &globex, "viewer").await;
    let here = sign_in(&app, &acme).await;
    let me = bearer(&app, &here);
    let switch = "/api/v1/auth/switch";

    let there = me.post(switch, json!({"org": globex.slug})).await.expect(200);
    assert_eq!(id(&there["org"]), globex.id.to_string());
    let visitor = bearer(&app, &there);
    assert_eq!(visitor.get("/api/v1/me").await.expect(200)["roles"], json!(["viewer"]));
    assert_eq!(id(&visitor.get("/api/v1/org").await.expect(200)), globex.id.to_string());
    assert_eq!(id(&me.get("/api/v1/org").await.expect(200)), acme.id.to_string(), "a token never moves");

    let there = refresh(&app, &there).await.expect(200);
    assert_eq!(id(&there["org"]), globex.id.to_string(), "refreshed where one is");
    let back = visitor.post(switch, json!({"org": acme.id.to_string()})).await.expect(200);
    assert_eq!(id(&back["org"]), acme.id.to_string());

    for org in [initech.slug.clone(), initech.id.to_string(), "nowhere".to_owned()] {
        me.post(switch, json!({"org": org})).await.expect_problem(403, "not_a_member");
    }
    let key = app.api_key(&acme, &["org:read"]).await;
    key.post(switch, json!({"org": acme.slug})).await.expect_problem(403, "user_required");
}

#[tokio::test]
async fn signing_out_ends_this_session_and_no_other() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (desk, phone) = (sign_in(&app, &acme).await, sign_in(&app, &acme).await);
    bearer(&app, &desk).post("/api/v1/auth/logout", json!({})).await.expect(204);
    bearer(&app, &desk).get("/api/v1/me").await.expect_problem(401, "session_ended");
    refresh(&app, &desk).await.expect_problem(401, "invalid_refresh_token");
    bearer(&app, &phone).get("/api/v1/me").await.expect(200);
    refresh(&app, &phone).await.expect(200);

    // Without a body too.
    let logout = bearer(&app, &phone).request(reqwest::Method::POST, "/api/v1/auth/logout");
    Reply::of(logout).await.expect(204);
    bearer(&app, &phone).get("/api/v1/me").await.expect_problem(401, "session_ended");
}

#[tokio::test]
async fn who_left_an_org_is_let_in_no_more_with_the_tokens_that_are_left() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.join(&acme.owner, &globex, "admin").await;
    let session = sign_in(&app, &acme).await;
    let there =
        bearer(&app, &session).post("/api/v1/auth/switch", json!({"org": globex.slug})).await.expect(200);
    bearer(&app, &there).get("/api/v1/products").await.expect(200);

    app.leave(&acme.owner, &globex).await;
    bearer(&app, &there).get("/api/v1/products").await.expect_problem(403, "not_a_member");
    refresh(&app, &there).await.expect_problem(403, "not_a_member");
    bearer(&app, &session).get("/api/v1/products").await.expect(200);
}
