//! Tiers are made, announced, reverted and deleted by operators, and each version says who, why and what changed.

use super::support::{Org, TestApp, until};
use serde_json::{Value, json};
use std::time::Duration;
use time::format_description::well_known::Rfc3339;

const TIERS: &str = "/operator/v1/tiers";
const FREE: &str = "/operator/v1/tiers/free";

fn user(quota: u32) -> Value {
    json!({"name": "user", "scope": "user", "quota": quota, "window_seconds": 60})
}

fn change(policies: &Value) -> Value {
    json!({"name": "Free", "reason": "costs rose", "policies": policies})
}

fn from(app: &TestApp, ahead: Duration, mut change: Value) -> Value {
    change["effective_at"] = (app.clock.now() + ahead).format(&Rfc3339).unwrap().into();
    change
}

async fn events(org: &Org, action: &str) -> Vec<Value> {
    let page = org.owner.get(&format!("/api/v1/audit-events?action={action}")).await.expect(200);
    page["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_tier_is_made_taken_up_and_deleted_once_nobody_is_on_it_and_its_versions_stay() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org().await, app.operator().await);
    let new = json!({"slug": "startup", "name": "Startup", "policies": [user(7)], "reason": "asked for"});
    let made = operator.post(TIERS, new.clone()).await;
    assert_eq!((made.expect(201)["version"].as_i64(), made.header("etag")), (Some(1), "\"1\""));
    let path = made.header("location").to_owned();
    assert_eq!(operator.get(&path).await.expect(200), made.json());
    operator.post(TIERS, new.clone()).await.expect_problem(409, "slug_taken");
    for slug in ["Start up", "1st", ""] {
        let mut bad = new.clone();
        bad["slug"] = slug.into();
        operator.post(TIERS, bad).await.expect_problem(422, "invalid");
    }
    let published = app.anon().get("/api/v1/tiers").await.text;
    assert!(!published.contains("startup"), "it is not public unless said: {published}");

    let org = format!("/operator/v1/orgs/{}", acme.id);
    operator.patch(&org, json!({"tier": "startup", "reason": "young"})).await.expect(200);
    assert_eq!(acme.owner.get("/api/v1/org").await.header("ratelimit-policy"), r#""user";q=7;w=60"#);
    let refused = operator.delete(&path).await.expect_problem(409, "tier_in_use");
    assert!(refused["detail"].as_str().unwrap().starts_with("1 organisations and 0 members"), "{refused}");
    operator.patch(&org, json!({"tier": "pro", "reason": "grown"})).await.expect(200);
    operator.delete(&path).await.expect(204);
    operator.get(&path).await.expect_problem(404, "not_found");
    assert_eq!(operator.get(&format!("{path}/versions/1")).await.expect(200)["name"], "Startup");
    for slug in ["free", "sandbox", "platform"] {
        operator.delete(&format!("{TIERS}/{slug}")).await.expect_problem(409, "built_in");
    }
    let again = operator.post(TIERS, new).await.expect(201);
    assert_eq!(again["version"], 2, "numbers are not given twice");
}

#[tokio::test]
async fn each_version_says_who_and_why_and_what_changed_and_reverting_makes_another() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    operator.put(FREE, change(&json!([user(60)]))).await.expect(200);
    let page = operator.get(&format!("{FREE}/versions?limit=1")).await;
    let first = page.expect(200);
    let version = &first["data"][0];
    assert_eq!((&version["version"], &version["reason"]), (&json!(2), &json!("costs rose")));
    assert_eq!(version["author"], json!({"type": "operator", "id": operator.user().to_string()}));
    assert_eq!(version["diff"]["changed"][0]["fields"]["quota"], json!({"from": 120, "to": 60}));
    assert_eq!(version["diff"]["removed"][0]["name"], "org");
    assert_eq!(version["diff"]["lowered"], json!(["user"]));
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = operator.get(&format!("{FREE}/versions?limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!((&rest["data"][0]["version"], &rest["has_more"]), (&json!(1), &json!(false)));
    assert_eq!(rest["data"][0]["author"]["type"], "system");
    let elsewhere = operator.get(&format!("{TIERS}/pro/versions?cursor={cursor}")).await;
    elsewhere.expect_problem(400, "bad_cursor");
    operator.get(&format!("{FREE}/versions?slug=pro")).await.expect_problem(400, "unknown_parameter");
    operator.get(&format!("{TIERS}/gold/versions")).await.expect_problem(404, "not_found");

    let back = json!({"version": 1, "reason": "too little"});
    let reverted = operator.post(&format!("{FREE}/revert"), back.clone()).await.expect(200);
    assert_eq!((&reverted["version"], &reverted["policies"][0]["quota"]), (&json!(3), &json!(120)));
    assert_eq!(reverted["policies"][1]["name"], "org");
    operator.post(&format!("{FREE}/revert"), back).await.expect_problem(409, "unchanged");
    let nowhere = json!({"version": 9, "reason": "?"});
    operator.post(&format!("{FREE}/revert"), nowhere).await.expect_problem(422, "invalid");
}

#[tokio::test]
async fn an_announced_limit_is_told_ahead_and_holds_from_its_second_on_every_replica() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let (acme, globex, operator) = (app.org_on("free").await, app.org_on("pro").await, app.operator().await);
    let there = replica.bearer(acme.owner.token.as_ref().unwrap());
    there.get("/api/v1/products").await.expect(200);
    let lower = from(&app, Duration::from_mins(10), change(&json!([user(50)])));
    let announced = operator.put_if(FREE, "\"1\"", lower).await;
    let tier = announced.expect(200);
    assert_eq!((&tier["version"], &tier["announced"]["version"]), (&json!(1), &json!(2)));
    assert_eq!(announced.header("etag"), "\"2\"", "an announcement changes the tier");
    let at = (app.clock.now() + Duration::from_mins(10)).unix_timestamp();
    let notice = format!(r#""user";q=50;w=60;at=@{at}"#);
    until("the other replica tells of it", async || {
        there.get("/api/v1/org").await.header("ratelimit-notice") == notice
    })
    .await;
    let told = acme.owner.get("/api/v1/org").await;
    assert_eq!(told.header("ratelimit-notice"), notice);
    assert_eq!(told.header("ratelimit-policy"), r#""user";q=120;w=60, "org";q=600;w=60"#);
    assert_eq!(globex.owner.get("/api/v1/org").await.header("ratelimit-notice"), "");
    let published = app.anon().get("/api/v1/tiers").await.expect(200);
    let public = published["data"].as_array().unwrap().iter().find(|tier| tier["slug"] == "free").unwrap();
    assert_eq!(public["announced"]["policies"][0]["quota"], 50);
    let event = &events(&acme, "limits.lowering_announced").await[0];
    assert_eq!(
        (&event["before"]["policies"][0]["quota"], &event["after"]["policies"][0]["quota"]),
        (&json!(120), &json!(50))
    );
    assert_eq!(event["after"]["reason"], "costs rose");
    assert_eq!(events(&globex, "limits.lowering_announced").await, [Value::Null; 0]);

    for each in [&app, &replica] {
        each.clock.advance(Duration::from_secs(601));
    }
    for who in [&acme.owner, &there] {
        let reply = who.get("/api/v1/limits").await;
        assert_eq!(reply.header("ratelimit-policy"), r#""user";q=50;w=60"#);
        assert_eq!(reply.header("ratelimit-notice"), "");
        assert_eq!(reply.expect(200)["data"][0]["source"], "tier:free@v2");
    }
    let now = operator.get(FREE).await;
    assert_eq!((&now.expect(200)["version"], &now.json()["announced"]), (&json!(2), &Value::Null));
    assert_eq!(now.header("etag"), "\"3\"");
    operator.put_if(FREE, "\"3\"", change(&json!([user(70)]))).await.expect(200);
}

#[tokio::test]
async fn what_is_used_before_an_announced_change_stays_used_under_it() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org_on("free").await, app.operator().await);
    let hourly =
        |quota: u32| json!([{"name": "user", "scope": "user", "quota": quota, "window_seconds": 3600}]);
    operator.put(FREE, change(&hourly(100))).await.expect(200);
    operator.put(FREE, from(&app, Duration::from_secs(5), change(&hourly(60)))).await.expect(200);
    for _ in 0..10 {
        acme.owner.get("/api/v1/products").await.expect(200);
    }
    app.clock.advance(Duration::from_secs(6));
    let limits = acme.owner.get("/api/v1/limits").await.expect(200);
    assert_eq!((&limits["data"][0]["limit"], &limits["data"][0]["used"]), (&json!(60), &json!(20)));
}

#[tokio::test]
async fn an_announcement_is_taken_back_or_replaced_and_who_was_told_hears_of_it() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org_on("free").await, app.operator().await);
    let soon = Duration::from_mins(5);
    for bad in [Duration::from_hours(24 * 91), Duration::ZERO] {
        let problem = operator.put(FREE, from(&app, bad, change(&json!([user(9)])))).await;
        assert_eq!(problem.expect_problem(422, "invalid")["errors"][0]["pointer"], "/effective_at");
    }
    let announcement = format!("{FREE}/announcement");
    operator.delete(&announcement).await.expect_problem(404, "not_found");
    operator.put(FREE, from(&app, soon, change(&json!([user(9)])))).await.expect(200);
    operator.delete(&announcement).await.expect(204);
    assert_eq!(acme.owner.get("/api/v1/org").await.header("ratelimit-notice"), "");
    assert_eq!(events(&acme, "limits.lowering_withdrawn").await.len(), 1);
    operator.put(FREE, from(&app, soon, change(&json!([user(8)])))).await.expect(200);
    let now = operator.put(FREE, change(&json!([user(200)]))).await.expect(200);
    assert_eq!((&now["version"], &now["announced"]), (&json!(4), &Value::Null));
    assert_eq!(events(&acme, "limits.lowering_withdrawn").await.len(), 2);
    app.clock.advance(soon * 2);
    assert_eq!(operator.get(FREE).await.expect(200)["version"], 4, "what was replaced never comes");
    let versions = operator.get(&format!("{FREE}/versions")).await.expect(200);
    let withdrawn: Vec<_> = versions["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| !version["withdrawn_at"].is_null())
        .collect();
    assert_eq!(withdrawn, [false, true, true, false]);
    assert_eq!(versions["data"][0]["diff"]["changed"][0]["fields"]["quota"], json!({"from": 120, "to": 200}));
}

#[tokio::test]
async fn a_count_that_slept_through_two_changes_is_carried_over_each_in_turn() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org_on("free").await, app.operator().await);
    let hourly =
        |quota: u32| json!([{"name": "user", "scope": "user", "quota": quota, "window_seconds": 3600}]);
    operator.put(FREE, change(&hourly(100))).await.expect(200);
    for _ in 0..20 {
        acme.owner.get("/api/v1/products").await.expect(200);
    }
    for quota in [10, 100] {
        app.clock.advance(Duration::from_millis(1));
        operator.put(FREE, change(&hourly(quota))).await.expect(200);
    }
    let limits = acme.owner.get("/api/v1/limits").await.expect(200);
    assert_eq!(limits["data"][0]["used"], 10, "of 40, 10 were all that anybody could owe in between");
}
