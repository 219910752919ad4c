//! What is one's own may be done to, and what is not one's own to see is not there.

use super::support::{Document, Org, Persona, TestApp, cog, id, pointers, product};
use reqwest::Method;
use serde_json::{Value, json};

const ORDERS: &str = "/api/v1/orders";
const PRODUCTS: &str = "/api/v1/products";

/// Somebody's order, as its path.
async fn order(org: &Org, by: &Persona) -> String {
    let filter = org.owner.get(&format!("{PRODUCTS}?limit=1")).await.expect(200);
    let product = match filter["data"].as_array().unwrap().first() {
        Some(product) => product.clone(),
        None => org.owner.post(PRODUCTS, product("COG", 100)).await.expect(201),
    };
    let lines = json!({"lines": [{"product_id": product["id"], "quantity": 1}]});
    by.post(ORDERS, lines).await.expect(201);
    let newest = org.owner.get(&format!("{ORDERS}?limit=1&sort=-number")).await.expect(200);
    format!("{ORDERS}/{}", id(&newest["data"][0]))
}

async fn cancel(by: &Persona, order: &str) -> super::support::Reply {
    by.post(&format!("{order}/cancel"), json!({})).await
}

#[tokio::test]
async fn a_member_cancels_the_orders_they_placed_and_no_others() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (own, colleague) = (order(&acme, &acme.member).await, order(&acme, &acme.admin).await);

    let refused = cancel(&acme.member, &colleague).await.expect_problem(403, "not_yours");
    assert_eq!(refused["permission"], "orders:cancel");
    assert_eq!(refused["your_roles"], json!(["member"]));
    assert_eq!(acme.owner.get(&colleague).await.expect(200)["status"], "placed");
    assert_eq!(cancel(&acme.member, &own).await.expect(200)["status"], "cancelled");
    assert_eq!(
        cancel(&acme.admin, &order(&acme, &acme.member).await).await.expect(200)["status"],
        "cancelled"
    );

    // Whoever may cancel nothing is told what would do.
    let refused = cancel(&acme.viewer, &colleague).await.expect_problem(403, "permission_denied");
    assert_eq!(refused["permission"], "orders:cancel_own");

    // Another's order of another org is none at all.
    let theirs = order(&globex, &globex.admin).await;
    let missing = cancel(&acme.member, &format!("{ORDERS}/ord_01jd8yq3c5f4x7t9k2m6n8p0rs")).await;
    let foreign = cancel(&acme.member, &theirs).await;
    foreign.expect_problem(404, "not_found");
    assert_eq!(foreign.without_request_id(), missing.without_request_id());
    assert_eq!(globex.owner.get(&theirs).await.expect(200)["status"], "placed");
}

#[tokio::test]
async fn a_key_cancels_by_its_scopes_as_people_do_by_their_roles() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let places = ["orders:create", "orders:read", "orders:cancel_own"];
    let (till, other) = (app.api_key(&acme, &places).await, app.api_key(&acme, &places).await);
    let any = app.api_key(&acme, &["orders:cancel"]).await;
    let none = app.api_key(&acme, &["orders:create"]).await;
    let own = order(&acme, &till).await;
    let of_member = order(&acme, &acme.member).await;

    cancel(&none, &own).await.expect_problem(403, "permission_denied");
    for (key, order) in [(&other, &own), (&till, &of_member)] {
        assert_eq!(cancel(key, order).await.expect_problem(403, "not_yours")["permission"], "orders:cancel");
    }
    cancel(&acme.member, &own).await.expect_problem(403, "not_yours");
    cancel(&till, &own).await.expect(200);
    // The greater right holds the lesser.
    cancel(&any, &of_member).await.expect(200);
}

