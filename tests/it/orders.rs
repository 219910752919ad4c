//! Orders: placed once however often they are sent, and moved along the published arrows only.

use super::support::{Binary, Org, Persona, Reply, TestApp, Wire, id, pointers, product, until};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const ORDERS: &str = "/api/v1/orders";

async fn stocked(org: &Org, sku: &str, stock: u32) -> Value {
    org.owner.post("/api/v1/products", product(sku, stock)).await.expect(201)
}

fn of(lines: &[(&Value, i64)]) -> Value {
    let lines: Vec<Value> = lines
        .iter()
        .map(|(product, quantity)| json!({"product_id": product["id"], "quantity": quantity}))
        .collect();
    json!({"lines": lines})
}

async fn count(who: &Persona) -> usize {
    who.get(&format!("{ORDERS}?limit=100")).await.expect(200)["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn an_order_captures_what_the_products_were_when_it_was_placed() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (cog, wheel) = (stocked(&acme, "COG", 10).await, stocked(&acme, "WHEEL", 10).await);
    let mut order = of(&[(&cog, 3), (&wheel, 2), (&cog, 1)]);
    order["note"] = json!("ring twice");
    order["metadata"] = json!({"channel": "shop"});
    let reply = acme.member.post(ORDERS, order).await;
    let placed = reply.expect(201);
    let path = reply.header("location");
    assert_eq!(path, format!("{ORDERS}/{}", id(&placed)));
    assert_eq!(reply.header("etag"), "\"1\"");
    let euros = |amount: i64| json!({"amount": amount, "currency": "EUR"});
    let line = |product: &Value, quantity: i64| {
        json!({"product_id": product["id"], "sku": product["sku"], "name": product["name"], "quantity": quantity,
               "unit_price": euros(250), "total": euros(250 * quantity)})
    };
    assert_eq!(placed["lines"], json!([line(&cog, 3), line(&wheel, 2), line(&cog, 1)]));
    assert_eq!(
        (&placed["total"], &placed["status"], &placed["number"]),
        (&euros(1_500), &json!("placed"), &json!(1))
    );
    assert_eq!(placed["placed_by"], acme.member.user().to_string());
    assert_eq!((&placed["note"], &placed["metadata"]["channel"]), (&json!("ring twice"), &json!("shop")));

    let cog_path = format!("/api/v1/products/{}", id(&cog));
    let dearer = json!({"price": euros(999), "name": "Dear cog", "sku": "DEAR"});
    acme.owner.patch(&cog_path, dearer).await.expect(200);
    acme.owner.delete(&cog_path).await.expect(204);
    assert_eq!(acme.viewer.get(path).await.expect(200), placed);
    assert_eq!(acme.viewer.get(ORDERS).await.expect(200)["data"], json!([placed]));

    let missing = globex.owner.get(&format!("{ORDERS}/ord_01jd8yq3c5f4x7t9k2m6n8p0rs")).await;
    missing.expect_problem(404, "not_found");
    for theirs in [
        globex.owner.get(path).await,
        globex.owner.patch(path, json!({"note": "x"})).await,
        globex.owner.post(&format!("{path}/pay"), json!({})).await,
        globex.owner.post(&format!("{path}/refund"), json!({})).await,
    ] {
        assert_eq!(theirs.without_request_id(), missing.without_request_id());
    }
    assert_eq!(count(&globex.owner).await, 0);
}

#[tokio::test]
async fn a_request_sent_again_is_answered_again_to_the_byte() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (cog, theirs) = (stocked(&acme, "COG", 10).await, stocked(&globex, "COG", 10).await);
    let order = of(&[(&cog, 1)]);

    let keyless = acme.member.request(Method::POST, ORDERS).json(&order);
    Reply::of(keyless).await.expect_problem(400, "idempotency_key_required");
    for key in ["", &"k".repeat(256)] {
        acme.member.post_as(key, ORDERS, order.clone()).await.expect_problem(400, "idempotency_key_required");
    }

    let first = acme.member.post_as("k1", ORDERS, order.clone()).await;
    let path = format!("{ORDERS}/{}", id(&first.expect(201)));
    assert_eq!(first.header("idempotent-replayed"), "");
    acme.member.post(&format!("{path}/pay"), json!({})).await.expect(200);
    let again = acme.member.post_as("k1", ORDERS, order.clone()).await;
    assert_eq!((again.status, &again.text), (201, &first.text));
    assert_eq!(again.header("idempotent-replayed"), "true");
    for header in ["location", "content-type"] {
        assert_eq!(again.header(header), first.header(header));
    }
    // Written differently, it is the same request.
    let spaced = acme.member.request(Method::POST, ORDERS).header("idempotency-key", "k1");
    let spaced = spaced.header("content-type", "application/json").body(format!("  {order:#}\n"));
    assert_eq!(Reply::of(spaced).await.text, first.text);

    let other = acme.member.post_as("k1", ORDERS, of(&[(&cog, 2)])).await.expect_problem(422, "invalid");
    assert_eq!(other["errors"][0]["code"], "idempotency_key_reused");
    assert_eq!(count(&acme.member).await, 1);

    // A key is one principal's in one org.
    let owner = acme.owner.post_as("k1", ORDERS, order).await.expect(201);
    assert_eq!(owner["number"], 2);
    globex.member.post_as("k1", ORDERS, of(&[(&theirs, 1)])).await.expect(201);
}

