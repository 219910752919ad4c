//! The catalogue of permissions: what the routes ask for, no more and no less.

use super::support::{Document, TestApp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const PERMISSIONS: &str = "/api/v1/permissions";

#[tokio::test]
async fn the_catalogue_is_what_the_routes_ask_for_and_each_entry_names_them() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let (acme, globex) = (app.org().await, app.org().await);
    let mut asked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for operation in document.operations().iter().filter(|operation| !operation.is_operators()) {
        for permission in operation.permission().into_iter().chain(operation.further()) {
            let id = operation.description["operationId"].as_str().unwrap();
            let place = format!("{} {} {id}", operation.method.to_uppercase(), operation.path);
            asked.entry(permission.to_owned()).or_default().insert(place);
        }
    }
    let catalogue = acme.viewer.get(PERMISSIONS).await.expect(200);
    let told: BTreeMap<String, BTreeSet<String>> = catalogue["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (text(&entry["permission"]), operations(entry)))
        .collect();
    assert_eq!(told, asked);
    for entry in catalogue["data"].as_array().unwrap() {
        let sentence = text(&entry["description"]);
        assert!(sentence.ends_with('.') && sentence.len() > 10, "{entry}");
    }
    assert_eq!(globex.owner.get(PERMISSIONS).await.expect(200), catalogue, "it is about no org");
}

#[tokio::test]
async fn every_member_may_read_it_for_nothing_and_nobody_else() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let intern = app.member(acme.id, &acme.slug, "intern").await;
    let catalogue = intern.get(PERMISSIONS).await;
    let entries = catalogue.expect(200)["data"].as_array().unwrap().clone();
    let create = entries.iter().find(|entry| entry["permission"] == "products:create").unwrap();
    assert_eq!(create["description"], "Create products.");
    let operation = json!({"method": "POST", "path": "/api/v1/products", "operation_id": "create_product"});
    assert!(create["operations"].as_array().unwrap().contains(&operation), "{create}");
    assert!(entries.iter().all(|entry| !text(&entry["permission"]).starts_with("platform_")));

    app.anon().get(PERMISSIONS).await.expect_problem(401, "unauthenticated");
    app.signed_in(intern.user(), globex.id).await.get(PERMISSIONS).await.expect_problem(403, "not_a_member");
}

#[tokio::test]
async fn a_permission_for_some_of_what_an_operation_does_is_told_with_it() {
    let app = TestApp::start().await;
    let (acme, _globex) = (app.org().await, app.org().await);
    let catalogue = acme.owner.get(PERMISSIONS).await.expect(200);
    let of = |permission: &str| {
        let entries = catalogue["data"].as_array().unwrap();
        operations(entries.iter().find(|entry| entry["permission"] == permission).unwrap())
    };
    let cancel = "POST /api/v1/orders/{id}/cancel cancel_order".to_owned();
    assert_eq!(of("orders:cancel"), BTreeSet::from([cancel.clone()]));
    assert_eq!(of("orders:cancel_own"), BTreeSet::from([cancel]));
    let costs = of("products:read_cost");
    let costs: BTreeSet<&str> = costs.iter().filter_map(|operation| operation.rsplit(' ').next()).collect();
    let of_products = ["list_products", "create_product", "get_product", "update_product", "restore_product"];
    let of_many = ["change_products", "create_import", "create_export", "download_export"];
    assert_eq!(costs, of_products.into_iter().chain(of_many).collect());
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn operations(entry: &Value) -> BTreeSet<String> {
    let operations = entry["operations"].as_array().unwrap().iter();
    operations
        .map(|operation| {
            format!(
                "{} {} {}",
                text(&operation["method"]),
                text(&operation["path"]),
                text(&operation["operation_id"])
            )
        })
        .collect()
}
