//! Reads of the catalogue from memory: never older than the last write here, nor than a second, and never somebody else's.

use super::{
    isolation::make,
    support::{
        Document, Fleet, Operation, Org, Persona, Queries, Reply, TestApp, cog, id, import, labour, png,
        product, until, upload, within_a_second,
    },
};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicI64, Ordering};

const PRODUCTS: &str = "/api/v1/products";
const CATEGORIES: &str = "/api/v1/categories";
/// Where operations are that may change what the catalogue shows.
const WRITERS: [&str; 6] =
    [PRODUCTS, CATEGORIES, "/api/v1/orders", "/api/v1/files", "/api/v1/imports", "/api/v1/org/reset"];

async fn asked_with(who: &Persona, path: &str, (name, value): (&str, &str)) -> Reply {
    Reply::of(who.request(Method::GET, path).header(name, value)).await
}

/// A product in a category, and where they are.
async fn stocked(acme: &Org) -> (String, String) {
    let category = acme.owner.post(CATEGORIES, json!({"name": "Tools"})).await;
    let mut new = cog();
    new["category_id"] = category.expect(201)["id"].clone();
    new["cost"] = json!({"amount": 1000, "currency": "EUR"});
    let product = acme.owner.post(PRODUCTS, new).await;
    product.expect(201);
    (product.header("location").to_owned(), category.header("location").to_owned())
}

fn shows_cost(page: &Value) -> bool {
    page["data"][0].get("cost").is_some()
}

#[tokio::test]
async fn what_was_asked_a_moment_ago_asks_postgres_for_nothing_and_is_counted() {
    let app = TestApp::start_with("[metrics]\nlisten = \"127.0.0.1:0\"").await;
    let acme = app.org().await;
    let (product, category) = stocked(&acme).await;
    let queries = Queries::listen();
    let expanded = format!("{PRODUCTS}?expand=category&sort=sku");
    for path in [PRODUCTS, &product, CATEGORIES, &category, &expanded] {
        until(&format!("{path} is answered from memory"), async || {
            let read = acme.viewer.get(path).await.expect(200);
            queries.transactions();
            // Another person, who may see the same.
            assert_eq!(acme.member.get(path).await.expect(200), read);
            queries.transactions() == 0
        })
        .await;
    }
    let told = app.anon().at(app.metrics.as_ref().unwrap()).get("/metrics").await;
    for operation in ["list_products", "get_product", "list_categories", "get_category"] {
        let line = format!("insula_cache_reads_total{{operation=\"{operation}\",outcome=\"hit\"}} ");
        assert!(told.text.contains(&line), "{line} is not in\n{}", told.text);
    }
}

#[tokio::test]
async fn every_operation_that_may_change_the_catalogue_is_seen_by_the_next_read() {
    let app = TestApp::start().await;
    let _work = labour::work_for_real(&app);
    // Reads what there is, each time.
    let bare = TestApp::start_on(app.database.clone(), "[cache]\nmebibytes = 0").await;
    let acme = app.org().await;
    let (product, category) = stocked(&acme).await;
    let document = Document::of(&app).await;
    let mut tried = 0;
    for operation in document.operations() {
        let writes = operation.method != "get" && WRITERS.iter().any(|at| operation.path.starts_with(at));
        if !writes {
            continue;
        }
        let sandbox = operation.path.starts_with("/api/v1/org/");
        let scopes =
            ["org:delete", "products:read", "products:create", "categories:read", "categories:create"];
        let by = if sandbox { app.api_key_in(&acme, "test", &scopes).await } else { acme.owner.clone() };
        let (path, body) = to_do(&app, &by, &operation).await;
        let mut reads = vec![
            format!("{PRODUCTS}?limit=100"),
            format!("{PRODUCTS}?limit=100&expand=category"),
            format!("{CATEGORIES}?limit=100"),
            product.clone(),
            category.clone(),
        ];
        let about = path.split(['?', '/']).take(5).collect::<Vec<_>>().join("/");
        reads.extend((about.starts_with(PRODUCTS) || about.starts_with(CATEGORIES)).then_some(about));
        let bare = by.at(&bare.base);
        all_true(&operation, &by, &bare, &reads).await;
        let done = match operation.to_string().as_str() {
            "POST /api/v1/files" => upload(&by, "cog.png", "image/png", png()).await,
            "POST /api/v1/imports" => imported(&by).await,
            _ => operation.call_with(&by, &path, body).await,
        };
        assert!(
            done.status < 300,
            "{operation}: teach `to_do` to have it done: {} {}",
            done.status,
            done.text
        );
        all_true(&operation, &by, &bare, &reads).await;
        tried += 1;
    }
    assert!(tried >= 19, "tried {tried}");
}

