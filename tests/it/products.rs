//! What a client can see of products, and change.

use super::support::{Reply, TestApp, cog, id, pointers, product};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const PRODUCTS: &str = "/api/v1/products";

#[tokio::test]
async fn a_product_exists_only_for_its_own_org() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);

    let made = acme.owner.post(PRODUCTS, cog()).await.expect(201);
    let path = format!("{PRODUCTS}/{}", id(&made));
    acme.viewer.get(&path).await.expect(200);

    // Same answer as for an id that never was: existence itself is a secret.
    globex.owner.get(&path).await.expect_problem(404, "not_found");
    globex.owner.patch(&path, json!({"name": "mine"})).await.expect_problem(404, "not_found");
    globex.owner.delete(&path).await.expect_problem(404, "not_found");
    assert_eq!(globex.owner.get(PRODUCTS).await.expect(200)["data"], json!([]));

    // A sku is taken per org, not across the platform.
    globex.owner.post(PRODUCTS, cog()).await.expect(201);
    acme.owner.post(PRODUCTS, cog()).await.expect_problem(409, "sku_taken");

    acme.viewer.delete(&path).await.expect_problem(403, "permission_denied");
    acme.owner.delete(&path).await.expect(204);
    acme.owner.get(&path).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn what_is_created_is_what_is_fetched_and_listed() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let category = acme.owner.post("/api/v1/categories", json!({"name": "Wheels"})).await.expect(201);
    let full = json!({
        "sku": "W-1", "name": "Wheel", "description": "round", "price": {"amount": 5, "currency": "JPY"},
        "cost": {"amount": 3, "currency": "JPY"}, "stock": 7, "category_id": category["id"],
        "is_active": false, "metadata": {"colour": "red"},
    });
    let reply = acme.admin.post(PRODUCTS, full.clone()).await;
    let made = reply.expect(201);
    for (field, value) in full.as_object().unwrap() {
        assert_eq!(&made[field], value, "{field}");
    }
    assert_eq!(made["version"], 1);
    assert_eq!(reply.header("location"), format!("{PRODUCTS}/{}", id(&made)));
    let got = acme.owner.get(reply.header("location")).await;
    assert_eq!(got.expect(200), made);
    assert_eq!((got.header("etag"), reply.header("etag")), ("\"1\"", "\"1\""));
    assert_eq!(acme.owner.get(PRODUCTS).await.expect(200)["data"], json!([made]));

    let least = json!({"sku": "W-2", "name": "Wheel", "price": {"amount": 0, "currency": "JPY"}});
    let least = acme.admin.post(PRODUCTS, least).await.expect(201);
    let left_out = ["description", "cost", "stock", "category_id", "is_active", "metadata"];
    let defaults = [json!(""), Value::Null, json!(0), Value::Null, json!(true), json!({})];
    assert_eq!(left_out.map(|field| least[field].clone()), defaults);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_null_takes_away_what_may_be_absent() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let category = acme.owner.post("/api/v1/categories", json!({"name": "Wheels"})).await.expect(201);
    let mut full = cog();
    full["category_id"] = category["id"].clone();
    full["cost"] = json!({"amount": 900, "currency": "EUR"});
    let mut expected = acme.owner.post(PRODUCTS, full).await.expect(201);
    let path = format!("{PRODUCTS}/{}", id(&expected));
    for (version, patch) in (2..).zip([
        json!({}),
        json!({"name": "Small cog"}),
        json!({"stock": 0, "is_active": false, "description": "for repairs"}),
        json!({"price": {"amount": 1, "currency": "USD"}, "cost": null}),
        json!({"category_id": null, "sku": "COG-2"}),
    ]) {
        let reply = acme.admin.patch(&path, patch.clone()).await;
        let patched = reply.expect(200);
        for (field, value) in patch.as_object().unwrap() {
            expected[field] = value.clone();
        }
        expected["version"] = json!(version);
        expected["updated_at"] = patched["updated_at"].clone();
        assert_eq!(patched, expected);
        assert_eq!(reply.header("etag"), format!("\"{version}\""));
        assert_eq!(acme.admin.get(&path).await.expect(200), expected);
    }
    let merge = acme.admin.request(Method::PATCH, &path).header("if-match", "*").body(r#"{"name": "Cog"}"#);
    Reply::of(merge.header("content-type", "application/merge-patch+json")).await.expect(200);
}

