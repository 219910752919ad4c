//! How people become members: by a link that opens once, for whoever has the address.

use super::support::{ACCEPT, Org, PASSWORD, Persona, Reply, TestApp, id, pointers};
use futures::future::join_all;
use insula::{
    authn::opaque,
    ids::UserId,
    tenancy::gate::{self, Newcomer},
    trail::Trail,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const INVITATIONS: &str = "/api/v1/invitations";
const NORA: &str = "nora@example.com";

fn to(email: &str, role: &str) -> Value {
    json!({"email": email, "roles": [role]})
}

async fn invite(app: &TestApp, by: &Persona, email: &str, role: &str) -> (Value, String) {
    let made = by.post(INVITATIONS, to(email, role)).await.expect(201);
    (made, app.mailed_token(email).await)
}

async fn accept(app: &TestApp, token: &str) -> Reply {
    let body = json!({"token": token, "name": "Nora", "password": PASSWORD});
    app.anon().post(ACCEPT, body).await
}

/// As who is signed in.
async fn accept_as(who: &Persona, token: &str) -> Reply {
    Reply::of(who.request(Method::POST, ACCEPT).json(&json!({"token": token}))).await
}

fn email_of(org: &Org) -> String {
    format!("owner@{}.example", org.slug)
}

#[tokio::test]
async fn somebody_new_signs_up_by_accepting_and_is_what_they_were_invited_as() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let sent = acme.admin.post(INVITATIONS, to("Nora@Example.com", "member")).await;
    let invitation = sent.expect(201);
    assert_eq!((&invitation["email"], &invitation["status"]), (&json!(NORA), &json!("pending")));
    assert_eq!(invitation["invited_by"], acme.admin.user().to_string());
    let path = sent.header("location").to_owned();
    assert_eq!(acme.admin.get(&path).await.expect(200), invitation);
    assert!(!sent.text.contains("token"), "the link is for the mail alone");

    let token = app.mailed_token(NORA).await;
    let session = accept(&app, &token).await.expect(201);
    assert_eq!((&session["user"]["email"], &session["user"]["name"]), (&json!(NORA), &json!("Nora")));
    assert_eq!(session["org"]["id"], acme.id.to_string());
    assert_eq!(session["orgs"].as_array().unwrap().len(), 1);
    let nora = app.bearer(session["access_token"].as_str().unwrap());
    assert_eq!(nora.get("/api/v1/me").await.expect(200)["roles"], json!(["member"]));
    app.anon().post("/api/v1/auth/login", json!({"email": NORA, "password": PASSWORD})).await.expect(200);

    let accepted = acme.admin.get(&path).await.expect(200);
    assert_eq!((&accepted["status"], &accepted["accepted_by"]), (&json!("accepted"), &session["user"]["id"]));
    assert_eq!(accepted["accepted_at"], accepted["created_at"], "the clock stands still");
    accept(&app, &token).await.expect_problem(401, "invalid_invitation");
    globex.owner.get(&path).await.expect_problem(404, "not_found");
    assert_eq!(globex.owner.get(INVITATIONS).await.expect(200)["data"], json!([]));
    let told = app.last_audited(&acme, "member.joined").await;
    assert_eq!(told.after, Some(json!({"roles": ["member"]})));
    app.last_audited(&acme, "invitation.created").await;
    app.last_audited(&acme, "invitation.accepted").await;
}

