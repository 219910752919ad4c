//! An id of another org in a body or a filter answers like one that never was.

use super::{id_in, make, tenants};
use crate::support::{Document, Operation, Persona, TestApp, another_of_its_kind};
use serde_json::{Value, json};

#[tokio::test]
async fn an_id_of_another_org_in_a_body_is_refused_like_one_that_never_was() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let (acme, globex) = (app.org().await, app.org().await);
    let mut tried = 0;
    for operation in tenants(&document) {
        let Some(schema) = operation.body_schema() else { continue };
        for (pointer, kind) in ids_in(&document, schema) {
            let named = collection_of(&operation, &kind);
            let theirs = make(&app, &acme.owner, &pointer, named).await;
            let path = of_own(&app, &globex.owner, &operation).await;
            let naming = |id: &str| {
                let mut body = operation.body().unwrap();
                set(&mut body, &pointer, json!(id));
                operation.call_with(&globex.owner, &path, Some(body))
            };
            let foreign = naming(id_in(&theirs)).await;
            let problem = foreign.expect_problem(422, "invalid");
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{operation}: {}", foreign.text);
            let unknown = naming(&another_of_its_kind(id_in(&theirs))).await;
            assert_eq!(foreign.but_for_the_request(), unknown.but_for_the_request(), "{operation} {pointer}");

            let own = make(&app, &globex.owner, &pointer, named).await;
            let accepted = naming(id_in(&own)).await;
            assert!(accepted.status < 300, "{operation} with one's own {pointer}: {}", accepted.text);
            tried += 1;
        }
    }
    assert!(tried >= 5, "found {tried} ids in bodies: does the document still say which texts are ids?");
}

#[tokio::test]
async fn an_id_of_another_org_in_a_filter_finds_nothing() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let (acme, globex) = (app.org().await, app.org().await);
    let mut tried = 0;
    for operation in tenants(&document) {
        for filter in operation.parameters("query").into_iter().filter(|name| name.ends_with("_id")) {
            let kind = match filter {
                "parent_id" => "cat",
                "actor_id" | "target_id" | "object_id" | "api_key_id" => "key",
                "event_id" => "evt",
                "delivery_id" => "dlv",
                filter => &filter[..3],
            };
            let theirs = make(&app, &acme.owner, filter, collection_of(&operation, kind)).await;
            let path = of_own(&app, &globex.owner, &operation).await;
            let ask = |id: &str| format!("{path}?{filter}={id}");
            let foreign = globex.owner.get(&ask(id_in(&theirs))).await;
            let unknown = globex.owner.get(&ask(&another_of_its_kind(id_in(&theirs)))).await;
            assert_eq!(foreign.expect(200)["data"], json!([]), "{operation} {filter}");
            assert_eq!(foreign.but_for_the_request(), unknown.but_for_the_request(), "{operation} {filter}");
            tried += 1;
        }
    }
    assert!(tried >= 2, "found {tried} ids in filters");
}

/// The path of an operation, of something that `by` has made.
async fn of_own(app: &TestApp, by: &Persona, operation: &Operation<'_>) -> String {
    let Some((collection, rest)) = operation.path.split_once("/{") else { return operation.path.to_owned() };
    let own = make(app, by, &operation.to_string(), collection).await;
    format!("{own}{}", rest.split_once('}').unwrap().1)
}

/// Where what an id names is made.
fn collection_of(operation: &Operation<'_>, kind: &str) -> &'static str {
    match kind {
        "cat" => "/api/v1/categories",
        "prd" => "/api/v1/products",
        "fil" => "/api/v1/files",
        "ord" => "/api/v1/orders",
        "key" => "/api/v1/api-keys",
        "sch" => "/api/v1/schedules",
        "evt" => "/api/v1/events/history",
        "dlv" => "/api/v1/webhooks/{id}/deliveries",
        "usr" => "/api/v1/users",
        _ => panic!("{operation}: teach in_bodies.rs where a {kind}_.. is made"),
    }
}

/// Every place of a body that holds an id, with the id's prefix.
fn ids_in(document: &Document, schema: &Value) -> Vec<(String, String)> {
    let schema = document.resolve(schema);
    if let Some((prefix, _)) = schema["pattern"].as_str().and_then(|pattern| pattern.split_once("_[0-7]")) {
        return vec![(String::new(), prefix.trim_start_matches('^').to_owned())];
    }
    let mut below: Vec<(&str, &Value)> = Vec::new();
    below.extend(schema.get("items").map(|items| ("0", items)));
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        below.push((name, property));
    }
    let ids = below.into_iter().flat_map(|(name, schema)| {
        ids_in(document, schema).into_iter().map(move |(rest, kind)| (format!("/{name}{rest}"), kind))
    });
    ids.collect()
}

fn set(body: &mut Value, pointer: &str, value: Value) {
    let (place, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(place).unwrap()[name] = value;
}
