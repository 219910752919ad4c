//! Which values a product may have, and how the others are told of.

use super::support::{Reply, TestApp, cog, id, pointers, product};
use reqwest::Method;
use serde_json::{Map, Value, json};

const PRODUCTS: &str = "/api/v1/products";

fn with(pointer: &str, value: Value) -> Value {
    let mut product = cog();
    product["cost"] = json!({"amount": 1, "currency": "EUR"});
    product["metadata"] = json!({});
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    product.pointer_mut(parent).unwrap()[field] = value;
    product
}

fn entries(count: usize) -> Value {
    (0..count).map(|at| (format!("name-{at}"), json!("text"))).collect::<Map<_, _>>().into()
}

#[tokio::test]
async fn what_a_product_cannot_be_is_pointed_at() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    for (pointer, value) in [
        ("/sku", json!("")),
        ("/sku", json!("x".repeat(65))),
        ("/sku", json!(7)),
        ("/name", json!("")),
        ("/name", json!("ä".repeat(201))),
        ("/description", json!("x".repeat(10_001))),
        ("/price", json!(19.99)),
        ("/price/amount", json!(-1)),
        ("/price/amount", json!(1_000_000_000_001_i64)),
        ("/price/amount", json!(19.99)),
        ("/price/amount", json!("1999")),
        ("/price/amount", json!(u64::MAX)),
        ("/price/amount", json!(1e300)),
        ("/price/currency", json!("eur")),
        ("/price/currency", json!("EURO")),
        ("/price/currency", json!("ÄÖ")),
        ("/price/cents", json!(99)),
        ("/cost/amount", json!(-1)),
        ("/stock", json!(-1)),
        ("/stock", json!(2_147_483_648_i64)),
        ("/stock", json!(1.5)),
        ("/category_id", json!("prd_01jd8yq3c5f4x7t9k2m6n8p0rs")),
        ("/category_id", json!("cat_01jd8yq3c5f4x7t9k2m6n8p0rs")),
        ("/is_active", json!("yes")),
        ("/metadata", entries(51)),
        ("/metadata", json!({"": "unnamed"})),
        ("/metadata", json!({"n".repeat(41): "text"})),
        ("/metadata", json!({"name": "x".repeat(501)})),
        ("/metadata/name", json!(7)),
        ("/metadata/name", json!({"deep": "er"})),
        ("/id", json!("prd_01jd8yq3c5f4x7t9k2m6n8p0rs")),
    ] {
        let problem = acme.owner.post(PRODUCTS, with(pointer, value.clone())).await;
        let problem = problem.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [pointer], "{value}");
    }
    for field in ["sku", "name", "price"] {
        let mut product = cog();
        product.as_object_mut().unwrap().remove(field);
        let problem = acme.owner.post(PRODUCTS, product).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [format!("/{field}")]);
        assert_eq!(problem["errors"][0]["code"], "missing_field");
    }
    assert_eq!(acme.owner.get(PRODUCTS).await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn every_flaw_of_a_body_is_told_at_once() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let mut product = with("/price/amount", json!(-1));
    product["name"] = json!("");
    product["stock"] = json!(-1);
    let problem = acme.owner.post(PRODUCTS, product).await.expect_problem(422, "invalid");
    let mut found = pointers(&problem);
    found.sort_unstable();
    assert_eq!(found, ["/name", "/price/amount", "/stock"]);
}

#[tokio::test]
async fn the_last_value_that_fits_is_accepted_and_kept() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    for (at, (pointer, value)) in [
        ("/name", json!("ä".repeat(200))),
        ("/description", json!("x".repeat(10_000))),
        ("/price/amount", json!(1_000_000_000_000_i64)),
        ("/price/amount", json!(0)),
        ("/stock", json!(i32::MAX)),
        ("/metadata", entries(50)),
        ("/metadata", json!({"n".repeat(40): "ü".repeat(500)})),
        ("/name", json!("'; drop table products; --")),
        ("/name", json!("\\u0000 is no NUL here")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut product = with(pointer, value.clone());
        product["sku"] = json!(format!("S-{at}"));
        let made = acme.owner.post(PRODUCTS, product).await.expect(201);
        assert_eq!(made.pointer(pointer), Some(&value));
        assert_eq!(acme.owner.get(&format!("{PRODUCTS}/{}", id(&made))).await.expect(200), made);
    }
}

