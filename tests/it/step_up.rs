//! Proving anew who one is, where five minutes are too long ago.

use super::support::{PASSWORD, TestApp, claims, pointers};
use serde_json::json;
use std::time::Duration;

const STEP_UP: &str = "/api/v1/auth/step-up";
/// Asks for a fresh sign-in.
const GUARDED: &str = "/api/v1/me/totp";

#[tokio::test]
async fn what_needs_a_fresh_sign_in_is_refused_after_five_minutes_and_goes_on_after_a_step_up() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let session = app.session(&acme).await;
    let ada = app.holder(&session);
    app.clock.advance(Duration::from_mins(5));
    ada.post(GUARDED, json!({})).await.expect(201);
    app.clock.advance(Duration::from_secs(1));
    let refused = ada.post(GUARDED, json!({})).await;
    refused.expect_problem(401, "step_up_required");
    // RFC 9470
    let wanted = r#"Bearer realm="insula", error="insufficient_user_authentication", max_age="300""#;
    assert_eq!(refused.header("www-authenticate"), wanted);
    let renewed = app.refresh(&session).await.expect(200);
    let stale = app.holder(&renewed).post(GUARDED, json!({})).await;
    stale.expect_problem(401, "step_up_required");

    let fresh = ada.post(STEP_UP, json!({"password": PASSWORD})).await.expect(200);
    assert_eq!((&fresh["token_type"], &fresh["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert_eq!(fresh.get("refresh_token"), None, "the session goes on as it was");
    let (before, after) = (claims(&session), claims(&fresh));
    for same in ["sid", "sub", "org", "amr"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_eq!(after["auth_time"], app.clock.now().unix_timestamp());
    app.holder(&fresh).post(GUARDED, json!({})).await.expect(201);
    ada.post(GUARDED, json!({})).await.expect_problem(401, "step_up_required");
    // What the session is continued by says so too.
    let renewed = app.refresh(&renewed).await.expect(200);
    app.holder(&renewed).post(GUARDED, json!({})).await.expect(201);
    assert_eq!(app.audited_times(acme.id, "session.stepped_up").await, 1);
}

#[tokio::test]
async fn a_wrong_password_is_pointed_at_and_counts_as_an_attempt_to_sign_in() {
    let app = TestApp::start_with("[auth]\nlock_after_failures = 3").await;
    let (acme, globex) = (app.org().await, app.org().await);
    for _ in 0..2 {
        let wrong = acme.owner.post(STEP_UP, json!({"password": "not the password"})).await;
        assert_eq!(pointers(&wrong.expect_problem(422, "invalid")), ["/password"]);
    }
    acme.owner.post(STEP_UP, json!({"password": PASSWORD})).await.expect(200);
    for _ in 0..3 {
        acme.owner.post(STEP_UP, json!({"password": "not the password"})).await.expect(422);
    }
    let right = json!({"password": PASSWORD});
    acme.owner.post(STEP_UP, right.clone()).await.expect_problem(429, "too_many_attempts");
    app.log_in(&acme.email(), PASSWORD).await.expect_problem(429, "too_many_attempts");
    assert_eq!(app.mails_to(&acme.email()).await, ["account_locked"]);
    globex.owner.post(STEP_UP, right).await.expect(200);
}

#[tokio::test]
async fn whoever_has_a_second_factor_shows_both() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let session = app.session(&acme).await;
    let ada = app.holder(&session);
    let needless = ada.post(STEP_UP, json!({"password": PASSWORD, "code": "123456"})).await;
    assert_eq!(pointers(&needless.expect_problem(422, "invalid")), ["/code"]);
    let other = app.holder(&app.session(&acme).await);
    let phone = app.enrol(&ada).await;

    let without = other.post(STEP_UP, json!({"password": PASSWORD})).await.expect_problem(422, "invalid");
    assert_eq!((pointers(&without), &without["errors"][0]["code"]), (vec!["/code"], &json!("required")));
    let code = phone.code(&app);
    let wrong = other.post(STEP_UP, json!({"password": PASSWORD, "code": phone.wrong_code(&app)})).await;
    assert_eq!(pointers(&wrong.expect_problem(422, "invalid")), ["/code"]);
    // With a wrong password the code is not even looked at.
    let wrong = other.post(STEP_UP, json!({"password": "not the password", "code": code})).await;
    assert_eq!(pointers(&wrong.expect_problem(422, "invalid")), ["/password"]);
    let fresh = other.post(STEP_UP, json!({"password": PASSWORD, "code": code})).await.expect(200);
    assert_eq!(claims(&fresh)["amr"], json!(["pwd", "otp"]));
}

#[tokio::test]
async fn keys_strangers_and_ended_sessions_prove_nothing() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let right = json!({"password": PASSWORD});
    app.anon().post(STEP_UP, right.clone()).await.expect_problem(401, "unauthenticated");
    let key = app.api_key(&acme, &["org:read"]).await;
    key.post(STEP_UP, right.clone()).await.expect_problem(403, "user_required");
    acme.owner.post("/api/v1/auth/logout", json!({})).await.expect(204);
    acme.owner.post(STEP_UP, right).await.expect_problem(401, "session_ended");
}
