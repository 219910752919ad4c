//! Passwords: which are taken, how they are changed and set anew, and what they cost.

use super::support::{Org, PASSWORD, Persona, Reply, TestApp};
use futures::future::join_all;
use serde_json::json;
use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

const REGISTER: &str = "/api/v1/auth/register";
const LOGIN: &str = "/api/v1/auth/login";
const FORGOT: &str = "/api/v1/auth/password/forgot";
const RESET: &str = "/api/v1/auth/password/reset";
const CHANGE: &str = "/api/v1/me/password";
const NEW: &str = "staple the wrong horse";

fn owner_of(org: &Org) -> String {
    format!("owner@{}.example", org.slug)
}

async fn sign_in(app: &TestApp, email: &str, password: &str) -> Reply {
    app.anon().post(LOGIN, json!({"email": email, "password": password})).await
}

async fn signed_in(app: &TestApp, email: &str) -> Persona {
    let session = sign_in(app, email, PASSWORD).await.expect(200);
    app.bearer(session["access_token"].as_str().unwrap())
}

/// Asks for a new password, and answers the token that came by mail.
async fn forgot(app: &TestApp, email: &str) -> String {
    app.anon().post(FORGOT, json!({"email": email})).await.expect(202);
    app.mailbox().token_for(&email.to_lowercase(), "reset_password").await
}

async fn reset(app: &TestApp, token: &str, password: &str) -> Reply {
    app.anon().post(RESET, json!({"token": token, "password": password})).await
}

async fn audited(app: &TestApp, action: &str, org: &Org) -> i64 {
    let of = format!("action = '{action}' and org_id = '{}'", org.id.uuid());
    app.database.count(&format!("select count(*) from audit_events where {of}")).await
}

#[track_caller]
fn refused_as(reply: &Reply, pointer: &str, code: &str) {
    let problem = reply.expect_problem(422, "invalid");
    let flaws = problem["errors"].as_array().unwrap();
    assert_eq!(
        (flaws.len(), &flaws[0]["pointer"], &flaws[0]["code"]),
        (1, &json!(pointer), &json!(code)),
        "{flaws:?}"
    );
}

#[tokio::test]
async fn what_everybody_would_try_first_is_refused_wherever_a_password_is_set() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let token = forgot(&app, &owner_of(&acme)).await;
    for password in ["password1234", "QWERTY123456", "aaaaaaaaaaaaaaa", "abcabcabcabcab"] {
        let account =
            json!({"email": "ada@example.com", "password": password, "name": "Ada", "org_name": "Ada"});
        refused_as(&app.anon().post(REGISTER, account).await, "/password", "common_password");
        refused_as(&reset(&app, &token, password).await, "/password", "common_password");
        let change = json!({"current_password": PASSWORD, "new_password": password});
        refused_as(&acme.owner.post(CHANGE, change).await, "/new_password", "common_password");
    }
    for password in ["eleven char", &"x1y2z3w".repeat(37)] {
        refused_as(&reset(&app, &token, password).await, "/password", "invalid");
    }
    reset(&app, &token, NEW).await.expect(204);
}

#[tokio::test]
async fn nobody_is_their_own_password() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let token = forgot(&app, &owner_of(&acme)).await;
    for own in [owner_of(&acme).to_uppercase(), "olivia OWNER".to_owned()] {
        refused_as(&reset(&app, &token, &own).await, "/password", "common_password");
        let change = json!({"current_password": PASSWORD, "new_password": own});
        refused_as(&acme.owner.post(CHANGE, change).await, "/new_password", "common_password");
        let account =
            json!({"email": owner_of(&acme), "password": own, "name": "Olivia Owner", "org_name": "Ada"});
        refused_as(&app.anon().post(REGISTER, account).await, "/password", "common_password");
    }
    reset(&app, &token, NEW).await.expect(204);
}

#[tokio::test]
async fn a_changed_password_ends_every_other_session_of_that_person_and_nobody_elses() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let email = owner_of(&acme);
    let (here, there) = (signed_in(&app, &email).await, signed_in(&app, &email).await);

    let wrong = json!({"current_password": "not the password", "new_password": NEW});
    refused_as(&here.post(CHANGE, wrong).await, "/current_password", "wrong_password");
    there.get("/api/v1/me").await.expect(200);
    assert_eq!(audited(&app, "password.changed", &acme).await, 0);

    here.post(CHANGE, json!({"current_password": PASSWORD, "new_password": NEW})).await.expect(204);
    here.get("/api/v1/me").await.expect(200);
    for ended in [&there, &acme.owner] {
        ended.get("/api/v1/me").await.expect_problem(401, "session_ended");
    }
    globex.owner.get("/api/v1/me").await.expect(200);
    acme.admin.get("/api/v1/me").await.expect(200);

    sign_in(&app, &email, PASSWORD).await.expect_problem(401, "invalid_credentials");
    sign_in(&app, &email, NEW).await.expect(200);
    sign_in(&app, &owner_of(&globex), PASSWORD).await.expect(200);
    assert_eq!(audited(&app, "password.changed", &acme).await, 1);
    assert_eq!(audited(&app, "password.changed", &globex).await, 0);
    let mails = app.mailbox().of_kind(&email, "password_changed").await;
    assert_eq!((mails.len(), &mails[0].params["name"]), (1, &json!("Olivia Owner")));
    assert_eq!(mails[0].token, None);
}