/// Each of `reads` is answered as it is by a replica that keeps nothing.
async fn all_true(operation: &Operation<'_>, by: &Persona, bare: &Persona, reads: &[String]) {
    for path in reads {
        let (told, truth) = (by.get(path).await, bare.get(path).await);
        assert_eq!(told.without_request_id(), truth.without_request_id(), "{operation}: {path}");
    }
}

/// What an operation is called with, on something that was made for it.
async fn to_do(app: &TestApp, by: &Persona, operation: &Operation<'_>) -> (String, Option<Value>) {
    let name = operation.to_string();
    let made = async |collection: &str| make(app, by, &name, collection).await;
    let stored = async || id(&by.get(&made(PRODUCTS).await).await.expect(200)).to_owned();
    let body = |body| Some(body);
    match name.as_str() {
        "POST /api/v1/products" => (operation.path.to_owned(), body(product("NEW", 5))),
        "POST /api/v1/products/bulk" => {
            (operation.path.to_owned(), body(json!({"items": [{"create": product("BULK", 5)}]})))
        }
        "POST /api/v1/products/{id}/restore" => {
            (format!("{}/restore", made("/api/v1/products/deleted").await), None)
        }
        "POST /api/v1/products/{id}/images" => {
            let picture = by.picture().await;
            (format!("{}/images", made(PRODUCTS).await), body(json!({"file_id": picture["id"]})))
        }
        "PATCH /api/v1/products/{id}/images/{image_id}" => {
            (made("/api/v1/products/{id}/images").await, body(json!({"alt": "A cog"})))
        }
        "DELETE /api/v1/products/{id}/images/{image_id}" => {
            (made("/api/v1/products/{id}/images").await, None)
        }
        "PATCH /api/v1/products/{id}" => (made(PRODUCTS).await, body(json!({"name": "Renamed"}))),
        "POST /api/v1/categories" => (operation.path.to_owned(), body(json!({"name": "Toys"}))),
        "PATCH /api/v1/categories/{id}" => (made(CATEGORIES).await, body(json!({"name": "Renamed"}))),
        "DELETE /api/v1/categories/{id}" => {
            let (from, to) = (made(CATEGORIES).await, made(CATEGORIES).await);
            let in_it = json!({"category_id": from.rsplit('/').next()});
            by.patch(&format!("{PRODUCTS}/{}", stored().await), in_it).await.expect(200);
            (format!("{from}?move_to={}", to.rsplit('/').next().unwrap()), None)
        }
        "POST /api/v1/orders" => {
            let lines = json!([{"product_id": stored().await, "quantity": 2}]);
            (operation.path.to_owned(), body(json!({"lines": lines})))
        }
        "PATCH /api/v1/orders/{id}" => (made("/api/v1/orders").await, body(json!({"note": "Soon"}))),
        "POST /api/v1/orders/{id}/fulfil" | "POST /api/v1/orders/{id}/refund" => {
            let order = made("/api/v1/orders").await;
            by.post(&format!("{order}/pay"), json!({})).await.expect(200);
            (operation.path.replace("/api/v1/orders/{id}", &order), None)
        }
        "POST /api/v1/org/reset" => {
            by.post(PRODUCTS, product("OF-THE-SANDBOX", 5)).await.expect(201);
            (operation.path.to_owned(), None)
        }
        _ => match operation.path.split_once("/{id}") {
            Some((collection, rest)) => (format!("{}{rest}", made(collection).await), None),
            None => (operation.path.to_owned(), operation.body()),
        },
    }
}

/// A product, by a job of this process.
async fn imported(by: &Persona) -> Reply {
    let file = "sku,name,price_amount,price_currency\nIMPORTED,Cog,100,EUR\n";
    let asked = import(by, "text/csv", file).await;
    let job = asked.header("location").to_owned();
    until("the import is over", async || by.get(&job).await.expect(200)["status"] == "succeeded").await;
    asked
}

