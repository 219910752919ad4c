//! Jobs to be done: kinds of work whose effects can be counted, and processes that do them and can be killed.

use super::{Database, TestApp};
use insula::{
    app,
    clock::Clock,
    config::Config,
    ids::{JobId, OrgId},
    jobs::{self, Broken, Enqueued, Handlers, NewJob, Queue, Run, Succeeded},
    state::AppState,
    tenancy::{Mode, TenantTx},
    worker,
};
use serde_json::{Value, json};
use std::{collections::HashMap, process::Stdio, time::Duration};
use tokio::process::{Child, Command};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The name under which a test process works, and where it is told its databases.
const APP: &str = "JOBS_TEST_APP_URL";
const PLATFORM: &str = "JOBS_TEST_PLATFORM_URL";

/// Adds one to a product's stock in each of `steps` transactions; with `only_active` it fails where the product is not.
pub const RESTOCK: &str = "tests.restock";
pub const PANIC: &str = "tests.panic";

fn labour() -> Handlers {
    Handlers::default().on(RESTOCK, restock).on(PANIC, async |_| panic!("as it was told to"))
}

async fn restock(run: Run) -> Result<Succeeded, Broken> {
    let args = run.job.args.clone();
    let steps = args["steps"].as_i64().unwrap();
    for step in run.job.done..steps {
        // The work itself, outside of any transaction.
        tokio::time::sleep(Duration::from_millis(args["millis"].as_u64().unwrap_or(0))).await;
        let mut tx = run.begin().await?;
        let restocked = sqlx::query(
            "update products set stock = stock + 1 where id::text = $1 and (is_active or not $2)",
        )
        .bind(args["product"].as_str().unwrap())
        .bind(args["only_active"] == true)
        .execute(&mut *tx)
        .await?;
        if restocked.rows_affected() == 0 {
            return Err(Broken::Again("there is no such product to restock".to_owned()));
        }
        run.progress(&mut tx, step + 1, Some(steps)).await?;
        tx.commit().await?;
    }
    let tx = run.begin().await?;
    run.succeed(tx, &json!({"restocked": steps})).await
}

/// A process-wide worker in this one, until dropped.
pub fn work(app: &TestApp) -> DropGuard {
    work_as(app, labour())
}

/// The same, doing the kinds of jobs that there really are.
pub fn work_for_real(app: &TestApp) -> DropGuard {
    work_as(app, app::handlers(&app.state))
}

fn work_as(app: &TestApp, handlers: Handlers) -> DropGuard {
    let until = CancellationToken::new();
    tokio::spawn(worker::run_jobs(app.state.clone(), handlers, 2, until.clone()));
    until.drop_guard()
}

pub fn queue(app: &TestApp) -> Queue {
    Queue::new(app.state.pools.clone(), app.state.platform.clone(), app.state.clock.clone())
}

pub async fn begin(app: &TestApp, org: OrgId) -> TenantTx {
    TenantTx::begin(&app.state.pools, org, Mode::Write).await.unwrap().0
}

pub async fn enqueue(app: &TestApp, org: OrgId, new: NewJob<'_>) -> Enqueued {
    let mut tx = begin(app, org).await;
    let enqueued = jobs::enqueue(&mut tx, None, new).await.unwrap();
    tx.commit().await.unwrap();
    enqueued
}

pub fn job(kind: &str, args: Value) -> NewJob<'_> {
    NewJob { kind, args, unique_key: None, max_attempts: 5 }
}

pub async fn enqueue_new(app: &TestApp, org: OrgId, new: NewJob<'_>) -> JobId {
    match enqueue(app, org, new).await {
        Enqueued::New(id) => id,
        Enqueued::Already(id) => panic!("{id} is in the way"),
    }
}

/// Restock jobs by the thousand, in one statement.
pub async fn flood(app: &TestApp, org: OrgId, many: i32, args: &Value) {
    let mut superuser = app.database.connect("postgres").await;
    sqlx::query("insert into jobs (org_id, id, kind, args) select $1, gen_random_uuid(), $2, $3 from generate_series(1, $4)")
        .bind(org.uuid())
        .bind(RESTOCK)
        .bind(args)
        .bind(many)
        .execute(&mut superuser)
        .await
        .unwrap();
    sqlx::query("analyze jobs").execute(&mut superuser).await.unwrap();
}

/// How many jobs of an org are in which state, and how far they have come together.
pub async fn tally(app: &TestApp, org: OrgId) -> (HashMap<String, i64>, i64) {
    let mut platform = app.state.platform.begin().await.unwrap();
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "select status, count(*), sum(done)::bigint from jobs where org_id = $1 group by status",
    )
    .bind(org.uuid())
    .fetch_all(&mut *platform)
    .await
    .unwrap();
    let done = rows.iter().map(|(.., done)| done).sum();
    (rows.into_iter().map(|(status, many, _)| (status, many)).collect(), done)
}

/// How many jobs of `org` were begun while this one of another org waited.
pub async fn begun_before(app: &TestApp, org: OrgId, job: JobId) -> i64 {
    let mut platform = app.state.platform.begin().await.unwrap();
    sqlx::query_scalar(
        "select count(*) from jobs a join jobs b on b.id = $2
         where a.org_id = $1 and a.started_at between b.created_at and b.started_at",
    )
    .bind(org.uuid())
    .bind(job.uuid())
    .fetch_one(&mut *platform)
    .await
    .unwrap()
}

/// As if whoever works at anything had not been heard of for too long.
pub async fn let_leases_lapse(app: &TestApp) {
    let mut platform = app.state.platform.begin().await.unwrap();
    sqlx::query("update jobs set locked_until = now() - interval '1 second' where status = 'running'")
        .execute(&mut *platform)
        .await
        .unwrap();
    platform.commit().await.unwrap();
}

/// A worker in a process of its own, which can be killed.
pub fn work_apart(database: &Database) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "jobs::a_worker_of_the_tests_below", "--ignored"])
        .env(APP, database.url("insula_app"))
        .env(PLATFORM, database.url("insula_platform"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// What such a process does; nothing where it was not told of a database.
pub async fn be_a_worker() {
    let told: HashMap<String, String> = std::env::vars().collect();
    let (Some(app), Some(platform)) = (told.get(APP), told.get(PLATFORM)) else { return };
    let config = Config::with_all(&[
        &format!("[database]\napp_url = {app:?}\nplatform_url = {platform:?}\n"),
        "[auth]\nmaster_key = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n",
        &format!("[storage]\nfolder = \"{}\"\n", std::env::temp_dir().join("insula-labour").display()),
    ]);
    let until = CancellationToken::new();
    let (state, _listening) = AppState::open(config.unwrap(), Clock::system(), until.clone()).await.unwrap();
    worker::run_jobs(state, labour(), 2, until).await;
}
