//! Addresses: shown to be one's own, and changed.

use super::support::{Org, PASSWORD, Persona, Reply, TestApp};
use futures::future::join_all;
use serde_json::json;
use std::time::Duration;

const VERIFY: &str = "/api/v1/auth/email/verify";
const AGAIN: &str = "/api/v1/me/email/verification";
const CHANGE: &str = "/api/v1/me/email";
const HALF_AN_HOUR: Duration = Duration::from_mins(30);

fn owner_of(org: &Org) -> String {
    format!("owner@{}.example", org.slug)
}

async fn verify(app: &TestApp, token: &str) -> Reply {
    app.anon().post(VERIFY, json!({"token": token})).await
}

#[track_caller]
fn no_good(reply: &Reply) {
    let problem = reply.expect_problem(422, "invalid");
    let flaw = &problem["errors"][0];
    assert_eq!((&flaw["pointer"], &flaw["code"]), (&json!("/token"), &json!("invalid_token")));
}

async fn verified(who: &Persona) -> bool {
    who.get("/api/v1/me").await.expect(200)["email_verified"].as_bool().unwrap()
}

async fn sign_in(app: &TestApp, email: &str) -> Reply {
    app.anon().post("/api/v1/auth/login", json!({"email": email, "password": PASSWORD})).await
}

async fn ask(who: &Persona, email: &str) -> Reply {
    who.post(CHANGE, json!({"email": email, "password": PASSWORD})).await
}

/// What came to the address so far, and to the new one.
async fn both_tokens(app: &TestApp, old: &str, new: &str) -> [String; 2] {
    let mailbox = app.mailbox();
    [mailbox.token_for(old, "confirm_email_change").await, mailbox.token_for(new, "confirm_new_email").await]
}

async fn audited(app: &TestApp, action: &str, org: &Org) -> i64 {
    let of = format!("action = '{action}' and org_id = '{}'", org.id.uuid());
    app.database.count(&format!("select count(*) from audit_events where {of}")).await
}

#[tokio::test]
async fn who_signs_up_is_asked_to_show_that_the_address_is_theirs() {
    let app = TestApp::start().await;
    let account =
        json!({"email": "Ada@example.com", "password": PASSWORD, "name": "Ada", "org_name": "Lovelace Ltd"});
    let session = app.anon().post("/api/v1/auth/register", account).await.expect(201);
    let ada = app.bearer(session["access_token"].as_str().unwrap());
    assert!(!verified(&ada).await, "and may work all the same");
    let mails = app.mailbox().of("ada@example.com").await;
    assert_eq!((mails.len(), mails[0].template.as_str()), (1, "verify_email"));
    assert_eq!((&mails[0].params["name"], mails[0].org), (&json!("Ada"), None));

    let token = app.mailbox().token_for("ada@example.com", "verify_email").await;
    verify(&app, &token).await.expect(204);
    assert!(verified(&ada).await);
    for gone in [&token, "insula_mail_nonsense", ""] {
        no_good(&verify(&app, gone).await);
    }
    assert_eq!(
        app.database.count("select count(*) from audit_events where action = 'email.verified'").await,
        1
    );
    // Nothing that opens anything is in the database as it is.
    assert_eq!(
        app.database
            .count(&format!("select count(*) from mails where strpos(mails::text, '{token}') > 0"))
            .await,
        0
    );
}

#[tokio::test]
async fn a_mail_that_got_lost_is_sent_again_a_few_times_and_not_once_the_address_is_verified() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let email = owner_of(&acme);
    for _ in 0..7 {
        acme.owner.post(AGAIN, json!({})).await.expect(202);
    }
    assert_eq!(app.mailbox().of_kind(&email, "verify_email").await.len(), 5, "with the one of signing up");
    app.clock.advance(HALF_AN_HOUR);
    no_good(&verify(&app, &app.mailbox().token_for(&email, "verify_email").await).await);
    let owner = app.signed_in(acme.owner.user(), acme.id).await;
    owner.post(AGAIN, json!({})).await.expect(202);
    verify(&app, &app.mailbox().token_for(&email, "verify_email").await).await.expect(204);
    assert!(verified(&owner).await);
    let sent = app.mailbox().of(&email).await.len();
    owner.post(AGAIN, json!({})).await.expect(202);
    assert_eq!(app.mailbox().of(&email).await.len(), sent);

    let other = app.signed_in(globex.owner.user(), globex.id).await;
    assert!(!verified(&other).await);
    app.anon().post(AGAIN, json!({})).await.expect_problem(401, "unauthenticated");
    let key = app.api_key(&Org { owner: other.clone(), ..globex }, &["org:read"]).await;
    key.post(AGAIN, json!({})).await.expect_problem(403, "user_required");
}

