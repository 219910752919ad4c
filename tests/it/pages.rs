//! Lists, page by page: nothing twice, nothing missed, and no question that is not understood.

use super::support::{Org, Persona, TestApp, id, product};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const PRODUCTS: &str = "/api/v1/products";

async fn stocked(org: &Org, count: usize) -> Vec<Value> {
    let mut made = Vec::new();
    for at in 0..count {
        let mut product = product(&format!("S-{:02}", at * 7 % count), 1);
        product["name"] = json!(["Zebra", "ant", "Ähre", "Ant"][at % 4]);
        product["price"]["amount"] = json!(100 * (at % 3));
        product["is_active"] = json!(at % 5 != 0);
        made.push(org.owner.post(PRODUCTS, product).await.expect(201));
    }
    made
}

/// All ids of a list, by way of its cursors.
async fn walk(who: &Persona, query: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = who.get(&format!("{PRODUCTS}?{query}{cursor}")).await.expect(200);
        ids.extend(page["data"].as_array().unwrap().iter().map(|product| id(product).to_owned()));
        assert_eq!(page["has_more"], page["next_cursor"].is_string());
        let Some(next) = page["next_cursor"].as_str() else { return ids };
        cursor = format!("&cursor={next}");
    }
}

fn sorted(products: &[Value], by: &str) -> Vec<String> {
    let mut products: Vec<&Value> = products.iter().collect();
    let text = |product: &Value| product[by].as_str().unwrap().to_owned();
    products.sort_by_key(|product| id(product).to_owned());
    match by {
        "price" => products.sort_by_key(|product| product["price"]["amount"].as_i64()),
        "created_at" => {
            products.sort_by_key(|product| OffsetDateTime::parse(&text(product), &Rfc3339).unwrap());
        }
        _ => products.sort_by_key(|product| text(product)),
    }
    products.iter().map(|product| id(product).to_owned()).collect()
}

#[tokio::test]
async fn a_walk_in_any_order_meets_each_product_once_ties_included() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let made = stocked(&acme, 23).await;
    stocked(&globex, 3).await;
    for by in ["created_at", "sku", "name", "price"] {
        let mut expected = sorted(&made, by);
        for limit in [1, 4, 23, 100] {
            assert_eq!(walk(&acme.viewer, &format!("sort={by}&limit={limit}")).await, expected, "{by}");
        }
        expected.reverse();
        assert_eq!(walk(&acme.viewer, &format!("sort=-{by}&limit=5")).await, expected, "-{by}");
    }
    let unsaid = acme.viewer.get(PRODUCTS).await.expect(200);
    assert_eq!(unsaid["data"].as_array().unwrap().len(), 20, "the newest 20, unless told otherwise");
    assert_eq!(unsaid["data"][0]["id"], made[22]["id"]);
}

#[tokio::test]
async fn what_is_there_all_along_is_met_once_while_others_come_and_go() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    for (round, by) in ["price", "-price", "sku", "-name", "created_at"].into_iter().enumerate() {
        let made = stocked(&acme, 20).await;
        let mut gone = HashSet::new();
        let mut met: Vec<String> = Vec::new();
        let mut path = format!("{PRODUCTS}?sort={by}&limit=3");
        for page in 0.. {
            let reply = acme.owner.get(&path).await;
            let found = reply.expect(200);
            let found = found["data"].as_array().unwrap();
            met.extend(found.iter().map(|product| id(product).to_owned()));
            let Some(next) = reply.link("next") else { break };
            path = next;
            // The very row that the cursor stands on goes, and others come in on both sides of it.
            let last = id(found.last().unwrap()).to_owned();
            acme.owner.delete(&format!("{PRODUCTS}/{last}")).await.expect(204);
            gone.insert(last);
            for (at, sku) in ["A", "T"].iter().enumerate() {
                let mut product = product(&format!("{sku}-{round}-{page}"), 1);
                product["price"]["amount"] = json!(200 * at);
                acme.owner.post(PRODUCTS, product).await.expect(201);
            }
            assert!(page < 40, "the end keeps moving away");
        }
        let distinct: BTreeSet<&String> = met.iter().collect();
        assert_eq!(distinct.len(), met.len(), "{by}: twice");
        let missed: Vec<_> = made
            .iter()
            .map(id)
            .filter(|id| !met.iter().any(|met| met == id) && !gone.contains(*id))
            .collect();
        assert_eq!(missed, [""; 0], "{by}");
        for left in walk(&acme.owner, "limit=100").await {
            acme.owner.delete(&format!("{PRODUCTS}/{left}")).await.expect(204);
        }
    }
}

