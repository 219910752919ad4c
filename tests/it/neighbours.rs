//! Organisations share the database's connections, and none of them, nor whoever is at the door, can take all.

use super::support::{Org, Persona, Reply, TestApp, cog, until};
use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const PRODUCTS: &str = "/api/v1/products";

/// A request that stays in the database for as long as its product is locked.
struct Slow {
    org: Org,
    product: String,
}

impl Slow {
    async fn at(app: &TestApp) -> Self {
        let org = app.org().await;
        let made = org.owner.post(PRODUCTS, cog()).await.expect(201);
        Self { product: made["id"].as_str().unwrap().to_owned(), org }
    }

    async fn ask(&self) -> Reply {
        self.org.owner.patch(&format!("{PRODUCTS}/{}", self.product), json!({"name": "Slow"})).await
    }

    fn begin(&self) -> JoinHandle<Reply> {
        let (owner, path) = (self.org.owner.clone(), format!("{PRODUCTS}/{}", self.product));
        tokio::spawn(async move { owner.patch(&path, json!({"name": "Slow"})).await })
    }
}

#[track_caller]
fn expect_crowded(reply: &Reply) {
    let problem = reply.expect_problem(503, "temporary_reduced_capacity");
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");
    assert_eq!(reply.header("retry-after"), "1");
}

async fn works_for(neighbour: &Persona, sku: &str) {
    let product = json!({"sku": sku, "name": sku, "price": {"amount": 1, "currency": "EUR"}});
    neighbour.post(PRODUCTS, product).await.expect(201);
    neighbour.get(PRODUCTS).await.expect(200);
}

#[tokio::test]
async fn slow_queries_of_one_organisation_leave_the_other_connections_to_its_neighbour() {
    let app = TestApp::start_with("[database]\napp_connections = 4\norg_connections = 2").await;
    let (acme, globex) = (Slow::at(&app).await, app.org().await);
    let lock = app.database.lock_product(&acme.product).await;
    let asked: Vec<_> = (0..20).map(|_| acme.begin()).collect();
    until("its permits are used up", async || app.database.waiting().await == 2).await;

    for at in 0..5 {
        works_for(&globex.owner, &format!("G-{at}")).await;
        assert_eq!(app.database.waiting().await, 2);
    }
    lock.release().await;
    for reply in join_all(asked).await {
        reply.unwrap().expect(200);
    }
    until("no permit is held", async || app.state.pools.permits.held() == 0).await;
}

#[tokio::test]
async fn sixty_four_wait_for_their_turn_and_one_more_is_told_at_once_to_come_back() {
    let settings = "[database]\norg_connections = 1\norg_queue = 64\nacquire_seconds = 30";
    let app = TestApp::start_with(settings).await;
    let (acme, globex) = (Slow::at(&app).await, app.org().await);
    let lock = app.database.lock_product(&acme.product).await;
    let mut asked: FuturesUnordered<_> = (0..66).map(|_| acme.ask()).collect();

    // One works, 64 wait: whoever is answered while the lock is held is the one too many.
    expect_crowded(&asked.next().await.unwrap());
    works_for(&globex.owner, "G-1").await;

    lock.release().await;
    let others: Vec<Reply> = asked.collect().await;
    assert_eq!(others.len(), 65);
    for reply in others {
        reply.expect(200);
    }
}

#[tokio::test]
async fn who_waits_too_long_is_told_to_come_back_and_was_charged_as_for_any_other_answer() {
    let app = TestApp::start_with("[database]\norg_connections = 1\nacquire_seconds = 1").await;
    let (acme, globex) = (Slow::at(&app).await, app.org().await);
    let lock = app.database.lock_product(&acme.product).await;
    let first = acme.begin();
    until("it holds the permit", async || app.database.waiting().await == 1).await;

    let started = Instant::now();
    let late = acme.ask().await;
    expect_crowded(&late);
    assert!(late.headers.contains_key("ratelimit"));
    assert!((Duration::from_secs(1)..Duration::from_secs(10)).contains(&started.elapsed()));
    works_for(&globex.owner, "G-1").await;

    lock.release().await;
    first.await.unwrap().expect(200);
    acme.ask().await.expect(200);
}

#[tokio::test]
async fn a_request_that_is_given_up_keeps_its_permit_until_its_query_has_ended() {
    let settings = "[database]\norg_connections = 1\n[http]\ntimeout_seconds = 1";
    let app = TestApp::start_with(settings).await;
    let (acme, globex) = (Slow::at(&app).await, app.org().await);
    let held = || app.state.pools.permits.held();
    let lock = app.database.lock_product(&acme.product).await;

    acme.ask().await.expect_problem(503, "unavailable");
    assert_eq!((held(), app.database.waiting().await), (1, 1), "its query still waits for the lock");
    works_for(&globex.owner, "G-1").await;
    until("its connection is closed", async || held() == 0).await;
    until("and its query has ended", async || app.database.waiting().await == 0).await;

    // The same, given up by who asked.
    let (asked, queued) = (acme.begin(), acme.begin());
    until("it holds the permit", async || app.database.waiting().await == 1).await;
    asked.abort();
    queued.abort();
    lock.release().await;
    until("nothing is held", async || held() == 0).await;
    acme.ask().await.expect(200);
}

#[tokio::test]
async fn a_sandbox_has_permits_of_its_own() {
    let app = TestApp::start_with("[database]\norg_connections = 1").await;
    let (acme, globex) = (Slow::at(&app).await, app.org().await);
    let scopes = ["products:read", "products:create"];
    let test = app.api_key_in(&acme.org, "test", &scopes).await;
    let lock = app.database.lock_product(&acme.product).await;
    let asked = acme.begin();
    until("it holds the permit", async || app.database.waiting().await == 1).await;

    works_for(&test, "T-1").await;
    works_for(&globex.owner, "G-1").await;
    lock.release().await;
    asked.await.unwrap().expect(200);
}

#[tokio::test]
async fn a_flood_of_sign_ins_waits_for_itself_and_keeps_nobody_from_their_work() {
    let app = TestApp::start_with("[database]\ngate_connections = 2\nacquire_seconds = 30").await;
    let (acme, globex) = (app.org().await, app.org().await);
    let email = acme.email();
    app.log_in(&email, "not the password").await.expect_problem(401, "invalid_credentials");

    let lock = app.database.lock("select from login_failures for update").await;
    let mut flood: FuturesUnordered<_> = (0..20).map(|_| app.log_in(&email, "not the password")).collect();
    let working = async {
        until("they fill the gate", async || app.database.waiting().await == 2).await;
        for at in 0..10 {
            works_for(&acme.owner, &format!("A-{at}")).await;
            works_for(&globex.owner, &format!("G-{at}")).await;
        }
        assert_eq!(app.database.waiting().await, 2);
    };
    tokio::select! {
        answered = flood.next() => panic!("answered while the account was locked: {answered:?}"),
        () = working => {}
    }
    lock.release().await;
    let answers: Vec<Reply> = flood.collect().await;
    assert!(answers.iter().all(|reply| [401, 429].contains(&reply.status)), "{answers:?}");
}
