//! A refusal says what would help, and anybody may ask what the rules come to.

use super::support::{Org, Persona, TestApp, cog, id, pointers};
use insula::people;
use reqwest::Method;
use serde_json::{Value, json};

const EXPLAIN: &str = "/api/v1/roles/explain";

async fn hold(app: &TestApp, org: &Org, who: &Persona, roles: &[&str]) {
    people::set_member(&app.state.platform, org.id, who.user(), roles).await.unwrap();
}

/// The refusal of a viewer who would delete a product.
async fn refusal(app: &TestApp, org: &Org) -> Value {
    app.state.authz.forget(org.id);
    let nothing = "/api/v1/products/prd_01jd8yq3c5f4x7t9k2m6n8p0rs";
    org.viewer.delete(nothing).await.expect_problem(403, "permission_denied")
}

#[tokio::test]
async fn a_refusal_names_the_permission_the_roles_that_have_it_and_how_many_can_give_it() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.database.custom_role(acme.id, "lead", &["viewer"], &["products:delete", "users:update"], &[]).await;
    let before = refusal(&app, &acme).await;
    assert_eq!(before["permission"], "products:delete");
    assert_eq!(before["your_roles"], json!(["viewer"]));
    assert_eq!(before["granted_by"], json!(["admin", "lead", "owner"]));
    let url = format!("/api/v1/decisions/{}", before["request_id"].as_str().unwrap());
    assert_eq!(before["explain_url"], url);
    let here = before["grantors"].as_u64().unwrap();

    let leads =
        [app.member(acme.id, &acme.slug, "lead").await, app.member(acme.id, &acme.slug, "lead").await];
    let after = refusal(&app, &acme).await;
    assert_eq!(after["grantors"], here + 2);
    let detail = after["detail"].as_str().unwrap();
    assert!(detail.contains("one of the roles admin, lead, owner; "), "{detail}");
    assert!(detail.ends_with(&format!("; {} members can give it", here + 2)), "{detail}");

    app.database.suspend_member(acme.id, leads[0].user()).await;
    assert_eq!(refusal(&app, &acme).await["grantors"], here + 1, "who is suspended gives nothing");
    assert_eq!(refusal(&app, &globex).await["granted_by"], json!(["admin", "owner"]));
}

#[tokio::test]
async fn who_is_denied_by_a_rule_is_told_which_and_not_to_ask_for_more_roles() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.database.custom_role(acme.id, "trainee", &[], &[], &["products:create"]).await;
    hold(&app, &acme, &acme.member, &["member", "trainee"]).await;
    let rule = "p, trainee, products, create, deny";
    for _ in 0..2 {
        let problem =
            acme.member.post("/api/v1/products", cog()).await.expect_problem(403, "permission_denied");
        assert_eq!((&problem["rule"], &problem["your_roles"]), (&json!(rule), &json!(["member", "trainee"])));
        assert!(problem["detail"].as_str().unwrap().contains(rule), "{}", problem["detail"]);
    }
    let lacking = acme.viewer.post("/api/v1/products", cog()).await.expect_problem(403, "permission_denied");
    assert_eq!(lacking["rule"], Value::Null);
    globex.member.post("/api/v1/products", cog()).await.expect(201);
}

#[tokio::test]
async fn a_key_is_told_that_its_scopes_are_what_is_missing() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let key = app.api_key(&acme, &["products:read"]).await;
    let problem = key.post("/api/v1/products", cog()).await.expect_problem(403, "permission_denied");
    assert!(
        problem["detail"].as_str().unwrap().contains("none of this key's scopes"),
        "{}",
        problem["detail"]
    );
    assert_eq!(problem["your_roles"], json!([]));
    let receipt = key.get(problem["explain_url"].as_str().unwrap()).await.expect(200);
    assert_eq!(receipt["permission"], "products:create");
    acme.admin.get(problem["explain_url"].as_str().unwrap()).await.expect(200);
    globex.admin.get(problem["explain_url"].as_str().unwrap()).await.expect_problem(404, "not_found");

    key.post(EXPLAIN, json!({"permission": "products:read"})).await.expect_problem(403, "user_required");
    let of_owner = json!({"user": acme.owner.user(), "permission": "products:read"});
    key.post(EXPLAIN, of_owner).await.expect_problem(403, "permission_denied");
}

