//! Monthly quotas: exact over replicas, kept by Postgres, and charged only where everything else admits.

use super::support::{Database, Persona, TestApp, until};
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

fn month(quota: u32) -> Value {
    json!({"name": "month", "scope": "org", "quota": quota, "period": "month"})
}

fn a_day(name: &str, quota: u32) -> Value {
    json!({"name": name, "scope": "org", "quota": quota, "window_seconds": 86_400})
}

async fn with_tier(policies: Value) -> TestApp {
    let app = TestApp::start().await;
    let change = json!({"name": "Free", "reason": "for this test", "policies": policies});
    app.operator().await.put("/operator/v1/tiers/free", change).await.expect(200);
    app
}

/// How many of `calls` pass, all at once, each for a unit.
async fn passing(calls: usize, of: &Persona) -> usize {
    let replies = join_all((0..calls).map(|_| of.get("/api/v1/org"))).await;
    assert!(replies.iter().all(|reply| [200, 429].contains(&reply.status)), "{replies:?}");
    replies.iter().filter(|reply| reply.status == 200).count()
}

async fn reading(of: &Persona, name: &str) -> Value {
    let limits = of.get("/api/v1/limits").await.expect(200);
    let all = limits["data"].as_array().unwrap();
    all.iter().find(|reading| reading["policy"] == name).cloned().unwrap_or_default()
}

async fn counted(database: &Database) -> i64 {
    database.count("select coalesce(sum(used), 0)::bigint from monthly_uses").await
}

