//! What operators see of use is what clients saw, and what operators do is seen too.

use super::support::{Document, Operation, Persona, TestApp, until};
use serde_json::{Value, json};

const USAGE: &str = "/operator/v1/usage";

fn counts(of: &Value) -> [i64; 4] {
    ["requests", "units", "refused", "shadow_refused"].map(|count| of[count].as_i64().unwrap())
}

/// Asks for its org so often; answers how many passed.
async fn passing(times: usize, who: &Persona) -> i64 {
    let mut passed = 0;
    for _ in 0..times {
        let reply = who.get("/api/v1/org").await;
        assert!([200, 429].contains(&reply.status), "{}", reply.text);
        passed += i64::from(reply.status == 200);
    }
    passed
}

async fn set_free(operator: &Persona, policies: Value) {
    let change = json!({"name": "Free", "reason": "for this test", "policies": policies});
    operator.put("/operator/v1/tiers/free", change).await.expect(200);
}

#[tokio::test]
async fn the_use_of_an_org_is_what_its_clients_saw_and_another_orgs_is_not_in_it() {
    let app = TestApp::start().await;
    let (acme, globex, operator) = (app.org_on("free").await, app.org_on("free").await, app.operator().await);
    set_free(
        &operator,
        json!([
            {"name": "user", "scope": "user", "quota": 5, "window_seconds": 3600},
            {"name": "soon", "scope": "org", "quota": 3, "window_seconds": 3600, "mode": "shadow"},
        ]),
    )
    .await;
    assert_eq!(passing(8, &acme.owner).await, 5);
    assert_eq!(passing(2, &globex.owner).await, 2);
    app.state.meter.fold(&app.state.platform).await.unwrap();

    app.clock.advance(std::time::Duration::from_mins(2));
    assert_eq!(passing(1, &acme.viewer).await, 1);
    app.state.meter.fold(&app.state.platform).await.unwrap();

    let of_acme = operator.get(&format!("{USAGE}?org={}", acme.id)).await.expect(200);
    // In shadow: the fourth and the fifth, and the one of later.
    assert_eq!(counts(&of_acme["totals"]), [9, 6, 3, 3], "{of_acme}");
    let buckets = of_acme["buckets"].as_array().unwrap();
    assert_eq!(buckets.iter().map(counts).collect::<Vec<_>>(), [[8, 5, 3, 2], [1, 1, 0, 1]]);
    let policy = |of: &Value, name: &str| {
        let policies = of["policies"].as_array().unwrap();
        policies.iter().find(|policy| policy["policy"] == name).cloned().unwrap_or_default()
    };
    let soon = policy(&of_acme, "soon");
    assert_eq!(
        (&soon["weighed"], &soon["shadow_refused"], &soon["refused"]),
        (&json!(9), &json!(6), &json!(0))
    );
    assert_eq!(policy(&of_acme, "user")["refused"], 3);
    assert_eq!(soon["source"], "tier:free@v2");

    let of_globex = operator.get(&format!("{USAGE}?org={}", globex.id)).await.expect(200);
    assert_eq!(counts(&of_globex["totals"]), [2, 2, 0, 0]);
    let of_all = operator.get(USAGE).await.expect(200);
    assert_eq!(policy(&of_all, "soon")["weighed"], 11, "{of_all}");
    assert_eq!(policy(&of_all, "soon")["orgs"], 1);

    for (by, first) in [("requests", [9, 6, 3, 3]), ("units", [9, 6, 3, 3]), ("refused", [9, 6, 3, 3])] {
        let top = operator.get(&format!("{USAGE}/top?by={by}")).await.expect(200);
        let orgs: Vec<&Value> =
            top["data"].as_array().unwrap().iter().filter(|org| org["slug"] != "platform").collect();
        assert_eq!(
            (orgs[0]["org"].as_str().unwrap(), counts(orgs[0])),
            (acme.id.to_string().as_str(), first)
        );
        assert_eq!(orgs.len(), if by == "refused" { 1 } else { 2 });
    }
    let one = operator.get(&format!("{USAGE}/top?by=shadow_refused&limit=1")).await.expect(200);
    assert_eq!(one["data"][0]["org"], acme.id.to_string());
}

#[tokio::test]
async fn use_is_written_down_without_being_asked_for_and_by_every_replica_into_one_sum() {
    let app = TestApp::start().await;
    let other = app.replica().await;
    let (acme, operator) = (app.org().await, app.operator().await);
    assert_eq!(passing(3, &acme.owner).await, 3);
    assert_eq!(passing(4, &acme.owner.at(&other.base)).await, 4);
    let path = format!("{USAGE}?org={}", acme.id);
    until("both replicas have written down what they counted", async || {
        counts(&operator.get(&path).await.expect(200)["totals"]) == [7, 7, 0, 0]
    })
    .await;
}

#[tokio::test]
async fn unusable_questions_about_use_are_refused() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    for question in [
        "?bucket=year",
        "?from=yesterday",
        "?org=acme",
        "?who=me",
        "?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z&bucket=minute",
        "?from=2020-01-01T00:00:00Z&bucket=day",
        "/top?by=size",
        "/top?limit=0",
        "/top?limit=101",
    ] {
        operator.get(&format!("{USAGE}{question}")).await.expect_problem(400, "bad_parameter");
    }
}

#[tokio::test]
async fn every_call_of_an_operator_is_in_the_audit_before_it_is_answered() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let (acme, operator) = (app.org().await, app.operator().await);
    let mut tried = 0;
    for operation in document.operations().into_iter().filter(Operation::is_operators) {
        let path = operation.some_path();
        let reply = operation.call(&operator, &path).await;
        let recorded = app.database.recorded_of(&reply).await;
        let calls: Vec<_> = recorded.iter().filter(|event| event.action == "operator.called").collect();
        assert_eq!(calls.len(), 1, "{operation}: {}", reply.text);
        assert_eq!(calls[0].org_id, insula::tenancy::PLATFORM, "{operation}");
        assert_eq!(calls[0].actor_id, Some(operator.user().uuid()), "{operation}");
        // A stranger's refusal is no operator's call.
        let refused = operation.call(&acme.owner, &path).await;
        assert!(app.database.recorded_of(&refused).await.is_empty(), "{operation}");
        tried += 1;
    }
    assert!(tried >= 8, "tried {tried}");

    let reply = operator.get(&format!("/operator/v1/orgs/{}", acme.id)).await;
    let recorded = app.database.recorded_of(&reply).await;
    assert_eq!(
        (recorded[0].target_type.as_str(), recorded[0].target.as_deref()),
        ("org", Some(acme.id.uuid().to_string().as_str()))
    );
}