#[tokio::test]
async fn a_decision_is_explained_by_its_rule_and_the_path_of_roles() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.database.custom_role(acme.id, "clerk", &["viewer"], &["orders:create"], &[]).await;
    app.database.custom_role(acme.id, "trainee", &["clerk"], &[], &["orders:create"]).await;
    hold(&app, &acme, &acme.member, &["clerk"]).await;
    app.state.authz.forget(acme.id);

    let user = acme.member.user().to_string();
    let allowed = acme.member.post(EXPLAIN, json!({"permission": "products:read"})).await.expect(200);
    let rule = "p, viewer, products, read, allow";
    assert_eq!((&allowed["outcome"], &allowed["user"]), (&json!("allow"), &json!(user)));
    assert_eq!((&allowed["rule"], &allowed["roles"]), (&json!(rule), &json!(["clerk"])));
    assert_eq!(allowed["path"], json!([user, "clerk", "viewer", rule]));
    assert_eq!(allowed["text"], "allowed: by clerk, which inherits viewer, which holds products:read");

    let lacking = acme.member.post(EXPLAIN, json!({"permission": "products:delete"})).await.expect(200);
    assert_eq!((&lacking["outcome"], &lacking["rule"]), (&json!("deny"), &Value::Null));
    assert_eq!((&lacking["path"], &lacking["granted_by"]), (&json!([]), &json!(["admin", "owner"])));

    hold(&app, &acme, &acme.member, &["owner", "trainee"]).await;
    app.state.authz.forget(acme.id);
    let about = json!({"user": user, "permission": "orders:create"});
    let denied = acme.admin.post(EXPLAIN, about.clone()).await.expect(200);
    let rule = "p, trainee, orders, create, deny";
    assert_eq!((&denied["outcome"], &denied["rule"]), (&json!("deny"), &json!(rule)));
    assert_eq!(denied["path"], json!([user, "trainee", rule]));

    app.database.suspend_member(acme.id, acme.member.user()).await;
    app.state.authz.forget(acme.id);
    let suspended = json!({"user": user, "permission": "org:read"});
    let suspended = acme.admin.post(EXPLAIN, suspended).await.expect(200);
    assert_eq!(suspended["outcome"], "deny");
    assert!(suspended["text"].as_str().unwrap().contains("suspended"), "{}", suspended["text"]);

    acme.viewer.post(EXPLAIN, about.clone()).await.expect_problem(403, "permission_denied");
    let foreign = globex.admin.post(EXPLAIN, about).await;
    assert_eq!(pointers(&foreign.expect_problem(422, "invalid")), ["/user"]);
    let unknown = json!({"user": "usr_01jd8yq3c5f4x7t9k2m6n8p0rs", "permission": "orders:create"});
    let unknown = globex.admin.post(EXPLAIN, unknown).await;
    assert_eq!(foreign.but_for_the_request(), unknown.but_for_the_request());
    let odd = globex.admin.post(EXPLAIN, json!({"permission": "products:fly"})).await;
    assert_eq!(pointers(&odd.expect_problem(422, "invalid")), ["/permission"]);
}

/// Over every permission that a door asks for, as three different people.
#[tokio::test]
async fn what_is_explained_is_what_happens() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.database.custom_role(acme.id, "careful", &["admin"], &[], &["products:delete", "orders:pay"]).await;
    let careful = app.member(acme.id, &acme.slug, "careful").await;
    let product = acme.owner.post("/api/v1/products", cog()).await.expect(201);
    let path = format!("/api/v1/products/{}", id(&product));
    let order = "/api/v1/orders/ord_01jd8yq3c5f4x7t9k2m6n8p0rs";
    for (method, path, permission) in [
        (Method::GET, "/api/v1/org".to_owned(), "org:read"),
        (Method::GET, path.clone(), "products:read"),
        (Method::DELETE, path, "products:delete"),
        (Method::POST, format!("{order}/pay"), "orders:pay"),
        (Method::POST, format!("{order}/refund"), "orders:refund"),
        (Method::GET, "/api/v1/api-keys".to_owned(), "api_keys:read"),
    ] {
        for who in [&careful, &acme.member, &acme.viewer, &globex.viewer] {
            let explained = who.post(EXPLAIN, json!({"permission": permission})).await.expect(200);
            let request = who.request(method.clone(), &path).header("if-match", "*").json(&json!({}));
            let status = request.send().await.unwrap().status().as_u16();
            assert_eq!(explained["outcome"] == "deny", status == 403, "{permission}: {status}, {explained}");
        }
    }
}

#[tokio::test]
async fn of_one_order_it_counts_who_has_placed_it() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let order = async |by: &Persona, org: &Org| {
        let product = json!({"sku": format!("SKU {}", by.user()), "name": "Cog", "stock": 9,
                             "price": {"amount": 1, "currency": "EUR"}});
        let product = org.owner.post("/api/v1/products", product).await.expect(201);
        let lines = json!({"lines": [{"product_id": product["id"], "quantity": 1}]});
        by.post("/api/v1/orders", lines).await.expect(201)["id"].clone()
    };
    let (own, others) = (order(&acme.member, &acme).await, order(&acme.admin, &acme).await);
    let asked = async |by: &Persona, of: &Persona, order: &Value| {
        let question =
            json!({"user": of.user().to_string(), "permission": "orders:cancel", "resource": order});
        by.post(EXPLAIN, question).await.expect(200)
    };
    for (of, order, outcome) in [
        (&acme.member, &own, "allow"),
        (&acme.member, &others, "deny"),
        (&acme.admin, &own, "allow"),
        (&acme.viewer, &own, "deny"),
    ] {
        let told = asked(&acme.owner, of, order).await;
        assert_eq!(told["outcome"], outcome, "{told}");
        // What is explained is what happens.
        let path = format!("/api/v1/orders/{}/cancel", order.as_str().unwrap());
        if outcome == "deny" {
            of.post(&path, json!({})).await.expect(403);
        }
    }
    let told = asked(&acme.member, &acme.member, &others).await;
    assert!(told["text"].as_str().unwrap().contains("somebody else placed this one"), "{told}");

    let theirs = order(&globex.member, &globex).await;
    for unknown in [&theirs, &json!("ord_01jd8yq3c5f4x7t9k2m6n8p0rs")] {
        let question = json!({"permission": "orders:cancel", "resource": unknown});
        let problem = acme.owner.post(EXPLAIN, question).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), ["/resource"]);
    }
}
