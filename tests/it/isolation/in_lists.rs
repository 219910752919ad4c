//! Lists, their cursors and idempotency keys are each org's own.

use super::{make, product, tenants};
use crate::support::{Document, Operation, Persona, TestApp};
use serde_json::{Value, json};

/// Those of an org. That a list of one thing's parts answers for one's own alone, `by_id` shows.
fn lists(document: &Document) -> impl Iterator<Item = Operation<'_>> {
    let lists = tenants(document).filter(|operation| operation.parameters("query").contains(&"cursor"));
    lists.filter(|operation| !operation.path.contains('{'))
}

async fn ids(persona: &Persona, path: &str) -> Vec<String> {
    let page = persona.get(&format!("{path}?limit=100")).await.expect(200);
    page["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_list_shows_the_own_rows_and_no_others() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let (acme, globex) = (app.org().await, app.org().await);
    for list in lists(&document) {
        let name = list.to_string();
        let theirs = make(&app, &acme.owner, &name, list.path).await;
        let before = ids(&globex.owner, list.path).await;
        assert!(before.iter().all(|id| !theirs.ends_with(id)), "{name} shows another org's {theirs}");

        let own = make(&app, &globex.owner, &name, list.path).await;
        let after = ids(&globex.owner, list.path).await;
        assert!(after.iter().any(|id| own.ends_with(id)), "{name} does not show the own {own}");
        for id in ids(&acme.owner, list.path).await {
            assert!(!after.contains(&id), "{name} shows another org's {id}");
        }
    }
}

#[tokio::test]
async fn a_cursor_opens_for_no_other_org() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let (acme, globex) = (app.org().await, app.org().await);
    for list in lists(&document) {
        for org in [&acme, &acme, &globex, &globex] {
            make(&app, &org.owner, &list.to_string(), list.path).await;
        }
        let page = acme.owner.get(&format!("{}?limit=1", list.path)).await.expect(200);
        let next = format!("{}?limit=1&cursor={}", list.path, page["next_cursor"].as_str().unwrap());
        acme.owner.get(&next).await.expect(200);
        globex.owner.get(&next).await.expect_problem(400, "bad_cursor");
    }
}

#[tokio::test]
async fn an_idempotency_key_of_another_org_is_a_fresh_one() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let order = async |by: &Persona, quantity: u32| -> Value {
        let product = by.post("/api/v1/products", product()).await.expect(201);
        json!({"lines": [{"product_id": product["id"], "quantity": quantity}]})
    };
    let (theirs, own) = (order(&acme.owner, 1).await, order(&globex.owner, 2).await);

    let placed = acme.owner.post_as("the same", "/api/v1/orders", theirs.clone()).await;
    // Another body under a key that was used would be 422, and the same one a replay.
    let mine = globex.owner.post_as("the same", "/api/v1/orders", own).await;
    assert_eq!(mine.expect(201)["lines"][0]["quantity"], 2);
    assert_eq!(mine.header("idempotent-replayed"), "");

    let again = acme.owner.post_as("the same", "/api/v1/orders", theirs).await;
    assert_eq!(again.expect(201)["id"], placed.expect(201)["id"]);
    assert_eq!(again.header("idempotent-replayed"), "true");
}
