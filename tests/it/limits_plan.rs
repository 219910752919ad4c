//! What a plan says is what happens: at its moments everything passes, and nothing sooner.

use super::support::{Persona, TestApp};
use serde_json::{Value, json};
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const PLAN: &str = "/api/v1/limits/plan";
const MICROSECOND: Duration = Duration::from_micros(1);

fn limit(name: &str, scope: &str, quota: u32, burst: u32) -> Value {
    json!({"name": name, "scope": scope, "quota": quota, "window_seconds": 60, "burst": burst})
}

async fn with_tier(policies: Value) -> TestApp {
    let app = TestApp::start().await;
    let change = json!({"name": "Free", "reason": "for this test", "policies": policies});
    app.operator().await.put("/operator/v1/tiers/free", change).await.expect(200);
    app
}

async fn plan(who: &Persona, calls: Value) -> Value {
    let reply = who.post(PLAN, json!({"calls": calls})).await;
    reply.expect(200)
}

fn moment(at: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(at.as_str().unwrap(), &Rfc3339).unwrap()
}

fn policy<'a>(plan: &'a Value, name: &str) -> &'a Value {
    let all = plan["policies"].as_array().unwrap();
    all.iter().find(|policy| policy["policy"] == name).unwrap_or_else(|| panic!("no {name}: {plan}"))
}

fn go_to(app: &TestApp, at: OffsetDateTime) {
    app.clock.advance(Duration::try_from(at - app.clock.now()).unwrap());
}

#[tokio::test]
async fn what_is_planned_passes_at_its_moments_and_not_a_microsecond_sooner() {
    // A unit in half a second, six at once; of the org's, a unit in a second, twenty at once.
    let app = with_tier(json!([limit("user", "user", 120, 6), limit("org", "org", 60, 20)])).await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    acme.owner.get("/api/v1/org").await.expect(200);
    acme.admin.get("/api/v1/org").await.expect(200);

    // 5 units of the user are left and 18 of the org: two lists, and then each waits.
    let calls = json!([{"operation_id": "list_products", "count": 10},
                       {"method": "get", "path": "/api/v1/org", "count": 4}]);
    let told = plan(&acme.owner, calls.clone()).await;
    assert_eq!((&told["passes_now"], &told["binding_policy"]), (&json!(false), &json!("user")), "{told}");
    let (lists, gets) = (&told["calls"][0], &told["calls"][1]);
    assert_eq!((&lists["cost"], &lists["at_once"], &gets["cost"]), (&json!(2), &json!(2), &json!(1)));
    assert_eq!((&lists["seconds_between"], &gets["seconds_between"]), (&json!(2.0), &json!(1.0)));
    assert_eq!(policy(&told, "user")["needed"], 24);
    assert_eq!(policy(&told, "user")["units_per_second"], 2.0);
    assert_eq!(policy(&told, "org")["seconds_between_calls"], 2.0);

    let start = app.clock.now();
    assert_eq!(moment(&lists["first_at"]), start);
    // 24 units of which 5 are there, at two a second.
    assert_eq!(moment(&told["done_at"]), start + Duration::from_millis(9_500));
    assert_eq!(policy(&told, "user")["done_at"], told["done_at"]);
    assert_eq!(moment(&policy(&told, "org")["done_at"]), start + Duration::from_secs(6));

    // One call after the other, each when a plan for it alone says so, is what the whole plan has said.
    let mut last = start;
    for place in 0..14 {
        let (path, call) =
            if place < 10 { ("/api/v1/products", &calls[0]) } else { ("/api/v1/org", &calls[1]) };
        let mut next = call.clone();
        next["count"] = json!(1);
        let told = plan(&acme.owner, json!([next])).await;
        let at = moment(&told["done_at"]);
        if at > last {
            go_to(&app, at - MICROSECOND);
            acme.owner.get(path).await.expect_problem(429, "rate_limited");
            app.clock.advance(MICROSECOND);
        }
        acme.owner.get(path).await.expect(200);
        last = at;
        if place == 9 {
            assert_eq!(at, moment(&lists["last_at"]));
        }
    }
    assert_eq!(last, moment(&told["done_at"]));
    let theirs = plan(&globex.owner, calls).await;
    assert_eq!(policy(&theirs, "org")["remaining"], 20, "of another org nothing is used");
}

#[tokio::test]
async fn a_plan_costs_nothing_and_is_for_who_asks() {
    let app = with_tier(json!([limit("user", "user", 60, 5), limit("org", "org", 60, 12)])).await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    let key = app.api_key(&acme, &["products:read"]).await;
    let five = json!([{"operation_id": "get_org", "count": 5}]);
    for _ in 0..20 {
        let told = plan(&acme.viewer, five.clone()).await;
        assert_eq!((&told["passes_now"], &policy(&told, "user")["remaining"]), (&json!(true), &json!(5)));
    }
    // What it says passes does, and what the owner used is the org's, not a colleague's.
    for _ in 0..5 {
        acme.viewer.get("/api/v1/org").await.expect(200);
    }
    assert_eq!(plan(&acme.viewer, five.clone()).await["passes_now"], false);
    let used_of_org = 5 + 3;
    let colleague = plan(&key, five.clone()).await;
    assert_eq!(policy(&colleague, "org")["remaining"], 12 - used_of_org, "making the key took three");
    assert_eq!((&colleague["passes_now"], &colleague["binding_policy"]), (&json!(false), &json!("org")));
    assert_eq!(plan(&globex.owner, five).await["passes_now"], true);

    let free = plan(&acme.viewer, json!([{"operation_id": "get_limits", "count": 1_000_000}])).await;
    assert_eq!((&free["passes_now"], &free["calls"][0]["cost"]), (&json!(true), &json!(0)));
}