#[tokio::test]
async fn of_two_changes_at_once_one_holds() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (here, there) = (signed_in(&app, &owner_of(&acme)).await, signed_in(&app, &owner_of(&acme)).await);
    let to = |new: &str| json!({"current_password": PASSWORD, "new_password": new});
    let both = [(&here, "the first new password"), (&there, "the second new password")];
    let replies = join_all(both.map(|(who, new)| who.post(CHANGE, to(new)))).await;
    let held: Vec<_> = both.iter().zip(&replies).filter(|(_, reply)| reply.status == 204).collect();
    assert_eq!(held.len(), 1, "{replies:?}");
    assert_eq!(audited(&app, "password.changed", &acme).await, 1);
    sign_in(&app, &owner_of(&acme), held[0].0.1).await.expect(200);
}

#[tokio::test]
async fn a_token_sets_a_new_password_once_and_shows_whose_the_address_is() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let email = owner_of(&acme);
    let (first, token) = (forgot(&app, &email).await, forgot(&app, &email.to_uppercase()).await);
    assert_ne!(first, token);
    assert_eq!(acme.owner.get("/api/v1/me").await.expect(200)["email_verified"], false);

    assert_eq!(reset(&app, &token, NEW).await.status, 204);
    acme.owner.get("/api/v1/me").await.expect_problem(401, "session_ended");
    globex.owner.get("/api/v1/me").await.expect(200);
    sign_in(&app, &email, PASSWORD).await.expect_problem(401, "invalid_credentials");
    let session = sign_in(&app, &email, NEW).await.expect(200);
    let me = app.bearer(session["access_token"].as_str().unwrap());
    assert_eq!(me.get("/api/v1/me").await.expect(200)["email_verified"], true);

    // Used, replaced and invented look the same.
    for gone in [&token, &first, "insula_mail_nonsense", ""] {
        refused_as(&reset(&app, gone, "yet another password").await, "/token", "invalid_token");
    }
    sign_in(&app, &email, NEW).await.expect(200);
    assert_eq!(
        (audited(&app, "password.reset", &acme).await, audited(&app, "password.reset", &globex).await),
        (1, 0)
    );
    assert_eq!(app.mailbox().of_kind(&email, "password_changed").await.len(), 1);
}

#[tokio::test]
async fn a_token_is_good_for_half_an_hour_for_its_own_purpose_and_for_one_of_many_who_have_it() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let email = owner_of(&acme);
    let late = forgot(&app, &email).await;
    app.clock.advance(Duration::from_mins(30));
    refused_as(&reset(&app, &late, NEW).await, "/token", "invalid_token");

    let token = forgot(&app, &email).await;
    app.clock.advance(Duration::from_secs(1_799));
    let verify = app.anon().post("/api/v1/auth/email/verify", json!({"token": token})).await;
    refused_as(&verify, "/token", "invalid_token");
    let all = join_all((0..5).map(|_| reset(&app, &token, NEW))).await;
    assert_eq!(all.iter().filter(|reply| reply.status == 204).count(), 1, "{all:?}");
    assert_eq!(audited(&app, "password.reset", &acme).await, 1);
}

#[tokio::test]
async fn who_changes_the_password_makes_void_what_was_asked_for_before() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let token = forgot(&app, &owner_of(&acme)).await;
    acme.owner.post(CHANGE, json!({"current_password": PASSWORD, "new_password": NEW})).await.expect(204);
    refused_as(&reset(&app, &token, "a thief's new password").await, "/token", "invalid_token");
}

