//! Jobs: what is enqueued is done, once, whoever is killed meanwhile, and no org waits for another's.

use super::support::{
    Org, Persona, TestApp, id,
    labour::{self, PANIC, RESTOCK, begin, enqueue, enqueue_new, job},
    product, until, until_within,
};
use insula::{
    ids::JobId,
    jobs::{self, Broken, Enqueued, NewJob},
    worker,
};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
#[ignore = "runs for ever: the tests below start it as a process, and kill it"]
async fn a_worker_of_the_tests_below() {
    labour::be_a_worker().await;
}

async fn thing(by: &Persona) -> String {
    id(&by.post("/api/v1/products", product("THING", 0)).await.expect(201)).to_owned()
}

/// Inside the database an id is a uuid.
fn uuid(product: &str) -> String {
    product.parse::<insula::ids::ProductId>().unwrap().uuid().to_string()
}

async fn stock(by: &Persona, product: &str) -> i64 {
    by.get(&format!("/api/v1/products/{product}")).await.expect(200)["stock"].as_i64().unwrap()
}

async fn see(by: &Persona, job: JobId) -> Value {
    by.get(&format!("/api/v1/jobs/{job}")).await.expect(200)
}

async fn all_are(app: &TestApp, org: &Org, status: &str) -> bool {
    let (jobs, _) = labour::tally(app, org.id).await;
    jobs.keys().all(|found| found == status)
}

const JOBS: i32 = 20;
const STEPS: i64 = 10;

#[tokio::test]
async fn nothing_is_lost_and_nothing_done_twice_however_often_workers_are_killed() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let mut things = Vec::new();
    for org in [&acme, &globex] {
        let thing = thing(&org.owner).await;
        let args = json!({"product": uuid(&thing), "steps": STEPS, "millis": 15});
        for _ in 0..JOBS {
            enqueue_new(&app, org.id, NewJob { max_attempts: 50, ..job(RESTOCK, args.clone()) }).await;
        }
        things.push(thing);
    }
    let done = async || labour::tally(&app, acme.id).await.1 + labour::tally(&app, globex.id).await.1;
    let total = 2 * i64::from(JOBS) * STEPS;
    let mut workers = [labour::work_apart(&app.database), labour::work_apart(&app.database)];
    // Each time in the midst of it.
    for kill in 1..=6 {
        let far = total * kill / 8;
        until_within(Duration::from_mins(1), "work goes on", async || done().await >= far).await;
        let victim = &mut workers[usize::try_from(kill).unwrap() % 2];
        victim.start_kill().unwrap();
        victim.wait().await.unwrap();
        *victim = labour::work_apart(&app.database);
    }
    until_within(Duration::from_mins(1), "all is done", async || {
        all_are(&app, &acme, "succeeded").await && all_are(&app, &globex, "succeeded").await
    })
    .await;
    for (org, thing) in [&acme, &globex].into_iter().zip(&things) {
        assert_eq!(labour::tally(&app, org.id).await.0["succeeded"], i64::from(JOBS));
        assert_eq!(stock(&org.owner, thing).await, i64::from(JOBS) * STEPS);
    }
}

#[tokio::test]
async fn a_job_of_one_org_does_not_wait_for_the_thousands_of_another() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (theirs, own) = (thing(&acme.owner).await, thing(&globex.owner).await);
    labour::flood(&app, acme.id, 5_000, &json!({"product": uuid(&theirs), "steps": 1, "millis": 10})).await;
    let _work = labour::work(&app);
    until("acme is served", async || labour::tally(&app, acme.id).await.1 > 4).await;

    let waits = enqueue_new(&app, globex.id, job(RESTOCK, json!({"product": uuid(&own), "steps": 1}))).await;
    until("globex is served", async || all_are(&app, &globex, "succeeded").await).await;
    let before = labour::begun_before(&app, acme.id, waits).await;
    assert!(before <= 4, "{before} jobs of another org went before it");
    assert!(labour::tally(&app, acme.id).await.0["queued"] > 4_000, "there was nothing to wait for");
}