#[tokio::test]
async fn what_failed_is_tried_anew_under_the_same_key() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let cog = stocked(&acme, "COG", 1).await;
    let order = of(&[(&cog, 2)]);
    acme.member.post_as("k1", ORDERS, order.clone()).await.expect_problem(409, "out_of_stock");
    acme.member.patch(&format!("/api/v1/products/{}", id(&cog)), json!({"stock": 2})).await.expect(200);
    acme.member.post_as("k1", ORDERS, order).await.expect(201);
}

#[tokio::test]
async fn a_retry_never_meets_the_lock_of_an_answer_already_given() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (cog, rare) = (stocked(&acme, "COG", 10).await, stocked(&acme, "RARE", 0).await);
    let (order, other, sold_out) = (of(&[(&cog, 1)]), of(&[(&cog, 2)]), of(&[(&rare, 1)]));
    acme.member.post_as("k1", ORDERS, order.clone()).await.expect(201);
    for _ in 0..100 {
        acme.member.post_as("k1", ORDERS, order.clone()).await.expect(201);
        acme.member.post_as("k1", ORDERS, other.clone()).await.expect_problem(422, "invalid");
        acme.member.post_as("k2", ORDERS, sold_out.clone()).await.expect_problem(409, "out_of_stock");
        acme.member.post_as("k2", ORDERS, sold_out.clone()).await.expect_problem(409, "out_of_stock");
    }
}

#[tokio::test]
async fn a_request_sent_a_hundred_times_at_once_places_one_order() {
    let app = TestApp::start_with("[database]\nacquire_seconds = 30").await;
    let acme = app.org().await;
    let cog = stocked(&acme, "COG", 50).await;
    let order = of(&[(&cog, 1)]);
    let replies = join_all((0..100).map(|_| acme.member.post_as("once", ORDERS, order.clone()))).await;
    let (done, busy): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 201);
    for reply in busy {
        reply.expect_problem(409, "in_flight");
    }
    assert!(done.iter().all(|reply| reply.text == done[0].text));
    assert_eq!(done.iter().filter(|reply| reply.header("idempotent-replayed") != "true").count(), 1);
    assert_eq!(count(&acme.member).await, 1);
    let left = acme.viewer.get(&format!("/api/v1/products/{}", id(&cog))).await.expect(200);
    assert_eq!(left["stock"], 49);
}

#[tokio::test]
async fn an_order_whose_answer_died_with_its_server_is_placed_once_and_answered_by_another() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (cog, theirs) = (stocked(&acme, "COG", 10).await, stocked(&globex, "COG", 10).await);
    let wire = Wire::to(&app.database);
    let url = wire.url("insula_app");
    let mut doomed = Binary::serve(&app.database, &[("INSULA_DATABASE__APP_URL", &url)]);
    let there = acme.member.at(&doomed.base().await);
    wire.lose_commits();
    let ask = there.request(Method::POST, ORDERS).header("idempotency-key", "once").json(&of(&[(&cog, 3)]));
    let asking = tokio::spawn(ask.send());
    until("it is committed", async || wire.lost() == 1).await;
    doomed.signal("KILL");
    doomed.ended().await;
    assert!(asking.await.unwrap().is_err(), "nobody was there to answer");

    let again = acme.member.post_as("once", ORDERS, of(&[(&cog, 3)])).await;
    assert_eq!(
        (again.expect(201)["number"].as_i64(), again.header("idempotent-replayed")),
        (Some(1), "true")
    );
    assert_eq!(count(&acme.member).await, 1);
    let left = acme.viewer.get(&format!("/api/v1/products/{}", id(&cog))).await.expect(200);
    assert_eq!(left["stock"], 7);
    let elsewhere = globex.member.post_as("once", ORDERS, of(&[(&theirs, 1)])).await;
    assert_eq!((elsewhere.status, elsewhere.header("idempotent-replayed")), (201, ""));
}

