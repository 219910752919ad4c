//! One's own account: what one may take along, and what is left of one.

use super::support::{PASSWORD, Persona, Reply, TestApp, cog, id, pointers, until, within_a_second};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const ME: &str = "/api/v1/me";
const EXPORT: &str = "/api/v1/me/export";

async fn leave_with(who: &Persona, password: &str) -> Reply {
    Reply::of(who.request(Method::DELETE, ME).json(&json!({"password": password}))).await
}

async fn leave(who: &Persona) -> Reply {
    leave_with(who, PASSWORD).await
}

async fn email_of(who: &Persona) -> String {
    who.get(ME).await.expect(200)["email"].as_str().unwrap().to_owned()
}

/// How many rows of an org's members are this person.
async fn memberships(app: &TestApp, who: &Persona) -> i64 {
    app.database.count(format!("select count(*) from members where user_id = '{}'", who.user().uuid())).await
}

#[tokio::test]
async fn what_is_kept_of_a_person_is_theirs_to_take_along() {
    let app = TestApp::start().await;
    let (acme, globex, initech) = (app.org().await, app.org().await, app.org().await);
    app.join(&acme.admin, &globex, "viewer").await;
    let key = json!({"name": "shop", "scopes": ["products:read"]});
    let made = acme.admin.post("/api/v1/api-keys", key.clone()).await.expect(201);
    acme.owner.post("/api/v1/api-keys", key).await.expect(201);

    let reply = acme.admin.get(EXPORT).await;
    let export = reply.expect(200);
    let me = acme.admin.user().to_string();
    assert_eq!(reply.header("content-disposition"), format!("attachment; filename=\"insula-{me}.json\""));
    assert_eq!(
        (&export["user"]["id"], &export["user"]["email"]),
        (&json!(me), &json!(email_of(&acme.admin).await))
    );
    let orgs: Vec<(&Value, &Value)> = export["memberships"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| (&member["org"]["slug"], &member["roles"]))
        .collect();
    let (ours, theirs) = ((json!(acme.slug), json!(["admin"])), (json!(globex.slug), json!(["viewer"])));
    assert_eq!(orgs, [(&ours.0, &ours.1), (&theirs.0, &theirs.1)]);
    assert_eq!(export["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(export["api_keys"].as_array().unwrap().len(), 1, "the owner's key is not the admin's");
    assert_eq!(export["api_keys"][0]["id"], made["id"]);
    assert!(!reply.text.contains(made["key"].as_str().unwrap()) && !reply.text.contains("argon2"));
    let events = export["audit_events"].as_array().unwrap();
    assert!(
        !events.is_empty() && events.iter().all(|event| event["org"] == acme.id.to_string()),
        "{events:?}"
    );
    let session = export["sessions"][0]["id"].clone();
    assert!(events.iter().any(|event| event["target"] == json!({"type": "session", "id": session})));
    assert!(events.iter().all(|event| event.get("after").is_none()), "that is the org's to read");

    // Once out of an org, what one did there is the org's alone.
    app.leave(&acme.admin, &acme).await;
    let elsewhere = app.signed_in(acme.admin.user(), globex.id).await;
    let export = elsewhere.get(EXPORT).await.expect(200);
    assert_eq!(export["api_keys"], json!([]));
    let events = export["audit_events"].as_array().unwrap();
    assert!(events.iter().all(|event| event["org"] == globex.id.to_string()), "{events:?}");
    assert!(!initech.owner.get(EXPORT).await.text.contains(&me));

    app.api_key(&globex, &["org:read"]).await.get(EXPORT).await.expect_problem(403, "user_required");
}

#[tokio::test]
async fn nothing_is_left_of_a_person_but_the_id_that_orders_and_the_audit_name() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.join(&acme.member, &globex, "admin").await;
    let who = &acme.member;
    let email = email_of(who).await;
    let login = json!({"email": email, "password": PASSWORD});
    let phone = app.anon().post("/api/v1/auth/login", login.clone()).await.expect(200);
    let key = app.signed_in(who.user(), globex.id).await;
    let key = key.post("/api/v1/api-keys", json!({"name": "x", "scopes": ["org:read"]})).await.expect(201);
    let product = acme.owner.post("/api/v1/products", cog()).await.expect(201);
    let lines = json!({"lines": [{"product_id": product["id"], "quantity": 1}]});
    let order = who.post("/api/v1/orders", lines).await;
    order.expect(201);
    let replica = app.replica().await;
    who.at(&replica.base).get(ME).await.expect(200);

    leave(who).await.expect(204);

    // Here at once, and elsewhere within a second.
    who.get(ME).await.expect_problem(401, "session_ended");
    app.bearer(phone["access_token"].as_str().unwrap()).get(ME).await.expect_problem(401, "session_ended");
    within_a_second("the other replica has heard", async || {
        who.at(&replica.base).get(ME).await.status == 401
    })
    .await;
    app.anon().post("/api/v1/auth/login", login).await.expect_problem(401, "invalid_credentials");
    let refresh = json!({"refresh_token": phone["refresh_token"]});
    let refused = app.anon().post("/api/v1/auth/refresh", refresh).await;
    refused.expect_problem(401, "invalid_refresh_token");

    assert_eq!(memberships(&app, who).await, 0);
    let user = who.user();
    let left = app.database.mentions(&email).await;
    let mails: Vec<&String> = left.iter().filter(|row| row.starts_with("mails: ")).collect();
    assert_eq!(left.len(), mails.len(), "their address is still in {left:?}");
    assert_eq!(
        mails.iter().filter(|mail| mail.contains("account_deleted")).count(),
        1,
        "they are told: {mails:?}"
    );
    assert_eq!(
        app.database
            .count(format!(
                "select count(*) from users u where id = '{id}' and name = 'Deleted user'
                 and not exists (select from credentials where user_id = u.id)
                 and not exists (select from refresh_tokens r join sessions s on s.id = session_id where user_id = u.id)
                 and not exists (select from sessions where user_id = u.id and (revoked_at is null or ip is not null))",
                id = user.uuid()
            ))
            .await,
        1
    );

    // What others need stays: the order, the org's key, the audit.
    let order = acme.owner.get(order.header("location")).await.expect(200);
    assert_eq!(order["placed_by"].to_string().matches(&user.to_string()).count(), 1, "{order}");
    app.bearer(key["key"].as_str().unwrap()).get("/api/v1/org").await.expect(200);
    for org in [&acme, &globex] {
        let told = org.owner.get("/api/v1/audit-events?action=account.deleted").await.expect(200);
        let [event] = &told["data"].as_array().unwrap()[..] else { panic!("{told}") };
        assert_eq!(event["actor"], json!({"type": "user", "id": user.to_string()}));
        assert_eq!(event["target"], event["actor"]);
    }

    // The address is free for somebody new.
    let again = json!({"email": email, "password": PASSWORD, "name": "Again", "org_name": "Again"});
    let again = app.anon().post("/api/v1/auth/register", again).await.expect(201);
    assert_ne!(id(&again["user"]), user.to_string());
}

#[tokio::test]
async fn a_replica_that_has_not_heard_of_it_yet_says_that_they_are_no_member_any_more() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let replica = app.replica().await;
    let there = acme.member.at(&replica.base);
    there.get(ME).await.expect(200);
    app.database.cut_bus().await;
    leave(&acme.member).await.expect(204);
    there.get(ME).await.expect_problem(403, "not_a_member");
}

