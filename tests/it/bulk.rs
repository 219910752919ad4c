//! Many products in one request: each is done or refused for itself, or all are or none.

use super::support::{Persona, Reply, TestApp, id, pointers, product};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const BULK: &str = "/api/v1/products/bulk";
const PRODUCTS: &str = "/api/v1/products";

async fn change(who: &Persona, atomic: bool, items: Vec<Value>) -> Reply {
    who.post(BULK, json!({"atomic": atomic, "items": items})).await
}

fn create(sku: &str) -> Value {
    json!({"create": product(sku, 5)})
}

fn statuses(result: &Value) -> Vec<u64> {
    result["data"].as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect()
}

fn codes(result: &Value) -> Vec<&str> {
    let problems = result["data"].as_array().unwrap().iter();
    problems.map(|item| item["problem"]["code"].as_str().unwrap_or("-")).collect()
}

async fn skus(who: &Persona) -> Vec<String> {
    let page = who.get(&format!("{PRODUCTS}?sort=sku&limit=100")).await.expect(200);
    let products = page["data"].as_array().unwrap().iter();
    products.map(|product| product["sku"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_item_is_done_or_refused_for_itself_in_its_turn() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let old = acme.owner.post(PRODUCTS, product("OLD", 5)).await.expect(201);
    let gone = acme.owner.post(PRODUCTS, product("GONE", 5)).await.expect(201);
    let theirs = globex.owner.post(PRODUCTS, product("OLD", 5)).await.expect(201);
    let category = globex.owner.post("/api/v1/categories", json!({"name": "Theirs"})).await.expect(201);

    let mut astray = create("ASTRAY");
    astray["create"]["category_id"] = category["id"].clone();
    let items = vec![
        create("A"),
        create("OLD"),
        json!({"create": {"sku": "", "name": "x", "price": {"amount": -1, "currency": "EUR"}}}),
        create("B"),
        create("A"),
        astray,
        json!({"update": {"id": old["id"], "version": 1, "patch": {"sku": "NEW", "stock": 6}}}),
        create("OLD"),
        json!({"update": {"id": old["id"], "version": 1, "patch": {"stock": 7}}}),
        json!({"update": {"id": old["id"], "patch": {"sku": "B"}}}),
        json!({"update": {"id": old["id"], "version": 2, "patch": {"name": "Newer"}}}),
        json!({"delete": {"id": gone["id"], "version": 2}}),
        json!({"delete": {"id": gone["id"]}}),
        json!({"update": {"id": gone["id"], "patch": {}}}),
        json!({"update": {"id": theirs["id"], "patch": {"stock": 0}}}),
        json!({"delete": {"id": theirs["id"]}}),
        json!({"remove": {"id": old["id"]}}),
        json!(7),
    ];
    let result = change(&acme.owner, false, items).await.expect(200);
    assert_eq!(
        statuses(&result),
        [201, 409, 422, 201, 409, 422, 200, 201, 412, 409, 200, 412, 204, 404, 404, 404, 422, 422]
    );
    assert_eq!((&result["succeeded"], &result["failed"]), (&json!(6), &json!(12)));
    assert_eq!(codes(&result)[8], "stale");
    assert_eq!(codes(&result)[4], "sku_taken");
    let places = |at: usize| pointers(&result["data"][at]["problem"]);
    assert_eq!(places(2), ["/items/2/create/price/amount", "/items/2/create/sku"]);
    assert_eq!(places(5), ["/items/5/create/category_id"]);
    assert_eq!(places(17), ["/items/17"]);
    let made = &result["data"][0]["product"];
    assert_eq!(&acme.viewer.get(&format!("{PRODUCTS}/{}", id(made))).await.expect(200)["sku"], "A");
    let changed = &result["data"][10]["product"];
    assert_eq!(
        (&changed["sku"], &changed["name"], &changed["version"]),
        (&json!("NEW"), &json!("Newer"), &json!(3))
    );

    assert_eq!(skus(&acme.viewer).await, ["A", "B", "NEW", "OLD"]);
    let untouched = globex.owner.get(&format!("{PRODUCTS}/{}", id(&theirs))).await.expect(200);
    assert_eq!(untouched, theirs);
}

#[tokio::test]
async fn of_an_atomic_request_all_is_done_or_nothing_and_each_place_is_pointed_at() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    globex.owner.post(PRODUCTS, product("A", 5)).await.expect(201);
    let items = vec![create("A"), create("B"), json!({"create": {"sku": "C"}}), create("B")];
    let refused = change(&acme.member, true, items).await.expect_problem(422, "invalid");
    assert_eq!(pointers(&refused), ["/items/2/create/name", "/items/3"]);
    assert_eq!(refused["errors"][1]["code"], "sku_taken");
    assert_eq!(skus(&acme.viewer).await, [""; 0]);

    let done = change(&acme.member, true, vec![create("A"), create("B")]).await.expect(200);
    assert_eq!((statuses(&done), &done["failed"]), (vec![201, 201], &json!(0)));
    assert_eq!(skus(&acme.viewer).await, ["A", "B"]);
}

#[tokio::test]
async fn it_takes_the_permission_of_each_item() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let old = acme.owner.post(PRODUCTS, product("OLD", 5)).await.expect(201);
    let items = || {
        let mut costly = create("COSTLY");
        costly["create"]["cost"] = json!({"amount": 100, "currency": "EUR"});
        vec![
            create("A"),
            costly,
            json!({"update": {"id": old["id"], "patch": {"stock": 1}}}),
            json!({"update": {"id": old["id"], "patch": {"cost": {"amount": 1, "currency": "EUR"}}}}),
            json!({"delete": {"id": old["id"]}}),
        ]
    };
    change(&acme.viewer, false, items()).await.expect_problem(403, "permission_denied");
    let key = app.api_key(&acme, &["products:create"]).await;
    let result = change(&key, false, items()).await.expect(200);
    assert_eq!(statuses(&result), [201, 403, 403, 403, 403]);
    assert!(result["data"][0]["product"].get("cost").is_none(), "{result}");
    let detail = result["data"][4]["problem"]["detail"].as_str().unwrap();
    assert!(detail.contains("products:delete"), "{detail}");

    let key = app.api_key(&acme, &["products:create", "products:update", "products:delete"]).await;
    let mut items = items();
    items[0] = create("B");
    assert_eq!(statuses(&change(&key, false, items).await.expect(200)), [201, 403, 200, 403, 204]);
    assert_eq!(skus(&globex.owner).await, [""; 0]);
}

