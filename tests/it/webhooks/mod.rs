//! Webhooks: what happens is told to whoever wants to hear of it, signed, until they have it, and nothing goes elsewhere.

mod disabling;
mod killed;
mod matrix;
mod signatures;
mod turns;

use super::support::{Org, Persona, TestApp, id, product};
use serde_json::{Value, json};

/// Delivers, and tries again at once.
const FAST: &str = "[webhooks]\nin_flight = 64\ntimeout_milliseconds = 1000\nretry_seconds = [0.05, 0.05]\n";

/// Something to tell of.
async fn make_product(by: &Persona, sku: &str) {
    by.post("/api/v1/products", product(sku, 1)).await.expect(201);
}

async fn make_products(by: &Persona, many: usize) {
    let items: Vec<Value> = (0..many).map(|nth| json!({"create": product(&format!("P-{nth}"), 1)})).collect();
    by.post("/api/v1/products/bulk", json!({"atomic": true, "items": items})).await.expect(200);
}

/// The events of a type in an org, by number.
async fn history(org: &Org, kind: &str) -> Vec<String> {
    let path = format!("/api/v1/events/history?sort=seq&limit=100&type={kind}");
    let page = org.owner.get(&path).await.expect(200);
    page["data"].as_array().unwrap().iter().map(|event| id(event).to_owned()).collect()
}

async fn fast() -> TestApp {
    TestApp::start_with(FAST).await
}
