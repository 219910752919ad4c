//! What an organisation reads of its use is what its people and keys saw, to the request, and nobody else's.

use super::support::{Persona, TestApp};
use insula::ids::JournalId;
use serde_json::{Value, json};
use std::{fs, time::Duration};

const USAGE: &str = "/api/v1/usage";
const ORG: &str = "/api/v1/org";

async fn with_tier(policies: Value) -> TestApp {
    let app = TestApp::start().await;
    let change = json!({"name": "Free", "reason": "for this test", "policies": policies});
    app.operator().await.put("/operator/v1/tiers/free", change).await.expect(200);
    app
}

async fn ask(who: &Persona, times: usize) {
    for _ in 0..times {
        let reply = who.get(ORG).await;
        assert!([200, 429].contains(&reply.status), "{}", reply.text);
    }
}

/// What `who` reads, once all is counted; its own question is not among it.
async fn usage(app: &TestApp, who: &Persona, query: &str) -> Value {
    app.state.meter.fold(&app.state.platform).await.unwrap();
    who.get(&format!("{USAGE}{query}")).await.expect(200)
}

/// Passed, limited, in shadow, errors, units.
fn counts(of: &Value) -> [i64; 5] {
    ["passed", "limited", "shadow", "errors", "units"].map(|count| of[count].as_i64().unwrap())
}

/// By what each row calls its group.
fn rows(of: &Value, group: &str) -> Vec<(String, [i64; 5])> {
    let rows = of["data"].as_array().unwrap();
    rows.iter().map(|row| (row[group].as_str().unwrap_or("none").to_owned(), counts(row))).collect()
}

#[tokio::test]
async fn each_request_is_counted_by_what_became_of_it_and_by_what_each_policy_said() {
    let app = with_tier(json!([
        {"name": "user", "scope": "user", "quota": 5, "window_seconds": 3600},
        {"name": "soon", "scope": "org", "quota": 3, "window_seconds": 3600, "mode": "shadow"},
    ]))
    .await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    ask(&acme.member, 8).await;
    ask(&globex.owner, 2).await;

    let told = usage(&app, &acme.owner, "").await;
    // In shadow: the fourth and the fifth. Those that were refused are nobody's in shadow.
    assert_eq!(counts(&told["totals"]), [5, 3, 2, 0, 5], "{told}");
    let by_policy = usage(&app, &acme.owner, "?group_by=policy&route=get_org").await;
    assert_eq!(
        rows(&by_policy, "policy"),
        [("soon".to_owned(), [3, 0, 5, 0, 0]), ("user".to_owned(), [5, 3, 0, 0, 0])]
    );
    let one = usage(&app, &acme.owner, "?policy=user&route=get_org").await;
    assert_eq!(counts(&one["totals"]), [5, 3, 0, 0, 0]);

    // What was asked of use meanwhile is use.
    let by_route = usage(&app, &acme.owner, "?group_by=route").await;
    assert_eq!(
        rows(&by_route, "route"),
        [("get_org".to_owned(), [5, 3, 2, 0, 5]), ("get_usage".to_owned(), [3, 0, 3, 0, 3])]
    );
    let theirs = usage(&app, &globex.owner, "?group_by=route").await;
    assert_eq!(rows(&theirs, "route"), [("get_org".to_owned(), [2, 0, 0, 0, 2])]);
}

#[tokio::test]
async fn keys_are_told_apart_from_one_another_and_from_people() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let key = async |name: &str| {
        let body = json!({"name": name, "mode": "live", "scopes": ["org:read"]});
        let made = acme.owner.post("/api/v1/api-keys", body).await.expect(201);
        (made["id"].as_str().unwrap().to_owned(), app.bearer(made["key"].as_str().unwrap()))
    };
    let ((one, by_one), (two, by_two)) = (key("one").await, key("two").await);
    ask(&by_one, 3).await;
    ask(&by_two, 2).await;
    ask(&acme.viewer, 4).await;

    let told = usage(&app, &acme.owner, "?group_by=api_key&route=get_org").await;
    let mut expected = vec![(one.clone(), 3), (two.clone(), 2), ("none".to_owned(), 4)];
    expected[..2].sort();
    let passed: Vec<_> =
        rows(&told, "api_key_id").into_iter().map(|(key, counts)| (key, counts[0])).collect();
    assert_eq!(passed, expected, "{told}");
    let of_two = usage(&app, &acme.owner, &format!("?api_key_id={two}")).await;
    assert_eq!(counts(&of_two["totals"])[0], 2);
    let of_none = usage(&app, &globex.owner, &format!("?api_key_id={two}")).await;
    assert_eq!((&of_none["data"], counts(&of_none["totals"])), (&json!([]), [0; 5]));
}

