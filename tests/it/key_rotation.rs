//! One key takes the place of another, without a moment in which neither works.

use super::support::{Org, Persona, TestApp, cog, id, pointers};
use serde_json::{Value, json};
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const KEYS: &str = "/api/v1/api-keys";
const PRODUCTS: &str = "/api/v1/products";

fn reader() -> Value {
    json!({"name": "shop", "scopes": ["products:read"]})
}

async fn made(org: &Org, body: Value) -> (Value, String) {
    let made = org.owner.post(KEYS, body).await.expect(201);
    let path = format!("{KEYS}/{}", id(&made));
    (made, path)
}

async fn rotate(by: &Persona, path: &str, body: Value) -> Value {
    by.post(&format!("{path}/rotate"), body).await.expect(201)
}

fn bearer(app: &TestApp, made: &Value) -> Persona {
    app.bearer(made["key"].as_str().unwrap())
}

fn moment(value: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(value.as_str().unwrap(), &Rfc3339).unwrap()
}

#[tokio::test]
async fn a_rotated_key_is_like_the_old_one_and_both_work_for_the_overlap() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let body = json!({
        "name": "shop", "mode": "test", "scopes": ["products:read", "products:create"],
        "allowed_ips": ["127.0.0.1", "2001:db8::/32"],
    });
    let (old, path) = made(&acme, body).await;
    let bystander = app.api_key(&globex, &["products:read"]).await;

    let reply = acme.admin.post(&format!("{path}/rotate"), json!({"overlap_seconds": 60})).await;
    let new = reply.expect(201);
    assert_eq!(reply.header("location"), format!("{KEYS}/{}", id(&new)));
    for same in ["name", "mode", "scopes", "allowed_ips"] {
        assert_eq!(new[same], old[same], "{same}");
    }
    assert!(new["key"].as_str().unwrap().starts_with("insula_test_") && new["key"] != old["key"]);
    assert_eq!(new["created_by"], acme.admin.user().to_string());
    assert_eq!((&new["rotated_from"], &new["rotated_to"]), (&old["id"], &Value::Null));
    let ends = acme.owner.get(&path).await.expect(200);
    assert_eq!((&ends["rotated_from"], &ends["rotated_to"]), (&Value::Null, &new["id"]));
    assert_eq!(moment(&ends["expires_at"]), app.clock.now() + time::Duration::seconds(60));
    assert_eq!(moment(&new["expires_at"]), app.clock.now() + time::Duration::days(90));

    let (old, new) = (bearer(&app, &old), bearer(&app, &new));
    old.post(PRODUCTS, cog()).await.expect(201);
    app.clock.advance(Duration::from_secs(59));
    assert_eq!(new.get(PRODUCTS).await.expect(200), old.get(PRODUCTS).await.expect(200), "the same sandbox");
    app.clock.advance(Duration::from_secs(1));
    let refused = old.get(PRODUCTS).await;
    refused.expect_problem(401, "invalid_api_key");
    let made_up = insula::authn::api_key::NewKey::new(insula::authn::api_key::KeyMode::Test).text;
    let unknown = app.bearer(&made_up).get(PRODUCTS).await;
    assert_eq!(refused.without_request_id(), unknown.without_request_id(), "rotated out, as if it never was");
    new.get(PRODUCTS).await.expect(200);
    bystander.get(PRODUCTS).await.expect(200);
}

#[tokio::test]
async fn an_overlap_is_a_day_unless_told_otherwise_a_week_at_most_and_makes_no_key_live_longer() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (_, path) = made(&acme, reader()).await;
    rotate(&acme.owner, &path, json!({})).await;
    let ends = moment(&acme.owner.get(&path).await.expect(200)["expires_at"]);
    assert_eq!(ends, app.clock.now() + time::Duration::days(1));

    let soon = (app.clock.now() + time::Duration::hours(1)).format(&Rfc3339).unwrap();
    let mut short = reader();
    short["expires_at"] = soon.into();
    let (short, path) = made(&acme, short).await;
    rotate(&acme.owner, &path, json!({"overlap_seconds": 604_800})).await;
    assert_eq!(acme.owner.get(&path).await.expect(200)["expires_at"], short["expires_at"]);

    let (now, path) = made(&acme, reader()).await;
    let later = (app.clock.now() + time::Duration::days(400)).format(&Rfc3339).unwrap();
    let new = rotate(&acme.owner, &path, json!({"overlap_seconds": 0, "expires_at": later})).await;
    bearer(&app, &now).get(PRODUCTS).await.expect_problem(401, "invalid_api_key");
    assert_eq!(moment(&new["expires_at"]), app.clock.now() + time::Duration::days(400));

    let path = format!("{KEYS}/{}/rotate", id(&new));
    let past = app.clock.now().format(&Rfc3339).unwrap();
    for (body, pointer) in [
        (json!({"overlap_seconds": 604_801}), "/overlap_seconds"),
        (json!({"overlap_seconds": -1}), "/overlap_seconds"),
        (json!({"expires_at": past}), "/expires_at"),
        (json!({"scopes": ["orders:read"]}), "/scopes"),
    ] {
        let problem = acme.owner.post(&path, body).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [pointer]);
    }
    bearer(&app, &new).get(PRODUCTS).await.expect(200);
}

