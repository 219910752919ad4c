//! Events: what happened is told once, in its order, as `GET` answers it, and to nobody who may not read it.

use super::support::{Org, Persona, Reply, TestApp, id, import, labour, product, until};
use insula::{events::EVENT_TYPES, worker};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const HISTORY: &str = "/api/v1/events/history";
const PRODUCTS: &str = "/api/v1/products";
const ORDERS: &str = "/api/v1/orders";
const CATEGORIES: &str = "/api/v1/categories";

/// All that `who` is told, the first first, once all that was committed has its number.
async fn told(app: &TestApp, who: &Persona, query: &str) -> Vec<Value> {
    app.number().await;
    let mut all = Vec::new();
    let mut path = format!("{HISTORY}?sort=seq&limit=100{query}");
    loop {
        let page = who.get(&path).await.expect(200);
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("{HISTORY}?sort=seq&limit=100{query}&cursor={cursor}"),
            None => return all,
        }
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn order_of(product: &Value, quantity: u32) -> Value {
    json!({"lines": [{"product_id": product["id"], "quantity": quantity}]})
}

/// As `GET` answers whoever may not see costs.
async fn seen(org: &Org, path: &str) -> Value {
    org.viewer.get(path).await.expect(200)
}

#[tokio::test]
async fn whatever_happens_to_a_product_is_told_as_get_answers_it_and_never_with_its_cost() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let mut new = product("COG", 5);
    new["cost"] = json!({"amount": 777, "currency": "EUR"});
    let made = acme.owner.post(PRODUCTS, new).await.expect(201);
    let path = format!("{PRODUCTS}/{}", id(&made));
    let created = seen(&acme, &path).await;
    let change = json!({"name": "Small cog", "cost": {"amount": 778, "currency": "EUR"}});
    acme.owner.patch(&path, change).await.expect(200);
    let updated = seen(&acme, &path).await;
    acme.owner.delete(&path).await.expect(204);
    acme.owner.post(&format!("{path}/restore"), json!({})).await.expect(200);
    let restored = seen(&acme, &path).await;

    let events = told(&app, &acme.viewer, &format!("&object_id={}", id(&made))).await;
    assert_eq!(types(&events), ["product.created", "product.updated", "product.deleted", "product.restored"]);
    for (event, object) in events.iter().zip([&created, &updated, &updated, &restored]) {
        assert_eq!(&event["data"]["object"], object, "{event}");
        assert_eq!(event["actor"], json!({"type": "user", "id": acme.owner.user().to_string()}));
        assert_eq!(event["org"], acme.id.to_string());
    }
    assert_eq!(events[1]["data"]["previous"], json!({"name": made["name"]}), "and of the cost nothing");
    let one = acme.viewer.get(&format!("{HISTORY}/{}", id(&events[1]))).await.expect(200);
    assert_eq!(one, events[1]);
    assert!(!json!(events).to_string().contains("cost"), "{events:?}");
}

#[tokio::test]
async fn an_order_is_told_at_each_place_it_comes_to_and_a_category_with_where_its_contents_went() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let cog = acme.owner.post(PRODUCTS, product("COG", 5)).await.expect(201);
    let order = acme.member.post(ORDERS, order_of(&cog, 2)).await.expect(201);
    let path = format!("{ORDERS}/{}", id(&order));
    acme.owner.patch(&path, json!({"note": "Ring twice"})).await.expect(200);
    acme.owner.post(&format!("{path}/pay"), json!({})).await.expect(200);
    acme.owner.post(&format!("{path}/refund"), json!({})).await.expect(200);

    let events = told(&app, &acme.viewer, &format!("&object_id={}", id(&order))).await;
    assert_eq!(types(&events), ["order.placed", "order.updated", "order.paid", "order.refunded"]);
    assert_eq!(events[0]["data"], json!({"object": order}));
    assert_eq!(events[1]["data"]["previous"], json!({"note": ""}));
    assert_eq!(events[2]["data"]["previous"], json!({"status": "placed"}));
    assert_eq!(events[3]["data"]["object"], seen(&acme, &path).await);

    let mut ids = Vec::new();
    for name in ["Tools", "Old tools"] {
        let made = acme.owner.post(CATEGORIES, json!({"name": name})).await.expect(201);
        ids.push(id(&made).to_owned());
    }
    acme.owner.delete(&format!("{CATEGORIES}/{}?move_to={}", ids[1], ids[0])).await.expect(204);
    let events = told(&app, &acme.viewer, "&type=category.deleted").await;
    assert_eq!(events[0]["data"]["object"]["moved_to"], ids[0]);
    assert_eq!(events[0]["data"]["object"]["name"], "Old tools");
}