#[tokio::test]
async fn an_address_changes_once_both_have_confirmed_whichever_comes_first() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    for (org, old_first) in [(&acme, true), (&globex, false)] {
        let (old, new) = (owner_of(org), format!("new@{}.example", org.slug));
        let session = sign_in(&app, &old).await.expect(200);
        let here = app.bearer(session["access_token"].as_str().unwrap());
        assert_eq!(ask(&here, &new.to_uppercase()).await.status, 202);
        let [mut first, mut second] = both_tokens(&app, &old, &new).await;
        if !old_first {
            std::mem::swap(&mut first, &mut second);
        }

        assert_eq!(verify(&app, &first).await.status, 204);
        assert_eq!(here.get("/api/v1/me").await.expect(200)["email"], json!(old), "one is not enough");
        no_good(&verify(&app, &first).await);
        sign_in(&app, &new).await.expect(401);

        assert_eq!(verify(&app, &second).await.status, 204);
        let me = here.get("/api/v1/me").await.expect(200);
        assert_eq!((&me["email"], &me["email_verified"]), (&json!(new), &json!(true)));
        org.owner.get("/api/v1/me").await.expect_problem(401, "session_ended");
        sign_in(&app, &old).await.expect_problem(401, "invalid_credentials");
        sign_in(&app, &new).await.expect(200);

        let told = app.mailbox().of_kind(&old, "email_changed").await;
        assert_eq!((told.len(), &told[0].params["new_email"]), (1, &json!(new)));
        let members = |email: &str| {
            format!(
                "select count(*) from members where user_id = '{}' and email = '{email}'",
                org.owner.user().uuid()
            )
        };
        assert_eq!(app.database.count(&members(&new)).await, 2, "in the org and its sandbox");
        assert_eq!(app.database.count(&members(&old)).await, 0);
        for action in ["email.change_requested", "email.changed"] {
            assert_eq!(audited(&app, action, org).await, 1, "{action}");
        }
    }
    acme.admin.get("/api/v1/me").await.expect(200);
}

#[tokio::test]
async fn tokens_that_come_at_once_are_both_counted() {
    let app = TestApp::start().await;
    for _ in 0..4 {
        let acme = app.org().await;
        let (old, new) = (owner_of(&acme), format!("new@{}.example", acme.slug));
        ask(&acme.owner, &new).await.expect(202);
        let tokens = both_tokens(&app, &old, &new).await;
        let replies = join_all(tokens.iter().chain(&tokens).map(|token| verify(&app, token))).await;
        assert_eq!(replies.iter().filter(|reply| reply.status == 204).count(), 2, "{replies:?}");
        assert_eq!(acme.owner.get("/api/v1/me").await.expect(200)["email"], json!(new));
        assert_eq!(audited(&app, "email.changed", &acme).await, 1);
    }
}

#[tokio::test]
async fn nobody_learns_who_has_an_address_by_wishing_for_it_nor_takes_it() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (old, theirs) = (owner_of(&acme), owner_of(&globex));
    let free = ask(&acme.owner, "free@example.com").await;
    let [void, _] = both_tokens(&app, &old, "free@example.com").await;
    let wished = ask(&acme.owner, &theirs).await;
    wished.expect(202);
    assert_eq!(wished.but_for_the_request(), free.but_for_the_request());
    assert_eq!(app.mailbox().of_kind(&theirs, "confirm_new_email").await.len(), 0);

    let confirmed = app.mailbox().token_for(&old, "confirm_email_change").await;
    verify(&app, &confirmed).await.expect(204);
    no_good(&verify(&app, &confirmed).await);
    no_good(&verify(&app, &void).await);
    assert_eq!(acme.owner.get("/api/v1/me").await.expect(200)["email"], json!(old));
    assert_eq!(globex.owner.get("/api/v1/me").await.expect(200)["email"], json!(theirs));
    sign_in(&app, &theirs).await.expect(200);
}

