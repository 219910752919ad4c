//! Jobs as operators see them: over all orgs, with figures of the queue, and hands to cancel and retry.

use super::support::{
    TestApp,
    labour::{self, PANIC, RESTOCK, enqueue_new, job},
    until,
};
use insula::jobs::NewJob;
use serde_json::{Value, json};

const JOBS: &str = "/operator/v1/jobs";

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn operators_see_what_waits_and_has_failed_anywhere_and_others_do_not() {
    let app = TestApp::start_with("[metrics]\nlisten = \"127.0.0.1:0\"").await;
    let (acme, globex, operator) = (app.org().await, app.org().await, app.operator().await);
    let waits = enqueue_new(&app, acme.id, job("tests.nobody_does_this", json!({"secret": "hush"}))).await;
    let fails = enqueue_new(&app, globex.id, NewJob { max_attempts: 1, ..job(PANIC, json!({})) }).await;
    let work = labour::work(&app);
    until("it has failed", async || labour::tally(&app, globex.id).await.0.contains_key("failed")).await;
    drop(work);

    let (waits, fails) = (waits.to_string(), fails.to_string());
    for (query, found) in [
        (String::new(), vec![&fails, &waits]),
        (format!("org={}", acme.id), vec![&waits]),
        ("status=failed".to_owned(), vec![&fails]),
        (format!("kind={PANIC}"), vec![&fails]),
        (format!("org={}&kind={PANIC}", acme.id), vec![]),
        ("created_after=2026-01-01T00:00:00Z&sort=created_at".to_owned(), vec![&waits, &fails]),
        ("created_after=2126-01-01T00:00:00Z".to_owned(), vec![]),
    ] {
        let page = operator.get(&format!("{JOBS}?{query}")).await.expect(200);
        assert_eq!(ids(&page), found, "{query}");
        assert!(!page.to_string().contains("hush"), "what it was told is the org's own");
    }
    let one = operator.get(&format!("{JOBS}/{waits}")).await.expect(200);
    assert_eq!((&one["org"], &one["status"]), (&json!(acme.id), &json!("queued")));
    let unknown = "job_01jd8yq3c5f4x7t9k2m6n8p0rs";
    operator.get(&format!("{JOBS}/{unknown}")).await.expect_problem(404, "not_found");

    let summary = operator.get(&format!("{JOBS}/summary")).await.expect(200);
    let of = |kind: &str| {
        let kinds = summary["data"].as_array().unwrap();
        kinds.iter().find(|of| of["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {summary}")).clone()
    };
    assert_eq!(of(PANIC)["failed"], 1);
    let waiting = of("tests.nobody_does_this");
    assert_eq!((&waiting["waiting"], &waiting["running"]), (&json!(1), &json!(0)));
    assert!(waiting["oldest_wait_seconds"].as_f64().unwrap() > 0.0);

    let metrics = app.anon().at(app.metrics.as_ref().unwrap()).get("/metrics").await.text;
    for line in [
        r#"insula_jobs{kind="tests.nobody_does_this",state="waiting"} 1"#,
        r#"insula_jobs{kind="tests.panic",state="failed"} 1"#,
        r#"insula_jobs_oldest_wait_seconds{kind="tests.panic"} 0"#,
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line} is not in\n{metrics}");
    }
    assert!(!metrics.contains(&acme.slug) && !metrics.contains("org_"));
}

#[tokio::test]
async fn an_operator_cancels_and_retries_for_an_org_which_is_told_so() {
    let app = TestApp::start().await;
    let (acme, globex, operator) = (app.org().await, app.org().await, app.operator().await);
    let theirs = enqueue_new(&app, acme.id, job(RESTOCK, json!({}))).await;
    let others = enqueue_new(&app, globex.id, job(RESTOCK, json!({}))).await;
    let call = async |what: &str| operator.post(&format!("{JOBS}/{theirs}/{what}"), json!({})).await;

    call("retry").await.expect_problem(409, "not_failed");
    assert_eq!(call("cancel").await.expect(200)["status"], "cancelled");
    call("cancel").await.expect_problem(409, "finished");
    assert_eq!(call("retry").await.expect(200)["status"], "queued");
    for action in ["job.cancelled", "job.retried"] {
        let told = app.last_audited(&acme, action).await;
        assert_eq!(told.actor_type, "operator");
    }
    let untouched = globex.owner.get(&format!("/api/v1/jobs/{others}")).await.expect(200);
    assert_eq!(untouched["status"], "queued");
    let of_globex = globex.owner.get("/api/v1/audit-events?action=job.cancelled").await.expect(200);
    assert_eq!(of_globex["data"], json!([]));
}
