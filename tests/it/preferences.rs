//! What a client would like of a write: that it is only tried out, or answered without a body.

use super::support::{Org, Persona, Reply, TestApp, cog, id, product};
use reqwest::Method;
use serde_json::{Value, json};

const PRODUCTS: &str = "/api/v1/products";
const CATEGORIES: &str = "/api/v1/categories";
const ORDERS: &str = "/api/v1/orders";

async fn preferring(who: &Persona, preference: &str, method: Method, path: &str, body: Value) -> Reply {
    let request = who.request(method, path).header("prefer", preference).header("if-match", "*");
    Reply::of(request.header("idempotency-key", "k").json(&body)).await
}

/// Everything of an org's shop, as its owner reads it.
async fn shop(org: &Org) -> Vec<Value> {
    let mut all = Vec::new();
    for list in [PRODUCTS, CATEGORIES, ORDERS, "/api/v1/products/deleted"] {
        all.push(org.owner.get(list).await.expect(200));
    }
    all
}

#[tokio::test]
async fn a_write_that_is_tried_out_is_answered_as_if_done_and_leaves_nothing() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let owner = &acme.owner;
    let made = owner.post(PRODUCTS, product("A", 5)).await.expect(201);
    let category = owner.post(CATEGORIES, json!({"name": "Tools"})).await.expect(201);
    let lines = json!({"lines": [{"product_id": id(&made), "quantity": 2}]});
    let order = owner.post(ORDERS, lines.clone()).await.expect(201);
    let gone = owner.post(PRODUCTS, product("GONE", 1)).await.expect(201);
    owner.delete(&format!("{PRODUCTS}/{}", id(&gone))).await.expect(204);
    let before = shop(&acme).await;

    let at = |collection: &str, one: &Value| format!("{collection}/{}", id(one));
    let order_at = at(ORDERS, &order);
    for (method, path, body, status) in [
        (Method::POST, PRODUCTS.to_owned(), product("B", 1), 201),
        (Method::PATCH, at(PRODUCTS, &made), json!({"name": "New"}), 200),
        (Method::DELETE, at(PRODUCTS, &made), json!({}), 204),
        (Method::POST, format!("{}/restore", at(PRODUCTS, &gone)), json!({}), 200),
        (Method::POST, CATEGORIES.to_owned(), json!({"name": "Wheels"}), 201),
        (Method::PATCH, at(CATEGORIES, &category), json!({"name": "Wheels"}), 200),
        (Method::DELETE, at(CATEGORIES, &category), json!({}), 204),
        (Method::POST, ORDERS.to_owned(), lines.clone(), 201),
        (Method::PATCH, order_at.clone(), json!({"note": "Ring twice"}), 200),
        (Method::POST, format!("{order_at}/pay"), json!({}), 200),
        (Method::POST, format!("{order_at}/cancel"), json!({}), 200),
    ] {
        let tried = preferring(owner, "dry-run", method.clone(), &path, body).await;
        assert_eq!(tried.status, status, "{method} {path}: {}", tried.text);
        assert_eq!(tried.header("preference-applied"), "dry-run");
        assert_eq!((tried.header("location"), tried.header("etag")), ("", ""), "of what is not there");
        assert_eq!(shop(&acme).await, before, "{method} {path}");
    }
    // The number that a trial took is given to the next order, and the key of a trial is as fresh as before.
    let placed = preferring(owner, "wait=3", Method::POST, ORDERS, lines).await;
    assert_eq!(placed.header("idempotent-replayed"), "");
    assert_eq!(placed.expect(201)["number"], 2);
}

#[tokio::test]
async fn a_trial_is_refused_for_whatever_the_real_thing_would_be() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let made = acme.owner.post(PRODUCTS, cog()).await.expect(201);
    let theirs = globex.owner.post(PRODUCTS, cog()).await.expect(201);
    let lines = |product: &Value, quantity: u32| json!({"lines": [{"product_id": id(product), "quantity": quantity}]});
    let tried = async |who: &Persona, path: &str, body: Value| {
        preferring(who, "dry-run", Method::POST, path, body).await
    };
    tried(&acme.owner, PRODUCTS, cog()).await.expect_problem(409, "sku_taken");
    tried(&acme.viewer, PRODUCTS, product("B", 1)).await.expect_problem(403, "permission_denied");
    tried(&acme.owner, ORDERS, lines(&made, 1_000)).await.expect_problem(409, "out_of_stock");
    tried(&acme.owner, ORDERS, lines(&theirs, 1)).await.expect_problem(422, "invalid");
    let path = format!("{PRODUCTS}/{}", id(&made));
    let unknown = preferring(&acme.owner, "dry-run", Method::PATCH, &path, json!({"id": 1})).await;
    unknown.expect_problem(422, "invalid");
    let stale = acme.owner.request(Method::PATCH, &path);
    let stale = stale.header("prefer", "dry-run").header("if-match", "\"7\"").json(&json!({"name": "x"}));
    Reply::of(stale).await.expect_problem(412, "stale");
}

#[tokio::test]
async fn who_asks_for_a_trial_of_what_has_none_does_not_get_the_real_thing() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let role = json!({"name": "packer", "permissions": ["orders:read"]});
    let refused = preferring(&acme.owner, "dry-run", Method::POST, "/api/v1/roles", role).await;
    refused.expect_problem(400, "no_dry_run");
    let roles = acme.owner.get("/api/v1/roles").await.expect(200);
    assert!(!roles.to_string().contains("packer"));
    let new = json!({"email": "new@example.com", "password": "correct horse battery", "name": "N", "org_name": "N"});
    let refused = preferring(&app.anon(), "dry-run", Method::POST, "/api/v1/auth/register", new).await;
    refused.expect_problem(400, "no_dry_run");
    let login = json!({"email": "new@example.com", "password": "correct horse battery"});
    app.anon().post("/api/v1/auth/login", login).await.expect_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn what_was_written_is_not_sent_back_to_who_prefers_so() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let minimal =
        async |method, path: &str, body| preferring(&acme.owner, "return=minimal", method, path, body).await;

    let made = minimal(Method::POST, PRODUCTS, cog()).await;
    assert_eq!((made.status, made.text.as_str()), (201, ""));
    assert_eq!((made.header("etag"), made.header("preference-applied")), ("\"1\"", "return=minimal"));
    let path = made.header("location").to_owned();
    let changed = minimal(Method::PATCH, &path, json!({"name": "New"})).await;
    assert_eq!((changed.status, changed.text.as_str(), changed.header("etag")), (204, "", "\"2\""));
    assert_eq!(acme.owner.get(&path).await.expect(200)["name"], "New", "it was done");

    let refused = minimal(Method::POST, PRODUCTS, cog()).await;
    // The same key and body: what was answered before, without its body once more.
    assert_eq!((refused.status, refused.header("idempotent-replayed")), (201, "true"));
    let refused = minimal(Method::PATCH, &path, json!({"name": ""})).await;
    refused.expect_problem(422, "invalid");
    let both =
        preferring(&acme.owner, "return=minimal, dry-run", Method::PATCH, &path, json!({"name": "x"})).await;
    assert_eq!((both.status, both.text.as_str()), (204, ""));
    assert_eq!(acme.owner.get(&path).await.expect(200)["name"], "New");
}
