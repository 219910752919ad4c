//! What is changed on one replica holds on every other within a second, with or without `NOTIFY`.

use super::support::{Org, Persona, TestApp, cog, id, within_a_second};
use futures::future::join_all;
use insula::people;
use serde_json::json;

/// Asks the database for nothing where all is remembered, so that the bus alone can bring a change here.
const REMEMBERED: &str = "/api/v1/limits";

#[tokio::test]
async fn a_change_is_enforced_on_the_other_replica_within_a_second() {
    let here = TestApp::start().await;
    every_change_is_heard(&here, &here.replica().await).await;
}

#[tokio::test]
async fn a_change_is_enforced_within_a_second_when_its_notification_is_lost() {
    let here = TestApp::start().await;
    here.database.cut_notify().await;
    every_change_is_heard(&here, &here.replica().await).await;
}

async fn every_change_is_heard(here: &TestApp, there: &TestApp) {
    let (acme, globex, operator) = (here.org().await, here.org().await, here.operator().await);

    let admin = acme.admin.at(&there.base);
    admin.post("/api/v1/products", json!({})).await.expect_problem(422, "invalid");
    people::set_member(&here.state.platform, acme.id, acme.admin.user(), &["viewer"]).await.unwrap();
    // Refused at the door, before anything is read: the body is as wrong as before.
    within_a_second("changed roles", async || admin.post("/api/v1/products", json!({})).await.status == 403)
        .await;

    let body = json!({"name": "till", "scopes": ["products:read"]});
    let made = acme.owner.post("/api/v1/api-keys", body).await.expect(201);
    let key = there.bearer(made["key"].as_str().unwrap());
    key.get(REMEMBERED).await.expect(200);
    let key_path = format!("/api/v1/api-keys/{}", made["id"].as_str().unwrap());
    acme.owner.delete(&key_path).await.expect(204);
    within_a_second("a revoked key", async || key.get(REMEMBERED).await.status == 401).await;

    let made = acme
        .owner
        .post("/api/v1/api-keys", json!({"name": "till", "scopes": ["org:read"]}))
        .await
        .expect(201);
    let (key, path) =
        (there.bearer(made["key"].as_str().unwrap()), format!("/api/v1/api-keys/{}", id(&made)));
    key.get(REMEMBERED).await.expect(200);
    acme.owner.patch(&path, json!({"allowed_ips": ["203.0.113.7"]})).await.expect(200);
    within_a_second("networks of a key", async || key.get(REMEMBERED).await.status == 403).await;
    acme.owner.patch(&path, json!({"allowed_ips": []})).await.expect(200);
    within_a_second("no networks of a key", async || key.get(REMEMBERED).await.status == 200).await;
    acme.owner.post(&format!("{path}/rotate"), json!({"overlap_seconds": 0})).await.expect(201);
    within_a_second("a rotated key", async || key.get(REMEMBERED).await.status == 401).await;

    let viewer = acme.viewer.at(&there.base);
    viewer.get(REMEMBERED).await.expect(200);
    let strict = here.signed_in_by(acme.owner.user(), acme.id, true).await;
    strict.patch("/api/v1/org", json!({"require_mfa": true})).await.expect(200);
    within_a_second("a second factor asked for", async || viewer.get(REMEMBERED).await.status == 403).await;
    strict.patch("/api/v1/org", json!({"require_mfa": false})).await.expect(200);
    within_a_second("none asked for", async || viewer.get(REMEMBERED).await.status == 200).await;

    acme.viewer.post("/api/v1/auth/logout", json!({})).await.expect(204);
    within_a_second("an ended session", async || viewer.get(REMEMBERED).await.status == 401).await;

    let owner = acme.owner.at(&there.base);
    let enterprise = owner.get(REMEMBERED).await.expect(200);
    assert_eq!(enterprise, owner.get(REMEMBERED).await.expect(200), "asking changes nothing");
    change(&operator, &acme, "tier", "free").await;
    within_a_second("a changed tier", async || owner.get(REMEMBERED).await.expect(200) != enterprise).await;

    globex.owner.at(&there.base).get(REMEMBERED).await.expect(200);
    change(&operator, &acme, "status", "suspended").await;
    within_a_second("a suspended organisation", async || owner.get(REMEMBERED).await.status == 403).await;
    owner.get(REMEMBERED).await.expect_problem(403, "org_suspended");

    // None of this was about the other organisation.
    globex.owner.at(&there.base).get(REMEMBERED).await.expect(200);
    globex.admin.at(&there.base).post("/api/v1/products", cog()).await.expect(201);
}

/// The message that opens a transaction reads the policy's version, so that the database says so itself.
#[tokio::test]
async fn roles_taken_away_are_gone_from_the_next_transaction_before_the_bus_says_so() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (acme, globex) = (here.org().await, here.org().await);
    let made = acme.owner.post("/api/v1/products", cog()).await.expect(201);
    let path = format!("/api/v1/products/{}", made["id"].as_str().unwrap());
    let (admin, member) = (acme.admin.at(&there.base), acme.member.at(&there.base));
    admin.patch(&path, json!({"name": "Big cog"})).await.expect(200);
    member.get(&path).await.expect(200);
    globex.admin.at(&there.base).get("/api/v1/products").await.expect(200);

    here.database.cut_bus().await;
    people::set_member(&here.state.platform, acme.id, acme.admin.user(), &["viewer"]).await.unwrap();
    let refused = admin.patch(&path, json!({"name": "Mine"})).await;
    refused.expect_problem(403, "permission_denied");
    admin.get(&path).await.expect(200);

    here.database.suspend_member(acme.id, acme.member.user()).await;
    member.get(&path).await.expect_problem(403, "member_suspended");
    assert_eq!(acme.owner.get(&path).await.expect(200)["name"], "Big cog");
    globex.admin.at(&there.base).get("/api/v1/products").await.expect(200);
}

#[tokio::test]
async fn a_replica_that_missed_changes_forgets_all_it_remembered() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (acme, globex) = (here.org().await, here.org().await);
    let key = here.api_key(&acme, &["products:read"]).await.at(&there.base);
    let (owner, other) = (acme.owner.at(&there.base), globex.owner.at(&there.base));
    for persona in [&key, &owner, &other] {
        persona.get(REMEMBERED).await.expect(200);
    }

    // Which org it was and whose sessions, nobody can tell from what is left of the log.
    here.database.suspend_unheard(acme.id).await;
    within_a_second("a suspended organisation", async || key.get(REMEMBERED).await.status == 403).await;
    within_a_second("ended sessions", async || other.get(REMEMBERED).await.status == 401).await;
    owner.get(REMEMBERED).await.expect_problem(401, "session_ended");
}

#[tokio::test]
async fn changes_are_heard_while_operators_hold_every_connection_of_theirs() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (acme, globex) = (here.org().await, here.org().await);
    let (viewer, other) = (acme.viewer.at(&there.base), globex.viewer.at(&there.base));
    viewer.get(REMEMBERED).await.expect(200);

    let held = join_all([there.state.platform.begin(), there.state.platform.begin()]).await;
    assert!(there.state.platform.begin().await.is_err(), "there are two, and both are taken");
    acme.viewer.post("/api/v1/auth/logout", json!({})).await.expect(204);
    within_a_second("an ended session", async || viewer.get(REMEMBERED).await.status == 401).await;
    other.get(REMEMBERED).await.expect(200);
    drop(held);
}

async fn change(operator: &Persona, org: &Org, what: &str, to: &str) {
    let patch = json!({what: to, "reason": "a test"});
    operator.patch(&format!("/operator/v1/orgs/{}", org.id), patch).await.expect(200);
}
