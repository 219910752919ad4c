//! How exactly limits are kept is told as it was: to operators by the minute and to Prometheus in sum, and to nobody else.

use super::support::{Fleet, Org, Persona, Reply, TestApp, cog, until};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

const ACCURACY: &str = "/operator/v1/limits/accuracy";
const METRICS: &str = "[metrics]\nlisten = \"127.0.0.1:0\"";

fn policy(name: &str, scope: &str, quota: u32) -> Value {
    json!({"name": name, "scope": scope, "quota": quota, "window_seconds": 86_400})
}

/// Asks for its org so often, each time for a unit; answers how many passed.
async fn passing(times: usize, who: &Persona) -> usize {
    let mut passed = 0;
    for _ in 0..times {
        let reply = who.get("/api/v1/org").await;
        assert!([200, 429].contains(&reply.status), "{}", reply.text);
        passed += usize::from(reply.status == 200);
    }
    passed
}

async fn set_free(operator: &Persona, policies: Value) {
    let change = json!({"name": "Free", "reason": "for this test", "policies": policies});
    operator.put("/operator/v1/tiers/free", change).await.expect(200);
}

/// Has two orgs on the tier `free` use 5 units of a member each, and be refused three times.
async fn used_by_two(app: &TestApp, operator: &Persona) -> (Org, Org) {
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    let mut trial = policy("trial", "org", 1);
    trial["mode"] = json!("shadow");
    let busy =
        json!({"name": "busy", "scope": "org", "quota": 9, "window_seconds": 60, "unit": "concurrent"});
    let month = json!({"name": "month", "scope": "org", "quota": 1_000, "period": "month"});
    set_free(operator, json!([policy("user", "user", 5), policy("org", "org", 50), trial, busy, month]))
        .await;
    assert_eq!(passing(7, &acme.owner).await, 5);
    assert_eq!(passing(2, &globex.owner).await, 2);
    // Three units.
    globex.owner.post("/api/v1/products", cog()).await.expect(201);
    globex.owner.get("/api/v1/products").await.expect_problem(429, "rate_limited");
    // None.
    globex.owner.get("/api/v1/limits").await.expect(200);
    (acme, globex)
}

/// A policy's decisions, the units it admitted, and what it refused.
fn decided(of: &Value) -> [i64; 3] {
    ["decisions", "admitted_units", "refused"].map(|count| of[count].as_i64().unwrap())
}

/// What is told of a policy of the tier `free`; null if nothing is yet, or the operator has asked too often.
async fn told(operator: &Persona, name: &str) -> Value {
    let reply = operator.get(&format!("{ACCURACY}?tier=free")).await;
    if reply.status == 429 {
        return Value::Null;
    }
    let told = reply.expect(200);
    let policies = told["data"].as_array().unwrap();
    assert!(policies.iter().all(|policy| policy["tier"] == "free"), "{told}");
    policies.iter().find(|policy| policy["policy"] == name).cloned().unwrap_or_default()
}

/// Waits until so much is told of the policy `org` by one way of counting.
async fn until_told(operator: &Persona, counting: &str, expected: [i64; 3]) {
    until(&format!("{counting} decisions are {expected:?}"), async || {
        let told = told(operator, "org").await;
        !told.is_null() && decided(&told["modes"][counting]) == expected
    })
    .await;
}

async fn mode(operator: &Persona) -> Value {
    operator.get(ACCURACY).await.expect(200)["now"].clone()
}

#[tokio::test]
async fn one_replica_counts_exactly_and_what_it_tells_is_what_its_clients_saw() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let (acme, _globex) = used_by_two(&app, &operator).await;
    until_told(&operator, "exact", [11, 10, 0]).await;

    let user = told(&operator, "user").await;
    assert_eq!(decided(&user), [11, 10, 3], "{user}");
    assert_eq!(decided(&user["modes"]["exact"]), [11, 10, 3]);
    for other in ["leased", "degraded"] {
        assert_eq!(decided(&user["modes"][other]), [0, 0, 0]);
    }
    for none in ["over_units", "under_units", "over_ratio", "under_ratio"] {
        assert_eq!(user[none].as_f64(), Some(0.0), "{none}");
    }
    for elsewhere in ["trial", "busy", "month"] {
        assert!(
            told(&operator, elsewhere).await.is_null(),
            "{elsewhere} is no limit over time that is enforced"
        );
    }
    assert_eq!(mode(&operator).await, json!({"mode": "exact", "replicas": 1}));
    let all = operator.get(ACCURACY).await.expect(200);
    assert!(all["data"].as_array().unwrap().iter().any(|policy| policy["tier"] == "platform"), "{all}");
    acme.viewer.get(ACCURACY).await.expect_problem(403, "operators_only");
}

#[tokio::test]
async fn what_turned_out_wrong_is_told_with_its_part_of_what_was_admitted() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let (_acme, _globex) = used_by_two(&app, &operator).await;
    app.state.limits.accuracy().misjudged("free", "org", 2, 1);
    app.state.limits.accuracy().misjudged("free", "org", 3, 0);
    until_told(&operator, "exact", [11, 10, 0]).await;
    until("it is told", async || told(&operator, "org").await["over_units"] == 5).await;
    let org = told(&operator, "org").await;
    let wrong = ["over_units", "under_units", "over_ratio", "under_ratio"].map(|which| org[which].as_f64());
    assert_eq!(wrong, [Some(5.0), Some(1.0), Some(0.5), Some(0.1)], "{org}");

    app.clock.advance(Duration::from_mins(61));
    let later = app.operator().await;
    assert!(told(&later, "org").await.is_null(), "the last hour only, unless more is asked for");
    let since = later.get(&format!("{ACCURACY}?tier=free&from=2026-01-01T00:00:00Z")).await.expect(200);
    assert_eq!(since["data"].as_array().unwrap().len(), 2, "{since}");
}