#[tokio::test]
async fn nobody_learns_who_has_an_account_by_forgetting_a_password() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let known = app.anon().post(FORGOT, json!({"email": owner_of(&acme)})).await;
    let unknown = app.anon().post(FORGOT, json!({"email": "nobody@example.com"})).await;
    known.expect(202);
    assert_eq!(known.but_for_the_request(), unknown.but_for_the_request());
    assert_eq!(known.text, unknown.text);
    assert_eq!(app.mailbox().of_kind(&owner_of(&acme), "reset_password").await.len(), 1);
    assert_eq!(app.mailbox().of("nobody@example.com").await.len(), 0);
    // Both wrote the same number of rows, to take the same time.
    assert_eq!(
        app.database.count("select count(*) from mail_tokens where purpose = 'reset_password'").await,
        2
    );
    assert_eq!(app.database.count("select count(*) from mails where template = 'reset_password'").await, 2);
}

#[tokio::test]
async fn a_mailbox_is_not_flooded_whoever_asks() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let email = owner_of(&acme);
    let replies =
        join_all((0..12).map(|_| async { app.anon().post(FORGOT, json!({"email": email})).await })).await;
    let told: HashSet<String> = replies.iter().map(Reply::but_for_the_request).collect();
    assert_eq!((told.len(), replies[0].status), (1, 202), "the sixth is answered like the first");
    assert_eq!(app.mailbox().of_kind(&email, "reset_password").await.len(), 5);
    reset(&app, &app.mailbox().token_for(&email, "reset_password").await, NEW).await.expect(204);

    // Others are not kept from theirs, and time heals.
    forgot(&app, &owner_of(&globex)).await;
    app.clock.advance(Duration::from_mins(30));
    forgot(&app, &email).await;
}

#[tokio::test]
async fn a_password_is_hashed_anew_once_it_costs_too_little_and_only_at_its_own_sign_in() {
    let cheap = "[auth]\nargon2_memory_kib = 7168\nargon2_passes = 1";
    let app = TestApp::start_with(cheap).await;
    let account =
        |email: &str| json!({"email": email, "password": PASSWORD, "name": "Ada", "org_name": "Ada"});
    for email in ["ada@example.com", "bob@example.com"] {
        app.anon().post(REGISTER, account(email)).await.expect(201);
    }
    let count = async |cost: &str| {
        let sql =
            format!("select count(*) from credentials where password_hash like '$argon2id$v=19${cost}$%'");
        app.database.count(&sql).await
    };
    sign_in(&app, "ada@example.com", PASSWORD).await.expect(200);
    assert_eq!(count("m=7168,t=1,p=1").await, 2);

    let raised = app.replica().await;
    sign_in(&raised, "ada@example.com", "not the password").await.expect(401);
    assert_eq!(count("m=7168,t=1,p=1").await, 2, "who does not know it changes nothing");
    sign_in(&raised, "ada@example.com", PASSWORD).await.expect(200);
    assert_eq!((count("m=7168,t=1,p=1").await, count("m=19456,t=2,p=1").await), (1, 1));
    // The same password, and dear enough now; a replica that is not raised yet leaves it.
    for app in [&raised, &app] {
        sign_in(app, "ada@example.com", PASSWORD).await.expect(200);
    }
    assert_eq!((count("m=7168,t=1,p=1").await, count("m=19456,t=2,p=1").await), (1, 1));
}

#[tokio::test]
async fn a_flood_of_sign_ins_is_refused_beyond_the_queue_and_starves_nobody() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let key = app.api_key(&globex, &["products:read"]).await;
    let over = AtomicBool::new(false);
    // No account takes more than ten attempts at once, so the flood is one of many.
    let emails: Vec<String> = (0..40).map(|at| format!("flood{at}@{}.example", acme.slug)).collect();
    for email in &emails {
        app.member_at(&acme, email).await;
    }
    let flood = async {
        let replies = join_all((0..200).map(|at| sign_in(&app, &emails[at % emails.len()], PASSWORD))).await;
        over.store(true, Ordering::SeqCst);
        replies
    };
    let bystander = async {
        let mut seen = 0;
        while !over.load(Ordering::SeqCst) {
            key.get("/api/v1/products").await.expect(200);
            // As long as it takes to earn the next one back.
            app.clock.advance(Duration::from_millis(20));
            seen += 1;
        }
        seen
    };
    let (replies, seen) = tokio::join!(flood, bystander);
    assert!(seen > 0);
    let (signed_in, refused): (Vec<Reply>, Vec<Reply>) =
        replies.into_iter().partition(|reply| reply.status == 200);
    assert!(!signed_in.is_empty() && !refused.is_empty(), "{} of 200 were signed in", signed_in.len());
    for reply in refused {
        reply.expect_problem(503, "unavailable");
        assert_eq!(reply.header("retry-after"), "1");
    }
    // And afterwards there is room again.
    sign_in(&app, &owner_of(&acme), PASSWORD).await.expect(200);
}