#[tokio::test]
async fn whoever_reads_after_a_write_was_answered_sees_it_however_many_read_meanwhile() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (path, _) = stocked(&acme).await;
    let answered = AtomicI64::new(0);
    let write = async {
        for stock in 1..=60 {
            acme.owner.patch(&path, json!({"stock": stock})).await.expect(200);
            answered.store(stock, Ordering::SeqCst);
        }
        answered.store(i64::MAX, Ordering::SeqCst);
    };
    let read = async |who: &Persona| {
        let mut reads = 0;
        loop {
            let before = answered.load(Ordering::SeqCst);
            if before == i64::MAX {
                return reads;
            }
            let shown = who.get(&path).await.expect(200)["stock"].as_i64().unwrap();
            assert!(
                before == 0 || shown >= before,
                "{shown} pieces are shown, and {before} had been written"
            );
            reads += 1;
        }
    };
    let readers = [&acme.viewer, &acme.member, &acme.admin, &acme.viewer];
    let (reads, ()) = tokio::join!(join_all(readers.map(read)), write);
    assert!(reads.iter().sum::<i32>() > 60, "{reads:?}");
}

#[tokio::test]
async fn what_one_org_asked_is_never_told_to_another() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let made = acme.owner.post(PRODUCTS, product("ONE", 1)).await;
    globex.owner.post(PRODUCTS, product("TWO", 1)).await.expect(201);
    for _ in 0..3 {
        for (who, sku) in [(&acme.viewer, "ONE"), (&globex.viewer, "TWO")] {
            let page = who.get(PRODUCTS).await.expect(200);
            let skus: Vec<_> =
                page["data"].as_array().unwrap().iter().map(|product| &product["sku"]).collect();
            assert_eq!(skus, [sku]);
        }
        acme.viewer.get(made.header("location")).await.expect(200);
        globex.viewer.get(made.header("location")).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn whoever_may_see_less_sees_less_whoever_asked_before() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (product, _) = stocked(&acme).await;
    let all = app.api_key(&acme, &["products:read", "products:read_cost", "categories:read"]).await;
    let little = app.api_key(&acme, &["products:read"]).await;
    let expanded = format!("{PRODUCTS}?expand=category");
    for _ in 0..2 {
        for (who, sees) in [(&acme.owner, true), (&acme.viewer, false), (&all, true), (&little, false)] {
            assert_eq!(shows_cost(&who.get(PRODUCTS).await.expect(200)), sees);
            assert_eq!(who.get(&product).await.expect(200).get("cost").is_some(), sees);
        }
        all.get(&expanded).await.expect(200);
        let problem = little.get(&expanded).await.expect_problem(403, "permission_denied");
        assert_eq!(problem["permission"], "categories:read");
        acme.owner.get(&format!("{PRODUCTS}?sort=price")).await.expect(200);
    }

    // Who may not come in at all is not answered from memory either.
    let orders = app.api_key(&acme, &["orders:read"]).await;
    orders.get(PRODUCTS).await.expect_problem(403, "permission_denied");

    let role = json!({"name": "buyer", "permissions": ["products:read", "products:read_cost"]});
    let role = acme.owner.post("/api/v1/roles", role).await.header("location").to_owned();
    let buyer = app.member(acme.id, &acme.slug, "buyer").await;
    assert!(shows_cost(&buyer.get(PRODUCTS).await.expect(200)));
    acme.owner.patch(&role, json!({"permissions": ["products:read"]})).await.expect(200);
    assert!(!shows_cost(&buyer.get(PRODUCTS).await.expect(200)));
}

/// A replica that has not heard of a change decides anew once a transaction tells it, and what it answers then is for
/// those who may see that.
#[tokio::test]
async fn what_a_role_changed_meanwhile_lets_somebody_see_is_kept_for_nobody_else() {
    let app = TestApp::start().await;
    let there = app.replica().await;
    let acme = app.org().await;
    stocked(&acme).await;
    let permissions = ["products:read", "categories:read", "products:read_cost"];
    let role = json!({"name": "clerk", "permissions": &permissions[..2]});
    let role = acme.owner.post("/api/v1/roles", role).await.header("location").to_owned();
    let clerk = app.member(acme.id, &acme.slug, "clerk").await.at(&there.base);
    let viewer = acme.viewer.at(&there.base);
    for who in [&clerk, &viewer] {
        who.get(CATEGORIES).await.expect(200);
    }
    app.database.cut_bus().await;
    acme.owner.patch(&role, json!({"permissions": permissions})).await.expect(200);
    assert!(shows_cost(&clerk.get(PRODUCTS).await.expect(200)));
    assert!(!shows_cost(&viewer.get(PRODUCTS).await.expect(200)));
}