#[tokio::test]
async fn a_role_that_may_cancel_any_order_may_cancel_its_holders_own() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    for (name, permissions, denied) in [
        ("canceller", vec!["orders:cancel", "orders:create"], vec![]),
        ("never", vec!["orders:cancel", "orders:create"], vec!["orders:cancel_own"]),
    ] {
        let role = json!({"name": name, "permissions": permissions, "denied": denied});
        acme.owner.post("/api/v1/roles", role).await.expect(201);
    }
    let canceller = app.member(acme.id, &acme.slug, "canceller").await;
    let never = app.member(acme.id, &acme.slug, "never").await;
    let (own, others) = (order(&acme, &canceller).await, order(&acme, &never).await);
    cancel(&never, &others).await.expect_problem(403, "permission_denied");
    cancel(&never, &own).await.expect_problem(403, "permission_denied");
    cancel(&canceller, &own).await.expect(200);
    cancel(&canceller, &others).await.expect(200);
}

#[tokio::test]
async fn the_right_to_cancel_any_order_is_asked_of_the_policy_that_the_transaction_sees() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (acme, _globex) = (here.org().await, here.org().await);
    let admin = acme.admin.at(&there.base);
    cancel(&admin, &order(&acme, &acme.owner).await).await.expect(200);
    let second = order(&acme, &acme.owner).await;
    here.database.cut_bus().await;
    here.join(&acme.admin, &acme, "member").await;
    cancel(&admin, &second).await.expect_problem(403, "not_yours");
}

fn dear() -> Value {
    let mut product = cog();
    product["cost"] = json!({"amount": 700, "currency": "EUR"});
    product
}

/// Every place of an answer where something is called `cost`.
fn costs(value: &Value) -> usize {
    match value {
        Value::Object(fields) => {
            usize::from(fields.contains_key("cost")) + fields.values().map(costs).sum::<usize>()
        }
        Value::Array(values) => values.iter().map(costs).sum(),
        _ => 0,
    }
}

#[tokio::test]
async fn a_cost_is_not_there_for_who_may_not_see_it() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let made = acme.admin.post(PRODUCTS, dear()).await.expect(201);
    assert_eq!(made["cost"]["amount"], 700);
    let costless = acme.owner.post(PRODUCTS, product("FREE", 1)).await.expect(201);
    assert_eq!(costless["cost"], Value::Null);
    assert_eq!(costs(&costless), 1, "whoever may see it sees that there is none");
    let path = format!("{PRODUCTS}/{}", id(&made));
    let (blind, seeing) = (
        app.api_key(&acme, &["products:read"]).await,
        app.api_key(&acme, &["products:read", "products:read_cost"]).await,
    );

    for who in [&acme.owner, &acme.admin, &seeing] {
        assert_eq!(who.get(&path).await.expect(200)["cost"]["amount"], 700);
        assert_eq!(costs(&who.get(PRODUCTS).await.expect(200)), 2);
    }
    for who in [&acme.member, &acme.viewer, &blind] {
        let got = who.get(&path).await;
        assert_eq!(costs(&got.expect(200)), 0, "{}", got.text);
        assert_eq!(costs(&who.get(PRODUCTS).await.expect(200)), 0);
        // It is one and the same version of the product.
        assert_eq!(got.header("etag"), acme.owner.get(&path).await.header("etag"));
    }
    let mut created = cog();
    created["sku"] = json!("MINE");
    assert_eq!(costs(&acme.member.post(PRODUCTS, created).await.expect(201)), 0);
    assert_eq!(costs(&acme.member.patch(&path, json!({"name": "Renamed"})).await.expect(200)), 0);
    assert_eq!(acme.owner.get(&path).await.expect(200)["cost"]["amount"], 700, "what is unseen stays");
    for query in ["sort=cost", "sort=-cost", "cost=700", "cost_gte=1"] {
        let list = acme.member.get(&format!("{PRODUCTS}?{query}")).await;
        assert_eq!(
            list.status,
            400 + 3 * u16::from(list.json()["code"] == "permission_denied"),
            "{}",
            list.text
        );
    }
    globex.owner.get(&path).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn whoever_may_not_see_a_cost_writes_none_and_learns_nothing_by_trying() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let made = acme.admin.post(PRODUCTS, dear()).await.expect(201);
    let path = format!("{PRODUCTS}/{}", id(&made));
    let mut second = dear();
    second["sku"] = json!("COG-2");
    for refused in [
        acme.member.post(PRODUCTS, second).await,
        acme.member.patch(&path, json!({"cost": {"amount": 1, "currency": "EUR"}})).await,
        acme.member.patch(&path, json!({"cost": null})).await,
        acme.member.patch(&path, json!({"name": "x", "cost": null})).await,
    ] {
        let problem = refused.expect_problem(403, "permission_denied");
        assert_eq!(problem["permission"], "products:read_cost");
        assert_eq!(problem["granted_by"], json!(["admin", "owner"]));
    }
    let problem = acme.member.patch(&path, json!({"price": {"amount": 1, "currency": "USD"}})).await;
    let problem = problem.expect_problem(422, "invalid");
    assert_eq!(pointers(&problem), ["/price/currency"]);
    let unchanged = acme.owner.get(&path).await.expect(200);
    assert_eq!((&unchanged["cost"]["amount"], &unchanged["version"]), (&json!(700), &json!(1)));
    acme.admin.patch(&path, json!({"cost": null})).await.expect(200);
}

