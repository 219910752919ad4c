//! Traces: what a request asked of others, and what it left to be done later, as one; handed over where that is configured,
//! and in nobody's way.

use super::support::{Binary, Collector, Dir, Persona, Reply, TestApp, Traced, until};
use insula::local::Redis;
use reqwest::Method;
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// Spans are handed over as they end.
const AT_ONCE: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const CONSUMER: i32 = 5;

async fn export(by: &Persona) -> Reply {
    let request = by.request(Method::POST, "/api/v1/exports");
    let request = request.header("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    Reply::of(request.json(&json!({"resource": "products", "format": "csv"}))).await
}

/// The line of the log that tells of an answer to `path`.
fn logged(process: &Binary, path: &str) -> Value {
    let log = process.stderr();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let answered = |line: &Value| line["message"] == "answered" && line["span"]["path"] == path;
    lines.into_iter().find(answered).unwrap_or_else(|| panic!("{path} is not in {log}"))
}

fn statements(spans: &[Traced]) -> Vec<&Traced> {
    let is =
        |span: &&Traced| span.attributes.get("db.system.name").is_some_and(|system| system == "postgresql");
    spans.iter().filter(is).collect()
}

#[tokio::test]
async fn a_request_with_what_it_asks_of_others_and_the_job_it_leaves_are_one_trace_which_its_client_began() {
    let (collector, dir) = (Collector::start().await, Dir::new());
    let redis = Redis::start(dir.path(), None).await.unwrap();
    let redis_url = redis.url();
    // One of two: one alone counts by itself.
    let app = TestApp::start_with(&format!("[redis]\nurl = \"{redis_url}\"")).await;
    let acme = app.org().await;
    let traced =
        [("INSULA_TRACES__OTLP_URL", collector.url.as_str()), ("INSULA_TRACES__SAMPLE", "1"), AT_ONCE];
    let beside = [("INSULA_JOBS__WORKERS", "0"), ("INSULA_REDIS__URL", &redis_url)];
    let mut served = Binary::serve(&app.database, &[&traced[..], &beside].concat());
    let owner = acme.owner.at(&served.base().await);
    until("Redis is asked for a request", async || {
        owner.get("/api/v1/org").await.expect(200);
        let asked = collector.spans().into_iter().find(|span| span.name == "EVALSHA");
        asked.is_some_and(|call| !collector.named(&call.trace, "GET /api/v1/org").is_empty())
    })
    .await;
    let asked = export(&owner).await;
    asked.expect(202);
    until("the request is traced", async || !collector.named(TRACE, "POST /api/v1/exports").is_empty()).await;

    let [request] = &collector.named(TRACE, "POST /api/v1/exports")[..] else { panic!("it is there twice") };
    assert_eq!((request.parent.as_str(), request.kind, request.service.as_str()), (PARENT, SERVER, "insula"));
    let (org, id) = (acme.id.to_string(), asked.header("x-request-id"));
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/api/v1/exports"),
        ("http.response.status_code", "202"),
        ("insula.org", &org),
        ("insula.request_id", id),
    ] {
        assert_eq!(request.attributes.get(name).map(String::as_str), Some(value), "{name}");
    }
    let asked_for = collector.children(request);
    let statements = statements(&asked_for);
    let inserts = |span: &&&Traced| span.attributes["db.query.text"].contains("insert into jobs");
    assert_eq!(statements.iter().filter(inserts).count(), 1, "{asked_for:?}");
    assert!(statements.iter().all(|span| span.kind == CLIENT));

    let line = logged(&served, "/api/v1/exports");
    let about = &line["span"];
    assert_eq!(
        (&about["trace_id"], &about["org"], &about["request_id"]),
        (&json!(TRACE), &json!(org), &json!(id))
    );
    assert!(about["principal"].as_str().unwrap().starts_with("usr_"), "{line}");

    // Another process does it, whenever.
    let _worker = Binary::work(&app.database, &traced);
    until("the job is traced", async || !collector.named(TRACE, "job products.export").is_empty()).await;
    let [job] = &collector.named(TRACE, "job products.export")[..] else { panic!("it is there twice") };
    assert_eq!((&job.parent, job.kind), (&request.id, CONSUMER));
    assert_eq!(job.attributes["insula.org"], org);
    assert!(!collector.children(job).is_empty(), "it asks the database");

    // What it was asked with is nobody's to collect.
    let told = format!("{:?}", collector.spans());
    assert!(!told.contains("eyJ") && !told.contains("Bearer"));
}

#[tokio::test]
async fn what_is_sent_along_that_is_no_trace_begins_one_and_what_is_not_in_the_sample_is_told_to_nobody() {
    let (app, collector) = (TestApp::start().await, Collector::start().await);
    let acme = app.org().await;
    let url = ("INSULA_TRACES__OTLP_URL", collector.url.as_str());
    let mut unsampled = Binary::serve(&app.database, &[url, ("INSULA_TRACES__SAMPLE", "0")]);
    export(&acme.owner.at(&unsampled.base().await)).await.expect(202);
    // Whatever waits is handed over at the end.
    unsampled.signal("TERM");
    assert!(unsampled.ended().await.success(), "{}", unsampled.stderr());
    assert!(collector.spans().is_empty(), "{:?}", collector.spans());

    let mut sampled = Binary::serve(&app.database, &[url, ("INSULA_TRACES__SAMPLE", "1")]);
    let request = acme.owner.at(&sampled.base().await).request(Method::GET, "/api/v1/org");
    Reply::of(request.header("traceparent", format!("00-{TRACE}-{PARENT}-01-and-more"))).await.expect(200);
    sampled.signal("TERM");
    assert!(sampled.ended().await.success(), "{}", sampled.stderr());
    let spans = collector.spans();
    let request = spans.iter().find(|span| span.name == "GET /api/v1/org").unwrap();
    assert!(request.trace != TRACE && request.parent.is_empty(), "{request:?}");
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_in_nobodys_way() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let nowhere = ("INSULA_TRACES__OTLP_URL", "http://127.0.0.1:1");
    let mut served = Binary::serve(&app.database, &[nowhere, ("INSULA_TRACES__SAMPLE", "1"), AT_ONCE]);
    let owner = acme.owner.at(&served.base().await);
    for _ in 0..20 {
        owner.get("/api/v1/org").await.expect(200);
    }
    served.signal("TERM");
    assert!(served.ended().await.success(), "{}", served.stderr());
}
