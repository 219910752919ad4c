//! What a client reads, in the shape it asks for: some fields, what is named along with them, a page back, a count.

use super::support::{Org, Persona, Queries, Reply, TestApp, id, product};
use reqwest::Method;
use serde_json::{Value, json};

const PRODUCTS: &str = "/api/v1/products";

/// With products in categories, two to each.
async fn stocked(org: &Org, categories: usize) -> Vec<Value> {
    let mut made = Vec::new();
    for at in 0..categories {
        let new = json!({"name": format!("Category {at}")});
        let category = org.owner.post("/api/v1/categories", new).await.expect(201);
        for half in ["a", "b"] {
            let mut new = product(&format!("S-{at:02}{half}"), 1);
            new["category_id"] = category["id"].clone();
            made.push(org.owner.post(PRODUCTS, new).await.expect(201));
        }
    }
    made
}

async fn asked_with(who: &Persona, path: &str, (header, value): (&str, &str)) -> Reply {
    Reply::of(who.request(Method::GET, path).header(header, value)).await
}

fn names(resource: &Value) -> Vec<&str> {
    resource.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn only_the_fields_that_were_asked_for_are_told() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let made = stocked(&acme, 1).await;
    stocked(&globex, 1).await;

    let page = acme.viewer.get(&format!("{PRODUCTS}?fields=sku,price&sort=sku")).await.expect(200);
    assert_eq!(names(&page["data"][0]), ["price", "sku"]);
    assert_eq!(page["data"][0]["sku"], "S-00a");
    assert_eq!(page["data"].as_array().unwrap().len(), 2, "another org's are not among them");

    let path = format!("{PRODUCTS}/{}", id(&made[0]));
    assert_eq!(acme.viewer.get(&format!("{path}?fields=sku")).await.expect(200), json!({"sku": "S-00a"}));
    let along = acme.viewer.get(&format!("{path}?fields=sku&expand=category")).await.expect(200);
    assert_eq!(names(&along), ["category", "sku"]);

    // What one may not see is not told for being named.
    let costly = acme.viewer.get(&format!("{path}?fields=sku,cost")).await.expect(200);
    assert_eq!(names(&costly), ["sku"]);
    let told = acme.owner.get(&format!("{path}?fields=sku,cost")).await.expect(200);
    assert_eq!(names(&told), ["cost", "sku"]);

    for query in ["fields=colour", "fields=", "fields=sku,", "fields=sku&fields=name"] {
        let problem = acme.viewer.get(&format!("{path}?{query}")).await.expect_problem(400, "bad_parameter");
        let listed =
            acme.viewer.get(&format!("{PRODUCTS}?{query}")).await.expect_problem(400, "bad_parameter");
        assert_eq!(problem["detail"], listed["detail"]);
    }
    let problem =
        acme.viewer.get(&format!("{path}?fields=colour")).await.expect_problem(400, "bad_parameter");
    assert!(problem["detail"].as_str().unwrap().contains("is_active"), "{problem} names what there is");
    acme.viewer.get(&format!("{path}?sort=sku")).await.expect_problem(400, "unknown_parameter");
    let categories = acme.viewer.get("/api/v1/categories?expand=parent").await;
    categories.expect_problem(400, "unknown_parameter");
}

#[tokio::test]
async fn a_category_comes_along_where_it_is_asked_for_and_may_be_seen() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let made = stocked(&acme, 2).await;
    let loose = acme.owner.post(PRODUCTS, product("Z", 1)).await.expect(201);

    let page = acme.viewer.get(&format!("{PRODUCTS}?expand=category&sort=sku")).await.expect(200);
    for product in page["data"].as_array().unwrap() {
        if product["id"] == loose["id"] {
            assert!(product.get("category").is_none(), "{product}");
        } else {
            assert_eq!(product["category"]["id"], product["category_id"]);
        }
    }
    let path = format!("{PRODUCTS}/{}", id(&made[2]));
    let one = acme.viewer.get(&format!("{path}?expand=category")).await;
    assert_eq!(one.expect(200)["category"]["name"], "Category 1");
    assert!(
        one.header("etag").starts_with("W/"),
        "it may change without the product: {}",
        one.header("etag")
    );
    assert!(acme.viewer.get(&path).await.expect(200).get("category").is_none());

    let key = app.api_key(&acme, &["products:read"]).await;
    let refused = key.get(&format!("{path}?expand=category")).await.expect_problem(403, "permission_denied");
    assert_eq!(refused["permission"], "categories:read");
    let known = key.get(&format!("{path}?expand=orders")).await.expect_problem(400, "bad_parameter");
    assert_eq!(known["detail"], r#"expand can't name "orders"; there is category"#);
}