#[tokio::test]
async fn what_an_import_does_to_products_is_told_of_whoever_asked_for_it() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    acme.owner.post(PRODUCTS, product("OLD", 5)).await.expect(201);
    acme.owner.post(PRODUCTS, product("SAME", 5)).await.expect(201);
    let same = product("SAME", 5);
    let lines = format!("{}\n{}\n{same}\n", product("NEW", 1), product("OLD", 9));
    let asked = import(&acme.member, "application/x-ndjson", lines).await;
    asked.expect(202);
    let _work = labour::work_for_real(&app);
    until("it is done", async || {
        acme.member.get(asked.header("location")).await.expect(200)["status"] == "succeeded"
    })
    .await;

    let events = told(&app, &acme.viewer, "").await;
    let ours: Vec<_> =
        events.iter().filter(|event| event["actor"]["id"] == acme.member.user().to_string()).collect();
    let kinds: Vec<_> = ours.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["import.requested", "product.created", "product.updated"]);
    for event in &ours[1..] {
        let path = format!("{PRODUCTS}/{}", id(&event["data"]["object"]));
        assert_eq!(event["data"]["object"], seen(&acme, &path).await);
    }
    assert_eq!(ours[2]["data"]["previous"], json!({"stock": 5}));
    let done = events.last().unwrap();
    assert_eq!((&done["type"], &done["actor"]["type"]), (&json!("job.succeeded"), &json!("system")));
    assert_eq!(done["data"]["object"]["result"]["created"], 1);
}

#[tokio::test]
async fn an_event_that_commits_late_gets_a_late_number_and_is_not_passed_over() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let before = told(&app, &acme.owner, "").await.len();
    let late = app.doing(acme.id, "org.updated").await;
    app.done(acme.id, "org.restored").await;
    app.done(globex.id, "org.restored").await;
    assert_eq!(types(&told(&app, &acme.owner, "").await[before..]), ["org.restored"]);
    late.commit().await.unwrap();
    let events = told(&app, &acme.owner, "").await;
    assert_eq!(types(&events[before..]), ["org.restored", "org.updated"]);
    let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn replicas_that_number_at_once_give_each_event_one_number_and_leave_no_gap() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let others = futures::future::join_all((0..3).map(|_| app.replica())).await;
    let items: Vec<_> = (0..500).map(|n| json!({"create": product(&format!("S{n}"), 1)})).collect();
    let work = async {
        for half in items.chunks(50) {
            acme.owner.post("/api/v1/products/bulk", json!({"items": half})).await.expect(200);
        }
    };
    let number = futures::future::join_all(others.iter().map(async |other| {
        for _ in 0..20 {
            worker::number_events(&other.state.platform).await.unwrap();
        }
    }));
    tokio::join!(work, number);
    let events = told(&app, &acme.owner, "").await;
    let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(types(&events).iter().filter(|kind| **kind == "product.created").count(), 500);
}

#[tokio::test]
async fn what_was_only_tried_or_refused_or_sent_again_is_not_told() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let made = acme.owner.post_as("once", PRODUCTS, product("COG", 1)).await.expect(201);
    let before = told(&app, &acme.owner, "").await.len();
    acme.owner.post_as("once", PRODUCTS, product("COG", 1)).await.expect(201);
    acme.owner.post(PRODUCTS, product("COG", 1)).await.expect(409);
    acme.owner.post(ORDERS, order_of(&made, 2)).await.expect_problem(409, "out_of_stock");
    let trial = acme.owner.request(Method::POST, PRODUCTS).header("prefer", "dry-run");
    Reply::of(trial.json(&product("WHEEL", 1))).await.expect(201);
    let items = json!([{"create": product("A", 1)}, {"create": product("COG", 1)}]);
    acme.owner.post("/api/v1/products/bulk", json!({"atomic": true, "items": items})).await.expect(422);
    assert_eq!(told(&app, &acme.owner, "").await.len(), before);
}

#[tokio::test]
async fn nobody_is_told_of_what_they_may_not_read_or_of_another_org() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let cog = acme.owner.post(PRODUCTS, product("COG", 5)).await.expect(201);
    acme.owner.post(ORDERS, order_of(&cog, 1)).await.expect(201);
    let key = app.api_key(&acme, &["events:read", "products:read"]).await;

    let events = told(&app, &key, "").await;
    assert_eq!(types(&events), ["product.created"]);
    let orders = told(&app, &acme.viewer, "&type=order.placed").await;
    assert_eq!(orders.len(), 1);
    let path = format!("{HISTORY}/{}", id(&orders[0]));
    acme.viewer.get(&path).await.expect(200);
    for stranger in [&key, &globex.owner] {
        stranger.get(&path).await.expect_problem(404, "not_found");
    }
    assert_eq!(told(&app, &key, "&type=order.placed").await.len(), 0);
    let roles =
        types(&told(&app, &acme.viewer, "").await).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    assert!(!roles.iter().any(|kind| kind.starts_with("api_key.")), "viewers see no keys: {roles:?}");
    let theirs = told(&app, &globex.owner, "").await;
    assert!(theirs.iter().all(|event| event["org"] == globex.id.to_string()));
}

#[tokio::test]
async fn every_type_is_listed_and_stands_in_the_document() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let listed = acme.viewer.get("/api/v1/event-types").await.expect(200);
    let document = app.anon().get("/openapi.json").await.expect(200);
    let announced: Vec<_> = document["webhooks"].as_object().unwrap().keys().cloned().collect();
    let names: Vec<_> =
        listed["data"].as_array().unwrap().iter().map(|kind| kind["name"].as_str().unwrap()).collect();
    assert_eq!(names, announced);
    assert_eq!(names.len(), EVENT_TYPES.len());
    let product =
        listed["data"].as_array().unwrap().iter().find(|kind| kind["name"] == "product.created").unwrap();
    assert_eq!((&product["permission"], &product["schema"]), (&json!("products:read"), &json!("Product")));
}