#[tokio::test]
async fn what_is_enqueued_is_done_if_and_only_if_its_transaction_commits() {
    let app = TestApp::start().await;
    let org = app.org().await;
    let thing = thing(&org.owner).await;
    let _work = labour::work(&app);
    let args = json!({"product": uuid(&thing), "steps": 3});
    let mut tx = begin(&app, org.id).await;
    jobs::enqueue(&mut tx, None, job(RESTOCK, args.clone())).await.unwrap();
    tx.rollback().await;

    let kept = enqueue_new(&app, org.id, job(RESTOCK, args)).await;
    until("it is done", async || all_are(&app, &org, "succeeded").await).await;
    assert_eq!(stock(&org.owner, &thing).await, 3);
    let seen = see(&org.viewer, kept).await;
    assert_eq!(seen["result"], json!({"restocked": 3}));
    assert_eq!(seen["progress"], json!({"done": 3, "total": 3}));
    assert_eq!(org.viewer.get("/api/v1/jobs?status=succeeded").await.expect(200)["data"], json!([seen]));
}

#[tokio::test]
async fn of_jobs_with_the_same_unique_key_one_is_under_way_at_a_time_in_each_org() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let like = || NewJob { unique_key: Some("the same"), ..job("tests.nobody_does_this", json!({})) };
    let first = enqueue_new(&app, acme.id, like()).await;
    assert_eq!(enqueue(&app, acme.id, like()).await, Enqueued::Already(first));
    enqueue_new(&app, globex.id, like()).await;

    acme.admin.post(&format!("/api/v1/jobs/{first}/cancel"), json!({})).await.expect(200);
    enqueue_new(&app, acme.id, like()).await;
    let retry = acme.admin.post(&format!("/api/v1/jobs/{first}/retry"), json!({})).await;
    retry.expect_problem(409, "under_way");
}

#[tokio::test]
async fn a_job_that_fails_is_tried_again_then_kept_and_can_be_retried() {
    let app = TestApp::start().await;
    let org = app.org().await;
    let thing = thing(&org.owner).await;
    let product = format!("/api/v1/products/{thing}");
    org.owner.patch_if(&product, "*", json!({"is_active": false})).await.expect(200);
    let args = json!({"product": uuid(&thing), "steps": 1, "only_active": true});
    let failing = enqueue_new(&app, org.id, NewJob { max_attempts: 2, ..job(RESTOCK, args) }).await;
    let panicking = enqueue_new(&app, org.id, NewJob { max_attempts: 1, ..job(PANIC, json!({})) }).await;
    let _work = labour::work(&app);
    until("both have failed", async || all_are(&app, &org, "failed").await).await;
    let dead = see(&org.viewer, failing).await;
    assert_eq!(dead["attempts"], 2);
    assert_eq!(dead["error"], "there is no such product to restock");
    let broken = see(&org.viewer, panicking).await;
    assert_eq!(broken["error"], "it broke off; the platform's log says why");

    let retry = format!("/api/v1/jobs/{failing}/retry");
    org.viewer.post(&retry, json!({})).await.expect_problem(403, "permission_denied");
    org.owner.patch_if(&product, "*", json!({"is_active": true})).await.expect(200);
    org.admin.post(&retry, json!({})).await.expect(200);
    until("it has succeeded", async || labour::tally(&app, org.id).await.0.contains_key("succeeded")).await;
    assert_eq!(stock(&org.owner, &thing).await, 1);
    org.admin.post(&retry, json!({})).await.expect_problem(409, "not_failed");
}

#[tokio::test]
async fn a_running_job_that_is_cancelled_stops_and_has_no_effect_any_more() {
    let app = TestApp::start().await;
    let org = app.org().await;
    let thing = thing(&org.owner).await;
    let args = json!({"product": uuid(&thing), "steps": 1_000_000, "millis": 1});
    let running = enqueue_new(&app, org.id, job(RESTOCK, args)).await;
    let _work = labour::work(&app);
    until("it runs", async || labour::tally(&app, org.id).await.1 > 2).await;
    let cancel = format!("/api/v1/jobs/{running}/cancel");
    let asked = org.admin.post(&cancel, json!({})).await.expect(200);
    assert_eq!(asked["cancel_requested"], true);
    until("it is cancelled", async || all_are(&app, &org, "cancelled").await).await;
    let done = see(&org.viewer, running).await["progress"]["done"].as_i64().unwrap();
    assert_eq!(stock(&org.owner, &thing).await, done);
    org.admin.post(&cancel, json!({})).await.expect_problem(409, "finished");
}