#[tokio::test]
async fn filters_narrow_and_go_together() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let made = stocked(&acme, 23).await;
    let category = acme.owner.post("/api/v1/categories", json!({"name": "Wheels"})).await.expect(201);
    let category = id(&category).to_owned();
    let path = format!("{PRODUCTS}/{}", id(&made[6]));
    acme.owner.patch(&path, json!({"category_id": category})).await.expect(200);

    let price = |product: &Value| product["price"]["amount"].as_i64().unwrap();
    let since = made[9]["created_at"].as_str().unwrap();
    let of = |keep: &dyn Fn(usize, &Value) -> bool| {
        let kept: Vec<Value> = made
            .iter()
            .enumerate()
            .filter(|(at, made)| keep(*at, made))
            .map(|(_, made)| made.clone())
            .collect();
        sorted(&kept, "sku")
    };
    for (query, expected) in [
        ("price_gte=100".to_owned(), of(&|_, product| price(product) >= 100)),
        ("price_lte=100".to_owned(), of(&|_, product| price(product) <= 100)),
        (
            "price_gte=100&price_lte=100&is_active=true".to_owned(),
            of(&|at, product| price(product) == 100 && at % 5 != 0),
        ),
        ("is_active=false".to_owned(), of(&|at, _| at % 5 == 0)),
        (format!("created_after={since}"), of(&|at, _| at > 9)),
        (format!("category_id={category}"), of(&|at, _| at == 6)),
        ("category_id=cat_01jd8yq3c5f4x7t9k2m6n8p0rs".to_owned(), of(&|_, _| false)),
        ("price_gte=9223372036854775807".to_owned(), of(&|_, _| false)),
    ] {
        assert_eq!(walk(&acme.viewer, &format!("{query}&sort=sku&limit=2")).await, expected, "{query}");
    }
}

#[tokio::test]
async fn a_question_that_is_not_understood_is_refused_and_told_what_would_be() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let problem = acme.viewer.get(&format!("{PRODUCTS}?colour=red")).await;
    let problem = problem.expect_problem(400, "unknown_parameter");
    for known in
        ["limit", "sort", "cursor", "category_id", "price_gte", "price_lte", "is_active", "created_after"]
    {
        assert!(problem["detail"].as_str().unwrap().contains(known), "{problem}");
    }
    for (query, named) in [
        ("limit=0", "1 to 100"),
        ("limit=101", "1 to 100"),
        ("limit=-1", "1 to 100"),
        ("limit=many", "1 to 100"),
        ("limit=99999999999999999999", "1 to 100"),
        ("limit=5&limit=5", "twice"),
        ("sort=weight", "created_at, sku, name, price"),
        ("sort=", "created_at, sku, name, price"),
        ("sort=--sku", "created_at, sku, name, price"),
        ("sort=sku;drop", "created_at, sku, name, price"),
        ("price_gte=cheap", "price_gte"),
        ("price_gte=99999999999999999999", "price_gte"),
        ("is_active=maybe", "is_active"),
        ("created_after=yesterday", "created_after"),
        ("category_id=prd_01jd8yq3c5f4x7t9k2m6n8p0rs", "category_id"),
    ] {
        let problem = acme.viewer.get(&format!("{PRODUCTS}?{query}")).await;
        let problem = problem.expect_problem(400, "bad_parameter");
        assert!(problem["detail"].as_str().unwrap().contains(named), "{query}: {problem}");
    }
}

#[tokio::test]
async fn a_cursor_opens_for_its_own_list_and_org_alone() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    stocked(&acme, 5).await;
    stocked(&globex, 5).await;
    let page = acme.owner.get(&format!("{PRODUCTS}?sort=sku&limit=2")).await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    acme.viewer.get(&format!("{PRODUCTS}?sort=sku&limit=3&cursor={cursor}")).await.expect(200);
    for query in [
        format!("cursor={cursor}"),
        format!("sort=-sku&cursor={cursor}"),
        format!("sort=sku&is_active=true&cursor={cursor}"),
        format!("sort=sku&cursor={cursor}A"),
        format!("sort=sku&cursor={}", cursor.to_lowercase()),
        "sort=sku&cursor=".to_owned(),
        "sort=sku&cursor=nonsense".to_owned(),
        "sort=sku&cursor=%00".to_owned(),
    ] {
        acme.viewer.get(&format!("{PRODUCTS}?{query}")).await.expect_problem(400, "bad_cursor");
    }
    let theirs = globex.owner.get(&format!("{PRODUCTS}?sort=sku&limit=2&cursor={cursor}")).await;
    theirs.expect_problem(400, "bad_cursor");
}