#[tokio::test]
async fn who_has_an_account_accepts_with_its_password_or_by_being_signed_in() {
    let app = TestApp::start().await;
    let (acme, globex, initech) = (app.org().await, app.org().await, app.org().await);
    let email = email_of(&globex);

    let (_, token) = invite(&app, &acme.owner, &email, "viewer").await;
    let with = |password: &str| {
        app.anon().request(Method::POST, ACCEPT).json(&json!({"token": token, "password": password}))
    };
    let missing = app.anon().post(ACCEPT, json!({"token": token})).await.expect_problem(422, "invalid");
    assert_eq!(pointers(&missing), ["/password"]);
    let wrong = Reply::of(with("a wrong password")).await;
    wrong.expect_problem(401, "invalid_credentials");
    let session = Reply::of(with(PASSWORD)).await.expect(200);
    assert_eq!(session["org"]["id"], acme.id.to_string());
    assert_eq!(session["orgs"].as_array().unwrap().len(), 2);
    assert_eq!(session["user"]["name"], "Olivia Owner", "and not a new one");

    let (_, token) = invite(&app, &initech.owner, &email, "viewer").await;
    accept_as(&acme.owner, &token).await.expect_problem(403, "wrong_account");
    let key = app.api_key(&globex, &["org:read"]).await;
    accept_as(&key, &token).await.expect_problem(403, "user_required");
    accept_as(&app.bearer("nonsense"), &token).await.expect_problem(401, "invalid_token");
    let session = accept_as(&globex.owner, &token).await.expect(200);
    assert_eq!(session["org"]["id"], initech.id.to_string());
    let there = app.bearer(session["access_token"].as_str().unwrap());
    assert_eq!(there.get("/api/v1/me").await.expect(200)["roles"], json!(["viewer"]));
    let refreshed =
        app.anon().post("/api/v1/auth/refresh", json!({"refresh_token": session["refresh_token"]})).await;
    assert_eq!(refreshed.expect(200)["org"]["id"], initech.id.to_string());

    let (_, token) = invite(&app, &initech.owner, "new@example.com", "viewer").await;
    accept_as(&globex.owner, &token).await.expect_problem(403, "wrong_account");
}

#[tokio::test]
async fn unknown_used_revoked_resent_and_expired_links_all_answer_the_same() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let globex = app.org().await;
    let unknown = accept(&app, "insula_invitation_nobodyhasthis").await;
    unknown.expect_problem(401, "invalid_invitation");
    let dead = async |token: &str| {
        let answer = accept(&app, token).await;
        assert_eq!(answer.but_for_the_request(), unknown.but_for_the_request());
    };
    let (_, used) = invite(&app, &acme.owner, "used@example.com", "viewer").await;
    accept(&app, &used).await.expect(201);
    dead(&used).await;

    let (revoked, token) = invite(&app, &acme.owner, "revoked@example.com", "viewer").await;
    let path = format!("{INVITATIONS}/{}", id(&revoked));
    acme.admin.delete(&path).await.expect(204);
    dead(&token).await;
    assert_eq!(acme.admin.get(&path).await.expect(200)["status"], "revoked");
    acme.admin.delete(&path).await.expect(204);
    let again = format!("{path}/resend");
    acme.admin.post(&again, json!({})).await.expect_problem(409, "revoked");
    globex.admin.post(&again, json!({})).await.expect_problem(404, "not_found");

    let (resent, old) = invite(&app, &acme.owner, "resent@example.com", "viewer").await;
    let path = format!("{INVITATIONS}/{}", id(&resent));
    app.clock.advance(Duration::from_hours(24));
    let owner = app.signed_in(acme.owner.user(), acme.id).await;
    let longer = owner.post(&format!("{path}/resend"), json!({})).await.expect(200);
    assert!(longer["expires_at"].as_str() > resent["expires_at"].as_str());
    dead(&old).await;
    let new = app.mailed_token("resent@example.com").await;
    accept(&app, &new).await.expect(201);
    owner.post(&format!("{path}/resend"), json!({})).await.expect_problem(409, "already_accepted");
    owner.delete(&path).await.expect_problem(409, "already_accepted");

    let (late, token) = invite(&app, &owner, "late@example.com", "viewer").await;
    app.clock.advance(Duration::from_hours(7 * 24));
    dead(&token).await;
    let owner = app.signed_in(acme.owner.user(), acme.id).await;
    let path = format!("{INVITATIONS}/{}", id(&late));
    assert_eq!(owner.get(&path).await.expect(200)["status"], "expired");
    let listed = owner.get(&format!("{INVITATIONS}?status=pending")).await.expect(200);
    assert_eq!((&listed["data"][0]["id"], &listed["data"][0]["status"]), (&late["id"], &json!("expired")));
    // Asked anew, it makes room.
    let (_, token) = invite(&app, &owner, "late@example.com", "viewer").await;
    accept(&app, &token).await.expect(201);
    for action in ["invitation.revoked", "invitation.resent"] {
        app.last_audited(&acme, action).await;
    }
}