#[tokio::test]
async fn what_never_fits_is_named_and_what_the_month_lacks_is_done_in_the_next() {
    let month = json!({"name": "month", "scope": "org", "quota": 10, "period": "month"});
    let app = with_tier(json!([limit("user", "user", 60, 2), month])).await;
    let acme = app.org_on("free").await;
    acme.owner.get("/api/v1/org").await.expect(200);

    let told = plan(
        &acme.owner,
        json!([{"operation_id": "create_product", "count": 1},
                                        {"operation_id": "get_org", "count": 1}]),
    )
    .await;
    assert_eq!(told["calls"][0]["never_fits"], json!(["user"]), "three units of two");
    assert_eq!((&told["calls"][0]["first_at"], &told["done_at"]), (&Value::Null, &Value::Null));
    assert_eq!(moment(&told["calls"][1]["last_at"]), app.clock.now());
    acme.owner.post("/api/v1/products", json!({})).await.expect_problem(429, "cost_exceeds_burst");

    let of_month = acme.owner.get("/api/v1/limits").await.expect(200);
    let of_month = of_month["data"].as_array().unwrap().iter().find(|reading| reading["policy"] == "month");
    let ends = of_month.unwrap()["reset_seconds"].as_i64().unwrap();
    let told = plan(&acme.owner, json!([{"operation_id": "get_org", "count": 10}])).await;
    assert_eq!((&told["passes_now"], &told["binding_policy"]), (&json!(false), &json!("month")), "{told}");
    assert_eq!(policy(&told, "month")["remaining"], 9);
    let done = moment(&told["done_at"]);
    assert_eq!((done.hour(), done.minute(), done.second()), (0, 0, 0), "{told}");
    assert!((done - app.clock.now()).whole_seconds().abs_diff(ends) <= 1, "{told}");

    for _ in 0..9 {
        acme.owner.get("/api/v1/org").await.expect(200);
        app.clock.advance(Duration::from_secs(1));
    }
    go_to(&app, done - MICROSECOND);
    // Who waits so long signs in again.
    let owner = app.signed_in(acme.owner.user(), acme.id).await;
    owner.get("/api/v1/org").await.expect_problem(429, "rate_limited");
    app.clock.advance(MICROSECOND);
    owner.get("/api/v1/org").await.expect(200);
}

#[tokio::test]
async fn each_call_that_nobody_knows_is_pointed_at() {
    let app = TestApp::start().await;
    let acme = app.org_on("free").await;
    let flaws = async |calls: Value| {
        let problem = acme.owner.post(PLAN, json!({"calls": calls})).await.expect_problem(422, "invalid");
        let errors = problem["errors"].as_array().unwrap();
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let unknown = json!([{"operation_id": "list_products", "count": 1}, {"operation_id": "list_unicorns", "count": 1},
                         {"method": "GET", "path": "/api/v1/unicorns", "count": 1},
                         {"method": "BREW", "path": "/api/v1/products", "count": 1},
                         {"operation_id": "list_products", "method": "GET", "count": 1}, {"count": 1},
                         {"operation_id": "login", "count": 1}]);
    assert_eq!(
        flaws(unknown).await,
        [
            "/calls/1/operation_id",
            "/calls/2/path",
            "/calls/3/path",
            "/calls/4",
            "/calls/5",
            "/calls/6/operation_id"
        ]
    );
    assert_eq!(flaws(json!([{"operation_id": "list_products", "count": 0}])).await, ["/calls/0/count"]);
    assert_eq!(
        flaws(json!([{"operation_id": "list_products", "count": 1_000_001}])).await,
        ["/calls/0/count"]
    );
    assert_eq!(flaws(json!([])).await, ["/calls"]);
    let many: Vec<Value> = (0..101).map(|_| json!({"operation_id": "list_products", "count": 1})).collect();
    assert_eq!(flaws(json!(many)).await, ["/calls"]);

    // The path as it is called, or as it is documented; a fixed one before one with an id.
    let calls = json!([{"method": "GET", "path": "/api/v1/products/{id}", "count": 1},
                       {"method": "PATCH", "path": "/api/v1/products/prd_01jd8yq3c5f4x7t9k2m6n8p0rs?fields=id", "count": 1},
                       {"method": "POST", "path": "/api/v1/roles/explain", "count": 1}]);
    let told = plan(&acme.owner, calls).await;
    let costs: Vec<&Value> = told["calls"].as_array().unwrap().iter().map(|call| &call["cost"]).collect();
    assert_eq!(costs, [&json!(1), &json!(3), &json!(0)]);
}
