//! A test key works in the org's sandbox, which is another island.

use super::{id_in, make, product};
use crate::support::{Persona, TestApp, another_of_its_kind};
use serde_json::{Value, json};

const COLLECTIONS: [&str; 3] = ["/api/v1/categories", "/api/v1/products", "/api/v1/orders"];
const SCOPES: [&str; 6] = [
    "categories:read",
    "categories:create",
    "products:read",
    "products:create",
    "orders:read",
    "orders:create",
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

async fn rows(persona: &Persona, collection: &str) -> Vec<Value> {
    persona.get(collection).await.expect(200)["data"].as_array().unwrap().clone()
}

async fn count(persona: &Persona, collection: &str) -> usize {
    rows(persona, collection).await.len()
}