#[tokio::test]
async fn a_link_opens_once_however_many_try_it_at_the_same_moment() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (_, token) = invite(&app, &acme.owner, NORA, "member").await;
    let replies = join_all((0..20).map(|_| accept(&app, &token))).await;
    let mut answers: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    answers.sort_unstable();
    assert_eq!(answers[..2], [201, 401], "{answers:?}");
    assert!(answers[1..].iter().all(|status| *status == 401), "{answers:?}");
    let members = acme.owner.get(&format!("/api/v1/users?q={NORA}")).await.expect(200);
    assert_eq!(members["data"].as_array().unwrap().len(), 1);

    // Hashing lets few of them in at once: the same, less that.
    for round in 0..10 {
        let (_, token) = invite(&app, &acme.owner, &format!("nora{round}@example.com"), "member").await;
        let (secret, trail) = (opaque::hash(&token), Trail::of_the_house(app.clock.now()));
        let new = Newcomer { name: "Nora", password_hash: "none" };
        let open = || gate::accept_invitation(&app.state.pools, &secret, UserId::new(), Some(&new), &trail);
        let answers = join_all((0..6).map(|_| open())).await;
        let opened: Vec<bool> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(opened.iter().filter(|opened| **opened).count(), 1);
    }

    // And as somebody who is signed in.
    let (_, token) = invite(&app, &acme.owner, &email_of(&globex), "member").await;
    let replies = join_all((0..20).map(|_| accept_as(&globex.owner, &token))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.status == 401).count(), 19);
    let told = app.audited(acme.id).await;
    assert_eq!(told.iter().filter(|line| line.action == "member.joined").count(), 12);
    assert_eq!(told.iter().filter(|line| line.action == "invitation.accepted").count(), 12);
}

#[tokio::test]
async fn an_address_has_one_pending_invitation_and_a_member_none() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    acme.admin.post(INVITATIONS, to(NORA, "viewer")).await.expect(201);
    acme.admin
        .post(INVITATIONS, to("NORA@example.com", "member"))
        .await
        .expect_problem(409, "already_invited");
    globex.admin.post(INVITATIONS, to(NORA, "viewer")).await.expect(201);
    let member = email_of(&acme).to_uppercase();
    acme.admin.post(INVITATIONS, to(&member, "viewer")).await.expect_problem(409, "already_member");
    let replies =
        join_all((0..8).map(|_| acme.admin.post(INVITATIONS, to("at-once@example.com", "viewer")))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 1);
}

#[tokio::test]
async fn who_joined_by_other_means_uses_their_invitation_up_and_keeps_their_roles() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (_, token) = invite(&app, &acme.owner, &email_of(&globex), "admin").await;
    app.join(&globex.owner, &acme, "viewer").await;
    accept_as(&globex.owner, &token).await.expect(200);
    let there = app.signed_in(globex.owner.user(), acme.id).await;
    assert_eq!(there.get("/api/v1/me").await.expect(200)["roles"], json!(["viewer"]));
    accept_as(&globex.owner, &token).await.expect_problem(401, "invalid_invitation");
    assert!(app.audited(acme.id).await.iter().all(|line| line.action != "member.joined"));
}