#[tokio::test]
async fn minutes_add_up_to_hours_and_days_and_end_where_they_are_asked_to() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let scopes = ["org:read", "usage:read"];
    let (ours, theirs) = (app.api_key(&acme, &scopes).await, app.api_key(&globex, &scopes).await);
    ask(&ours, 1).await;
    app.clock.advance(Duration::from_mins(2));
    ask(&ours, 2).await;
    app.clock.advance(Duration::from_hours(30));
    ask(&ours, 4).await;
    ask(&theirs, 8).await;

    let passed = |told: &Value| -> Vec<i64> {
        told["data"].as_array().unwrap().iter().map(|row| counts(row)[0]).collect()
    };
    let told = async |query: String| usage(&app, &ours, &query).await;
    let at = |ago: u64| {
        let at = app.clock.now() - Duration::from_secs(ago);
        at.format(&time::format_description::well_known::Rfc3339).unwrap()
    };
    let all = format!("?route=get_org&from={}", at(32 * 3600));
    assert_eq!(passed(&told(format!("{all}&granularity=day")).await).iter().sum::<i64>(), 7);
    let by_hour = told(format!("{all}&granularity=hour&group_by=route")).await;
    assert_eq!(passed(&by_hour).last(), Some(&4), "{by_hour}");
    assert_eq!(passed(&told("?route=get_org".to_owned()).await), [4], "the last hour");
    let between = format!("?route=get_org&from={}&to={}", at(31 * 3600), at(30 * 3600 - 60));
    assert_eq!(passed(&told(between).await), [1, 2]);
}

#[tokio::test]
async fn a_closed_organisation_is_counted_and_nobody_is_whose_credentials_are_bad() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.database.suspend(globex.id).await;
    app.state.directory.forget(globex.id);
    assert_eq!(globex.owner.get(ORG).await.status, 403);
    let stranger = app.bearer("insula_live_nonsense");
    assert_eq!(stranger.get(ORG).await.status, 401);
    assert_eq!(acme.owner.get("/api/v1/nowhere").await.status, 404);
    app.state.meter.fold(&app.state.platform).await.unwrap();

    let passed = "select coalesce(sum(passed), 0)::bigint from usage_route_minutes where policy = ''";
    assert_eq!(app.database.count(passed).await, 1, "the one of the closed organisation");
    let decided = "select coalesce(sum(requests), 0)::bigint from usage_minutes";
    assert_eq!(app.database.count(decided).await, 0, "no limit was asked");
}

#[tokio::test]
async fn use_is_for_whoever_may_read_it_and_unusable_questions_are_refused() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    acme.admin.get(USAGE).await.expect(200);
    for who in [&acme.member, &globex.viewer] {
        who.get(USAGE).await.expect_problem(403, "permission_denied");
    }
    let key = app.api_key(&acme, &["usage:read"]).await;
    key.get(USAGE).await.expect(200);
    for question in [
        "?granularity=year",
        "?group_by=user",
        "?group_by=",
        "?route=",
        "?route=GET%20/org",
        "?policy=-user",
        "?policy=_user",
        "?api_key_id=usr_01jd8yq3c5f4x7t9k2m6n8p0rs",
        "?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z&granularity=minute",
        "?from=2026-01-01T00:00:00Z&to=2026-01-01T04:00:00Z&granularity=minute&group_by=route",
        "?from=2020-01-01T00:00:00Z&granularity=day",
        "?org=acme",
    ] {
        acme.owner.get(&format!("{USAGE}{question}")).await.expect_problem(400, "bad_parameter");
    }
}

#[tokio::test]
async fn where_no_journal_can_be_written_requests_are_served_and_counted_all_the_same() {
    let app = TestApp::start_with("[usage]\njournal = \"/proc/nowhere\"").await;
    let acme = app.org().await;
    ask(&acme.viewer, 3).await;
    assert_eq!(counts(&usage(&app, &acme.owner, "?route=get_org").await["totals"]), [3, 0, 0, 0, 3]);
}

#[tokio::test]
async fn what_another_process_has_left_is_counted_once_and_what_is_not_ours_is_left_alone() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    ask(&acme.viewer, 3).await;
    app.state.meter.fold(&app.state.platform).await.unwrap();
    // As a process leaves it that was killed, of which nothing was counted, with the end of a write that came to nothing.
    let folder = app.database.usage();
    let journal = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let mut left = fs::read(&journal).unwrap();
    left.extend_from_slice(&left.clone()[..20]);
    let known = JournalId::new();
    let name = |id: JournalId| folder.join(format!("{id}.journal"));
    let (ours, foreign) = (name(known), name(JournalId::new()));
    app.database.knows_journal(known).await;
    for path in [&ours, &foreign] {
        fs::write(path, &left).unwrap();
    }
    let other = app.replica().await;
    other.state.meter.fold(&other.state.platform).await.unwrap();
    app.state.meter.fold(&app.state.platform).await.unwrap();

    assert!(!ours.exists() && foreign.exists() && journal.exists());
    assert_eq!(counts(&usage(&app, &acme.owner, "?route=get_org").await["totals"]), [6, 0, 0, 0, 6]);
}