#[tokio::test]
async fn it_takes_a_fresh_sign_in_the_password_and_a_person() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let wrong = leave_with(&acme.member, "correct horse batterz").await.expect_problem(422, "invalid");
    assert_eq!(pointers(&wrong), ["/password"]);
    acme.member.delete(ME).await.expect_problem(415, "unsupported_media_type");
    let key = app.api_key(&acme, &["org:read"]).await;
    leave(&key).await.expect_problem(403, "user_required");
    app.clock.advance(Duration::from_secs(301));
    leave(&acme.member).await.expect_problem(401, "step_up_required");
    assert_eq!(memberships(&app, &acme.member).await, 1);
    leave(&app.signed_in(acme.member.user(), acme.id).await).await.expect(204);
}

#[tokio::test]
async fn the_only_owner_of_an_org_stays_until_somebody_else_is_one() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.join(&acme.owner, &globex, "owner").await;
    let refused = leave(&acme.owner).await.expect_problem(409, "last_owner");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains(&acme.slug) && !detail.contains(&globex.slug), "{detail}");
    acme.owner.get(ME).await.expect(200);
    assert_eq!(
        app.database.count("select count(*) from audit_events where action = 'account.deleted'").await,
        0
    );

    // One who is suspended answers for nothing.
    app.join(&acme.admin, &acme, "owner").await;
    app.database.suspend_member(acme.id, acme.admin.user()).await;
    leave(&acme.owner).await.expect_problem(409, "last_owner");
    app.join(&acme.viewer, &acme, "owner").await;
    leave(&acme.owner).await.expect(204);
    leave(&acme.viewer).await.expect_problem(409, "last_owner");
    // A sandbox goes with its org, and holds nobody back.
    assert_eq!(memberships(&app, &acme.owner).await, 0);
}

#[tokio::test]
async fn an_org_of_nobody_else_ends_with_its_owner() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let side = acme.viewer.post("/api/v1/me/orgs", json!({"name": "Side"})).await.expect(201);
    let there = acme.viewer.post("/api/v1/auth/switch", json!({"org": side["id"]})).await.expect(200);
    let there = app.bearer(there["access_token"].as_str().unwrap());
    let key = json!({"name": "x", "mode": "test", "scopes": ["org:read"]});
    let key = there.post("/api/v1/api-keys", key).await.expect(201);
    let key = app.bearer(key["key"].as_str().unwrap());
    key.get("/api/v1/org").await.expect(200);

    leave(&acme.viewer).await.expect(204);
    key.get("/api/v1/org").await.expect_problem(403, "org_deleted");
    for (still, org) in [(&acme.owner, &acme), (&globex.owner, &globex)] {
        assert_eq!(still.get("/api/v1/org").await.expect(200)["slug"], org.slug);
    }
}

#[tokio::test]
async fn of_owners_who_leave_at_the_same_moment_one_has_to_stay() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    app.join(&acme.admin, &acme, "owner").await;
    // Neither can commit before the other has begun.
    let lock = app.database.lock_changes().await;
    let (one, other) = (acme.owner.clone(), acme.admin.clone());
    let both =
        [tokio::spawn(async move { leave(&one).await }), tokio::spawn(async move { leave(&other).await })];
    until("both are at it", async || app.database.waiting().await == 2).await;
    lock.release().await;
    let [one, other] = futures::future::join_all(both).await.try_into().unwrap();
    let (one, other) = (one.unwrap(), other.unwrap());
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409], "{} {}", one.text, other.text);
}
