//! The headers that tell of limits, as a parser of RFC 9651 reads them, whatever the answer is.

use super::support::{Persona, Reply, TestApp, cog};
use serde_json::{Value, json};
use sfv::{BareItem, Item, List, ListEntry, Parser};

const MISSING: &str = "/api/v1/products/prd_01jd8yq3c5f4x7t9k2m6n8p0rs";

/// The names of a list of strings, in alphabetical order; each with the integer parameters that must be there.
#[track_caller]
fn names(reply: &Reply, header: &str, parameters: &[&str]) -> Vec<String> {
    let text = reply.header(header);
    let list: List = Parser::new(text).parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let name = |entry: &ListEntry| {
        let ListEntry::Item(Item { bare_item: BareItem::String(name), params }) = entry else {
            panic!("no string: {text}")
        };
        for key in parameters {
            assert!(matches!(params.get(*key), Some(BareItem::Integer(_))), "{key} of {name:?} in {text}");
        }
        name.to_string()
    };
    let mut names: Vec<String> = list.iter().map(name).collect();
    names.sort();
    names
}

async fn on_three_limits(app: &TestApp) -> (Persona, Persona) {
    let day =
        |name, scope, quota| json!({"name": name, "scope": scope, "quota": quota, "window_seconds": 86_400});
    let month = json!({"name": "month", "scope": "org", "quota": 30, "period": "month"});
    let change = json!({"name": "Free", "reason": "for this test",
                        "policies": [day("user", "user", 1_000), day("org-day", "org", 2_000), month]});
    app.operator().await.put("/operator/v1/tiers/free", change).await.expect(200);
    let acme = app.org_on("free").await;
    (acme.owner, acme.viewer)
}

#[tokio::test]
async fn every_answer_tells_of_the_same_limits_in_both_headers() {
    let app = TestApp::start().await;
    let (owner, viewer) = on_three_limits(&app).await;
    let made = owner.post("/api/v1/products", cog()).await.expect(201);
    let product = format!("/api/v1/products/{}", made["id"].as_str().unwrap());
    let fetched = owner.get(&product).await;
    let mut replies = vec![
        (200, fetched),
        (403, viewer.post("/api/v1/products", cog()).await),
        (404, owner.get(MISSING).await),
        (422, owner.post("/api/v1/products", json!({"sku": ""})).await),
    ];
    while owner.get("/api/v1/org").await.status == 200 {}
    replies.push((429, owner.get("/api/v1/org").await));
    for (status, reply) in &replies {
        assert_eq!(reply.status, *status, "{}", reply.text);
        let policies = names(reply, "ratelimit-policy", &["q", "w"]);
        assert_eq!(policies, ["month", "org-day", "user"], "{status}");
        assert_eq!(names(reply, "ratelimit", &["r", "t"]), policies, "{status}");
    }
}

#[tokio::test]
async fn a_refusal_by_the_month_is_explained_by_its_receipt() {
    let app = TestApp::start().await;
    let (owner, _) = on_three_limits(&app).await;
    while owner.get("/api/v1/org").await.status == 200 {}
    let refused = owner.get("/api/v1/org").await;
    let problem = refused.expect_problem(429, "rate_limited");
    let receipt =
        owner.get(&format!("/api/v1/decisions/{}", refused.header("x-request-id"))).await.expect(200);
    assert_eq!(receipt["kind"], "limit");
    let (policy, limit): (&Value, &Value) = (&receipt["policies"][0], &problem["limits"][0]);
    assert_eq!(policy["policy"], "month");
    for field in ["limit", "used", "cost", "next_at", "source"] {
        assert!(!limit[field].is_null() && policy[field] == limit[field], "{field}: {policy} and {limit}");
    }
}