#[tokio::test]
async fn a_patch_that_cannot_be_is_pointed_at_and_changes_nothing() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let theirs = globex.owner.post("/api/v1/categories", json!({"name": "Wheels"})).await.expect(201);
    let made = acme.owner.post(PRODUCTS, cog()).await.expect(201);
    let path = format!("{PRODUCTS}/{}", id(&made));
    for field in ["sku", "name", "description", "price", "stock", "is_active", "metadata"] {
        let problem = acme.owner.patch(&path, json!({field: null})).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [format!("/{field}")], "null");
    }
    for field in ["id", "version", "created_at", "updated_at", "org_id", "colour"] {
        let problem =
            acme.owner.patch(&path, json!({field: made[field]})).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [format!("/{field}")]);
        assert_eq!(problem["errors"][0]["code"], "unknown_field");
    }
    for category in [id(&theirs), "cat_01jd8yq3c5f4x7t9k2m6n8p0rs", "nonsense"] {
        let problem = acme.owner.patch(&path, json!({"category_id": category})).await;
        assert_eq!(pointers(&problem.expect_problem(422, "invalid")), ["/category_id"]);
    }
    for body in [json!([]), json!(["COG-2"]), json!("COG-2"), json!(null), json!(7)] {
        acme.owner.patch(&path, body).await.expect_problem(422, "invalid");
    }
    acme.owner.post(PRODUCTS, product("COG-2", 1)).await.expect(201);
    acme.owner.patch(&path, json!({"sku": "COG-2"})).await.expect_problem(409, "sku_taken");
    assert_eq!(acme.owner.get(&path).await.expect(200), made);
}

#[tokio::test]
async fn a_change_names_the_version_it_was_made_for() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let made = acme.owner.post(PRODUCTS, cog()).await.expect(201);
    let path = format!("{PRODUCTS}/{}", id(&made));
    let change = json!({"name": "Small cog"});

    let unsaid = acme.owner.request(Method::PATCH, &path).json(&change);
    Reply::of(unsaid).await.expect_problem(428, "if_match_required");
    let unsaid = acme.owner.request(Method::DELETE, &path);
    Reply::of(unsaid).await.expect_problem(428, "if_match_required");

    for stale in ["\"0\"", "\"2\"", "W/\"1\"", "1", "", "\"7\", \"8\"", "nonsense"] {
        acme.owner.patch_if(&path, stale, change.clone()).await.expect_problem(412, "stale");
        let delete = acme.owner.request(Method::DELETE, &path).header("if-match", stale);
        Reply::of(delete).await.expect_problem(412, "stale");
    }
    assert_eq!(acme.owner.get(&path).await.expect(200), made);
    acme.owner.patch_if(&path, "\"1\"", change.clone()).await.expect(200);
    acme.owner.patch_if(&path, "\"1\", \"2\"", change.clone()).await.expect(200);
    acme.owner.patch_if(&path, "*", change).await.expect(200);
    let delete = acme.owner.request(Method::DELETE, &path).header("if-match", "\"4\"");
    Reply::of(delete).await.expect(204);
}

#[tokio::test]
async fn of_changes_racing_from_one_version_exactly_one_is_made() {
    let app = TestApp::start_with("[database]\nacquire_seconds = 30").await;
    let acme = app.org().await;
    let made = acme.owner.post(PRODUCTS, cog()).await.expect(201);
    let path = &format!("{PRODUCTS}/{}", id(&made));
    for version in 1..=5 {
        let tag = &format!("\"{version}\"");
        let racers = (0..100).map(|at| acme.member.patch_if(path, tag, json!({"stock": at})));
        let replies = join_all(racers).await;
        let won: Vec<Value> = replies.iter().filter(|reply| reply.status == 200).map(Reply::json).collect();
        assert_eq!(won.len(), 1);
        for reply in replies.iter().filter(|reply| reply.status != 200) {
            reply.expect_problem(412, "stale");
        }
        assert_eq!(acme.member.get(path).await.expect(200), won[0]);
    }
}

