//! In which standing an org is, who says so, and who is never asked.

use super::support::{TestApp, cog, pointers};
use serde_json::{Value, json};

const ORGS: &str = "/operator/v1/orgs";
const FREE: &str = "/operator/v1/tiers/free";

fn slugs(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|org| org["slug"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_suspended_org_is_shut_for_people_and_keys_until_it_is_restored() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let operator = app.operator().await;
    let scopes = ["products:read", "products:create"];
    let (live, test) = (app.api_key(&acme, &scopes).await, app.api_key_in(&acme, "test", &scopes).await);
    let everybody = [&acme.owner, &acme.viewer, &live, &test];
    for who in everybody {
        who.get("/api/v1/products").await.expect(200);
    }
    let path = format!("{ORGS}/{}", acme.id);
    let suspended =
        operator.patch(&path, json!({"status": "suspended", "reason": "unpaid"})).await.expect(200);
    assert_eq!((&suspended["status"], &suspended["tier"]), (&json!("suspended"), &json!("enterprise")));
    for who in everybody {
        who.get("/api/v1/products").await.expect_problem(403, "org_suspended");
        who.post("/api/v1/products", cog()).await.expect_problem(403, "org_suspended");
    }
    globex.owner.get("/api/v1/products").await.expect(200);
    operator.patch(&path, json!({"status": "active", "reason": "paid"})).await.expect(200);
    for who in everybody {
        assert_eq!(who.get("/api/v1/products").await.expect(200)["data"], json!([]), "nothing got through");
    }
}

#[tokio::test]
async fn operators_cannot_shut_themselves_out() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let platform = format!("{ORGS}/{}", insula::tenancy::PLATFORM);
    let problem = operator.patch(&platform, json!({"status": "suspended", "reason": "x"})).await;
    problem.expect_problem(409, "built_in");
    operator.get(ORGS).await.expect(200);
}

#[tokio::test]
async fn a_change_of_an_org_that_cannot_be_is_pointed_at() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org_on("free").await, app.operator().await);
    let path = format!("{ORGS}/{}", acme.id);
    for (patch, pointer) in [
        (json!({"tier": "gold", "reason": "x"}), "/tier"),
        (json!({"status": "odd", "reason": "x"}), "/status"),
        (json!({"tier": "free"}), "/reason"),
        (json!({"tier": "free", "reason": ""}), "/reason"),
        (json!({"slug": "x", "reason": "x"}), "/slug"),
    ] {
        let problem = operator.patch(&path, patch).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [pointer]);
    }
    let nowhere = format!("{ORGS}/org_01jd8yq3c5f4x7t9k2m6n8p0rs");
    operator.patch(&nowhere, json!({"tier": "pro", "reason": "x"})).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn orgs_are_found_by_the_beginning_of_their_slug_by_tier_and_by_standing() {
    let app = TestApp::start().await;
    let (_acme, _globex) = (app.org_on("pro").await, app.org_on("free").await);
    let operator = app.operator().await;
    for (query, expected) in [
        ("q=org4", vec!["org4", "org4-sandbox"]),
        ("q=ORG4", vec![]),
        ("q=rg4", vec![]),
        ("q=%25", vec![]),
        ("tier=pro", vec!["org0"]),
        ("status=suspended", vec![]),
        ("q=org0&tier=sandbox", vec!["org0-sandbox"]),
    ] {
        assert_eq!(
            slugs(&operator.get(&format!("{ORGS}?sort=slug&{query}")).await.expect(200)),
            expected,
            "{query}"
        );
    }
    let page = operator.get(&format!("{ORGS}?sort=slug&limit=3")).await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = operator.get(&format!("{ORGS}?sort=slug&limit=3&cursor={cursor}")).await.expect(200);
    assert_eq!(slugs(&rest), ["org4-sandbox"]);
    operator.get(&format!("{ORGS}?q=%00")).await.expect_problem(400, "bad_parameter");
    operator.get(&format!("{ORGS}?status=odd")).await.expect_problem(400, "bad_parameter");
}

#[tokio::test]
async fn no_operators_door_opens_for_an_owner_or_a_key() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let key = app.api_key(&acme, &["org:read", "org:update"]).await;
    let org = format!("{ORGS}/{}", globex.id);
    for who in [&acme.owner, &key] {
        for refused in [
            who.get(ORGS).await,
            who.get(&org).await,
            who.patch(&org, json!({"status": "suspended", "reason": "x"})).await,
            who.get("/operator/v1/tiers").await,
            who.get(FREE).await,
            who.put(FREE, json!({"name": "Free", "reason": "x", "policies": []})).await,
        ] {
            refused.expect_problem(403, "operators_only");
        }
    }
    app.anon().get(ORGS).await.expect_problem(401, "unauthenticated");
    let scope = json!({"name": "x", "scopes": ["platform_orgs:update"]});
    acme.owner.post("/api/v1/api-keys", scope).await.expect_problem(422, "invalid");
    globex.owner.get("/api/v1/products").await.expect(200);
}