#[tokio::test]
async fn cost_and_price_are_of_one_currency() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (euros, dollars) = (json!({"amount": 1, "currency": "EUR"}), json!({"amount": 1, "currency": "USD"}));
    let problem = acme.owner.post(PRODUCTS, with("/cost", dollars.clone())).await;
    assert_eq!(pointers(&problem.expect_problem(422, "invalid")), ["/cost"]);

    let made = acme.owner.post(PRODUCTS, with("/cost", euros)).await.expect(201);
    let path = format!("{PRODUCTS}/{}", id(&made));
    for patch in [json!({"cost": dollars}), json!({"price": dollars})] {
        let problem = acme.owner.patch(&path, patch).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), ["/cost"]);
    }
    acme.owner.patch(&path, json!({"cost": dollars, "price": dollars})).await.expect(200);
}

#[tokio::test]
async fn metadata_is_merged_name_by_name_and_never_outgrows_its_limits() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let made = acme.owner.post(PRODUCTS, with("/metadata", json!({"a": "1", "b": "2"}))).await.expect(201);
    let path = format!("{PRODUCTS}/{}", id(&made));
    let change = json!({"metadata": {"a": null, "b": "3", "c": "4", "never": null}});
    let patched = acme.owner.patch(&path, change).await.expect(200);
    assert_eq!(patched["metadata"], json!({"b": "3", "c": "4"}));

    let problem = acme.owner.patch(&path, json!({"metadata": entries(49)})).await;
    assert_eq!(pointers(&problem.expect_problem(422, "invalid")), ["/metadata"]);
    assert_eq!(acme.owner.get(&path).await.expect(200)["metadata"], patched["metadata"]);
    let full = acme.owner.patch(&path, json!({"metadata": entries(48)})).await.expect(200);
    assert_eq!(full["metadata"].as_object().unwrap().len(), 50);
}

#[tokio::test]
async fn a_nul_character_is_refused_wherever_it_hides() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    for (pointer, value) in [
        ("/name", json!("a\0b")),
        ("/sku", json!("\0")),
        ("/metadata", json!({"a\0b": "text"})),
        ("/metadata", json!({"name": "a\0b"})),
    ] {
        let problem = acme.owner.post(PRODUCTS, with(pointer, value)).await.expect_problem(422, "invalid");
        assert_eq!(problem["errors"][0]["code"], "nul_character");
    }
    let raw = acme.owner.request(Method::POST, PRODUCTS).header("content-type", "application/json");
    let raw = Reply::of(raw.body("{\"sku\": \"a\0b\"}")).await;
    raw.expect_problem(400, "malformed_json");

    let nowhere = acme.owner.get(&format!("{PRODUCTS}/prd_01jd8yq3c5f4x7t9k2m6n8p0rs")).await;
    for id in ["prd_%00", "%00", "prd_01jd8yq3c5f4x7t9k2m6n8p0r%00", "%FF", "prd_01JD8YQ3C5F4X7T9K2M6N8P0RS!"]
    {
        let answer = acme.owner.get(&format!("{PRODUCTS}/{id}")).await;
        assert_eq!(answer.without_request_id(), nowhere.without_request_id(), "{id}");
    }
    let key = acme.owner.request(Method::GET, &format!("{PRODUCTS}?category_id=%00"));
    Reply::of(key).await.expect_problem(400, "bad_parameter");
    acme.owner.post(PRODUCTS, product("FINE", 1)).await.expect(201);
}
