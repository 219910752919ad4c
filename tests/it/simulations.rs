//! Tiers tried out on what was recorded: what a simulation says, and that it comes true.

use super::support::{Document, Org, Persona, TestApp, id, pointers, until};
use insula::{config::Config, limits::record};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const SIMULATIONS: &str = "/operator/v1/simulations";
const PATHS: [&str; 4] = ["/api/v1/products", "/api/v1/orders", "/api/v1/categories", "/api/v1/org"];

fn policy(name: &str, scope: &str, quota: u32, burst: u32) -> Value {
    json!({"name": name, "scope": scope, "quota": quota, "window_seconds": 60, "burst": burst})
}

fn text(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap()
}

fn moment(text: &Value) -> Option<OffsetDateTime> {
    text.as_str().map(|text| OffsetDateTime::parse(text, &Rfc3339).unwrap())
}

/// One call of a story: who, where, and how long after the one before.
type Call = (usize, usize, Duration);

/// Sends the calls; which route each went to, when, and whether it was refused.
async fn send(app: &TestApp, who: &[Persona], calls: &[Call]) -> Vec<(usize, OffsetDateTime, bool)> {
    let mut sent = Vec::new();
    for (by, path, pause) in calls {
        app.clock.advance(*pause);
        let reply = who[*by].get(PATHS[*path]).await;
        assert!([200, 429].contains(&reply.status), "{}", reply.text);
        sent.push((*path, app.clock.now(), reply.status == 429));
    }
    sent
}

async fn people(app: &TestApp, org: &Org) -> Vec<Persona> {
    let scopes = ["products:read", "orders:read", "categories:read", "org:read"];
    vec![org.owner.clone(), org.member.clone(), app.api_key(org, &scopes).await]
}

async fn simulated(app: &TestApp, operator: &Persona, of: Value) -> Value {
    app.state.recorder.flush(&app.state.platform).await.unwrap();
    let asked = operator.post(SIMULATIONS, of).await;
    let made = asked.expect(202);
    let path = format!("{SIMULATIONS}/{}", id(&made));
    assert_eq!(asked.header("location"), path);
    finished(operator, &path).await
}

async fn finished(operator: &Persona, path: &str) -> Value {
    let over = async || {
        !["queued", "running"].contains(&operator.get(path).await.json()["status"].as_str().unwrap())
    };
    until("the simulation is over", over).await;
    operator.get(path).await.expect(200)
}

