//! Webhooks as their org sees them: who may make which, what is shown of them, and what can be asked again.

use super::support::{Persona, TestApp, id, pointers};
use serde_json::{Value, json};

const WEBHOOKS: &str = "/api/v1/webhooks";
/// Where nobody answers.
const NOBODY: &str = "http://127.0.0.1:9/hooks";

fn hook(events: &[&str]) -> Value {
    json!({"url": NOBODY, "events": events})
}

async fn make(by: &Persona, events: &[&str]) -> String {
    by.post(WEBHOOKS, hook(events)).await.expect(201);
    let listed = by.get(WEBHOOKS).await.expect(200);
    format!("{WEBHOOKS}/{}", id(&listed["data"][0]))
}

#[tokio::test]
async fn a_webhook_is_made_found_changed_and_deleted_by_who_may_and_shows_its_secret_once() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let new = json!({"url": "https://hooks.example.com/a?b=c", "events": ["product.created", "order.placed"],
                     "description": "The warehouse", "ordered": true, "concurrency": 7});
    acme.viewer.post(WEBHOOKS, new.clone()).await.expect_problem(403, "permission_denied");
    acme.member.get(WEBHOOKS).await.expect_problem(403, "permission_denied");
    let reply = acme.admin.post(WEBHOOKS, new.clone()).await;
    let made = reply.expect(201);
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");
    assert_eq!((&made["status"], &made["version"]), (&json!("enabled"), &json!(1)));
    assert_eq!(made["events"], json!(["order.placed", "product.created"]));
    for field in ["url", "description", "ordered", "concurrency"] {
        assert_eq!(made[field], new[field], "{field}");
    }
    let path = reply.header("location").to_owned();
    let found = acme.owner.get(&path).await;
    assert!(found.expect(200).get("secret").is_none());
    assert_eq!(found.header("etag"), reply.header("etag"));

    let change = json!({"events": ["*"], "ordered": false});
    acme.admin.patch_if(&path, "\"7\"", change.clone()).await.expect_problem(412, "stale");
    let changed = acme.admin.patch_if(&path, "\"1\"", change.clone()).await.expect(200);
    assert_eq!((&changed["events"], &changed["version"]), (&json!(["*"]), &json!(2)));
    assert_eq!(changed["description"], "The warehouse");
    let same = acme.admin.patch(&path, change).await.expect(200);
    assert_eq!(same["version"], 2, "nothing was changed");

    let listed =
        async |query: &str| acme.owner.get(&format!("{WEBHOOKS}?{query}")).await.expect(200)["data"].clone();
    assert_eq!(listed("type=file.created&status=enabled").await.as_array().unwrap().len(), 1);
    assert_eq!(listed("status=disabled").await, json!([]));
    let other = make(&acme.owner, &["product.created"]).await;
    assert_eq!(listed("type=order.placed").await.as_array().unwrap().len(), 1, "not of products alone");
    acme.admin.delete(&other).await.expect(204);
    acme.admin.delete(&other).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_webhook_that_is_disabled_by_hand_says_so_until_it_is_enabled_and_is_neither_tested_nor_replayed() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let path = make(&acme.owner, &["*"]).await;
    let disabled = acme.owner.patch(&path, json!({"status": "disabled"})).await.expect(200);
    assert_eq!((&disabled["status"], &disabled["disabled_reason"]), (&json!("disabled"), &json!("by_hand")));
    assert!(disabled["disabled_at"].is_string());
    for action in ["test", "replay"] {
        let refused = acme.owner.post(&format!("{path}/{action}"), json!({})).await;
        refused.expect_problem(409, "webhook_disabled");
    }
    let enabled = acme.owner.patch(&path, json!({"status": "enabled"})).await.expect(200);
    for none in ["disabled_reason", "disabled_at", "failing_since"] {
        assert_eq!(enabled[none], Value::Null, "{none}");
    }
    acme.owner.post(&format!("{path}/test"), json!({})).await.expect(202);
}

