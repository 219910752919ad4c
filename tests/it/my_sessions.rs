//! One's own sessions: seen, ended from elsewhere, and what a stolen one leaves in the audit.

use super::support::{PASSWORD, Reply, TestApp, claims, id, until, within_a_second};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const SESSIONS: &str = "/api/v1/me/sessions";
const DAY: Duration = Duration::from_hours(24);

fn path(session: &Value) -> String {
    format!("{SESSIONS}/{}", claims(session)["sid"].as_str().unwrap())
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(id).collect()
}

#[tokio::test]
async fn a_person_sees_their_own_sessions_and_where_each_came_from() {
    let app = TestApp::start_with("[http]\ntrusted_proxies = [\"127.0.0.0/8\"]").await;
    let (acme, globex) = (app.org().await, app.org().await);
    let login = json!({"email": acme.email(), "password": PASSWORD});
    let phone = app.anon().request(Method::POST, "/api/v1/auth/login").json(&login);
    let phone = phone.header("x-forwarded-for", "203.0.113.7").header("user-agent", "Phone/1.0");
    let phone = Reply::of(phone).await.expect(200);
    app.clock.advance(Duration::from_secs(1));
    let desk = app.session(&acme).await;
    app.session(&globex).await;

    let seen = app.holder(&desk).get(SESSIONS).await.expect(200);
    let (desk_id, phone_id) = (claims(&desk)["sid"].clone(), claims(&phone)["sid"].clone());
    assert_eq!(ids(&seen)[..2], [desk_id.as_str().unwrap(), phone_id.as_str().unwrap()]);
    assert_eq!(ids(&seen).len(), 3, "and the one that the test was given");
    let (first, second) = (&seen["data"][0], &seen["data"][1]);
    assert_eq!((&first["current"], &second["current"]), (&json!(true), &json!(false)));
    assert_eq!((&second["ip"], &second["user_agent"]), (&json!("203.0.113.7"), &json!("Phone/1.0")));
    assert_eq!(second["mfa"], false);
    assert_eq!(app.holder(&desk).get(&path(&phone)).await.expect(200), *second);
    // Continued from elsewhere.
    app.clock.advance(Duration::from_secs(1));
    let moved = app.anon().request(Method::POST, "/api/v1/auth/refresh");
    let moved = moved.json(&json!({"refresh_token": phone["refresh_token"]}));
    Reply::of(moved.header("x-forwarded-for", "203.0.113.8")).await.expect(200);
    let after = app.holder(&desk).get(&path(&phone)).await.expect(200);
    assert_eq!(after["ip"], "203.0.113.8");
    assert_ne!(after["last_used_at"], second["last_used_at"]);
    assert_eq!(after["authenticated_at"], second["authenticated_at"]);

    let key = app.api_key(&acme, &["org:read"]).await;
    key.get(SESSIONS).await.expect_problem(403, "user_required");
    app.anon().get(SESSIONS).await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn sessions_that_are_over_are_not_shown() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (idle, out, mut busy) =
        (app.session(&acme).await, app.session(&acme).await, app.session(&acme).await);
    app.holder(&out).post("/api/v1/auth/logout", json!({})).await.expect(204);
    app.clock.advance(DAY * 13);
    busy = app.refresh(&busy).await.expect(200);
    assert_eq!(ids(&app.holder(&busy).get(SESSIONS).await.expect(200)).len(), 2);
    app.clock.advance(DAY);
    busy = app.refresh(&busy).await.expect(200);
    let holder = app.holder(&busy);
    assert_eq!(ids(&holder.get(SESSIONS).await.expect(200)), [claims(&busy)["sid"].as_str().unwrap()]);
    for over in [idle, out] {
        holder.get(&path(&over)).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn only_the_last_hundred_are_shown() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    for _ in 0..105 {
        app.signed_in(acme.owner.user(), acme.id).await;
    }
    let seen = acme.owner.get(SESSIONS).await.expect(200);
    assert_eq!(ids(&seen).len(), 100);
    assert_eq!(seen["data"][0]["current"], true);
}

#[tokio::test]
async fn a_session_ended_from_elsewhere_is_refused_on_every_replica_within_a_second() {
    let here = TestApp::start().await;
    ending_is_heard(&here, &here.replica().await).await;
}

#[tokio::test]
async fn a_session_ended_from_elsewhere_is_refused_within_a_second_when_the_notification_is_lost() {
    let here = TestApp::start().await;
    here.database.cut_notify().await;
    ending_is_heard(&here, &here.replica().await).await;
}

async fn ending_is_heard(here: &TestApp, there: &TestApp) {
    let (acme, globex) = (here.org().await, here.org().await);
    let (lost, kept, third) =
        (here.session(&acme).await, here.session(&acme).await, here.session(&acme).await);
    let bystander = here.session(&globex).await;
    let me = "/api/v1/me";
    for session in [&lost, &kept, &third, &bystander] {
        there.holder(session).get(me).await.expect(200);
    }
    here.holder(&bystander).delete(&path(&lost)).await.expect_problem(404, "not_found");
    there.holder(&lost).get(me).await.expect(200);

    here.holder(&kept).delete(&path(&lost)).await.expect(204);
    here.holder(&lost).get(me).await.expect_problem(401, "session_ended");
    within_a_second("an ended session", async || there.holder(&lost).get(me).await.status == 401).await;
    there.refresh(&lost).await.expect_problem(401, "invalid_refresh_token");
    here.holder(&kept).delete(&path(&lost)).await.expect_problem(404, "not_found");
    there.holder(&third).get(me).await.expect(200);

    here.holder(&kept).delete(SESSIONS).await.expect(204);
    here.holder(&third).get(me).await.expect_problem(401, "session_ended");
    within_a_second("the other sessions", async || there.holder(&third).get(me).await.status == 401).await;
    for session in [&kept, &bystander] {
        there.holder(session).get(me).await.expect(200);
        there.refresh(session).await.expect(200);
    }
    // The lost one, the third and the one that the test was given.
    assert_eq!(here.audited_times(acme.id, "session.ended").await, 3);
    assert_eq!(here.audited_times(globex.id, "session.ended").await, 0);
}

#[tokio::test]
async fn ten_refreshes_at_once_leave_a_client_signed_in_whichever_answer_it_keeps() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let first = app.session(&acme).await;
    let answers = join_all((0..10).map(|_| app.refresh(&first))).await;
    let children: Vec<Value> = answers.iter().map(|answer| answer.expect(200)).collect();
    app.clock.advance(Duration::from_mins(1));
    for child in &children {
        app.holder(child).get("/api/v1/me").await.expect(200);
        let grandchild = app.refresh(child).await.expect(200);
        app.holder(&grandchild).get("/api/v1/me").await.expect(200);
    }
    assert_eq!(app.audited_times(acme.id, "session.token_reused").await, 0);
    assert_eq!(ids(&app.holder(&first).get(SESSIONS).await.expect(200)).len(), 2, "one, and the test's own");
}