#[tokio::test]
async fn what_a_simulation_predicts_happens_when_the_same_calls_are_then_sent() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("pro").await);
    let operator = app.operator().await;
    let now = json!([policy("user", "user", 30, 15), policy("org", "org", 50, 30)]);
    let then = json!([
        policy("user", "user", 40, 8),
        policy("org", "org", 60, 45),
        policy("key", "api_key", 20, 25),
        {"name": "at-once", "scope": "org", "quota": 1, "unit": "concurrent"},
    ]);
    let change = |policies: &Value| json!({"name": "Tier", "policies": policies, "reason": "a trial"});
    operator.put("/operator/v1/tiers/free", change(&now)).await.expect(200);
    operator.put("/operator/v1/tiers/pro", change(&then)).await.expect(200);
    let (of_acme, of_globex) = (people(&app, &acme).await, people(&app, &globex).await);
    // Nobody owes anything any more.
    app.clock.advance(Duration::from_mins(3));
    let calls: Vec<Call> = (0..200)
        .map(|_| {
            let pause = Duration::from_micros(rand::random_range(0..900_000));
            (rand::random_range(0..3), rand::random_range(0..4), pause)
        })
        .collect();

    let from = app.clock.now();
    let before = send(&app, &of_acme, &calls).await;
    app.clock.advance(Duration::from_millis(1));
    let to = app.clock.now();
    let asked = json!({"tier": "free", "policies": then, "from": text(from), "to": text(to)});
    let result = simulated(&app, &operator, asked).await;
    assert_eq!(result["status"], "succeeded", "{result}");
    assert_eq!(result["not_simulated"], json!(["at-once"]));
    assert_eq!(result["progress"]["done"], result["progress"]["total"]);

    let start = app.clock.now();
    let after = send(&app, &of_globex, &calls).await;
    let refused =
        |sent: &[(usize, OffsetDateTime, bool)]| sent.iter().filter(|(.., refused)| *refused).count();
    assert!(refused(&before) > 0 && refused(&after) > 0, "it proves something");

    let orgs = result["orgs"].as_array().unwrap();
    let others = orgs.iter().filter(|org| org["org"] == globex.id.to_string()).count();
    assert_eq!(others, 0, "globex is on another tier");
    let org = orgs.iter().find(|org| org["org"] == acme.id.to_string()).unwrap();
    assert_eq!((&org["slug"], &org["decisions"]), (&json!(acme.slug), &json!(calls.len())));
    assert_eq!(org["refused"], refused(&after));
    assert_eq!(org["refused_really"], refused(&before));
    let document = Document::of(&app).await;
    let mut seen = 0;
    for (route, path) in PATHS.iter().enumerate() {
        let name = &document.0["paths"][path]["get"]["operationId"];
        let both = || before.iter().zip(&after).filter(|(call, _)| call.0 == route);
        let Some(told) = org["by_route"].as_array().unwrap().iter().find(|told| told["route"] == *name)
        else {
            assert_eq!(both().count(), 0);
            continue;
        };
        seen += 1;
        assert_eq!(told["decisions"], both().count(), "{path}");
        let first = |hit: fn(bool, bool) -> bool| {
            both().find(|(was, is)| hit(was.2, is.2)).map(|(_, is)| is.1 - start)
        };
        for (count, first_at, hit) in [
            ("refused", "first_refused_at", (|_, is| is) as fn(bool, bool) -> bool),
            ("newly_hurt", "first_newly_hurt_at", |was, is| is && !was),
            ("relieved", "first_relieved_at", |was, is| was && !is),
        ] {
            let really = both().filter(|(was, is)| hit(was.2, is.2)).count();
            assert_eq!(told[count], really, "{path} {count}: {told}");
            assert_eq!(moment(&told[first_at]).map(|at| at - from), first(hit), "{path} {first_at}");
        }
    }
    assert!(seen > 1);

    let csv = operator.get(&format!("{SIMULATIONS}/{}/result.csv", id(&result))).await;
    assert_eq!((csv.status, csv.header("content-type")), (200, "text/csv; charset=utf-8"));
    assert_eq!(of_csv(&csv.text), of_json(&result));
}

type Lines = BTreeMap<(String, String), Vec<String>>;

const COLUMNS: [&str; 9] = [
    "decisions",
    "refused",
    "first_refused_at",
    "refused_really",
    "newly_hurt",
    "first_newly_hurt_at",
    "relieved",
    "first_relieved_at",
    "refused_in_shadow",
];

fn of_csv(text: &str) -> Lines {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let lines = reader.deserialize::<BTreeMap<String, String>>().map(Result::unwrap);
    lines
        .map(|line| {
            let values = COLUMNS.iter().map(|column| line[*column].clone()).collect();
            ((line["org"].clone(), line["route"].clone()), values)
        })
        .collect()
}

fn of_json(result: &Value) -> Lines {
    let word = |value: &Value| {
        value.as_str().map_or_else(|| value.to_string().replace("null", ""), ToOwned::to_owned)
    };
    let mut lines = Lines::new();
    for org in result["orgs"].as_array().unwrap() {
        for route in org["by_route"].as_array().unwrap() {
            let values = COLUMNS.iter().map(|column| word(&route[*column])).collect();
            lines.insert((word(&org["org"]), word(&route["route"])), values);
        }
    }
    lines
}

#[tokio::test]
async fn what_was_used_before_the_window_counts_and_a_shadow_refuses_nobody() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org_on("free").await, app.operator().await);
    for _ in 0..4 {
        acme.owner.get("/api/v1/org").await.expect(200);
    }
    app.clock.advance(Duration::from_millis(1));
    let from = app.clock.now();
    for _ in 0..3 {
        acme.owner.get("/api/v1/org").await.expect(200);
    }
    app.clock.advance(Duration::from_millis(1));
    let window = |mode: &str| {
        let mut user = policy("user", "user", 5, 5);
        user["mode"] = json!(mode);
        json!({"tier": "free", "policies": [user], "from": text(from), "to": text(app.clock.now())})
    };
    let result = simulated(&app, &operator, window("enforce")).await;
    assert_eq!(
        (&result["decisions"], &result["refused"], &result["newly_hurt"]),
        (&json!(3), &json!(2), &json!(2))
    );
    let result = simulated(&app, &operator, window("shadow")).await;
    assert_eq!((&result["refused"], &result["refused_in_shadow"]), (&json!(0), &json!(2)), "{result}");
}

