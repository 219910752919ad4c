//! Schedules: each due time is one job, whoever asks, with the rights that its maker has by then.

use super::support::{Org, Persona, TestApp, id, labour, product, until};
use futures::future::join_all;
use insula::{ids::ScheduleId, jobs};
use serde_json::{Value, json};
use std::time::Duration;

const SCHEDULES: &str = "/api/v1/schedules";
const MINUTE: Duration = Duration::from_mins(1);

fn each_minute() -> Value {
    json!({"name": "Prices", "kind": "export", "args": {"resource": "products", "format": "csv"}, "cron": "* * * * *"})
}

async fn schedule(by: &Persona) -> ScheduleId {
    id(&by.post(SCHEDULES, each_minute()).await.expect(201)).parse().unwrap()
}

/// Those that a schedule made, the latest first.
async fn runs(by: &Persona, schedule: ScheduleId) -> Vec<Value> {
    let page = by.get(&format!("/api/v1/jobs?schedule_id={schedule}")).await.expect(200);
    page["data"].as_array().unwrap().clone()
}

/// How many it has made that are in one of these states. The database is asked: while the clock stands still, nobody's
/// limits come back.
async fn made(app: &TestApp, schedule: ScheduleId, states: &str) -> i64 {
    let uuid = schedule.uuid();
    let states = format!("status = any('{{{states}}}')");
    app.database.count(format!("select count(*) from jobs where schedule_id = '{uuid}' and {states}")).await
}

/// Waits for the next minute's job to be over, and answers it.
async fn next_run(app: &TestApp, by: &Persona, schedule: ScheduleId) -> Value {
    let over = async || made(app, schedule, "succeeded,failed").await;
    let before = over().await;
    app.clock.advance(MINUTE);
    until("the next run is over", async || over().await > before).await;
    runs(by, schedule).await.remove(0)
}

#[tokio::test]
async fn each_due_time_is_one_job_whoever_asks_and_those_missed_are_one_together() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let nightly = schedule(&acme.member).await;
    let now = app.clock.now() + MINUTE;
    let asking = (0..8).map(|_| jobs::enqueue_due(&app.state.pools, acme.id, nightly, now));
    let enqueued: Vec<_> = join_all(asking).await.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(enqueued.len(), 1);
    let told = runs(&acme.viewer, nightly).await;
    assert_eq!(told[0]["id"], enqueued[0].to_string());
    assert_eq!(told[0]["created_by"], acme.member.user().to_string());

    // Nobody was there for ten minutes.
    app.clock.advance(10 * MINUTE);
    until("it is made up for", async || made(&app, nightly, "queued").await > 1).await;
    let path = format!("{SCHEDULES}/{nightly}");
    let caught_up = acme.viewer.get(&path).await.expect(200);
    let soon = app.clock.now() + MINUTE;
    assert!(
        jobs::due(&mut app.state.platform.begin().await.unwrap(), app.clock.now()).await.unwrap().is_empty()
    );
    assert!(!jobs::due(&mut app.state.platform.begin().await.unwrap(), soon).await.unwrap().is_empty());
    assert_eq!(runs(&acme.viewer, nightly).await.len(), 2);
    assert_eq!(runs(&acme.viewer, nightly).await[0]["id"], caught_up["last_job_id"]);
    globex.owner.get(&path).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_run_has_the_rights_that_the_maker_has_by_then_and_no_more() {
    let app = TestApp::start().await;
    let _work = labour::work_for_real(&app);
    let acme = app.org().await;
    let mut new = product("A", 1);
    new["cost"] = json!({"amount": 31_337, "currency": "EUR"});
    acme.owner.post("/api/v1/products", new).await.expect(201);
    let by_admin = schedule(&acme.admin).await;
    let file = |job: &Value| job["result"]["path"].as_str().unwrap().to_owned();

    let seen = next_run(&app, &acme.owner, by_admin).await;
    assert!(acme.owner.get(&file(&seen)).await.text.contains("31337"));
    acme.member.get(&file(&seen)).await.expect_problem(403, "permission_denied");

    app.join(&acme.admin, &acme, "member").await;
    let narrowed = next_run(&app, &acme.owner, by_admin).await;
    let text = acme.member.get(&file(&narrowed)).await.text;
    assert!(text.contains("sku") && !text.contains("31337"), "{text}");

    app.join(&acme.admin, &acme, "viewer").await;
    let refused = next_run(&app, &acme.owner, by_admin).await;
    let lost = "who made the schedule does not hold the permission exports:create any more";
    assert_eq!((&refused["status"], &refused["error"]), (&json!("failed"), &json!(lost)));

    app.leave(&acme.admin, &acme).await;
    let gone = next_run(&app, &acme.owner, by_admin).await;
    assert!(gone["error"].as_str().unwrap().contains("has left"), "{gone}");
}