#[tokio::test]
async fn what_is_wrong_with_a_webhook_is_pointed_at() {
    let app = TestApp::start_with("[webhooks]\nallowed_networks = []").await;
    let acme = app.org().await;
    let fine = json!({"url": "https://hooks.example.com/", "events": ["product.created"]});
    for (field, value, pointer, code) in [
        ("url", json!("http://hooks.example.com/"), "/url", "not_https"),
        ("url", json!("hooks.example.com"), "/url", "malformed"),
        ("url", json!("https://me:secret@example.com/"), "/url", "user_info"),
        ("url", json!("https://169.254.169.254/latest/meta-data"), "/url", "forbidden_address"),
        ("url", json!("https://[::ffff:10.0.0.1]/"), "/url", "forbidden_address"),
        ("url", json!("https://localhost/"), "/url", "forbidden_address"),
        ("events", json!([]), "/events", "invalid"),
        ("events", json!(["product.created", "product.eaten"]), "/events/1", "unknown_event_type"),
        ("events", json!(["product.created", "*"]), "/events/1", "not_alone"),
        ("concurrency", json!(21), "/concurrency", "invalid"),
        ("status", json!("disabled"), "/status", "unknown_field"),
    ] {
        let mut new = fine.clone();
        new[field] = value;
        let problem = acme.owner.post(WEBHOOKS, new).await.expect_problem(422, "invalid");
        assert_eq!(
            (pointers(&problem), &problem["errors"][0]["code"]),
            (vec![pointer], &json!(code)),
            "{problem}"
        );
    }
    let path = acme.owner.post(WEBHOOKS, fine).await.header("location").to_owned();
    let moved = json!({"url": "https://10.0.0.1/"});
    let problem = acme.owner.patch(&path, moved).await.expect_problem(422, "invalid");
    assert_eq!(problem["errors"][0]["code"], "forbidden_address");
}

#[tokio::test]
async fn nobody_has_a_webhook_told_or_led_elsewhere_that_hears_what_they_may_not_read() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let everything = make(&acme.owner, &["*"]).await;
    let permissions = ["webhooks:create", "webhooks:update", "webhooks:read", "products:read"];
    let role = json!({"name": "integrator", "permissions": permissions});
    acme.owner.post("/api/v1/roles", role).await.expect(201);
    let path = format!("/api/v1/users/{}", acme.viewer.user());
    acme.owner.patch(&path, json!({"roles": ["integrator"]})).await.expect(200);
    let key = app.api_key(&acme, &permissions).await;
    for who in [&acme.viewer, &key] {
        let missing = async |events: &[&str]| {
            let refused = who.post(WEBHOOKS, hook(events)).await;
            refused.expect_problem(403, "permission_denied")["permission"].clone()
        };
        assert_eq!(missing(&["product.created", "order.placed"]).await, "orders:read");
        assert_ne!(missing(&["*"]).await, Value::Null);
        let own = make(who, &["product.created"]).await;
        let more = json!({"events": ["product.created", "order.placed"]});
        who.patch(&own, more).await.expect_problem(403, "permission_denied");
        let elsewhere = json!({"url": "http://127.0.0.1:9/mine"});
        who.patch(&own, elsewhere.clone()).await.expect(200);
        who.patch(&everything, elsewhere).await.expect_problem(403, "permission_denied");
        who.patch(&everything, json!({"concurrency": 2})).await.expect(200);
        acme.owner.patch(&everything, json!({"concurrency": 5})).await.expect(200);
    }
}

#[tokio::test]
async fn who_repeats_a_request_that_showed_a_secret_is_told_what_it_made_and_not_the_secret() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let made = acme.owner.post_as("a", WEBHOOKS, hook(&["*"])).await.expect(201);
    let again = acme.owner.post_as("a", WEBHOOKS, hook(&["*"])).await;
    assert_eq!(again.expect_problem(409, "already_created")["id"], made["id"]);
    assert_eq!(acme.owner.get(WEBHOOKS).await.expect(200)["data"].as_array().unwrap().len(), 1);
    let other = acme.owner.post_as("a", WEBHOOKS, hook(&["product.created"])).await;
    other.expect_problem(422, "invalid");

    let rotate = format!("{WEBHOOKS}/{}/rotate-secret", id(&made));
    let rotated = acme.owner.post_as("b", &rotate, json!({})).await.expect(200);
    assert_ne!(rotated["secret"], made["secret"]);
    acme.owner.post_as("b", &rotate, json!({})).await.expect_problem(409, "already_created");
    let test = format!("{WEBHOOKS}/{}/test", id(&made));
    let tested = acme.owner.post_as("c", &test, json!({})).await.expect(202);
    assert_eq!(acme.owner.post_as("c", &test, json!({})).await.expect(202), tested, "one event");
}