#[tokio::test]
async fn a_simulation_that_cannot_be_is_pointed_at() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let now = app.clock.now();
    let day = time::Duration::days(1);
    let good = json!({"tier": "free", "policies": [policy("user", "user", 5, 5)], "from": text(now - day), "to": text(now)});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (body, pointer) in [
        (with("tier", json!("gold")), "/tier"),
        (with("tier", json!("No Slug")), "/tier"),
        (with("policies", json!([policy("user", "user", 0, 1)])), "/policies/0/quota"),
        (with("policies", json!([policy("ip", "ip", 1, 1)])), "/policies/0/scope"),
        (with("policies", json!([policy("a", "org", 1, 1), policy("a", "user", 1, 1)])), "/policies/1/name"),
        (with("to", json!(text(now - day))), "/to"),
        (with("to", json!(text(now + day))), "/to"),
        (with("to", json!("tomorrow")), "/to"),
        (with("from", json!(text(now - day * 33))), "/to"),
        (with("reason", json!("?")), "/reason"),
    ] {
        let problem = operator.post(SIMULATIONS, body).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem)[0], pointer, "{problem}");
    }
    let mut old = with("from", json!(text(now - day * 40)));
    old["to"] = json!(text(now - day * 39));
    let problem = operator.post(SIMULATIONS, old).await.expect_problem(422, "invalid");
    assert_eq!(pointers(&problem), ["/from"]);
    assert_eq!(operator.get(SIMULATIONS).await.expect(200)["data"], json!([]));
    for tail in ["", "/result.csv"] {
        let nobodys = format!("{SIMULATIONS}/sim_01jd8yq3c5f4x7t9k2m6n8p0rs{tail}");
        operator.get(&nobodys).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_cancelled_simulation_has_no_result_and_is_not_taken_up_again() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let now = app.clock.now();
    // Up to the present: it is not begun for a while.
    let asked =
        json!({"tier": "free", "policies": [], "from": text(now - time::Duration::days(1)), "to": text(now)});
    let made = operator.post(SIMULATIONS, asked.clone()).await.expect(202);
    let path = format!("{SIMULATIONS}/{}", id(&made));
    operator.get(&format!("{path}/result.csv")).await.expect_problem(409, "no_result");
    let cancelled = operator.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    operator.post(&format!("{path}/cancel"), json!({})).await.expect_problem(409, "finished");
    // One that was asked for later is done by now.
    assert_eq!(simulated(&app, &operator, asked).await["status"], "succeeded");
    assert_eq!(operator.get(&path).await.expect(200)["status"], "cancelled");
    let all = operator.get(&format!("{SIMULATIONS}?status=cancelled")).await.expect(200);
    assert_eq!(all["data"].as_array().unwrap().len(), 1);
}

/// As a replica leaves it that is killed in the middle, after so many attempts in all.
async fn abandoned(app: &TestApp, operator: &Persona, attempts: i32) -> String {
    let now = app.clock.now();
    let asked =
        json!({"tier": "free", "policies": [], "from": text(now - time::Duration::days(1)), "to": text(now)});
    let made = operator.post(SIMULATIONS, asked).await.expect(202);
    let mut platform = app.state.platform.begin().await.unwrap();
    let running = "update simulations set status = 'running', claim = gen_random_uuid(), attempts = $1,
                   heard_at = now() - interval '11 seconds' where status = 'queued'";
    sqlx::query(running).bind(attempts).execute(&mut *platform).await.unwrap();
    platform.commit().await.unwrap();
    format!("{SIMULATIONS}/{}", id(&made))
}