#[tokio::test]
async fn nobody_invites_to_more_than_they_hold_and_admins_are_made_by_fresh_sign_ins() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    acme.admin.post(INVITATIONS, to(NORA, "owner")).await.expect_problem(403, "beyond_your_own");
    acme.admin.post(INVITATIONS, to(NORA, "operator")).await.expect_problem(403, "beyond_your_own");
    acme.member.post(INVITATIONS, to(NORA, "viewer")).await.expect_problem(403, "permission_denied");
    let key = app.api_key(&acme, &["invitations:create"]).await;
    key.post(INVITATIONS, to(NORA, "viewer")).await.expect_problem(403, "beyond_your_own");
    let scopes = [
        "invitations:create",
        "org:read",
        "users:read",
        "roles:read",
        "categories:read",
        "products:read",
        "orders:read",
        "jobs:read",
        "events:read",
        "schedules:read",
        "files:read",
    ];
    let key = app.api_key(&acme, &scopes).await;
    let by_key = key.post(INVITATIONS, to("friend@example.com", "viewer")).await.expect(201);
    assert_eq!(by_key["invited_by"], json!(null));
    let test = app.api_key_in(&acme, "test", &scopes).await;
    test.post(INVITATIONS, to(NORA, "viewer")).await.expect_problem(409, "sandbox");

    let (to_owner, _) = invite(&app, &acme.owner, NORA, "owner").await;
    let path = format!("{INVITATIONS}/{}/resend", id(&to_owner));
    acme.admin.post(&path, json!({})).await.expect_problem(403, "beyond_your_own");
    app.clock.advance(Duration::from_secs(301));
    acme.owner.post(&path, json!({})).await.expect_problem(401, "step_up_required");
    acme.owner.post(INVITATIONS, to("x@example.com", "admin")).await.expect_problem(401, "step_up_required");
    acme.owner.post(INVITATIONS, to("x@example.com", "member")).await.expect(201);
    // The roles were fixed when it was sent: what became of the inviter is not asked.
    app.join(&acme.owner, &acme, "viewer").await;
    let token = app.mailed_token(NORA).await;
    let session = accept(&app, &token).await.expect(201);
    let nora = app.bearer(session["access_token"].as_str().unwrap());
    assert_eq!(nora.get("/api/v1/me").await.expect(200)["roles"], json!(["owner"]));
    globex.owner.get(INVITATIONS).await.expect(200);
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_pointed_at() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    for (body, pointer) in [
        (json!({"email": "nobody", "roles": ["viewer"]}), "/email"),
        (json!({"email": NORA, "roles": []}), "/roles"),
        (json!({"email": NORA, "roles": ["viewer", "wizard"]}), "/roles/1"),
        (json!({"email": NORA}), "/roles"),
    ] {
        let problem = acme.owner.post(INVITATIONS, body).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [pointer]);
    }
    let (_, token) = invite(&app, &acme.owner, NORA, "viewer").await;
    for (body, expected) in [
        (json!({"token": token}), &["/name", "/password"][..]),
        (json!({"token": token, "name": "Nora"}), &["/password"]),
        (json!({"token": token, "name": "Nora", "password": "too short"}), &["/password"]),
        (json!({"token": token, "name": "", "password": PASSWORD}), &["/name"]),
    ] {
        let problem = app.anon().post(ACCEPT, body).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), expected);
    }
    accept(&app, &token).await.expect(201);
    globex.owner.get(INVITATIONS).await.expect(200);
}

#[tokio::test]
async fn a_hundred_may_be_pending_and_no_more() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let invitations = (0..100).map(|at| to(&format!("guest{at}@example.com"), "viewer"));
    for invitation in invitations {
        acme.owner.post(INVITATIONS, invitation).await.expect(201);
    }
    acme.owner.post(INVITATIONS, to(NORA, "viewer")).await.expect_problem(409, "too_many_pending");
    globex.owner.post(INVITATIONS, to(NORA, "viewer")).await.expect(201);
    let first = acme.owner.get(&format!("{INVITATIONS}?limit=1")).await.expect(200);
    acme.owner.delete(&format!("{INVITATIONS}/{}", id(&first["data"][0]))).await.expect(204);
    acme.owner.post(INVITATIONS, to(NORA, "viewer")).await.expect(201);
}

#[tokio::test]
async fn an_org_that_is_shut_takes_nobody_in_until_it_is_open_again() {
    let app = TestApp::start().await;
    let (acme, globex, operator) = (app.org().await, app.org().await, app.operator().await);
    let (_, token) = invite(&app, &acme.owner, NORA, "viewer").await;
    let org = format!("/operator/v1/orgs/{}", acme.id);
    operator.patch(&org, json!({"status": "suspended", "reason": "unpaid"})).await.expect(200);
    accept(&app, &token).await.expect_problem(401, "invalid_invitation");
    operator.patch(&org, json!({"status": "active", "reason": "paid"})).await.expect(200);
    accept(&app, &token).await.expect(201);
    globex.owner.get(INVITATIONS).await.expect(200);
}
