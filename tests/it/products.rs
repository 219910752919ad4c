//! What a client can see of products.

use super::support::{TestApp, cog};
use serde_json::json;

#[tokio::test]
async fn a_product_exists_only_for_its_own_org() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);

    let made = acme.owner.post("/api/v1/products", cog()).await.expect(201);
    let path = format!("/api/v1/products/{}", made["id"].as_str().unwrap());
    acme.viewer.get(&path).await.expect(200);

    // Same answer as for an id that never was: existence itself is a secret.
    globex.owner.get(&path).await.expect_problem(404, "not_found");
    globex.owner.patch(&path, json!({"name": "mine"})).await.expect_problem(404, "not_found");
    globex.owner.delete(&path).await.expect_problem(404, "not_found");
    assert_eq!(globex.owner.get("/api/v1/products").await.expect(200)["data"], json!([]));

    // A sku is taken per org, not across the platform.
    globex.owner.post("/api/v1/products", cog()).await.expect(201);
    acme.owner.post("/api/v1/products", cog()).await.expect_problem(409, "sku_taken");

    acme.viewer.delete(&path).await.expect_problem(403, "permission_denied");
    acme.owner.delete(&path).await.expect(204);
    acme.owner.get(&path).await.expect_problem(404, "not_found");
}