#[tokio::test]
async fn what_a_killed_replica_had_begun_is_taken_over_but_not_for_ever() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let path = abandoned(&app, &operator, 1).await;
    assert_eq!(finished(&operator, &path).await["status"], "succeeded");
    let path = abandoned(&app, &operator, 3).await;
    let failed = finished(&operator, &path).await;
    assert_eq!(failed["status"], "failed");
    assert!(failed["error"].as_str().unwrap().contains("never finished"), "{failed}");
}

#[tokio::test]
async fn decisions_are_kept_for_as_long_and_as_many_as_the_configuration_says() {
    let app = TestApp::start().await;
    let acme = app.org_on("free").await;
    let settings = Config::with("[decisions]\nretention_days = 2\nmebibytes = 1").unwrap().decisions;
    let recorded = async || {
        let mut tx = app.state.platform.begin().await.unwrap();
        sqlx::query_scalar::<_, i64>("select coalesce(sum(decisions), 0)::bigint from recorded_decisions")
            .fetch_one(&mut *tx)
            .await
            .unwrap()
    };
    let sweep = async |at: OffsetDateTime| {
        let mut tx = app.state.platform.begin().await.unwrap();
        record::sweep(&mut tx, &settings, at).await.unwrap();
        tx.commit().await.unwrap();
    };
    acme.owner.get("/api/v1/org").await.expect(200);
    acme.owner.get("/api/v1/limits").await.expect(200);
    let here = async || {
        app.state.recorder.flush(&app.state.platform).await.unwrap();
        recorded().await == 1
    };
    until("the decision that cost something is written down, and the one that did not is not", here).await;
    let now = app.clock.now();
    sweep(now + time::Duration::hours(47)).await;
    assert_eq!(recorded().await, 1);
    // Beyond what may be kept in all, the oldest go first.
    let mut tx = app.state.platform.begin().await.unwrap();
    let large = "insert into recorded_decisions (id, first_at, last_at, decisions, bytes, columns)
                 values (gen_random_uuid(), $1, $1, 7, 1048570, '')";
    sqlx::query(large).bind(now + time::Duration::hours(1)).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    sweep(now + time::Duration::hours(47)).await;
    assert_eq!(recorded().await, 7);
    sweep(now + time::Duration::hours(50)).await;
    assert_eq!(recorded().await, 0);
}

#[tokio::test]
async fn exceptions_hold_in_a_simulation_for_as_long_as_they_held() {
    let app = TestApp::start().await;
    let (acme, globex, operator) = (app.org_on("free").await, app.org_on("pro").await, app.operator().await);
    let then = json!([policy("user", "user", 5, 5)]);
    let change = json!({"name": "Pro", "policies": then, "reason": "a trial"});
    operator.put("/operator/v1/tiers/pro", change).await.expect(200);
    app.clock.advance(Duration::from_mins(3));
    let story = async |org: &Org| {
        let from = app.clock.now();
        let expires_at = text(from + Duration::from_secs(10));
        let exception = json!({"org": org.slug, "policy": "user", "quota": 60, "window_seconds": 60, "expires_at": expires_at,
                               "reason": "a sale"});
        operator.post("/operator/v1/overrides", exception).await.expect(201);
        let calls: Vec<Call> = (0..24).map(|_| (0, 3, Duration::from_millis(900))).collect();
        let sent = send(&app, std::slice::from_ref(&org.owner), &calls).await;
        app.clock.advance(Duration::from_millis(1));
        (from, sent.iter().map(|(.., refused)| *refused).collect::<Vec<_>>())
    };
    let (from, before) = story(&acme).await;
    assert!(!before.contains(&true));
    let asked = json!({"tier": "free", "policies": then, "from": text(from), "to": text(app.clock.now())});
    let result = simulated(&app, &operator, asked).await;
    let (_, after) = story(&globex).await;
    let refused = after.iter().filter(|refused| **refused).count();
    assert!(!after[..10].contains(&true) && refused > 5, "{after:?}");
    let org =
        result["orgs"].as_array().unwrap().iter().find(|org| org["slug"] == acme.slug.as_str()).unwrap();
    assert_eq!((&org["decisions"], &org["refused"]), (&json!(24), &json!(refused)), "{result}");
}
