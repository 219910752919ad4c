//! That a quota is being used up is told once for each part of it and each of its windows, whoever counts and whoever dies.

use super::support::{Org, Persona, TestApp};
use insula::worker;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

fn month(quota: u32) -> Value {
    json!({"name": "month", "scope": "org", "quota": quota, "period": "month"})
}

fn hour(quota: u32) -> Value {
    json!({"name": "hour", "scope": "user", "quota": quota, "window_seconds": 3600})
}

async fn set_free(app: &TestApp, policies: Value) {
    let change = json!({"name": "Free", "reason": "for this test", "policies": policies});
    app.operator().await.put("/operator/v1/tiers/free", change).await.expect(200);
}

async fn ask(who: &Persona, times: usize) {
    for _ in 0..times {
        let reply = who.get("/api/v1/org").await;
        assert!([200, 429].contains(&reply.status), "{}", reply.text);
    }
}

/// Has everything counted and told, and answers the parts that an org was told of, the first first.
async fn told(app: &TestApp, org: &Org) -> Vec<(i64, i64, i64)> {
    app.state.meter.fold(&app.state.platform).await.unwrap();
    worker::tell_of_usage(&app.state).await.unwrap();
    events(app, org).await
}

/// Percent, used, quota.
async fn events(app: &TestApp, org: &Org) -> Vec<(i64, i64, i64)> {
    let number = |of: &Value, name: &str| of[name].as_i64().unwrap();
    let told = app.database.told_by(org.id, "usage.threshold_reached").await;
    told.iter().map(|of| (number(of, "percent"), number(of, "used"), number(of, "quota"))).collect()
}

#[tokio::test]
async fn a_half_four_fifths_and_all_of_a_quota_are_told_once_each_to_listeners_and_owners() {
    let app = TestApp::start().await;
    set_free(&app, json!([month(10)])).await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    ask(&acme.viewer, 4).await;
    assert_eq!(told(&app, &acme).await, []);
    ask(&acme.viewer, 1).await;
    assert_eq!(told(&app, &acme).await, [(50, 5, 10)]);
    ask(&acme.viewer, 2).await;
    assert_eq!(told(&app, &acme).await.len(), 1, "seven of ten are no new part");
    ask(&acme.viewer, 1).await;
    assert_eq!(told(&app, &acme).await[1..], [(80, 8, 10)]);
    ask(&acme.viewer, 5).await;
    assert_eq!(told(&app, &acme).await[2..], [(100, 10, 10)]);
    assert_eq!(told(&app, &globex).await, [], "nobody else");

    let event = &app.database.told_by(acme.id, "usage.threshold_reached").await[0];
    assert_eq!((&event["id"], &event["scope"]), (&json!("month"), &json!("org")), "{event}");
    assert!(event["resets_at"].as_str().unwrap().ends_with("T00:00:00Z"), "{event}");
    let mails = app.mailbox().of_kind(&format!("owner@{}.example", acme.slug), "quota_used").await;
    let percents: Vec<_> = mails.iter().map(|mail| mail.params["percent"].as_i64().unwrap()).collect();
    assert_eq!(percents, [50, 80, 100]);
    assert_eq!(mails[0].params["policy"], "month");
    let others = app.mailbox().of_kind(&format!("owner@{}.example", globex.slug), "quota_used").await;
    assert!(others.is_empty(), "{others:?}");
}

#[tokio::test]
async fn parts_that_are_passed_together_are_told_together_and_each_window_anew() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    let (one, other) =
        (app.api_key(&acme, &["categories:create"]).await, app.api_key(&globex, &["org:read"]).await);
    set_free(&app, json!([hour(3), {"name": "minute", "scope": "org", "quota": 4, "window_seconds": 60}]))
        .await;
    // It costs three.
    let write = async |name: &str| one.post("/api/v1/categories", json!({"name": name})).await;
    write("first").await.expect(201);
    other.get("/api/v1/org").await.expect(200);
    assert_eq!(told(&app, &acme).await, [(100, 3, 3)], "and nothing of the minute, which is a rate");
    write("refused").await.expect_problem(429, "rate_limited");
    assert_eq!(told(&app, &acme).await.len(), 1, "once");

    app.clock.advance(Duration::from_hours(1));
    write("second").await.expect(201);
    assert_eq!(told(&app, &acme).await[1..], [(100, 3, 3)], "of the next window");
    assert_eq!(told(&app, &globex).await, []);
}

#[tokio::test]
async fn another_quota_has_parts_of_its_own() {
    let app = TestApp::start().await;
    set_free(&app, json!([month(10)])).await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    ask(&acme.viewer, 8).await;
    let before = told(&app, &acme).await;
    assert_eq!(before.last(), Some(&(80, 8, 10)));
    set_free(&app, json!([month(20)])).await;
    ask(&acme.viewer, 1).await;
    assert_eq!(told(&app, &acme).await, before, "nine of twenty are none");
    ask(&acme.viewer, 2).await;
    assert_eq!(told(&app, &acme).await[before.len()..], [(50, 10, 20)]);
    set_free(&app, json!([month(11)])).await;
    ask(&acme.viewer, 1).await;
    assert_eq!(told(&app, &acme).await.last(), Some(&(100, 11, 11)), "refused, since it is used up");
    assert_eq!(told(&app, &globex).await, []);
}

#[tokio::test]
async fn replicas_that_reach_it_together_tell_it_once() {
    let app = TestApp::start().await;
    let (one, two) = (app.replica().await, app.replica().await);
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    set_free(&app, json!([month(8)])).await;
    // Each has some of it; whichever is the fourth and whichever is the seventh.
    for replica in [&one, &two, &one, &two, &one, &two, &one, &two] {
        ask(&acme.viewer.at(&replica.base), 1).await;
        ask(&globex.viewer.at(&replica.base), 1).await;
    }
    let all = [&app, &one, &two];
    let fold = async |app: &TestApp| app.state.meter.fold(&app.state.platform).await.unwrap();
    tokio::join!(fold(all[0]), fold(all[1]), fold(all[2]));
    let tell = async |app: &TestApp| worker::tell_of_usage(&app.state).await.unwrap();
    tokio::join!(tell(all[0]), tell(all[1]), tell(all[2]));
    tokio::join!(tell(all[0]), tell(all[1]), tell(all[2]));
    for org in [&acme, &globex] {
        let percents: Vec<_> = events(&app, org).await.into_iter().map(|(percent, ..)| percent).collect();
        let distinct: BTreeSet<_> = percents.iter().copied().collect();
        assert!(distinct.len() == percents.len() && distinct.contains(&100), "{percents:?}");
        let mails = app.mailbox().of_kind(&format!("owner@{}.example", org.slug), "quota_used").await;
        assert_eq!(mails.len(), percents.len());
    }
}
