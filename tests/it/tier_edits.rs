//! What a change of a tier may not be, and how it is published.

use super::support::{TestApp, pointers};
use serde_json::{Value, json};

const FREE: &str = "/operator/v1/tiers/free";

fn change(policies: &Value) -> Value {
    json!({"name": "Free", "reason": "they asked for more", "policies": policies})
}

fn user(quota: u32) -> Value {
    json!({"name": "user", "scope": "user", "quota": quota, "window_seconds": 60})
}

#[tokio::test]
async fn a_changed_tier_is_published_and_without_policies_there_are_no_limits() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("pro").await);
    let operator = app.operator().await;
    let changed = operator.put_if(FREE, "\"1\"", change(&json!([user(300)]))).await;
    assert_eq!((changed.expect(200)["version"].as_i64(), changed.header("etag")), (Some(2), "\"2\""));
    assert_eq!(operator.get(FREE).await.expect(200), changed.json());
    let published = app.anon().get("/api/v1/tiers").await.expect(200);
    let free = &published["data"][1];
    assert_eq!(
        (&free["slug"], &free["version"], &free["policies"][0]["burst"]),
        (&json!("free"), &json!(2), &json!(300))
    );

    operator.put(FREE, change(&json!([]))).await.expect(200);
    assert_eq!(acme.owner.get("/api/v1/org").await.header("ratelimit-policy"), "");
    assert!(globex.owner.get("/api/v1/org").await.header("ratelimit-policy").starts_with(r#""user";q=1200"#));
    let nowhere = operator.put("/operator/v1/tiers/%00", change(&json!([]))).await;
    nowhere.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_tier_that_cannot_be_enforced_is_pointed_at_and_not_kept() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let with = |field: &str, value: Value| {
        let mut policy = user(1);
        policy[field] = value;
        change(&json!([user(5), {"name": "org", "scope": "org", "quota": 9, "window_seconds": 60}, policy]))
    };
    for (field, value) in [
        ("quota", json!(0)),
        ("quota", json!(-1)),
        ("quota", json!("many")),
        ("quota", json!(4_294_967_296_u64)),
        ("window_seconds", json!(0)),
        ("window_seconds", json!(2_678_401)),
        ("burst", json!(0)),
        ("scope", json!("ip")),
        ("scope", json!("galaxy")),
        ("unit", json!("bytes")),
        ("mode", json!("maybe")),
        ("brust", json!(1)),
        ("name", json!("user")),
    ] {
        let mut body = with(field, value.clone());
        if field != "name" {
            body["policies"][2]["name"] = json!("third");
        }
        let problem = operator.put(FREE, body).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem)[0], format!("/policies/2/{field}"), "{value}");
    }
    let many: Vec<Value> = (0..17)
        .map(|at| json!({"name": format!("p{at}"), "scope": "org", "quota": 1, "window_seconds": 60}))
        .collect();
    for (body, pointer) in [
        (change(&json!(many)), "/policies"),
        (json!({"name": "Free", "policies": []}), "/reason"),
        (json!({"name": "", "policies": [], "reason": "x"}), "/name"),
        (json!({"name": "Free", "policies": [], "reason": "x", "slug": "free"}), "/slug"),
    ] {
        let problem = operator.put(FREE, body).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [pointer]);
    }
    assert_eq!(operator.get(FREE).await.expect(200)["version"], 1);
}
