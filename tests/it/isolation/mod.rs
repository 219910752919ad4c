//! Another org's data does not exist: not by its id, in a body, in a list, by a cursor, or in Postgres itself.

mod by_id;
mod fence;
mod in_bodies;
mod in_lists;
mod sandbox;

use super::support::{
    Document, Operation, PASSWORD, Persona, TestApp, claims, cog, id, import, labour, until,
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

/// The operations of an org's own data.
fn tenants(document: &Document) -> impl Iterator<Item = Operation<'_>> {
    document.operations().into_iter().filter(|operation| !operation.is_public() && !operation.is_operators())
}

/// Makes one of what an operation's path is about, and answers where it is: each collection has a maker here,
/// and an operation without one is untested, so it fails.
pub async fn make(app: &TestApp, by: &Persona, operation: &str, collection: &str) -> String {
    if collection == "/api/v1/users" {
        let joined = app.newcomer(by, &address(), &["viewer"]).await;
        return format!("{collection}/{}", joined["user"]["id"].as_str().unwrap());
    }
    if collection == "/api/v1/products/deleted" {
        let made = by.post("/api/v1/products", product()).await;
        by.delete(made.header("location")).await.expect(204);
        return made.header("location").to_owned();
    }
    if let Some((outer, within)) = collection.split_once("/{id}") {
        let outer = Box::pin(make(app, by, operation, outer)).await;
        return make_within(app, by, operation, &outer, within).await;
    }
    let body = match collection {
        "/api/v1/files" => return format!("{collection}/{}", id(&by.picture().await)),
        "/api/v1/audit-events" => return make_audit_event(by).await,
        "/api/v1/events/history" => return make_event(by).await,
        "/api/v1/jobs" => return make_job(app, by).await,
        "/api/v1/imports" => return make_import(app, by).await,
        "/api/v1/exports" => return make_export(app, by).await,
        "/api/v1/me/sessions" => return sign_in_again(by).await,
        "/api/v1/api-keys" => json!({"name": fresh("key"), "scopes": ["products:read"]}),
        "/api/v1/categories" => json!({"name": fresh("Tools")}),
        "/api/v1/invitations" => json!({"email": address(), "roles": ["viewer"]}),
        "/api/v1/schedules" => {
            let args = json!({"resource": "products", "format": "csv"});
            json!({"name": fresh("nightly"), "kind": "export", "args": args, "cron": "30 2 * * *"})
        }
        // Where nobody answers.
        "/api/v1/webhooks" => {
            json!({"url": "http://127.0.0.1:9/hooks", "events": ["category.created", "product.created"]})
        }
        "/api/v1/me/orgs" => json!({"name": fresh("Side business")}),
        "/api/v1/products" => product(),
        "/api/v1/roles" => json!({"name": fresh("role").replace(' ', "-"), "permissions": ["products:read"]}),
        "/api/v1/orders" => {
            let product = by.post("/api/v1/products", product()).await.expect(201);
            json!({"lines": [{"product_id": product["id"], "quantity": 1}]})
        }
        // A member, who is there already.
        "/api/v1/users" => return format!("/api/v1/users/{}", by.user()),
        "/api/v1/decisions" => return refused(by).await,
        _ => panic!("{operation}: teach isolation.rs to make one of {collection}"),
    };
    let made = by.post(collection, body).await;
    made.expect(201);
    made.header("location").to_owned()
}

/// The same of what is part of something.
async fn make_within(app: &TestApp, by: &Persona, operation: &str, outer: &str, within: &str) -> String {
    let body = match within {
        "/attempts" => {
            let courier = TestApp::start_on(app.database.clone(), "[webhooks]\nin_flight = 4").await;
            let tested = by.post(&format!("{outer}/test"), json!({})).await.expect(202);
            let made = first_of(by, tested["attempts"].as_str().unwrap()).await;
            drop(courier);
            return format!("{outer}{within}/{made}");
        }
        "/deliveries" => {
            let tested = by.post(&format!("{outer}/test"), json!({})).await.expect(202);
            let event = id_in(tested["event_id"].as_str().unwrap());
            return format!(
                "{outer}{within}/{}",
                first_of(by, &format!("{outer}{within}?event_id={event}")).await
            );
        }
        "/images" => json!({"file_id": by.picture().await["id"]}),
        _ => panic!("{operation}: teach isolation.rs to make one of {within}"),
    };
    let made = by.post(&format!("{outer}{within}"), body).await;
    made.expect(201);
    made.header("location").to_owned()
}

