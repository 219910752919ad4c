//! How many streams an org may have open is its tier's to say, over all replicas.

use super::EVENTS;
use crate::support::{
    Listener, Persona, Reply, Socket, TestApp, handshake, pointers, until, within_a_second,
};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const FREE: &str = "/operator/v1/tiers/free";

/// Free as it is, but for how many connections it has.
async fn grant(operator: &Persona, connections: Value) -> Reply {
    let mut tier = operator.get(FREE).await.expect(200);
    let change = json!({"name": "Free", "policies": tier["policies"].take(), "reason": "a drill",
                        "entitlements": {"live_connections": connections}});
    operator.put(FREE, change).await
}

/// Open ones of whoever comes in, out of so many that try at once.
async fn crowd(who: &[Persona], tries: usize) -> (Vec<reqwest::Response>, usize) {
    let open = (0..tries).map(|nth| who[nth % who.len()].request(Method::GET, EVENTS).send());
    let answers: Vec<_> = join_all(open).await.into_iter().map(Result::unwrap).collect();
    let (open, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status() == 200);
    assert!(refused.iter().all(|answer| answer.status() == 429));
    (open, refused.len())
}

#[tokio::test]
async fn an_org_has_as_many_streams_as_its_tier_says_of_both_kinds_and_at_all_replicas_together() {
    let app = TestApp::start().await;
    let other = app.replica().await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    let elsewhere = acme.viewer.at(&other.base);
    let _streams = [Listener::open(&acme.viewer, None).await, Listener::open(&acme.owner, None).await];
    let _sockets = [Socket::open(&acme.admin, "").await, Socket::open(&elsewhere, "").await];
    let last = Listener::open(&elsewhere, None).await;

    for refused in [acme.member.get(EVENTS).await, Reply::of(handshake(&elsewhere, "")).await] {
        let problem = refused.expect_problem(429, "too_many_connections");
        assert_eq!(refused.header("retry-after"), "5");
        assert_eq!(problem["violated_policies"], json!(["live_connections"]));
        let limit = &problem["limits"][0];
        assert_eq!((&limit["limit"], &limit["used"]), (&json!(5), &json!(5)));
        assert_eq!(limit["source"], "tier:free@v1");
        assert!(problem["detail"].as_str().unwrap().contains("5 connections for events (live_connections)"));
        let explained = acme.member.get(problem["explain_url"].as_str().unwrap()).await;
        assert!([200, 404].contains(&explained.status), "its own, or a colleague's");
    }
    let _theirs = Listener::open(&globex.viewer, None).await;
    drop(last);
    until("the place that was given back at one replica is free at the other", async || {
        acme.member.get(EVENTS).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn of_many_that_come_at_once_at_two_replicas_no_more_come_in_than_may() {
    let app = TestApp::start().await;
    let other = app.replica().await;
    let acme = app.org_on("free").await;
    let who =
        [acme.viewer.clone(), acme.member.at(&other.base), acme.admin.clone(), acme.owner.at(&other.base)];
    let (open, refused) = crowd(&who, 16).await;
    assert_eq!((open.len(), refused), (5, 11));
}

#[tokio::test]
async fn a_tier_that_grants_more_or_less_does_so_within_a_second_and_ends_no_stream() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org_on("free").await, app.operator().await);
    app.number().await;
    let mut open = vec![Listener::open(&acme.viewer, None).await];
    grant(&operator, json!(1)).await.expect(200);
    within_a_second("one is all there may be", async || acme.member.get(EVENTS).await.status == 429).await;
    grant(&operator, json!(3)).await.expect(200);
    within_a_second("there may be more", async || acme.member.get(EVENTS).await.status == 200).await;
    open.push(Listener::open(&acme.viewer, None).await);
    grant(&operator, json!(0)).await.expect(200);
    within_a_second("there may be none", async || acme.member.get(EVENTS).await.status == 429).await;
    super::make(&acme, "COG").await;
    for listener in &mut open {
        assert_eq!(listener.next().await.kind, "product.created", "who was in stays in");
    }
    let unbounded = json!({"name": "Free", "policies": [], "reason": "a drill"});
    operator.put(FREE, unbounded).await.expect(200);
    within_a_second("no bound is none", async || acme.member.get(EVENTS).await.status == 200).await;
}

#[tokio::test]
async fn a_process_that_died_keeps_no_place_and_one_that_lives_keeps_its_own() {
    let app = TestApp::start().await;
    let acme = app.org_on("free").await;
    let org = acme.id.uuid();
    let process = |seen: &str| {
        format!(
            "with p as (insert into live_processes (id, seen_at) values (gen_random_uuid(), now() - interval '{seen}')
                        returning id)
             insert into live_connections (process_id, org_id, open) select id, '{org}', 5 from p"
        )
    };
    app.database.run(process("16 seconds")).await;
    assert_eq!(acme.viewer.get(EVENTS).await.status, 200);
    app.database.run(process("1 second")).await;
    acme.viewer.get(EVENTS).await.expect_problem(429, "too_many_connections");
    app.database.run("update live_processes set seen_at = now() - interval '2 minutes'").await;
    insula::worker::sweep_rows(&app.state).await.unwrap();
    let long_gone = "select count(*) from live_processes where seen_at < now() - interval '1 minute'";
    assert_eq!(app.database.count(long_gone).await, 0);
    assert_eq!(acme.viewer.get(EVENTS).await.status, 200);
}

#[tokio::test]
async fn how_many_there_may_be_is_published_and_is_a_whole_number() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org_on("pro").await, app.operator().await);
    let published = app.anon().get("/api/v1/tiers").await.expect(200);
    let granted = |slug: &str| {
        let plans = published["data"].as_array().unwrap();
        let plan = plans.iter().find(|plan| plan["slug"] == slug).unwrap();
        plan["entitlements"]["live_connections"].clone()
    };
    assert_eq!([granted("free"), granted("pro"), granted("enterprise")], [json!(5), json!(100), json!(1000)]);
    let limits = acme.viewer.get("/api/v1/limits").await.expect(200);
    assert_eq!(limits["entitlements"], json!({"live_connections": 100}));
    for wrong in [json!(-1), json!(1.5), json!("many"), json!(1_000_001)] {
        let refused = grant(&operator, wrong).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&refused), ["/entitlements/live_connections"]);
    }
}
