//! A tenant admin's afternoon: makes a role of her own, gives it to somebody, sees what a change would do, and does it.

use super::support::{TestApp, id, product};
use insula::people;
use serde_json::json;

const ROLES: &str = "/api/v1/roles";

#[tokio::test]
async fn an_admin_builds_a_role_previews_a_change_and_the_clerk_s_next_request_follows() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (admin, clerk) = (&acme.admin, &acme.viewer);
    let cog = admin.post("/api/v1/products", product("COG", 100)).await.expect(201);
    let order = json!({"lines": [{"product_id": cog["id"], "quantity": 1}]});

    // What is there to give? She looks it up, and what is built in.
    let catalogue = admin.get("/api/v1/permissions").await.expect(200);
    let known: Vec<&str> = catalogue["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["permission"].as_str().unwrap())
        .collect();
    for permission in ["orders:create", "orders:pay", "orders:refund"] {
        assert!(known.contains(&permission), "{permission}");
    }
    clerk.post("/api/v1/orders", order.clone()).await.expect_problem(403, "permission_denied");

    let made = admin
        .post(
            ROLES,
            json!({"name": "clerk", "description": "Behind the counter", "inherits": ["viewer"],
                            "permissions": ["orders:create", "orders:pay"]}),
        )
        .await;
    let role = made.expect(201);
    let path = made.header("location").to_owned();
    people::set_member(&app.state.platform, acme.id, clerk.user(), &["clerk"]).await.unwrap();

    let placed = clerk.post("/api/v1/orders", order.clone()).await.expect(201);
    clerk.post(&format!("/api/v1/orders/{}/pay", id(&placed)), json!({})).await.expect(200);
    let refused = clerk.post(&format!("/api/v1/orders/{}/refund", id(&placed)), json!({})).await;
    let refused = refused.expect_problem(403, "permission_denied");
    assert_eq!(
        (&refused["your_roles"], &refused["permission"]),
        (&json!(["clerk"]), &json!("orders:refund"))
    );

    // Refunds for payments: who would notice?
    let change = json!({"permissions": ["orders:create", "orders:refund"]});
    app.state.authz.uses().flush(&app.state.platform).await.unwrap();
    let preview = admin.post(&format!("{path}/preview"), change.clone()).await.expect(200);
    let who = clerk.user().to_string();
    assert_eq!(preview["gains"][0]["user"], who);
    assert_eq!(preview["gains"][0]["permissions"], json!(["orders:refund"]));
    assert_eq!(preview["loses"][0]["user"], who);
    assert_eq!(preview["loses"][0]["permissions"], json!(["orders:pay"]));
    assert_eq!(preview["loses"][0]["used"][0]["permission"], "orders:pay", "she took money with it today");
    // It was only a preview.
    let unchanged = admin.get(&path).await;
    assert_eq!(unchanged.expect(200), role);
    clerk.post(&format!("/api/v1/orders/{}/refund", id(&placed)), json!({})).await.expect(403);

    let tag = unchanged.header("etag").to_owned();
    admin.patch_if(&path, &tag, change).await.expect(200);
    clerk.post(&format!("/api/v1/orders/{}/refund", id(&placed)), json!({})).await.expect(200);
    let second = clerk.post("/api/v1/orders", order).await.expect(201);
    let refused = clerk.post(&format!("/api/v1/orders/{}/pay", id(&second)), json!({})).await;
    assert_eq!(refused.expect_problem(403, "permission_denied")["permission"], "orders:pay");

    // Why may she refund? By her role, which the other org knows nothing of.
    let effective = clerk.get(&format!("/api/v1/users/{who}/permissions")).await.expect(200);
    let refund = effective["permissions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|held| held["permission"] == "orders:refund");
    assert_eq!(refund.unwrap()["sources"], json!(["clerk"]));
    globex.owner.get(&path).await.expect_problem(404, "not_found");
    assert!(!globex.owner.get(ROLES).await.expect(200).to_string().contains("clerk"));
}