#[tokio::test]
async fn what_is_written_at_one_replica_is_seen_at_another_within_a_second_however_often_it_is_read() {
    let app = TestApp::start().await;
    let there = app.replica().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (path, _) = stocked(&acme).await;
    let far = acme.viewer.at(&there.base);
    for name in ["One", "Two"] {
        far.get(PRODUCTS).await.expect(200);
        far.get(&path).await.expect(200);
        acme.owner.patch(&path, json!({"name": name})).await.expect(200);
        within_a_second("the list shows it", async || {
            far.get(PRODUCTS).await.expect(200)["data"][0]["name"] == name
        })
        .await;
        // Its age counts from its own reading, and the list's has nothing to do with it.
        until("the product shows it", async || far.get(&path).await.expect(200)["name"] == name).await;
    }

    far.get(PRODUCTS).await.expect(200);
    let suspension = json!({"status": "suspended", "reason": "a drill"});
    let operator = app.operator().await;
    operator.patch(&format!("/operator/v1/orgs/{}", acme.id), suspension).await.expect(200);
    within_a_second("a suspended organisation is shut", async || far.get(PRODUCTS).await.status == 403).await;
    far.get(PRODUCTS).await.expect_problem(403, "org_suspended");
    globex.viewer.at(&there.base).get(PRODUCTS).await.expect(200);
}

#[tokio::test]
async fn without_redis_the_catalogue_is_read_and_what_is_written_is_seen() {
    let policies = json!([{"name": "org", "scope": "org", "quota": 1000, "window_seconds": 60}]);
    let fleet = Fleet::without_redis(policies, "").await;
    let (acme, globex) = (fleet.replicas[0].org().await, fleet.replicas[0].org().await);
    let (path, _) = stocked(&acme).await;
    for name in ["One", "Two"] {
        acme.owner.patch(&path, json!({"name": name})).await.expect(200);
        for _ in 0..2 {
            assert_eq!(acme.viewer.get(PRODUCTS).await.expect(200)["data"][0]["name"], name);
            assert_eq!(globex.viewer.get(PRODUCTS).await.expect(200)["data"], json!([]));
        }
    }
}

#[tokio::test]
async fn a_client_may_keep_an_answer_and_ask_whether_it_is_still_so() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (product, category) = stocked(&acme).await;
    let who = &acme.viewer;
    let expanded = format!("{PRODUCTS}?expand=category");
    let one = format!("{product}?expand=category");
    for path in [PRODUCTS, &expanded, &product, &one, CATEGORIES, &category] {
        let whole = who.get(path).await;
        whole.expect(200);
        let tag = whole.header("etag");
        assert_eq!(
            tag.starts_with("W/"),
            ![&product, &category].contains(&&path.to_owned()),
            "{path}: {tag}"
        );
        for _ in 0..2 {
            let same = asked_with(who, path, ("if-none-match", tag)).await;
            assert_eq!((same.status, same.text.as_str(), same.header("etag")), (304, "", tag), "{path}");
            for reply in [&whole, &same] {
                assert_eq!(reply.header("cache-control"), "private, no-cache");
                let varies = reply.headers.get_all("vary").iter().any(|vary| vary == "Authorization, Prefer");
                assert!(varies, "{path}: {:?}", reply.headers);
            }
        }
        assert_eq!(asked_with(who, path, ("if-none-match", "\"0\", W/\"0\"")).await.text, whole.text);
        let head = Reply::of(who.request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.header("etag"), head.text.as_str()), (200, tag, ""), "{path}");
    }

    // It is of what stands in it, also of what another resource lends it.
    let tags = async || {
        let mut tags = Vec::new();
        for path in [PRODUCTS, &expanded, &product, &one] {
            tags.push(who.get(path).await.header("etag").to_owned());
        }
        tags
    };
    let before = tags().await;
    acme.owner.patch(&category, json!({"name": "Renamed"})).await.expect(200);
    let after = tags().await;
    let changed: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before != after).collect();
    assert_eq!(changed, [false, true, false, true]);
    assert_eq!(
        asked_with(who, &one, ("if-none-match", &before[3])).await.expect(200)["category"]["name"],
        "Renamed"
    );
    // What another organisation has is no answer to this one.
    let theirs = globex.viewer.get(PRODUCTS).await;
    assert_ne!(theirs.header("etag"), after[0]);

    for _ in 0..2 {
        assert_eq!(who.get(PRODUCTS).await.expect(200).get("total_count"), None);
        let counted = asked_with(who, PRODUCTS, ("prefer", "count=exact")).await;
        assert_eq!(counted.expect(200)["total_count"], 1);
        assert_eq!(counted.header("preference-applied"), "count=exact");
    }
}