#[tokio::test]
async fn a_key_s_schedule_runs_within_its_scopes_in_its_sandbox_too_until_the_key_is_revoked() {
    let app = TestApp::start().await;
    let _work = labour::work_for_real(&app);
    let acme = app.org().await;
    let scopes = ["schedules:create", "exports:create", "products:read", "jobs:read"];
    let made = json!({"name": "nightly", "mode": "test", "scopes": scopes});
    let made = acme.owner.post("/api/v1/api-keys", made).await.expect(201);
    let key = app.bearer(made["key"].as_str().unwrap());
    let reader = app.api_key_in(&acme, "test", &["jobs:read"]).await;
    let by_key = schedule(&key).await;
    assert_eq!(next_run(&app, &reader, by_key).await["status"], "succeeded");

    acme.owner.delete(&format!("/api/v1/api-keys/{}", id(&made))).await.expect(204);
    let refused = next_run(&app, &reader, by_key).await;
    assert!(refused["error"].as_str().unwrap().contains("works no more"), "{refused}");
}

#[tokio::test]
async fn what_is_due_in_a_suspended_org_waits_until_it_is_restored() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org().await, app.operator().await);
    let nightly = schedule(&acme.owner).await;
    let org = format!("/operator/v1/orgs/{}", acme.id);
    operator.patch(&org, json!({"status": "suspended", "reason": "unpaid"})).await.expect(200);
    app.clock.advance(5 * MINUTE);
    let now = app.clock.now();
    assert!(jobs::due(&mut app.state.platform.begin().await.unwrap(), now).await.unwrap().is_empty());
    assert_eq!(jobs::enqueue_due(&app.state.pools, acme.id, nightly, now).await.unwrap(), None);

    operator.patch(&org, json!({"status": "active", "reason": "paid"})).await.expect(200);
    until("it runs", async || made(&app, nightly, "queued").await == 1).await;
}

#[tokio::test]
async fn a_schedule_that_is_paused_is_not_due_and_goes_on_with_the_next_time_when_resumed() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let path = format!("{SCHEDULES}/{}", schedule(&acme.member).await);
    let change = async |patch: Value| acme.member.patch(&path, patch).await;
    let paused = change(json!({"is_paused": true})).await.expect(200);
    assert_eq!((&paused["is_paused"], &paused["next_run_at"]), (&json!(true), &Value::Null));
    app.clock.advance(5 * MINUTE);
    let now = app.clock.now();
    assert!(jobs::due(&mut app.state.platform.begin().await.unwrap(), now).await.unwrap().is_empty());
    change(json!({"is_paused": false})).await.expect(200);
    assert!(jobs::due(&mut app.state.platform.begin().await.unwrap(), now).await.unwrap().is_empty());

    let daily = json!({"cron": "0 3 * * *", "timezone": "europe/vienna", "name": "Daily"});
    let daily = change(daily).await.expect(200);
    assert_eq!(daily["timezone"], "Europe/Vienna");
    let at = daily["next_run_at"].as_str().unwrap();
    assert!(at.ends_with("T01:00:00Z") || at.ends_with("T02:00:00Z"), "{at}");
    acme.member.delete(&path).await.expect_problem(403, "permission_denied");
    acme.admin.delete(&path).await.expect(204);
    acme.admin.get(&path).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn what_cannot_be_scheduled_is_pointed_at_and_nobody_schedules_what_they_may_not_do() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    for (field, value, pointer) in [
        ("cron", "* * * * * *", "/cron"),
        ("cron", "61 * * * *", "/cron"),
        ("cron", "0 0 30 2 *", "/cron"),
        ("timezone", "Mars/Olympus", "/timezone"),
        ("kind", "import", "/kind"),
        ("name", "", "/name"),
    ] {
        let mut new = each_minute();
        new[field] = value.into();
        let problem = acme.member.post(SCHEDULES, new).await.expect_problem(422, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    acme.viewer.post(SCHEDULES, each_minute()).await.expect_problem(403, "permission_denied");
    let key = app.api_key(&acme, &["schedules:create", "products:read"]).await;
    let refused = key.post(SCHEDULES, each_minute()).await.expect_problem(403, "permission_denied");
    assert_eq!(refused["permission"], "exports:create");
}

#[tokio::test]
async fn an_org_has_so_many_schedules_and_another_its_own() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let own = async |org: &Org| schedule(&org.owner).await;
    own(&acme).await;
    let fill = format!(
        "insert into schedules (org_id, id, name, kind, args, cron, timezone, created_by_user)
         select org_id, gen_random_uuid(), name, kind, args, cron, timezone, created_by_user
         from schedules, generate_series(1, 99) where org_id = '{}'",
        acme.id.uuid()
    );
    app.database.run(fill).await;
    let problem = acme.owner.post(SCHEDULES, each_minute()).await.expect_problem(422, "invalid");
    assert_eq!(problem["errors"][0]["code"], "too_many_schedules");
    own(&globex).await;
}