/// The id of the first thing in a list, once there is one.
async fn first_of(by: &Persona, list: &str) -> String {
    let mut first = None;
    until(&format!("there is something in {list}"), async || {
        let page = by.get(list).await.expect(200);
        first = page["data"][0]["id"].as_str().map(ToOwned::to_owned);
        first.is_some()
    })
    .await;
    first.unwrap()
}

/// An acceptable body: the documented one, and where that names another thing, one of the own.
async fn body(by: &Persona, operation: &Operation<'_>) -> Option<Value> {
    match operation.to_string().as_str() {
        "POST /api/v1/products/{id}/images" => Some(json!({"file_id": by.picture().await["id"]})),
        _ => operation.body(),
    }
}

/// One that waits for a worker that knows its kind.
async fn make_job(app: &TestApp, by: &Persona) -> String {
    let org = by.get("/api/v1/org").await.expect(200)["id"].as_str().unwrap().parse().unwrap();
    let job = labour::job("tests.nobody_does_this", json!({}));
    format!("/api/v1/jobs/{}", labour::enqueue_new(app, org, job).await)
}

/// One that is over: of a row that is wrong.
async fn make_import(app: &TestApp, by: &Persona) -> String {
    let asked = import(by, "text/csv", "sku,name,price_amount,price_currency\nCOG,Cog,dear,EUR\n").await;
    asked.expect(202);
    done(app, by, asked.header("location")).await
}

/// One that is over.
async fn make_export(app: &TestApp, by: &Persona) -> String {
    let asked = by.post("/api/v1/exports", json!({"resource": "products", "format": "csv"})).await;
    asked.expect(202);
    done(app, by, asked.header("location")).await
}

async fn done(app: &TestApp, by: &Persona, job: &str) -> String {
    let _work = labour::work_for_real(app);
    until("the job is done", async || by.get(job).await.expect(200)["status"] == "succeeded").await;
    job.to_owned()
}

/// Where the new session of the same person is.
async fn sign_in_again(by: &Persona) -> String {
    let me = by.get("/api/v1/me").await.expect(200);
    let login = json!({"email": me["email"], "password": PASSWORD});
    let session = claims(&by.post("/api/v1/auth/login", login).await.expect(200));
    format!("/api/v1/me/sessions/{}", session["sid"].as_str().unwrap())
}

/// One that is sealed, and so will not change any more.
async fn make_audit_event(by: &Persona) -> String {
    let here = by.get("/api/v1/org").await.expect(200)["slug"].clone();
    let switch = by.post("/api/v1/auth/switch", json!({"org": here})).await;
    switch.expect(200);
    let mut made = String::new();
    until("the event is sealed", async || {
        let page = by.get("/api/v1/audit-events?action=session.switched&limit=100").await.expect(200);
        let events = page["data"].as_array().unwrap();
        let event = events.iter().find(|event| event["request_id"] == switch.header("x-request-id")).unwrap();
        made = format!("/api/v1/audit-events/{}", event["id"].as_str().unwrap());
        event["seq"].is_number()
    })
    .await;
    made
}

/// One that has its number.
async fn make_event(by: &Persona) -> String {
    let made = by.post("/api/v1/categories", json!({"name": fresh("Told")})).await.expect(201);
    let path = format!("/api/v1/events/history?object_id={}", id(&made));
    let mut told = Value::Null;
    until("the event has its number", async || {
        told = by.get(&path).await.expect(200)["data"][0].clone();
        told.is_object()
    })
    .await;
    format!("/api/v1/events/history/{}", id(&told))
}

/// What a key of theirs was told that lacks a permission.
async fn refused(by: &Persona) -> String {
    let new = json!({"name": fresh("key"), "scopes": ["products:read"]});
    let made = by.post("/api/v1/api-keys", new).await.expect(201);
    let mut key = by.clone();
    key.token = made["key"].as_str().map(ToOwned::to_owned);
    let problem = key.get("/api/v1/orders").await.expect_problem(403, "permission_denied");
    problem["explain_url"].as_str().unwrap().to_owned()
}

fn product() -> Value {
    let mut product = cog();
    product["sku"] = fresh("SKU").into();
    product
}

fn address() -> String {
    format!("{}@example.com", fresh("somebody").replace(' ', "-"))
}

fn fresh(name: &str) -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    format!("{name} {}", MADE.fetch_add(1, Ordering::SeqCst))
}

fn id_in(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}