/// A new operation that answers with a product is covered the day it appears.
#[tokio::test]
async fn no_operation_tells_a_member_what_a_product_costs() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let made = acme.admin.post(PRODUCTS, dear()).await.expect(201);
    let blind = app.api_key(&acme, &["products:read", "products:create", "products:update"]).await;
    let mut tried = 0;
    for operation in
        document.operations().iter().filter(|operation| !operation.is_public() && !operation.is_operators())
    {
        let answers = operation.description["responses"].as_object().unwrap();
        let mut answers =
            answers.iter().filter(|(status, _)| status.starts_with('2')).map(|(_, answer)| answer);
        if !answers
            .any(|answer| tells_of_cost(&document, &answer["content"]["application/json"]["schema"], 0))
        {
            continue;
        }
        assert!(operation.further().contains(&"products:read_cost"), "{operation} does not say so");
        let path = operation.path.replace("{id}", id(&made));
        for who in [&acme.member, &acme.viewer, &blind] {
            let mut body = operation.body();
            if let Some(body) = &mut body {
                // One of many is in its place.
                let product = body.pointer("/items/0/create").map_or("", |_| "/items/0/create");
                let product = body.pointer_mut(product).unwrap();
                product.as_object_mut().unwrap().remove("cost");
                product["sku"] = json!(insula::ids::ProductId::new().to_string());
            }
            let reply = operation.call_with(who, &path, body).await;
            assert!(reply.status < 300 || reply.status == 403, "{operation}: {}", reply.text);
            assert_eq!(costs(&reply.json()), 0, "{operation}: {}", reply.text);
            tried += 1;
        }
    }
    assert!(tried >= 12, "{tried} answers were looked at");
    let stale =
        acme.member.request(Method::PATCH, &format!("{PRODUCTS}/{}", id(&made))).header("if-match", "\"0\"");
    let refused = super::support::Reply::of(stale.json(&json!({"name": "x"}))).await;
    assert_eq!(costs(&refused.expect_problem(412, "stale")), 0);
}

fn tells_of_cost(document: &Document, schema: &Value, depth: u32) -> bool {
    if schema.is_null() || depth > 6 {
        return false;
    }
    let schema = document.resolve(schema);
    let properties = schema["properties"].as_object();
    properties.is_some_and(|properties| {
        properties.contains_key("cost") && properties.contains_key("sku")
            || properties.values().any(|property| tells_of_cost(document, property, depth + 1))
    }) || tells_of_cost(document, &schema["items"], depth + 1)
}