#[tokio::test]
async fn a_key_is_rotated_once_and_never_after_it_was_revoked() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (_, path) = made(&acme, reader()).await;
    let next = rotate(&acme.owner, &path, json!({})).await;
    let again = acme.owner.post(&format!("{path}/rotate"), json!({})).await;
    let problem = again.expect_problem(409, "key_rotated");
    assert!(problem["detail"].as_str().unwrap().contains(id(&next)), "{problem}");
    rotate(&acme.owner, &format!("{KEYS}/{}", id(&next)), json!({})).await;

    let (_, path) = made(&acme, reader()).await;
    acme.owner.delete(&path).await.expect(204);
    acme.owner.post(&format!("{path}/rotate"), json!({})).await.expect_problem(409, "key_revoked");
    assert_eq!(acme.owner.get(KEYS).await.expect(200)["data"].as_array().unwrap().len(), 4);

    // One that has expired is renewed.
    let soon = (app.clock.now() + time::Duration::seconds(1)).format(&Rfc3339).unwrap();
    let mut short = reader();
    short["expires_at"] = soon.into();
    let (short, path) = made(&acme, short).await;
    app.clock.advance(Duration::from_secs(1));
    let new = rotate(&acme.owner, &path, json!({})).await;
    bearer(&app, &short).get(PRODUCTS).await.expect_problem(401, "invalid_api_key");
    bearer(&app, &new).get(PRODUCTS).await.expect(200);
}

#[tokio::test]
async fn who_rotates_must_hold_what_the_key_may_do() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (old, path) = made(&acme, reader()).await;
    acme.member.post(&format!("{path}/rotate"), json!({})).await.expect_problem(403, "permission_denied");
    app.api_key(&acme, &["api_keys:create", "products:read"])
        .await
        .post(&format!("{path}/rotate"), json!({}))
        .await
        .expect_problem(403, "user_required");

    app.database.widen_api_keys(acme.id, "platform_tiers:update").await;
    let refused = acme.owner.post(&format!("{path}/rotate"), json!({"overlap_seconds": 0})).await;
    let problem = refused.expect_problem(422, "invalid");
    assert_eq!(problem["errors"][0]["code"], "scope_not_held", "{problem}");
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("platform_tiers:update"), "{problem}");
    bearer(&app, &old).get(PRODUCTS).await.expect(200);
    assert_eq!(acme.owner.get(&path).await.expect(200)["rotated_to"], Value::Null);
}

#[tokio::test]
async fn making_and_rotating_keys_ask_for_a_fresh_sign_in() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (_, path) = made(&acme, reader()).await;
    app.clock.advance(Duration::from_mins(5));
    made(&acme, reader()).await;
    app.clock.advance(Duration::from_secs(1));
    for stale in [KEYS, &format!("{path}/rotate")] {
        let body = if stale == KEYS { reader() } else { json!({}) };
        let refused = acme.owner.post(stale, body.clone()).await;
        refused.expect_problem(401, "step_up_required");
        assert!(refused.header("www-authenticate").contains("insufficient_user_authentication"));
        app.signed_in(acme.owner.user(), acme.id).await.post(stale, body).await.expect(201);
    }
    // What takes access away never waits.
    acme.owner.delete(&path).await.expect(204);
}