#[tokio::test]
async fn five_secrets_sign_at_most_and_a_rotation_without_overlap_ends_all_before_it() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let rotate = format!("{}/rotate-secret", make(&acme.owner, &["*"]).await);
    for _ in 0..4 {
        acme.owner.post(&rotate, json!({"overlap_seconds": 60})).await.expect(200);
    }
    let refused = acme.owner.post(&rotate, json!({})).await;
    refused.expect_problem(409, "too_many_secrets");
    let leaked = acme.owner.post(&rotate, json!({"overlap_seconds": 0})).await.expect(200);
    assert!(leaked["previous_until"].is_string());
    acme.owner.post(&rotate, json!({"overlap_seconds": 604_800})).await.expect(200);
    let too_long = acme.owner.post(&rotate, json!({"overlap_seconds": 604_801})).await;
    too_long.expect_problem(422, "invalid");
}

#[tokio::test]
async fn an_org_has_twenty_webhooks_and_another_its_own() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    for _ in 0..20 {
        acme.owner.post(WEBHOOKS, hook(&["product.created"])).await.expect(201);
    }
    acme.owner.post(WEBHOOKS, hook(&["product.created"])).await.expect_problem(409, "too_many_webhooks");
    make(&globex.owner, &["*"]).await;
}

#[tokio::test]
async fn neither_events_nor_audit_tell_a_secret_or_more_of_a_url_than_where_it_leads() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let url = |token: &str| format!("http://127.0.0.1:9/CANARY{token}?token=CANARY{token}");
    let new = json!({"url": url("one"), "events": ["category.created"]});
    let reply = acme.owner.post(WEBHOOKS, new).await;
    let (made, path) = (reply.expect(201), reply.header("location").to_owned());
    acme.owner.patch(&path, json!({"url": url("two")})).await.expect(200);
    let rotated = acme.owner.post(&format!("{path}/rotate-secret"), json!({})).await.expect(200);
    for action in ["test", "replay"] {
        acme.owner.post(&format!("{path}/{action}"), json!({})).await.expect(202);
    }
    acme.owner.delete(&path).await.expect(204);
    app.number().await;
    let kinds = ["created", "updated", "secret_rotated", "tested", "replayed", "deleted"];
    let told = acme.owner.get("/api/v1/events/history?sort=seq&limit=100").await;
    let events = told.expect(200)["data"].as_array().unwrap().clone();
    let about: Vec<_> = events.iter().filter(|event| event["data"]["object"]["id"] == made["id"]).collect();
    let wanted: Vec<_> = kinds.iter().map(|kind| json!(format!("webhook.{kind}"))).collect();
    assert_eq!(about.iter().map(|event| event["type"].clone()).collect::<Vec<_>>(), wanted);
    assert_eq!(about[0]["data"]["object"]["origin"], "http://127.0.0.1:9");
    assert!(about[1]["data"]["previous"]["url_sha256"].is_string(), "that it is another is told");
    let audit = acme.owner.get("/api/v1/audit-events?limit=100").await;
    assert!(audit.text.contains("webhook.secret_rotated"));
    for text in [&told.text, &audit.text] {
        assert!(!text.contains("CANARY"), "{text}");
        for secret in [&made["secret"], &rotated["secret"]] {
            assert!(!text.contains(secret.as_str().unwrap()));
        }
    }
    assert!(!acme.viewer.get("/api/v1/events/history?limit=100").await.text.contains("webhook."));
}