#[tokio::test]
async fn what_was_written_is_told_in_the_shape_that_was_asked_for() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let made = stocked(&acme, 2).await;
    let (first, second) = (&made[0]["category_id"], &made[2]["category_id"]);
    let mut new = product("NEW", 1);
    new["category_id"] = first.clone();

    // Who may not see the category gets no product made along with it.
    let key = app.api_key(&acme, &["products:create", "products:update", "products:read"]).await;
    let path = format!("{PRODUCTS}?expand=category");
    let refused = key.post(&path, new.clone()).await.expect_problem(403, "permission_denied");
    assert_eq!(refused["permission"], "categories:read");
    acme.owner
        .post(&format!("{PRODUCTS}?sort=sku"), new.clone())
        .await
        .expect_problem(400, "unknown_parameter");

    let reply = acme.owner.post(&path, new).await;
    let wheel = reply.expect(201);
    assert_eq!((&wheel["category"]["id"], &wheel["category"]["name"]), (first, &json!("Category 0")));
    assert_eq!(reply.header("etag"), "\"1\"", "for who changes it next");
    let at = reply.header("location").to_owned();
    assert_eq!(acme.owner.get(&format!("{at}?expand=category")).await.expect(200), wheel);

    let move_it = json!({"category_id": second});
    let refused = key.patch(&format!("{at}?expand=category"), move_it.clone()).await;
    refused.expect_problem(403, "permission_denied");
    let moved = acme.owner.patch(&format!("{at}?fields=version&expand=category"), move_it).await;
    assert_eq!((names(&moved.expect(200)), moved.header("etag")), (vec!["category", "version"], "\"2\""));
    assert_eq!(moved.json()["category"]["name"], "Category 1", "where it is by now");
    let plain = acme.owner.patch(&at, json!({"stock": 2})).await.expect(200);
    assert!(plain.get("category").is_none(), "{plain}");

    acme.owner.delete(&at).await.expect(204);
    let back =
        acme.owner.post(&format!("{at}/restore?fields=sku&expand=category"), json!({})).await.expect(200);
    assert_eq!((names(&back), &back["sku"]), (vec!["category", "sku"], &json!("NEW")));
}

#[tokio::test]
async fn a_write_is_repeated_in_the_shape_it_was_told_in_and_in_no_other() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let category = stocked(&acme, 1).await[0]["category_id"].clone();
    let mut new = product("NEW", 1);
    new["category_id"] = category.clone();
    let send = async |shape: &str| acme.owner.post_as("k", &format!("{PRODUCTS}?{shape}"), new.clone()).await;
    let first = send("fields=id,sku&expand=category").await;
    first.expect(201);
    let at = format!("/api/v1/categories/{}", category.as_str().unwrap());
    acme.owner.patch(&at, json!({"name": "Renamed"})).await.expect(200);
    for same in ["fields=id,sku&expand=category", "expand=category,category&fields=sku,id,sku"] {
        let again = send(same).await;
        assert_eq!((again.status, again.header("idempotent-replayed")), (201, "true"));
        assert_eq!(again.text, first.text, "to the byte");
    }
    for other in ["", "expand=category", "fields=id,sku", "fields=id&expand=category"] {
        let problem = send(other).await.expect_problem(422, "invalid");
        assert_eq!(problem["errors"][0]["code"], "idempotency_key_reused", "{other}");
    }
}

#[tokio::test]
async fn a_page_costs_as_many_statements_whether_it_is_short_or_long() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    stocked(&acme, 50).await;
    let queries = Queries::listen();
    let mut counts = Vec::new();
    for limit in [1, 100] {
        let path = format!("{PRODUCTS}?limit={limit}&expand=category");
        let page = asked_with(&acme.viewer, &path, ("prefer", "count=exact")).await.expect(200);
        assert_eq!(page["data"].as_array().unwrap().len(), limit);
        let asked = queries.of_rows();
        assert_eq!(asked.len(), 3, "the page, the categories and the count: {asked:#?}");
        counts.push(asked.len());
    }
    assert_eq!(counts[0], counts[1]);
    // The listener hears each statement, not each kind of it.
    for limit in [2, 3] {
        acme.viewer.get(&format!("{PRODUCTS}?limit={limit}")).await.expect(200);
    }
    assert_eq!(queries.of_rows().len(), 2);
}

