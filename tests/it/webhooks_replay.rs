//! What a webhook is told beside what happens: a test, and again what was told or missed before.

use super::support::{Org, Persona, TestApp, id, pointers, product, until};
use insula::worker;
use serde_json::{Value, json};
use std::time::Duration;

const WEBHOOKS: &str = "/api/v1/webhooks";

/// Where nobody answers.
async fn make(by: &Persona, events: &[&str]) -> String {
    let new = json!({"url": "http://127.0.0.1:9/hooks", "events": events});
    let reply = by.post(WEBHOOKS, new).await;
    reply.expect(201);
    reply.header("location").to_owned()
}

/// Its deliveries in this state, the first first.
async fn deliveries(by: &Persona, webhook: &str, status: &str) -> Vec<Value> {
    let page = by.get(&format!("{webhook}/deliveries?sort=created_at&limit=100&status={status}")).await;
    page.expect(200)["data"].as_array().unwrap().clone()
}

async fn make_products(acme: &Org, skus: &[&str]) {
    for sku in skus {
        acme.owner.post("/api/v1/products", product(sku, 1)).await.expect(201);
    }
}

#[tokio::test]
async fn what_failed_or_was_missed_is_told_again_as_the_same_event_and_what_waits_is_not_doubled() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let path = make(&acme.owner, &["product.created"]).await;
    let replay = async |asked: Value| {
        let reply = acme.owner.post(&format!("{path}/replay"), asked).await;
        assert_eq!(reply.header("location"), format!("{path}/deliveries"));
        reply.expect(202)["deliveries"].clone()
    };
    make_products(&acme, &["A", "B"]).await;
    app.number().await;
    let waiting = deliveries(&acme.owner, &path, "waiting").await;
    assert_eq!(waiting.len(), 2);
    assert!(waiting[0]["next_attempt_at"].is_string() && waiting[0]["finished_at"].is_null());
    for asked in [
        json!({}),
        json!({"only": "missed"}),
        json!({"only": "all"}),
        json!({"event_id": waiting[0]["event_id"]}),
    ] {
        assert_eq!(replay(asked.clone()).await, 0, "{asked}: they wait");
    }

    // Nobody answers, and nothing is tried again.
    let courier =
        TestApp::start_on(app.database.clone(), "[webhooks]\nin_flight = 4\nretry_seconds = []").await;
    let gave_up = async |many: usize| {
        until("they are given up", async || deliveries(&acme.owner, &path, "failed").await.len() == many)
            .await;
    };
    gave_up(2).await;
    assert_eq!(replay(json!({"only": "failed"})).await, 2);
    gave_up(4).await;
    assert_eq!(replay(json!({"event_id": waiting[1]["event_id"]})).await, 1);
    gave_up(5).await;
    let failed = deliveries(&acme.owner, &path, "failed").await;
    assert_eq!(failed[4]["event_id"], waiting[1]["event_id"]);
    assert_eq!((&failed[4]["asked_by"], &failed[4]["attempts"]), (&json!("replay"), &json!(1)));
    let attempts =
        acme.owner.get(&format!("{path}/attempts?delivery_id={}", id(&failed[4]))).await.expect(200);
    let attempt = &attempts["data"][0];
    assert_eq!((&attempt["outcome"], &attempt["number"]), (&json!("unreachable"), &json!(1)));
    assert_eq!(attempt["request_headers"]["webhook-id"], failed[4]["event_id"]);
    assert_eq!(acme.owner.get(&format!("{path}/attempts/{}", id(attempt))).await.expect(200), *attempt);
    let none = acme.owner.get(&format!("{path}/attempts?outcome=succeeded")).await.expect(200);
    assert_eq!(none["data"], json!([]));
    drop(courier);

    // What happens while it is disabled is missed, and has not failed.
    acme.owner.patch(&path, json!({"status": "disabled"})).await.expect(200);
    make_products(&acme, &["C"]).await;
    app.number().await;
    acme.owner.patch(&path, json!({"status": "enabled"})).await.expect(200);
    let from = &failed[0]["created_at"];
    assert_eq!(replay(json!({"only": "failed", "from": "2020-01-01T00:00:00Z"})).await, 2);
    assert_eq!(replay(json!({"only": "missed"})).await, 1);
    assert_eq!(
        replay(json!({"only": "missed", "to": "2020-01-01T00:00:00Z", "from": "2019-01-01T00:00:00Z"})).await,
        0
    );
    assert!(from.is_string());
}

