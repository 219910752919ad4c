//! A test key works in the org's sandbox, which is another island.

use super::{id_in, make, product};
use crate::support::{Persona, Source, TestApp, another_of_its_kind};
use serde_json::{Value, json};

const COLLECTIONS: [&str; 3] = ["/api/v1/categories", "/api/v1/products", "/api/v1/orders"];
const SCOPES: [&str; 11] = [
    "categories:read",
    "categories:create",
    "products:read",
    "products:create",
    "products:update",
    "files:read",
    "files:create",
    "orders:read",
    "orders:create",
    "webhooks:read",
    "webhooks:create",
];

#[tokio::test]
async fn test_keys_see_nothing_of_live_data_and_live_callers_nothing_of_the_sandbox() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let test = app.api_key_in(&acme, "test", &SCOPES).await;
    let live = app.api_key_in(&acme, "live", &SCOPES).await;
    for collection in COLLECTIONS {
        let in_live = make(&app, &acme.owner, collection, collection).await;
        let before = count(&acme.owner, collection).await;
        let in_sandbox = make(&app, &test, collection, collection).await;
        test.get(&in_sandbox).await.expect(200);
        live.get(&in_live).await.expect(200);

        for (stranger, path) in [(&test, &in_live), (&live, &in_sandbox), (&acme.owner, &in_sandbox)] {
            let answer = stranger.get(path).await;
            answer.expect_problem(404, "not_found");
            let never_was = format!("{collection}/{}", another_of_its_kind(id_in(path)));
            let unknown = stranger.get(&never_was).await;
            assert_eq!(answer.but_for_the_request(), unknown.but_for_the_request(), "{path}");
        }
        assert_eq!(count(&acme.owner, collection).await, before, "{collection} of the live org grew");
        for row in rows(&test, collection).await {
            acme.owner.get(&format!("{collection}/{}", row["id"].as_str().unwrap())).await.expect(404);
        }
    }
}

#[tokio::test]
async fn a_sandbox_shares_no_name_stock_or_number_with_its_org() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let test = app.api_key_in(&acme, "test", &SCOPES).await;
    let same = product();
    for who in [&acme.owner, &test] {
        let made = who.post("/api/v1/products", same.clone()).await.expect(201);
        let order = json!({"lines": [{"product_id": made["id"], "quantity": 10}]});
        assert_eq!(who.post("/api/v1/orders", order).await.expect(201)["number"], 1, "each counts from 1");
        assert_eq!(count(who, "/api/v1/orders").await, 1);
    }
}

/// Tables with a fence that a reset leaves alone, and why.
const KEPT: [(&str, &str); 23] = [
    ("api_keys", "keys are the live org's"),
    ("audit_events", "what was done stays known"),
    ("audit_heads", "what was done stays known"),
    ("event_heads", "what happened stays known"),
    ("events", "what happened stays known"),
    ("decisions", "what was decided stays known"),
    ("invitations", "nobody is invited to a sandbox"),
    ("loose_files", "the worker deletes what they name"),
    ("job_files", "a sweep deletes the files, and then forgets them"),
    ("members", "who may come in still may"),
    ("monthly_uses", "what was used of a quota stays used"),
    ("org_control", "it stays open, and on its tier"),
    ("orgs", "it is still there"),
    ("overrides", "an operator has given them"),
    ("permission_uses", "what was used stays known"),
    ("roles", "who may come in still may"),
    ("usage_alerts", "what was told stays told"),
    ("usage_minutes", "what was used stays known"),
    ("webhook_attempts", "they go with their webhook"),
    ("webhook_deliveries", "they go with their webhook"),
    ("webhook_secrets", "they go with their webhook"),
    ("usage_policy_minutes", "what was used stays known"),
    ("usage_route_minutes", "what was used stays known"),
];

#[tokio::test]
async fn a_sandbox_that_is_reset_is_empty_and_nothing_else_is() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let scopes = [&SCOPES[..], &["org:delete"]].concat();
    let key = app.api_key_in(&acme, "test", &scopes).await;
    let other = app.api_key_in(&globex, "test", &scopes).await;
    let lists =
        ["/api/v1/products", "/api/v1/files", "/api/v1/orders", "/api/v1/categories", "/api/v1/webhooks"];
    for who in [&key, &other, &acme.owner] {
        for list in lists {
            make(&app, who, "", list).await;
        }
    }
    let shown = make(&app, &key, "", "/api/v1/products/{id}/images").await;
    acme.owner.post("/api/v1/org/reset", json!({})).await.expect_problem(409, "not_a_sandbox");
    let live = app.api_key(&acme, &["org:delete"]).await;
    live.post("/api/v1/org/reset", json!({})).await.expect_problem(409, "not_a_sandbox");
    let meek = app.api_key_in(&acme, "test", &["products:read"]).await;
    meek.post("/api/v1/org/reset", json!({})).await.expect_problem(403, "permission_denied");

    let reply = key.post("/api/v1/org/reset", json!({})).await;
    assert_eq!(reply.status, 204, "{}", reply.text);
    for list in lists {
        assert_eq!(count(&key, list).await, 0, "{list}");
        assert!(count(&other, list).await > 0, "another org's sandbox: {list}");
        assert!(count(&acme.owner, list).await > 0, "live data: {list}");
    }
    key.get(&shown).await.expect_problem(404, "not_found");
    assert_eq!(app.database.recorded_of(&reply).await[0].action, "sandbox.reset");
    let again = make(&app, &key, "", "/api/v1/orders").await;
    assert_eq!(key.get(&again).await.expect(200)["number"], 1);

    let reset = Source::all().into_iter().find(|source| source.path == "api/org/reset.rs").unwrap();
    for fenced in app.database.fenced_tables().await {
        let table = &fenced.table;
        let (kept, cleared) = (
            KEPT.iter().any(|(kept, _)| kept == table),
            reset.text.contains(&format!("delete from {table} ")),
        );
        assert!(kept != cleared, "{table}: have a reset clear it, or say above why not");
    }
}

async fn rows(persona: &Persona, collection: &str) -> Vec<Value> {
    persona.get(collection).await.expect(200)["data"].as_array().unwrap().clone()
}

async fn count(persona: &Persona, collection: &str) -> usize {
    rows(persona, collection).await.len()
}