#[tokio::test]
async fn a_walk_back_meets_the_same_pages_and_knows_its_ends() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    stocked(&acme, 5).await;
    for sort in ["sku", "-created_at", "price", "-name"] {
        let mut path = format!("{PRODUCTS}?sort={sort}&limit=4");
        let mut forth = Vec::new();
        loop {
            let page = acme.viewer.get(&path).await.expect(200);
            assert_eq!(
                page["prev_cursor"].is_null(),
                forth.is_empty(),
                "the first page, and no other, is first"
            );
            let next = page["next_cursor"].as_str().map(ToOwned::to_owned);
            forth.push(page);
            let Some(next) = next else { break };
            path = format!("{PRODUCTS}?sort={sort}&limit=4&cursor={next}");
        }
        assert_eq!(forth.len(), 3);
        let mut at = forth.len() - 1;
        while at > 0 {
            let prev = forth[at]["prev_cursor"].as_str().unwrap();
            let reply = acme.viewer.get(&format!("{PRODUCTS}?sort={sort}&limit=4&cursor={prev}")).await;
            let page = reply.expect(200);
            at -= 1;
            assert_eq!(page["data"], forth[at]["data"], "{sort}");
            assert_eq!(page["has_more"], true);
            assert_eq!(page["prev_cursor"].is_null(), at == 0);
            assert_eq!(reply.header("link").contains("rel=\"prev\""), at > 0);
            assert!(reply.header("link").contains("rel=\"next\""));
        }
    }
    // Back from a page that is gone since, there is nothing to go forth to.
    let page = acme.viewer.get(&format!("{PRODUCTS}?sort=sku&limit=8")).await.expect(200);
    let last = format!("{PRODUCTS}?sort=sku&limit=8&cursor={}", page["next_cursor"].as_str().unwrap());
    let last = acme.viewer.get(&last).await.expect(200);
    for gone in last["data"].as_array().unwrap() {
        acme.owner.delete(&format!("{PRODUCTS}/{}", id(gone))).await.expect(204);
    }
    let back = format!("{PRODUCTS}?sort=sku&limit=8&cursor={}", last["prev_cursor"].as_str().unwrap());
    let back = acme.viewer.get(&back).await.expect(200);
    assert_eq!((&back["data"], &back["has_more"]), (&page["data"], &json!(false)));
}

#[tokio::test]
async fn a_list_is_counted_for_whoever_prefers_it_and_within_the_own_org() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    stocked(&acme, 3).await;
    stocked(&globex, 1).await;
    let path = format!("{PRODUCTS}?limit=1&price_gte=0");
    let counted = asked_with(&acme.viewer, &path, ("prefer", "count=exact")).await;
    assert_eq!(counted.expect(200)["total_count"], 6);
    assert_eq!(counted.header("preference-applied"), "count=exact");
    let next = counted.json()["next_cursor"].as_str().unwrap().to_owned();
    let next = asked_with(&acme.viewer, &format!("{path}&cursor={next}"), ("prefer", "count=exact")).await;
    assert_eq!(next.expect(200)["total_count"], 6, "all pages', not those that are left");
    let none =
        asked_with(&acme.viewer, &format!("{PRODUCTS}?is_active=false"), ("prefer", "count=exact")).await;
    assert_eq!(none.expect(200)["total_count"], 0);
    assert!(acme.viewer.get(&path).await.expect(200).get("total_count").is_none());
}

#[tokio::test]
async fn what_a_client_has_already_is_not_sent_again() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let made = stocked(&acme, 1).await;
    let order = json!({"lines": [{"product_id": id(&made[0]), "quantity": 1}]});
    let order = acme.owner.post("/api/v1/orders", order).await.expect(201);
    let category = made[0]["category_id"].as_str().unwrap().to_owned();
    for path in [
        format!("{PRODUCTS}/{}", id(&made[1])),
        format!("/api/v1/orders/{}", id(&order)),
        format!("/api/v1/categories/{category}"),
    ] {
        let tag = acme.viewer.get(&path).await.header("etag").to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"0\", {tag}"), "*".to_owned()] {
            let same = asked_with(&acme.viewer, &path, ("if-none-match", &known)).await;
            assert_eq!(
                (same.status, same.text.as_str(), same.header("etag")),
                (304, "", tag.as_str()),
                "{known}"
            );
        }
        asked_with(&acme.viewer, &path, ("if-none-match", "\"99\"")).await.expect(200);
        asked_with(&globex.viewer, &path, ("if-none-match", &tag)).await.expect_problem(404, "not_found");
    }
    let path = format!("{PRODUCTS}/{}", id(&made[1]));
    let tag = acme.viewer.get(&path).await.header("etag").to_owned();
    acme.owner.patch(&path, json!({"name": "New"})).await.expect(200);
    let changed = asked_with(&acme.viewer, &path, ("if-none-match", &tag)).await;
    assert_eq!(changed.expect(200)["name"], "New");
}