#[tokio::test]
async fn replicas_tell_together_what_they_decided_with_redis_and_without() {
    let mut fleet = Fleet::start(2, json!([policy("org", "org", 60)])).await;
    let (acme, globex) = (fleet.replicas[0].org_on("free").await, fleet.replicas[0].org_on("free").await);
    let operator = fleet.replicas[0].operator().await;
    let (acme, globex) = (fleet.everywhere(&acme.owner), fleet.everywhere(&globex.owner));
    for (acme, globex) in acme.iter().zip(&globex) {
        assert_eq!(passing(3, acme).await + passing(2, globex).await, 5);
    }
    until_told(&operator, "leased", [10, 10, 0]).await;
    assert_eq!(mode(&operator).await, json!({"mode": "leased", "replicas": 2}));

    fleet.stop_redis().await;
    for acme in &acme {
        assert_eq!(passing(4, acme).await, 4);
    }
    let now = async || operator.get(ACCURACY).await.json()["now"]["mode"].clone();
    until("it is degraded", async || now().await == "degraded").await;
    until("all is told", async || {
        let told = told(&operator, "org").await;
        // Some of it was leased before.
        !told.is_null() && decided(&told) == [18, 18, 0] && decided(&told["modes"]["degraded"])[0] > 0
    })
    .await;

    fleet.start_redis().await;
    // Its memory is lost, so at first nobody has anything left.
    until("it is as before", async || now().await == "leased").await;
}

#[tokio::test]
async fn unusable_questions_about_accuracy_are_refused() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    for question in [
        "?from=yesterday",
        "?org=acme",
        "?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "?tier=a&tier=b",
    ] {
        operator.get(&format!("{ACCURACY}{question}")).await.expect_problem(400, "bad_parameter");
    }
}

#[tokio::test]
async fn prometheus_is_told_the_same_on_an_address_of_its_own_and_nothing_of_whom_it_is_about() {
    let app = TestApp::start_with(METRICS).await;
    let other = TestApp::start_on(app.database.clone(), METRICS).await;
    let operator = app.operator().await;
    let (acme, globex) = used_by_two(&app, &operator).await;
    acme.owner.get(&format!("/nowhere/{}", acme.id)).await.expect(404);
    acme.owner.get(&format!("/api/v1/users/{}", acme.viewer.user())).await;

    let (text, samples) = scraped(&app).await;
    for (name, expected) in [
        (r#"limit_decisions_total{tier="free",policy="user",counting="exact",outcome="passed"}"#, 8.0),
        (r#"limit_decisions_total{tier="free",policy="user",counting="exact",outcome="refused"}"#, 4.0),
        (r#"limit_decisions_total{tier="free",policy="org",counting="exact",outcome="refused"}"#, 0.0),
        (r#"limit_admitted_units_total{tier="free",policy="org",counting="exact"}"#, 10.0),
        (r#"limit_mode{mode="exact"}"#, 1.0),
        (r#"limit_mode{mode="degraded"}"#, 0.0),
        ("limit_replicas", 1.0),
        (r#"http_requests_total{method="GET",route="/api/v1/org",status="429"}"#, 2.0),
        (r#"http_requests_total{method="GET",route="/api/v1/users/{id}",status="429"}"#, 1.0),
        (r#"http_requests_total{method="GET",route="none",status="404"}"#, 1.0),
        (r#"http_request_duration_seconds_count{method="GET",route="/api/v1/org"}"#, 9.0),
        (r#"http_request_duration_seconds_bucket{method="GET",route="/api/v1/org",le="+Inf"}"#, 9.0),
    ] {
        assert_eq!(samples.get(&format!("insula_{name}")), Some(&expected), "{name} in\n{text}");
    }
    for org in [&acme, &globex] {
        for name in
            [org.id.to_string(), org.id.uuid().to_string(), org.slug.clone(), org.viewer.user().to_string()]
        {
            assert!(!text.contains(&name), "{name} is told of in\n{text}");
        }
    }
    let (of_other, _) = scraped(&other).await;
    assert!(!of_other.contains("tier=\"free\""), "it decided nothing:\n{of_other}");

    app.anon().get("/metrics").await.expect_problem(404, "not_found");
    assert_eq!(at_metrics(&app, "/api/v1/tiers").await.status, 404);
    assert_eq!(TestApp::start().await.metrics, None, "unless asked for");
}

async fn at_metrics(app: &TestApp, path: &str) -> Reply {
    app.anon().at(app.metrics.as_ref().unwrap()).get(path).await
}

/// The text, and each sample in it; every one belongs to a family that was opened before, and none comes twice.
async fn scraped(app: &TestApp) -> (String, HashMap<String, f64>) {
    let reply = at_metrics(app, "/metrics").await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    let (mut families, mut family, mut samples) = (HashSet::new(), ("", ""), HashMap::new());
    for line in reply.text.lines() {
        if let Some(opened) = line.strip_prefix("# TYPE ") {
            family = opened.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&family.1), "{line}");
            assert!(families.insert(family.0), "opened twice: {line}");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split_once('{').map_or(series, |(name, _)| name);
            let of_family = match (name.strip_prefix(family.0), family.1) {
                (Some(""), "counter" | "gauge") => true,
                (Some(part), "histogram") => ["_bucket", "_sum", "_count"].contains(&part),
                _ => false,
            };
            assert!(of_family, "{line} stands below {family:?}");
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
        }
    }
    (reply.text.clone(), samples)
}