#[tokio::test]
async fn a_month_is_used_up_by_one_org_alone_until_it_ends() {
    let app = with_tier(json!([month(40)])).await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    let first = acme.owner.get("/api/v1/org").await;
    let told = reading(&acme.owner, "month").await;
    let (window, left) = (told["window_seconds"].as_i64().unwrap(), told["reset_seconds"].as_i64().unwrap());
    assert!(
        [28, 29, 30, 31].contains(&(window / 86_400)) && window % 86_400 == 0 && left <= window,
        "{told}"
    );
    assert_eq!(first.header("ratelimit-policy"), format!(r#""month";q=40;w={window}"#));
    assert_eq!(first.header("ratelimit"), format!(r#""month";r=39;t={left}"#));
    assert_eq!((&told["used"], &told["remaining"]), (&json!(1), &json!(39)));

    assert_eq!(passing(50, &acme.member).await, 39);
    let refused = acme.admin.get("/api/v1/org").await;
    let problem = refused.expect_problem(429, "rate_limited");
    assert_eq!(problem["violated_policies"], json!(["month"]));
    assert_eq!((&problem["limits"][0]["used"], &problem["limits"][0]["cost"]), (&json!(40), &json!(1)));
    assert!(problem["limits"][0]["next_at"].as_str().unwrap().contains("T00:00:00"), "{problem}");
    assert_eq!(refused.header("retry-after"), left.to_string());
    assert_eq!(passing(3, &globex.owner).await, 3);
}

#[tokio::test]
async fn a_refusal_by_one_policy_charges_no_other_and_names_them_all() {
    let app = with_tier(json!([month(100), a_day("org", 2)])).await;
    let acme = app.org_on("free").await;
    assert_eq!(passing(5, &acme.owner).await, 2);
    assert_eq!(reading(&acme.owner, "month").await["used"], 2, "three were refused by the day");

    let app = with_tier(json!([month(2), a_day("org", 100)])).await;
    let acme = app.org_on("free").await;
    assert_eq!(passing(5, &acme.owner).await, 2);
    assert_eq!(reading(&acme.owner, "org").await["used"], 2, "three were refused by the month");

    let app = with_tier(json!([month(2), a_day("org", 2)])).await;
    let acme = app.org_on("free").await;
    assert_eq!(passing(2, &acme.owner).await, 2);
    let problem = acme.owner.get("/api/v1/org").await.expect_problem(429, "rate_limited").clone();
    let named = problem["violated_policies"].as_array().unwrap();
    assert!(
        named.len() == 2 && named.contains(&json!("month")) && named.contains(&json!("org")),
        "{problem}"
    );
}

#[tokio::test]
async fn a_month_in_shadow_counts_and_never_refuses_and_is_not_told_in_headers() {
    let mut trial = month(3);
    trial["mode"] = json!("shadow");
    let app = with_tier(json!([trial])).await;
    let acme = app.org_on("free").await;
    assert_eq!(passing(8, &acme.owner).await, 8);
    assert_eq!(reading(&acme.owner, "month").await["used"], 3);
    assert_eq!(acme.owner.get("/api/v1/org").await.header("ratelimit-policy"), "");
}

#[tokio::test]
async fn two_replicas_admit_the_month_together_and_not_a_unit_more() {
    let app = with_tier(json!([month(60)])).await;
    let replica = app.replica().await;
    let acme = app.org_on("free").await;
    let there = replica.bearer(acme.owner.token.as_ref().unwrap());
    until("the other replica hears of the month", async || reading(&there, "month").await["limit"] == 60)
        .await;

    let mut passed = 0;
    // What one holds in reserve is handed back before the other may have it.
    until("all of the month is used", async || {
        let (here, there) = tokio::join!(passing(20, &acme.owner), passing(20, &there));
        passed += here + there;
        assert!(passed <= 60, "{passed}");
        passed == 60
    })
    .await;
    assert_eq!(passing(10, &acme.owner).await + passing(10, &there).await, 0);
    assert_eq!(counted(&app.database).await, 60);
}

#[tokio::test]
async fn what_rests_is_handed_back_and_a_new_process_knows_what_was_used() {
    let app = with_tier(json!([month(1_000)])).await;
    let acme = app.org_on("free").await;
    assert_eq!(passing(5, &acme.owner).await, 5);
    until("the reserve is handed back", async || counted(&app.database).await == 5).await;

    let next = app.replica().await;
    let there = next.bearer(acme.owner.token.as_ref().unwrap());
    assert_eq!(reading(&there, "month").await["used"], 5);
}

#[tokio::test]
async fn while_postgres_does_not_answer_some_are_admitted_on_credit_and_charged_afterwards() {
    let app = with_tier(json!([month(100)])).await;
    let acme = app.org_on("free").await;
    assert_eq!(reading(&acme.owner, "month").await["used"], 0);
    let lock = app.database.lock("lock table monthly_uses in access exclusive mode").await;
    let passed = passing(30, &acme.owner).await;
    assert_eq!(passed, 16, "as many as are given on credit");
    lock.release().await;
    until("they are charged", async || counted(&app.database).await == 16).await;
    assert_eq!(passing(100, &acme.owner).await, 84);
}

#[tokio::test]
async fn a_moved_billing_day_forgives_nothing_and_the_next_month_starts_anew() {
    let app = with_tier(json!([month(100)])).await;
    let (acme, operator) = (app.org_on("free").await, app.operator().await);
    let key = app.api_key(&acme, &["products:read"]).await;
    let org = format!("/operator/v1/orgs/{}", acme.id);
    for day in [0, 32] {
        let patch = json!({"billing_day": day, "reason": "?"});
        operator.patch(&org, patch).await.expect_problem(422, "invalid");
    }
    key.get("/api/v1/products").await.expect(200);
    let used = reading(&key, "month").await["used"].as_i64().unwrap();
    let mut day_before = operator.get(&org).await.expect(200)["billing_day"].as_i64().unwrap();
    let mut moves = 0;
    for day in [1, 15, 31, 7] {
        moves += i64::from(day != std::mem::replace(&mut day_before, day));
        let patch = json!({"billing_day": day, "reason": "by contract"});
        assert_eq!(operator.patch(&org, patch).await.expect(200)["billing_day"], day);
        key.get("/api/v1/products").await.expect(200);
    }
    until("all that was used is counted, once", async || counted(&app.database).await == used + 8).await;
    let told =
        app.database.count("select count(*) from audit_events where action = 'org.billing_day_changed'");
    assert_eq!(told.await, 2 * moves, "told to the org and to the platform");

    app.clock.advance(32 * DAY);
    key.get("/api/v1/products").await.expect(200);
    assert_eq!(reading(&key, "month").await["used"], 2);
}

#[tokio::test]
async fn each_user_and_each_key_has_a_month_of_their_own() {
    let of = |scope, quota| json!({"name": scope, "scope": scope, "quota": quota, "period": "month"});
    let app = with_tier(json!([of("user", 10), of("api_key", 6)])).await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    let keys = [app.api_key(&acme, &["products:read"]).await, app.api_key(&acme, &["products:read"]).await];
    assert_eq!(passing(12, &acme.owner).await, 4, "to make two keys took six");
    assert_eq!(passing(12, &acme.member).await, 10);
    assert_eq!(passing(12, &globex.owner).await, 10);
    for key in &keys {
        for _ in 0..3 {
            key.get("/api/v1/products").await.expect(200);
        }
        let refused = key.get("/api/v1/products").await;
        let problem = refused.expect_problem(429, "rate_limited");
        assert_eq!(problem["violated_policies"], json!(["api_key"]), "and not the one for users");
    }
    until("all that was used is counted, by whom", async || counted(&app.database).await == 30 + 12).await;
    assert_eq!(app.database.count("select count(distinct subject) from monthly_uses").await, 5);
}