#[tokio::test]
async fn a_request_repeated_makes_one_key_and_never_shows_it_again() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let key = acme.owner.post_as("once", KEYS, reader()).await.expect(201);
    let again = acme.owner.post_as("once", KEYS, reader()).await;
    let problem = again.expect_problem(409, "already_created");
    assert_eq!(problem["id"], key["id"]);
    let secret = key["key"].as_str().unwrap();
    assert!(!again.text.contains(&secret[16..]), "{}", again.text);
    let stored = format!(
        "select count(*) from idempotency_keys where body like '%{}%' or body not like 'key_%'",
        &secret[16..]
    );
    assert_eq!(app.database.count(stored).await, 0, "a secret was stored");

    let mut other = reader();
    other["name"] = "till".into();
    let reused = acme.owner.post_as("once", KEYS, other).await.expect_problem(422, "invalid");
    assert_eq!(reused["errors"][0]["code"], "idempotency_key_reused");
    // Each caller's keys are their own, and so are each operation's.
    acme.admin.post_as("once", KEYS, reader()).await.expect(201);
    globex.owner.post_as("once", KEYS, reader()).await.expect(201);
    let path = format!("{KEYS}/{}/rotate", id(&key));
    let new = acme.owner.post_as("once", &path, json!({})).await.expect(201);
    let again = acme.owner.post_as("once", &path, json!({})).await.expect_problem(409, "already_created");
    assert_eq!(again["id"], new["id"]);
    let elsewhere = format!("{KEYS}/{}/rotate", id(&new));
    acme.owner.post_as("once", &elsewhere, json!({})).await.expect_problem(422, "invalid");

    // Without a key each request is another; one that can't be used is refused.
    let plain = acme.owner.request(reqwest::Method::POST, KEYS).json(&reader());
    assert_eq!(plain.send().await.unwrap().status(), 201);
    acme.owner.post_as("", KEYS, reader()).await.expect_problem(400, "idempotency_key_required");
    assert_eq!(acme.owner.get(KEYS).await.expect(200)["data"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn an_org_has_a_thousand_keys_that_work_at_most() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (_, path) = made(&acme, reader()).await;
    app.database.idle_api_keys(acme.id, 998, app.clock.now() + time::Duration::hours(1)).await;
    app.database.idle_api_keys(acme.id, 50, app.clock.now()).await;
    let (_, last) = made(&acme, reader()).await;
    acme.owner.post(KEYS, reader()).await.expect_problem(409, "too_many_api_keys");
    let rotation = format!("{path}/rotate");
    acme.owner.post(&rotation, json!({})).await.expect_problem(409, "too_many_api_keys");
    // One for one there is always room.
    acme.owner.post(&rotation, json!({"overlap_seconds": 0})).await.expect(201);
    made(&globex, reader()).await;

    acme.owner.delete(&last).await.expect(204);
    let tried = futures::future::join_all((0..4).map(|_| acme.owner.post(KEYS, reader()))).await;
    let (made, refused): (Vec<_>, Vec<_>) = tried.iter().partition(|reply| reply.status == 201);
    assert_eq!((made.len(), refused.len()), (1, 3), "the place of the revoked one was given once");
    app.clock.advance(Duration::from_hours(1));
    app.signed_in(acme.owner.user(), acme.id).await.post(KEYS, reader()).await.expect(201);
}

#[tokio::test]
async fn what_happens_to_keys_is_audited_without_their_secrets() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (old, path) = made(&acme, reader()).await;
    let new = rotate(&acme.admin, &path, json!({"overlap_seconds": 0})).await;
    let next = format!("{KEYS}/{}", id(&new));
    acme.owner.patch(&next, json!({"name": "till", "allowed_ips": ["203.0.113.0/24"]})).await.expect(200);
    acme.owner.patch(&next, json!({"name": "till"})).await.expect(200);
    let sweeper = app.api_key(&acme, &["api_keys:delete"]).await;
    for _ in 0..2 {
        sweeper.delete(&next).await.expect(204);
    }
    let uuid = |key: &Value| id(key).parse::<insula::ids::ApiKeyId>().unwrap().uuid().to_string();

    let created = app.database.audited(acme.id, "api_key.created").await;
    assert_eq!(created.len(), 3);
    assert_eq!(created[0]["target"], uuid(&old));
    assert_eq!(created[1]["after"]["rotated_from"], old["id"]);
    let rotated = app.database.audited(acme.id, "api_key.rotated").await;
    assert_eq!((rotated.len(), &rotated[0]["target"]), (1, &json!(uuid(&old))));
    assert_eq!(rotated[0]["actor"], acme.admin.user().uuid().to_string());
    assert_eq!(rotated[0]["after"]["rotated_to"], new["id"]);
    let updated = app.database.audited(acme.id, "api_key.updated").await;
    assert_eq!(updated.len(), 1, "what changed nothing is no event: {updated:?}");
    assert_eq!(updated[0]["before"], json!({"name": "shop", "allowed_ips": []}));
    assert_eq!(updated[0]["after"], json!({"name": "till", "allowed_ips": ["203.0.113.0/24"]}));
    let revoked = app.database.audited(acme.id, "api_key.revoked").await;
    assert_eq!((revoked.len(), &revoked[0]["kind"]), (1, &json!("api_key")), "a key is an actor of its own");
    assert_eq!((&revoked[0]["target"], &revoked[0]["ip"]), (&json!(uuid(&new)), &json!("127.0.0.1")));

    for secret in [&old["key"], &new["key"]] {
        let secret = &secret.as_str().unwrap()[16..];
        let told = format!("select count(*) from audit_events where (before, after)::text like '%{secret}%'");
        assert_eq!(app.database.count(told).await, 0);
    }
    assert_eq!(app.database.audited(globex.id, "api_key.created").await, [json!(null); 0]);
}