#[tokio::test]
async fn an_order_moves_along_the_arrows_and_is_told_where_they_lead() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let cog = stocked(&acme, "COG", 50).await;
    for (moves, status, lawful) in [
        (vec![], "placed", vec!["pay", "cancel"]),
        (vec!["pay"], "paid", vec!["fulfil", "cancel", "refund"]),
        (vec!["pay", "fulfil"], "fulfilled", vec!["refund"]),
        (vec!["cancel"], "cancelled", vec![]),
        (vec!["pay", "cancel"], "cancelled", vec![]),
        (vec!["pay", "refund"], "refunded", vec![]),
        (vec!["pay", "fulfil", "refund"], "refunded", vec![]),
    ] {
        let mut order = acme.member.post(ORDERS, of(&[(&cog, 1)])).await.expect(201);
        let path = format!("{ORDERS}/{}", id(&order));
        for step in moves {
            let reply = acme.admin.post(&format!("{path}/{step}"), json!({})).await;
            let moved = reply.expect(200);
            assert!(moved["version"].as_i64() > order["version"].as_i64());
            assert_eq!(reply.header("etag"), format!("\"{}\"", moved["version"]));
            order = moved;
        }
        assert_eq!(order["status"], status);
        for step in ["pay", "fulfil", "cancel", "refund"].into_iter().filter(|step| !lawful.contains(step)) {
            let refused = acme.admin.post(&format!("{path}/{step}"), json!({})).await;
            let refused = refused.expect_problem(409, "illegal_transition");
            let named = if lawful.is_empty() { "nothing more".to_owned() } else { lawful.join(" or ") };
            assert_eq!(refused["detail"], format!("this order is {status}: what can be done is {named}"));
        }
        assert_eq!(acme.viewer.get(&path).await.expect(200), order);
        let listed = acme.viewer.get(&format!("{ORDERS}?status={status}")).await.expect(200);
        assert!(listed["data"].as_array().unwrap().contains(&order));
    }
    acme.viewer.get(&format!("{ORDERS}?status=lost")).await.expect_problem(400, "bad_parameter");
}

#[tokio::test]
async fn only_who_may_moves_an_order() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let cog = stocked(&acme, "COG", 50).await;
    acme.viewer.post(ORDERS, of(&[(&cog, 1)])).await.expect_problem(403, "permission_denied");
    let key = app.api_key(&acme, &["orders:create", "orders:pay"]).await;
    let order = key.post(ORDERS, of(&[(&cog, 1)])).await.expect(201);
    assert!(order["placed_by"].as_str().unwrap().starts_with("key_"));
    let path = format!("{ORDERS}/{}", id(&order));
    let refused = acme.viewer.post(&format!("{path}/pay"), json!({})).await;
    let problem = refused.expect_problem(403, "permission_denied");
    assert_eq!((&problem["permission"], &problem["your_roles"]), (&json!("orders:pay"), &json!(["viewer"])));
    assert_eq!(problem["granted_by"], json!(["admin", "member", "owner"]));
    key.post(&format!("{path}/pay"), json!({})).await.expect(200);
    key.post(&format!("{path}/cancel"), json!({})).await.expect_problem(403, "permission_denied");
    acme.member.post(&format!("{path}/refund"), json!({})).await.expect_problem(403, "permission_denied");
    acme.admin.post(&format!("{path}/refund"), json!({})).await.expect(200);
}

