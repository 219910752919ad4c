//! When and from where a key was last used: seen by whoever may see keys, and never waited for.

use super::support::{Persona, TestApp, id, until};
use serde_json::{Value, json};
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const KEYS: &str = "/api/v1/api-keys";
const PROXIED: &str = "[http]\ntrusted_proxies = [\"127.0.0.1/32\"]";

async fn last_use(admin: &Persona, path: &str) -> (Option<OffsetDateTime>, Value) {
    let key = admin.get(path).await.expect(200);
    let at = key["last_used_at"].as_str().map(|at| OffsetDateTime::parse(at, &Rfc3339).unwrap());
    (at, key["last_used_ip"].clone())
}

#[tokio::test]
async fn a_use_is_noted_at_once_and_written_with_the_others() {
    let app = TestApp::start_with(PROXIED).await;
    let (acme, globex) = (app.org().await, app.org().await);
    let mut keys = Vec::new();
    for (org, mode) in [(&acme, "live"), (&acme, "test"), (&globex, "live")] {
        let made = org
            .owner
            .post(KEYS, json!({"name": "x", "mode": mode, "scopes": ["org:read"]}))
            .await
            .expect(201);
        keys.push((org, app.bearer(made["key"].as_str().unwrap()), format!("{KEYS}/{}", id(&made))));
    }
    let idle = acme.owner.post(KEYS, json!({"name": "idle", "scopes": ["org:read"]})).await.expect(201);
    let first = app.clock.now();
    for (org, key, path) in &keys {
        key.coming_from("198.51.100.1").get("/api/v1/org").await.expect(200);
        assert_eq!(last_use(&org.owner, path).await, (None, Value::Null), "no request waits for it");
    }
    app.clock.advance(Duration::from_secs(7));
    // Refused by its scopes, it was used all the same.
    keys[0].1.coming_from("2001:db8::7").get("/api/v1/orders").await.expect_problem(403, "permission_denied");

    app.state.api_keys.write_uses().await.unwrap();
    let later = first + time::Duration::seconds(7);
    assert_eq!(last_use(&acme.owner, &keys[0].2).await, (Some(later), json!("2001:db8::7")));
    for (org, _, path) in &keys[1..] {
        assert_eq!(last_use(&org.owner, path).await, (Some(first), json!("198.51.100.1")));
    }
    assert_eq!(last_use(&acme.owner, &format!("{KEYS}/{}", id(&idle))).await, (None, Value::Null));
    let listed = acme.owner.get(&format!("{KEYS}?mode=test")).await.expect(200);
    assert_eq!(listed["data"][0]["last_used_ip"], "198.51.100.1");
}

#[tokio::test]
async fn what_another_replica_has_written_of_a_later_use_stands() {
    let here = TestApp::start_with(PROXIED).await;
    let there = here.replica().await;
    let acme = here.org().await;
    let made = acme.owner.post(KEYS, json!({"name": "x", "scopes": ["org:read"]})).await.expect(201);
    let (key, path) = (here.bearer(made["key"].as_str().unwrap()), format!("{KEYS}/{}", id(&made)));
    key.coming_from("198.51.100.1").get("/api/v1/org").await.expect(200);
    there.clock.advance(Duration::from_mins(1));
    key.at(&there.base).get("/api/v1/org").await.expect(200);

    there.state.api_keys.write_uses().await.unwrap();
    here.state.api_keys.write_uses().await.unwrap();
    assert_eq!(last_use(&acme.owner, &path).await, (Some(there.clock.now()), json!("127.0.0.1")));
}

#[tokio::test]
async fn what_can_not_be_written_is_kept_for_the_next_time() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let made = acme.owner.post(KEYS, json!({"name": "x", "scopes": ["org:read"]})).await.expect(201);
    let (key, path) = (app.bearer(made["key"].as_str().unwrap()), format!("{KEYS}/{}", id(&made)));
    key.get("/api/v1/org").await.expect(200);

    app.database.run("revoke update (last_used_at, last_used_ip) on api_keys from insula_platform").await;
    app.state.api_keys.write_uses().await.unwrap_err();
    app.database.run("grant update (last_used_at, last_used_ip) on api_keys to insula_platform").await;
    app.state.api_keys.write_uses().await.unwrap();
    assert_eq!(last_use(&acme.owner, &path).await.0, Some(app.clock.now()));
}

#[tokio::test]
async fn a_server_that_stops_writes_down_what_it_noted() {
    let here = TestApp::start().await;
    let acme = here.org().await;
    let made = acme.owner.post(KEYS, json!({"name": "x", "scopes": ["org:read"]})).await.expect(201);
    let (key, path) = (here.bearer(made["key"].as_str().unwrap()), format!("{KEYS}/{}", id(&made)));
    let there = here.replica().await;
    key.at(&there.base).get("/api/v1/org").await.expect(200);
    assert_eq!(last_use(&acme.owner, &path).await.0, None);
    drop(there);
    until("it is written", async || last_use(&acme.owner, &path).await.0.is_some()).await;
}