#[tokio::test]
async fn what_cannot_be_replayed_is_pointed_at_and_another_org_s_event_is_none() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let replay = format!("{}/replay", make(&acme.owner, &["product.created"]).await);
    for org in [&acme, &globex] {
        make_products(org, &["A"]).await;
        org.owner.post("/api/v1/categories", json!({"name": "Tools"})).await.expect(201);
    }
    app.number().await;
    let event = async |org: &Org, kind: &str| {
        let page = org.owner.get(&format!("/api/v1/events/history?type={kind}")).await.expect(200);
        page["data"][0]["id"].clone()
    };
    let theirs = event(&globex, "product.created").await;
    let untold = event(&acme, "category.created").await;
    let own = event(&acme, "product.created").await;
    for (asked, pointer, code) in [
        (json!({"event_id": theirs}), "/event_id", "unknown_event"),
        (json!({"event_id": untold}), "/event_id", "not_told"),
        (json!({"event_id": own, "only": "all"}), "/event_id", "not_alone"),
        (json!({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}), "/to", "invalid"),
        (json!({"only": "some"}), "/only", "invalid"),
    ] {
        let problem = acme.owner.post(&replay, asked).await.expect_problem(422, "invalid");
        assert_eq!(
            (pointers(&problem), &problem["errors"][0]["code"]),
            (vec![pointer], &json!(code)),
            "{problem}"
        );
    }
    let fill = format!(
        "insert into events (org_id, id, type, at, actor_type, target_type, seq)
         select '{}', gen_random_uuid(), 'product.created', now(), 'system', 'product', 1000 + i
         from generate_series(1, 10001) i",
        acme.id.uuid()
    );
    app.database.run(fill).await;
    let problem = acme.owner.post(&replay, json!({"only": "missed"})).await.expect_problem(422, "invalid");
    assert_eq!(problem["errors"][0]["code"], "too_many_events");
    let none = "select count(*) from webhook_deliveries where asked_by = 'replay'";
    assert_eq!(app.database.count(none).await, 0, "none rather than some");
}

#[tokio::test]
async fn a_test_is_for_one_webhook_alone_whatever_it_is_told_of() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let everything = make(&acme.owner, &["*"]).await;
    let products = make(&acme.owner, &["product.created"]).await;
    let reply = acme.owner.post(&format!("{products}/test"), json!({})).await;
    let tested = reply.expect(202);
    assert_eq!(reply.header("location"), tested["attempts"]);
    app.number().await;
    let told = acme.owner.get(&format!("{products}/deliveries")).await.expect(200);
    assert_eq!(
        (&told["data"][0]["event_id"], &told["data"][0]["asked_by"]),
        (&tested["event_id"], &json!("test"))
    );
    let path = format!("{everything}/deliveries?event_id={}", tested["event_id"].as_str().unwrap());
    assert_eq!(acme.owner.get(&path).await.expect(200)["data"], json!([]));
    let history = format!("/api/v1/events/history/{}", tested["event_id"].as_str().unwrap());
    assert_eq!(acme.owner.get(&history).await.expect(200)["type"], "webhook.tested");
}

#[tokio::test]
async fn a_webhook_that_is_deleted_is_gone_at_once_and_what_was_sent_to_it_with_the_next_sweep() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let path = make(&acme.owner, &["product.created"]).await;
    make(&globex.owner, &["product.created"]).await;
    for org in [&acme, &globex] {
        make_products(org, &["A"]).await;
    }
    app.number().await;
    let delivery = format!("{path}/deliveries/{}", id(&deliveries(&acme.owner, &path, "waiting").await[0]));
    acme.owner.get(&delivery).await.expect(200);
    acme.owner.delete(&path).await.expect(204);
    for gone in [&path, &delivery, &format!("{path}/deliveries"), &format!("{path}/attempts")] {
        acme.owner.get(gone).await.expect_problem(404, "not_found");
    }
    acme.owner.patch(&path, json!({"status": "enabled"})).await.expect_problem(404, "not_found");
    assert_eq!(acme.owner.get(WEBHOOKS).await.expect(200)["data"], json!([]));
    make(&acme.owner, &["category.created"]).await;

    let left = async |of: &Org, table: &str| {
        app.database.count(format!("select count(*) from {table} where org_id = '{}'", of.id.uuid())).await
    };
    app.clock.advance(Duration::from_secs(1));
    worker::sweep_rows(&app.state).await.unwrap();
    for (table, own) in [("webhook_endpoints", 1), ("webhook_secrets", 1), ("webhook_deliveries", 0)] {
        assert_eq!(left(&acme, table).await, own, "{table}: the other webhook's alone");
        assert_eq!(left(&globex, table).await, 1, "{table}");
    }
}