#[tokio::test]
async fn an_address_that_somebody_takes_meanwhile_is_theirs() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (old, new) = (owner_of(&acme), "ada@example.com");
    ask(&acme.owner, new).await.expect(202);
    let [first, second] = both_tokens(&app, &old, new).await;
    verify(&app, &first).await.expect(204);
    let account = json!({"email": new, "password": PASSWORD, "name": "Ada", "org_name": "Lovelace Ltd"});
    app.anon().post("/api/v1/auth/register", account).await.expect(201);
    verify(&app, &second).await.expect_problem(409, "email_taken");
    assert_eq!(acme.owner.get("/api/v1/me").await.expect(200)["email"], json!(old));
    assert_eq!(app.mailbox().of_kind(&old, "email_changed").await.len(), 0);
}

#[tokio::test]
async fn a_wish_ends_after_half_an_hour_and_with_the_next_one() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let old = owner_of(&acme);
    ask(&acme.owner, "first@example.com").await.expect(202);
    let [old_first, new_first] = both_tokens(&app, &old, "first@example.com").await;
    ask(&acme.owner, "second@example.com").await.expect(202);
    let [old_second, new_second] = both_tokens(&app, &old, "second@example.com").await;
    for void in [&old_first, &new_first] {
        no_good(&verify(&app, void).await);
    }
    app.clock.advance(Duration::from_secs(1_799));
    verify(&app, &old_second).await.expect(204);
    app.clock.advance(Duration::from_secs(1));
    no_good(&verify(&app, &new_second).await);
    let owner = app.signed_in(acme.owner.user(), acme.id).await;
    assert_eq!(owner.get("/api/v1/me").await.expect(200)["email"], json!(old));
}

/// Five of a kind are enough, and a sixth wish never makes do with half of its tokens.
#[tokio::test]
async fn wishes_flood_no_mailbox_and_none_is_granted_by_one_address_alone() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let old = owner_of(&acme);
    for at in 0..5 {
        ask(&acme.owner, &format!("new{at}@example.com")).await.expect(202);
    }
    let [of_old, _] = both_tokens(&app, &old, "new4@example.com").await;
    verify(&app, &of_old).await.expect(204);
    for _ in 0..3 {
        ask(&acme.owner, "new5@example.com").await.expect(202);
    }
    assert_eq!(app.mailbox().of("new5@example.com").await.len(), 0);
    assert_eq!(app.mailbox().of_kind(&old, "confirm_email_change").await.len(), 5);
    // The one that was under way goes on.
    verify(&app, &app.mailbox().token_for("new4@example.com", "confirm_new_email").await).await.expect(204);
    assert_eq!(acme.owner.get("/api/v1/me").await.expect(200)["email"], "new4@example.com");
}

#[tokio::test]
async fn what_was_sent_to_the_address_so_far_proves_nothing_once_it_has_changed() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (old, new) = (owner_of(&acme), "new@example.com");
    app.anon().post("/api/v1/auth/password/forgot", json!({"email": old})).await.expect(202);
    let reset = app.mailbox().token_for(&old, "reset_password").await;
    let verification = app.mailbox().token_for(&old, "verify_email").await;
    ask(&acme.owner, new).await.expect(202);
    for token in both_tokens(&app, &old, new).await {
        verify(&app, &token).await.expect(204);
    }
    no_good(&verify(&app, &verification).await);
    let stolen = json!({"token": reset, "password": "a thief's new password"});
    no_good(&app.anon().post("/api/v1/auth/password/reset", stolen).await);
}

#[tokio::test]
async fn it_takes_a_fresh_sign_in_and_the_password_to_wish() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let own = owner_of(&acme).to_uppercase();
    for (email, password, pointer, code) in [
        ("new@example.com", "not the password", "/password", "wrong_password"),
        (own.as_str(), PASSWORD, "/email", "unchanged"),
        ("nobody", PASSWORD, "/email", "invalid"),
    ] {
        let refused = acme.owner.post(CHANGE, json!({"email": email, "password": password})).await;
        let problem = refused.expect_problem(422, "invalid");
        let flaw = &problem["errors"][0];
        assert_eq!((&flaw["pointer"], &flaw["code"]), (&json!(pointer), &json!(code)), "{email}");
    }
    app.clock.advance(Duration::from_secs(301));
    ask(&acme.owner, "new@example.com").await.expect_problem(401, "step_up_required");
    assert_eq!(app.mailbox().of("new@example.com").await.len(), 0);
}