#[tokio::test]
async fn a_thousand_are_taken_and_not_one_more() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let many = |many: usize| (0..many).map(|at| create(&format!("P-{at:04}"))).collect::<Vec<_>>();
    for wrong in [many(1_001), Vec::new()] {
        let refused = change(&acme.member, false, wrong).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&refused), ["/items"]);
    }
    let done = change(&acme.member, true, many(1_000)).await.expect(200);
    assert_eq!((&done["succeeded"], done["data"].as_array().unwrap().len()), (&json!(1_000), 1_000));
    let told: Vec<_> = done["data"].as_array().unwrap().iter().map(|item| &item["product"]["sku"]).collect();
    assert!(told.is_sorted_by_key(|sku| sku.as_str()), "told in the order of the items");
    let counted = globex.owner.request(Method::GET, PRODUCTS).header("prefer", "count=exact");
    assert_eq!(Reply::of(counted).await.expect(200)["total_count"], 0);
    let counted = acme.owner.request(Method::GET, PRODUCTS).header("prefer", "count=exact");
    assert_eq!(Reply::of(counted).await.expect(200)["total_count"], 1_000);
}

#[tokio::test]
async fn what_is_sent_twice_is_done_once_and_what_is_tried_out_is_not_done() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let body = json!({"items": [create("A"), create("A")]});
    let tried = acme.member.request(Method::POST, BULK).header("prefer", "dry-run").json(&body);
    assert_eq!(statuses(&Reply::of(tried).await.expect(200)), [201, 409]);
    assert_eq!(skus(&acme.viewer).await, [""; 0]);

    let first = acme.member.post_as("once", BULK, body.clone()).await;
    let again = acme.member.post_as("once", BULK, body.clone()).await;
    assert_eq!((first.expect(200), again.header("idempotent-replayed")), (again.expect(200), "true"));
    let other = globex.member.post_as("once", BULK, body).await;
    assert_eq!((other.status, other.header("idempotent-replayed")), (200, ""));
    assert_eq!(skus(&acme.viewer).await, ["A"]);
}

#[tokio::test]
async fn those_who_bring_the_same_in_another_order_wait_for_each_other_and_never_in_a_circle() {
    let app = TestApp::start_with("[database]\nacquire_seconds = 30").await;
    let acme = app.org().await;
    let seed: Vec<Value> = (0..50).map(|at| create(&format!("S-{at:02}"))).collect();
    let made = change(&acme.owner, true, seed).await.expect(200);
    let ids: Vec<Value> =
        made["data"].as_array().unwrap().iter().map(|item| item["product"]["id"].clone()).collect();
    let racers = (0..12).map(|racer: usize| {
        let mut items: Vec<Value> = (0..50).map(|at| create(&format!("R-{at:02}"))).collect();
        items.extend(ids.iter().map(|id| json!({"update": {"id": id, "patch": {"stock": racer}}})));
        if racer % 2 == 1 {
            items[..50].reverse();
            items[50..].reverse();
        }
        change(&acme.owner, false, items)
    });
    let mut created = 0;
    for reply in join_all(racers).await {
        let statuses = statuses(&reply.expect(200));
        created += statuses[..50].iter().filter(|status| **status == 201).count();
        assert!(statuses[50..].iter().all(|status| *status == 200));
    }
    assert_eq!(created, 50);
}