#[tokio::test]
async fn an_attempt_that_was_given_up_commits_nothing_any_more() {
    let app = TestApp::start().await;
    let org = app.org().await;
    let queue = labour::queue(&app);
    let kinds = [RESTOCK.to_owned()];
    enqueue_new(&app, org.id, job(RESTOCK, json!({}))).await;
    let stalled = queue.claim(&kinds).await.unwrap().unwrap();
    assert!(queue.claim(&kinds).await.unwrap().is_none(), "claimed twice");
    assert_eq!(queue.take_back().await.unwrap(), 0, "taken from the living");

    // Whoever commits a step has been heard of: between one and the next there is hardly a moment for a heartbeat.
    labour::let_leases_lapse(&app).await;
    let mut step = stalled.begin().await.unwrap();
    stalled.progress(&mut step, 1, None).await.unwrap();
    step.commit().await.unwrap();
    assert_eq!(queue.take_back().await.unwrap(), 0, "taken from whoever gets on");

    // Whoever is in the midst of a transaction is alive.
    labour::let_leases_lapse(&app).await;
    let held = stalled.begin().await.unwrap();
    assert_eq!(queue.take_back().await.unwrap(), 0, "taken from within a transaction");
    held.rollback().await;
    assert_eq!(queue.take_back().await.unwrap(), 1);
    let second = queue.claim(&kinds).await.unwrap().unwrap();
    assert!(matches!(stalled.begin().await, Err(Broken::Lost)));
    // What the first one says of its end is not heard either.
    queue.fail(&stalled.job, "it stalled", true).await.unwrap();
    let tx = second.begin().await.unwrap();
    assert!(second.succeed(tx, &json!({})).await.is_ok());
    assert_eq!(see(&org.viewer, second.job.id).await["status"], "succeeded");
}

#[tokio::test]
async fn a_job_sees_the_rows_of_its_own_org_alone() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let theirs = thing(&acme.owner).await;
    let args = json!({"product": uuid(&theirs), "steps": 1});
    enqueue_new(&app, globex.id, NewJob { max_attempts: 1, ..job(RESTOCK, args) }).await;
    let _work = labour::work(&app);
    until("it has failed", async || all_are(&app, &globex, "failed").await).await;
    assert_eq!(stock(&acme.owner, &theirs).await, 0);
}

#[tokio::test]
async fn jobs_long_over_go_with_their_files_and_failed_ones_later() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let work = labour::work_for_real(&app);
    let mut exports = Vec::new();
    for org in [&acme, &globex] {
        let new = json!({"resource": "products", "format": "csv"});
        let asked = org.owner.post("/api/v1/exports", new).await.expect(202);
        exports.push(id(&asked).to_owned());
        until("it is done", async || all_are(&app, org, "succeeded").await).await;
    }
    drop(work);
    let waits = enqueue_new(&app, acme.id, job("tests.nobody_does_this", json!({}))).await;
    let failed = enqueue_new(&app, acme.id, NewJob { max_attempts: 1, ..job(PANIC, json!({})) }).await;
    let work = labour::work(&app);
    until("it has failed", async || labour::tally(&app, acme.id).await.0.contains_key("failed")).await;
    drop(work);
    let kept = async |days: u64| {
        app.clock.advance(Duration::from_hours(24 * days));
        worker::sweep_rows(&app.state).await.unwrap();
        let again = app.signed_in(acme.owner.user(), acme.id).await;
        let page = again.get("/api/v1/jobs?sort=created_at").await.expect(200);
        let jobs = page["data"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned());
        jobs.collect::<Vec<_>>()
    };
    let (waits, failed) = (waits.to_string(), failed.to_string());
    assert_eq!(kept(6).await, [exports[0].as_str(), &waits, &failed]);
    assert_eq!(app.stored(acme.id).await, [exports[0].as_str()]);
    assert_eq!(kept(2).await, [exports[0].as_str(), &waits, &failed]);
    assert_eq!(app.stored(acme.id).await, [""; 0], "files are kept for a week");
    assert_eq!(kept(23).await, [waits.as_str(), &failed], "jobs for 30 days");
    assert_eq!(kept(60).await, [waits.as_str()], "failed ones for 90, and what waits for ever");
}

/// Not a test of time: says what a claim costs where 100,000 jobs of one org wait.
#[tokio::test]
#[ignore = "measures"]
async fn claims_beside_a_flood() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    labour::flood(&app, acme.id, 100_000, &json!({})).await;
    labour::flood(&app, globex.id, 10, &json!({})).await;
    let (queue, kinds) = (labour::queue(&app), [RESTOCK.to_owned()]);
    let started = std::time::Instant::now();
    for _ in 0..500 {
        let run = queue.claim(&kinds).await.unwrap().unwrap();
        queue.fail(&run.job, "measured", true).await.unwrap();
    }
    println!("{:?} a claim and its end", started.elapsed() / 500);
}