#[tokio::test]
async fn of_an_order_only_note_and_metadata_change_and_nothing_deletes_it() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let cog = stocked(&acme, "COG", 50).await;
    let order = acme.member.post(ORDERS, of(&[(&cog, 1)])).await.expect(201);
    let path = format!("{ORDERS}/{}", id(&order));
    let change = json!({"note": "ring twice", "metadata": {"a": "1", "b": "2"}});
    acme.member.patch(&path, change).await.expect(200);
    // If-Match is not needed here, and is heeded.
    let free = acme.member.request(Method::PATCH, &path).json(&json!({"metadata": {"a": null}}));
    let patched = Reply::of(free).await.expect(200);
    assert_eq!((&patched["note"], &patched["metadata"]), (&json!("ring twice"), &json!({"b": "2"})));
    acme.member.patch_if(&path, "\"1\"", json!({"note": ""})).await.expect_problem(412, "stale");

    for field in ["status", "lines", "total", "number", "placed_by", "id"] {
        let problem =
            acme.member.patch(&path, json!({field: order[field]})).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [format!("/{field}")]);
    }
    for (patch, pointer) in [
        (json!({"note": null}), "/note"),
        (json!({"note": "x".repeat(2_001)}), "/note"),
        (json!({"metadata": null}), "/metadata"),
    ] {
        let problem = acme.member.patch(&path, patch).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [pointer]);
    }
    let delete = acme.owner.delete(&path).await;
    delete.expect_problem(405, "method_not_allowed");
    let allowed: Vec<&str> = delete.header("allow").split(',').map(str::trim).collect();
    assert!(
        allowed.contains(&"GET") && allowed.contains(&"PATCH") && !allowed.contains(&"DELETE"),
        "{allowed:?}"
    );
    assert_eq!(acme.viewer.get(&path).await.expect(200), patched);
}

#[tokio::test]
async fn an_order_s_history_tells_where_it_has_been_when_and_by_whom() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let cog = stocked(&acme, "COG", 10).await;
    let key = app.api_key(&acme, &["orders:create", "orders:read"]).await;
    let order = key.post(ORDERS, of(&[(&cog, 1)])).await.expect(201);
    let path = format!("{ORDERS}/{}", id(&order));
    let history = format!("{path}/history");
    acme.member.post(&format!("{path}/pay"), json!({})).await.expect(200);
    acme.member.post(&format!("{path}/pay"), json!({})).await.expect_problem(409, "illegal_transition");
    acme.member.post(&format!("{path}/fulfil"), json!({})).await.expect(200);
    acme.admin.post(&format!("{path}/refund"), json!({})).await.expect(200);

    let told = acme.viewer.get(&format!("{history}?sort=at")).await.expect(200);
    let steps: Vec<_> =
        told["data"].as_array().unwrap().iter().map(|step| (&step["status"], &step["by"])).collect();
    let (member, admin) = (json!(acme.member.user().to_string()), json!(acme.admin.user().to_string()));
    let [placed, paid, fulfilled, refunded] = ["placed", "paid", "fulfilled", "refunded"].map(Value::from);
    let placed_by = &order["placed_by"];
    assert!(placed_by.as_str().unwrap().starts_with("key_"));
    assert_eq!(steps, [(&placed, placed_by), (&paid, &member), (&fulfilled, &member), (&refunded, &admin)]);
    let times: Vec<_> =
        told["data"].as_array().unwrap().iter().map(|step| step["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");

    globex.owner.get(&history).await.expect_problem(404, "not_found");
    acme.owner.get(&format!("{ORDERS}/ord_x/history")).await.expect_problem(404, "not_found");
    acme.owner.get(&format!("{history}?id={}", id(&order))).await.expect_problem(400, "unknown_parameter");
}

#[tokio::test]
async fn a_move_sent_again_under_its_key_is_made_once_and_answered_again() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let cog = stocked(&acme, "COG", 10).await;
    let [first, second] = [
        acme.owner.post(ORDERS, of(&[(&cog, 4)])).await.expect(201),
        acme.owner.post(ORDERS, of(&[(&cog, 4)])).await.expect(201),
    ];
    let cancel = async |order: &Value| {
        acme.owner.post_as("once", &format!("{ORDERS}/{}/cancel", id(order)), json!({})).await
    };
    let done = cancel(&first).await;
    let again = cancel(&first).await;
    assert_eq!((done.expect(200), again.header("idempotent-replayed")), (again.expect(200), "true"));
    let left = acme.owner.get(&format!("/api/v1/products/{}", id(&cog))).await.expect(200);
    assert_eq!(left["stock"], 6, "given back once");
    let refused = cancel(&second).await.expect_problem(422, "invalid");
    assert_eq!(refused["errors"][0]["code"], "idempotency_key_reused");
}