#[tokio::test]
async fn a_deleted_product_leaves_its_sku_free() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let made = acme.owner.post(PRODUCTS, cog()).await.expect(201);
    let path = format!("{PRODUCTS}/{}", id(&made));
    acme.owner.delete(&path).await.expect(204);
    acme.owner.delete(&path).await.expect_problem(404, "not_found");
    acme.owner.patch(&path, json!({"stock": 1})).await.expect_problem(404, "not_found");
    let again = acme.owner.post(PRODUCTS, cog()).await.expect(201);
    assert_ne!(again["id"], made["id"]);
    assert_eq!(acme.owner.get(PRODUCTS).await.expect(200)["data"], json!([again]));
}

#[tokio::test]
async fn a_product_that_was_deleted_comes_back_as_it_was() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let made = acme.owner.post(PRODUCTS, cog()).await.expect(201);
    let path = format!("{PRODUCTS}/{}", id(&made));
    let restore = format!("{path}/restore");
    acme.owner.post(&restore, json!({})).await.expect_problem(409, "not_deleted");
    acme.owner.delete(&path).await.expect(204);

    let gone = acme.owner.get("/api/v1/products/deleted?sku=COG-1").await.expect(200);
    assert_eq!((&gone["data"][0]["id"], gone["data"].as_array().unwrap().len()), (&made["id"], 1));
    assert_eq!(globex.owner.get("/api/v1/products/deleted").await.expect(200)["data"], json!([]));
    globex.owner.post(&restore, json!({})).await.expect_problem(404, "not_found");
    acme.member.post(&restore, json!({})).await.expect_problem(403, "permission_denied");

    let other = acme.owner.post(PRODUCTS, cog()).await.expect(201);
    acme.owner.post(&restore, json!({})).await.expect_problem(409, "sku_taken");
    acme.owner.patch(&format!("{PRODUCTS}/{}", id(&other)), json!({"sku": "COG-2"})).await.expect(200);
    let back = acme.owner.post(&restore, json!({})).await.expect(200);
    assert_eq!(back, acme.owner.get(&path).await.expect(200));
    for field in ["sku", "name", "price", "stock", "created_at"] {
        assert_eq!(back[field], made[field], "{field}");
    }
    assert_eq!(acme.owner.get("/api/v1/products/deleted").await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn a_month_after_it_was_deleted_a_product_is_gone_for_good_but_not_the_orders_of_it() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let [sold, unsold, fresh] = ["SOLD", "UNSOLD", "FRESH"];
    let mut made = Vec::new();
    for sku in [sold, unsold, fresh] {
        made.push(acme.owner.post(PRODUCTS, product(sku, 5)).await.expect(201));
    }
    let order = json!({"lines": [{"product_id": id(&made[0]), "quantity": 1}]});
    let order = acme.owner.post("/api/v1/orders", order).await.expect(201);
    for product in &made {
        acme.owner.delete(&format!("{PRODUCTS}/{}", id(product))).await.expect(204);
    }
    app.database
        .run("update products set deleted_at = now() - interval '31 days' where sku in ('SOLD', 'UNSOLD')")
        .await;
    for product in &made[..2] {
        let restore = format!("{PRODUCTS}/{}/restore", id(product));
        acme.owner.post(&restore, json!({})).await.expect_problem(404, "not_found");
    }

    insula::worker::sweep_rows(&app.state).await.unwrap();
    insula::worker::sweep_rows(&app.state).await.unwrap();
    let listed = acme.owner.get("/api/v1/products/deleted").await.expect(200);
    assert_eq!((&listed["data"][0]["sku"], listed["data"].as_array().unwrap().len()), (&json!(fresh), 1));
    assert_eq!(app.database.count("select count(*) from products").await, 2);
    assert_eq!(app.database.count("select count(*) from products where sku = 'SOLD'").await, 0);
    let path = format!("/api/v1/orders/{}", id(&order));
    assert_eq!(acme.owner.get(&path).await.expect(200)["lines"][0]["sku"], "SOLD");
    acme.owner.post(&format!("{path}/cancel"), json!({})).await.expect(200);
}