#[tokio::test]
async fn a_stolen_token_ends_the_session_and_is_in_the_audit_of_the_org_it_spoke_for() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let first = app.session(&acme).await;
    let second = app.refresh(&first).await.expect(200);
    let third = app.refresh(&second).await.expect(200);
    app.refresh(&first).await.expect_problem(401, "invalid_refresh_token");
    for session in [&second, &third] {
        app.refresh(session).await.expect_problem(401, "invalid_refresh_token");
    }
    app.holder(&third).get("/api/v1/me").await.expect_problem(401, "session_ended");
    assert_eq!(app.audited_times(acme.id, "session.token_reused").await, 1, "told once");
    assert_eq!(app.audited_times(globex.id, "session.token_reused").await, 0);
}

#[tokio::test]
async fn whoever_was_suspended_or_removed_can_not_stay_signed_in() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (suspended, removed) = (app.session(&acme).await, app.session(&globex).await);
    app.database.suspend_member(acme.id, acme.owner.user()).await;
    app.refresh(&suspended).await.expect_problem(403, "member_suspended");
    // Nothing was traded, so to try again is no theft.
    app.clock.advance(Duration::from_secs(11));
    app.refresh(&suspended).await.expect_problem(403, "member_suspended");
    assert_eq!(app.audited_times(acme.id, "session.token_reused").await, 0);
    app.leave(&globex.owner, &globex).await;
    app.refresh(&removed).await.expect_problem(403, "not_a_member");
}

#[tokio::test]
async fn what_is_long_over_is_swept_and_what_may_still_prove_theft_is_kept() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (old, live) = (app.session(&acme).await, app.session(&acme).await);
    let renewed = app.refresh(&live).await.expect(200);
    app.database
        .run(format!(
            "update sessions set revoked_at = now() - interval '31 days'
             where id = (select session_id from refresh_tokens where hash = sha256('{}'));
             insert into login_failures values ('\\x01', 3, now() - interval '1 second')",
            old["refresh_token"].as_str().unwrap()
        ))
        .await;
    let sessions = app.database.count("select count(*) from sessions").await;
    let _sweeper = app.replica().await;
    until("it is swept", async || app.database.count("select count(*) from login_failures").await == 0).await;
    assert_eq!(app.database.count("select count(*) from sessions").await, sessions - 1);
    // The used token is still known for what it is.
    app.refresh(&renewed).await.expect(200);
    app.refresh(&live).await.expect_problem(401, "invalid_refresh_token");
    assert_eq!(app.audited_times(acme.id, "session.token_reused").await, 1);
}
