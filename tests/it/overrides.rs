//! Exceptions from a tier: for whom they are, what they change, and that they end by themselves.

use super::support::{Org, Persona, TestApp, id, pointers, until};
use insula::tenancy::PLATFORM;
use serde_json::{Value, json};
use std::time::Duration;
use time::format_description::well_known::Rfc3339;

const OVERRIDES: &str = "/operator/v1/overrides";

/// Of the policy `user`, for so long from now by the app's clock.
fn exception(app: &TestApp, org: &Org, quota: u32, lasting: Duration) -> Value {
    json!({"org": org.slug, "policy": "user", "quota": quota, "expires_at": later(app, lasting), "reason": "a sale"})
}

fn later(app: &TestApp, by: Duration) -> String {
    (app.clock.now() + by).format(&Rfc3339).unwrap()
}

/// The policy `user`, as they see it.
async fn reading(of: &Persona) -> Value {
    let limits = of.get("/api/v1/limits").await.expect(200);
    limits["data"].as_array().unwrap().iter().find(|reading| reading["policy"] == "user").unwrap().clone()
}

async fn limit(of: &Persona) -> (Value, Value) {
    let reading = reading(of).await;
    (reading["limit"].clone(), reading["source"].clone())
}

#[tokio::test]
async fn an_org_has_its_exception_at_the_next_request_and_keeps_what_it_used_there_and_back() {
    let app = TestApp::start().await;
    let (acme, globex, operator) = (app.org_on("free").await, app.org_on("free").await, app.operator().await);
    for _ in 0..60 {
        acme.owner.get("/api/v1/products").await.expect(200);
    }
    acme.owner.get("/api/v1/products").await.expect_problem(429, "rate_limited");

    let made = operator.post(OVERRIDES, exception(&app, &acme, 200, Duration::from_mins(10))).await;
    let one = made.expect(201);
    assert_eq!(made.header("location"), format!("{OVERRIDES}/{}", id(&one)));
    assert_eq!(
        (&one["org"], &one["window_seconds"], &one["user"]),
        (&json!(acme.id), &json!(null), &json!(null))
    );
    let lifted = acme.owner.get("/api/v1/products").await;
    lifted.expect(200);
    assert!(lifted.header("ratelimit-policy").starts_with(r#""user";q=200;w=60"#));
    let reading = reading(&acme.owner).await;
    assert_eq!(
        (&reading["used"], &reading["source"]),
        (&json!(122), &json!(format!("override:{}", id(&one))))
    );
    assert_eq!(limit(&acme.member).await.0, 200, "each member for themselves");
    assert_eq!(limit(&globex.owner).await, (json!(120), json!("tier:free@v1")));

    // A refusal names it, and so does its receipt.
    for _ in 0..39 {
        acme.owner.get("/api/v1/products").await.expect(200);
    }
    let refused = acme.owner.get("/api/v1/products").await.expect_problem(429, "rate_limited");
    assert_eq!(refused["limits"][0]["source"], format!("override:{}", id(&one)));

    operator.delete(&format!("{OVERRIDES}/{}", id(&one))).await.expect(204);
    assert_eq!(limit(&acme.owner).await, (json!(120), json!("tier:free@v1")));
    acme.owner.get("/api/v1/products").await.expect_problem(429, "rate_limited");
    operator.delete(&format!("{OVERRIDES}/{}", id(&one))).await.expect_problem(409, "override_ended");
    assert!(operator.get(&format!("{OVERRIDES}/{}", id(&one))).await.expect(200)["ended_at"].is_string());
}

#[tokio::test]
async fn an_exception_ends_by_the_clock_of_each_replica_with_nobody_to_tell_them() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (acme, operator) = (here.org_on("free").await, here.operator().await);
    let made =
        operator.post(OVERRIDES, exception(&here, &acme, 500, Duration::from_hours(1))).await.expect(201);
    let away = acme.owner.at(&there.base);
    until("the other replica has heard", async || limit(&away).await.0 == 500).await;

    // From here on no news comes: what is known must be enough.
    here.database.cut_notify().await;
    let ends = made["expires_at"].as_str().unwrap();
    let ends = time::OffsetDateTime::parse(ends, &Rfc3339).unwrap();
    for (app, owner) in [(&here, &acme.owner), (&there, &away)] {
        let left = ends - app.clock.now();
        let moment = Duration::from_micros(1);
        app.clock.advance(left.unsigned_abs().saturating_sub(moment));
        // Signed in anew: an hour is longer than a token lives.
        let owner_now = app.signed_in(owner.user(), acme.id).await;
        assert_eq!(limit(&owner_now).await.0, 500);
        app.clock.advance(moment);
        assert_eq!(limit(&owner_now).await, (json!(120), json!("tier:free@v1")));
    }
}

#[tokio::test]
async fn one_for_a_member_or_a_key_is_theirs_alone() {
    let app = TestApp::start().await;
    let (acme, globex, operator) = (app.org_on("free").await, app.org_on("free").await, app.operator().await);
    let new = json!({"name": "till", "scopes": ["products:read"]});
    let till = acme.owner.post("/api/v1/api-keys", new).await.expect(201);
    let key = app.bearer(till["key"].as_str().unwrap());
    let with = |field: &str, whose: Value| {
        let mut body = exception(&app, &acme, 300, Duration::from_mins(10));
        body[field] = whose;
        body
    };
    operator.post(OVERRIDES, with("user", json!(acme.member.user()))).await.expect(201);
    operator.post(OVERRIDES, with("api_key", till["id"].clone())).await.expect(201);
    for (who, quota) in [(&acme.member, 300), (&key, 300), (&acme.viewer, 120), (&globex.member, 120)] {
        assert_eq!(limit(who).await.0, quota);
    }
    // One for the whole org leaves theirs.
    operator.post(OVERRIDES, exception(&app, &acme, 150, Duration::from_mins(10))).await.expect(201);
    for (who, quota) in [(&acme.member, 300), (&key, 300), (&acme.viewer, 150), (&globex.member, 120)] {
        assert_eq!(limit(who).await.0, quota);
    }

    // What holds for whom, as operators see it.
    let of = |whose: &str| format!("/operator/v1/limits?org={}&{whose}", acme.slug);
    let theirs = operator.get(&of(&format!("user={}", acme.member.user()))).await.expect(200);
    assert_eq!((&theirs["org"], &theirs["tier"]), (&json!(acme.id), &json!("free")));
    assert_eq!(theirs["data"], acme.member.get("/api/v1/limits").await.expect(200)["data"]);
    let theirs = operator.get(&of(&format!("api_key={}", id(&till)))).await.expect(200);
    assert_eq!(theirs["data"], key.get("/api/v1/limits").await.expect(200)["data"]);
    operator.get(&of(&format!("user={}", globex.owner.user()))).await.expect_problem(404, "not_found");
    operator.get(&of("")).await.expect_problem(400, "bad_parameter");

    let dead = operator.post(OVERRIDES, with("api_key", till["id"].clone())).await;
    dead.expect_problem(409, "override_exists");
    let in_force = format!("{OVERRIDES}?org={}&in_force_at={}", acme.id, later(&app, Duration::ZERO));
    let listed = operator.get(&in_force.replace('+', "%2B")).await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 3);
    let elsewhere = format!("{OVERRIDES}?org={}", globex.id);
    assert_eq!(operator.get(&elsewhere).await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn an_exception_that_cannot_be_is_pointed_at_and_changes_nothing() {
    let app = TestApp::start().await;
    let (acme, globex, operator) = (app.org_on("free").await, app.org_on("free").await, app.operator().await);
    let key =
        globex.owner.post("/api/v1/api-keys", json!({"name": "k", "scopes": ["org:read"]})).await.expect(201);
    for (field, value) in [
        ("org", json!("nowhere")),
        ("user", json!(globex.owner.user())),
        ("api_key", key["id"].clone()),
        ("policy", json!("weekly")),
        ("quota", json!(0)),
        ("window_seconds", json!(0)),
        ("burst", json!(0)),
        ("expires_at", json!(later(&app, Duration::ZERO))),
        ("expires_at", json!(later(&app, Duration::from_hours(24 * 367)))),
        ("expires_at", json!("tomorrow")),
        ("reason", json!("")),
        ("quotas", json!(1)),
    ] {
        let mut body = exception(&app, &acme, 10, Duration::from_mins(1));
        body[field] = value.clone();
        let problem = operator.post(OVERRIDES, body).await.expect_problem(422, "invalid");
        // Without a burst of its own the quota is the burst, too.
        assert_eq!(pointers(&problem)[0], format!("/{field}"), "{value}");
    }
    let mut of_all = exception(&app, &acme, 10, Duration::from_mins(1));
    of_all["policy"] = json!("org");
    of_all["user"] = json!(acme.viewer.user());
    let problem = operator.post(OVERRIDES, of_all).await.expect_problem(422, "invalid");
    assert_eq!(pointers(&problem), ["/policy"], "what is counted for all can't be another for one");
    let mut own = exception(&app, &acme, 10, Duration::from_mins(1));
    own["org"] = json!("platform");
    operator.post(OVERRIDES, own).await.expect_problem(409, "built_in");
    assert_eq!(operator.get(OVERRIDES).await.expect(200)["data"], json!([]));
    assert_eq!(limit(&acme.viewer).await.0, 120);
}

#[tokio::test]
async fn both_audits_know_of_an_exception_and_of_its_end() {
    let app = TestApp::start().await;
    let (acme, globex, operator) = (app.org_on("free").await, app.org_on("free").await, app.operator().await);
    let made = operator.post(OVERRIDES, exception(&app, &acme, 10, Duration::from_mins(1))).await;
    let one = made.expect(201);
    let ended = operator.delete(&format!("{OVERRIDES}/{}", id(&one))).await;
    ended.expect(204);
    for (action, reply) in [("override.created", &made), ("override.ended", &ended)] {
        let events = acme.owner.get(&format!("/api/v1/audit-events?action={action}")).await.expect(200);
        let event = &events["data"][0];
        assert_eq!((&event["target"]["id"], &event["after"]["reason"]), (&one["id"], &json!("a sale")));
        let events = globex.owner.get(&format!("/api/v1/audit-events?action={action}")).await.expect(200);
        assert_eq!(events["data"], json!([]));
        let recorded = app.database.recorded_of(reply).await;
        let places: Vec<_> = recorded.iter().map(|event| (event.org_id, event.action.as_str())).collect();
        assert!(places.contains(&(acme.id, action)) && places.contains(&(PLATFORM, action)));
    }
}
