//! Refusals can be asked about afterwards: at once, at any replica, for seven days, by whom they concern.

use super::support::{Persona, Private, TestApp, cog, until};
use insula::decisions;
use serde_json::{Value, json};
use std::time::Duration;

/// The refusal of somebody who may not make products.
async fn refused(who: &Persona) -> Value {
    who.post("/api/v1/products", cog()).await.expect_problem(403, "permission_denied")
}

fn url(problem: &Value) -> &str {
    problem["explain_url"].as_str().unwrap()
}

#[tokio::test]
async fn whoever_was_refused_learns_why_and_so_do_admins_and_nobody_else() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let problem = refused(&acme.viewer).await;
    let receipt = acme.viewer.get(url(&problem)).await.expect(200);
    assert_eq!(
        receipt,
        json!({
            "request_id": problem["request_id"],
            "at": receipt["at"],
            "outcome": "deny",
            "kind": "permission",
            "permission": "products:create",
            "roles": ["viewer"],
            "rule": null,
            "policies": [],
            "text": problem["detail"],
        })
    );
    for admin in [&acme.admin, &acme.owner] {
        assert_eq!(admin.get(url(&problem)).await.expect(200), receipt);
    }
    let never_was = acme.admin.get("/api/v1/decisions/req_01jd8yq3c5f4x7t9k2m6n8p0rs").await;
    never_was.expect_problem(404, "not_found");
    let malformed = acme.admin.get("/api/v1/decisions/req_1").await;
    assert_eq!(malformed.without_request_id(), never_was.without_request_id());
    for flushed in [false, true] {
        if flushed {
            app.state.decisions.flush(&app.state.platform).await.unwrap();
        }
        for outsider in [&acme.member, &globex.viewer, &globex.admin] {
            let answer = outsider.get(url(&problem)).await;
            assert_eq!(answer.without_request_id(), never_was.without_request_id());
        }
    }

    // What is no matter of permissions or limits leaves none.
    let product = acme.owner.post("/api/v1/products", json!({})).await.expect_problem(422, "invalid");
    assert_eq!(product["explain_url"], Value::Null);
    let path = format!("/api/v1/decisions/{}", product["request_id"].as_str().unwrap());
    acme.owner.get(&path).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_limit_that_refused_is_told_as_it_stood() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    for _ in 0..60 {
        acme.viewer.get("/api/v1/products").await.expect(200);
    }
    let problem = acme.viewer.get("/api/v1/products").await.expect_problem(429, "rate_limited");
    // Asking costs nothing, so that one who has nothing left can ask.
    let receipt = acme.viewer.get(url(&problem)).await.expect(200);
    assert_eq!((&receipt["kind"], &receipt["outcome"]), (&json!("limit"), &json!("deny")));
    assert_eq!(receipt["policies"], problem["limits"]);
    assert_eq!(receipt["policies"][0]["used"], 120);
    assert_eq!((&receipt["text"], &receipt["permission"]), (&problem["detail"], &Value::Null));

    // A role that is not enough is told of only where a limit is.
    let dear = acme.viewer.post("/api/v1/products", cog()).await.expect_problem(429, "rate_limited");
    assert_eq!(acme.admin.get(url(&dear)).await.expect(200)["policies"][0]["cost"], 3);
    globex.admin.get(url(&dear)).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn any_replica_can_tell_of_it_once_it_is_written_down() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (acme, globex) = (here.org().await, here.org().await);
    let problems = [refused(&acme.viewer).await, refused(&acme.viewer).await];
    let told = acme.viewer.get(url(&problems[0])).await.expect(200);
    until("all are written down", async || {
        here.state.decisions.flush(&here.state.platform).await.unwrap();
        here.database.count("select count(*) from decisions").await == 2
    })
    .await;
    assert_eq!(here.state.decisions.flush(&here.state.platform).await.unwrap(), 0, "each once");

    assert_eq!(acme.viewer.at(&there.base).get(url(&problems[0])).await.expect(200), told);
    acme.admin.at(&there.base).get(url(&problems[1])).await.expect(200);
    for outsider in [&acme.member, &globex.admin] {
        outsider.at(&there.base).get(url(&problems[0])).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn after_seven_days_nobody_is_told_any_more_and_the_rows_are_gone() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let problem = refused(&acme.viewer).await;
    app.state.decisions.flush(&app.state.platform).await.unwrap();
    app.clock.advance(Duration::from_hours(7 * 24) - Duration::from_secs(1));
    let admin = app.signed_in(acme.admin.user(), acme.id).await;
    admin.get(url(&problem)).await.expect(200);
    refused(&app.signed_in(globex.viewer.user(), globex.id).await).await;
    app.state.decisions.flush(&app.state.platform).await.unwrap();

    app.clock.advance(Duration::from_secs(2));
    admin.get(url(&problem)).await.expect_problem(404, "not_found");
    let mut tx = app.state.platform.begin().await.unwrap();
    decisions::sweep(&mut tx, app.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    let left = "select count(*) from decisions where org_id =";
    assert_eq!(app.database.count(format!("{left} '{}'", acme.id.uuid())).await, 0);
    assert_eq!(app.database.count(format!("{left} '{}'", globex.id.uuid())).await, 1);
}

#[tokio::test]
async fn without_a_database_what_was_in_force_decides_for_thirty_seconds_and_refusals_are_told_of_all_the_same()
 {
    let (mut private, database) = Private::migrated().await;
    let app = TestApp::start_on(database, "[database]\nacquire_seconds = 1").await;
    let (acme, globex) = (app.org().await, app.org().await);
    for who in [&acme.viewer, &globex.viewer] {
        refused(who).await;
        who.get("/api/v1/limits").await.expect(200);
    }
    app.state.decisions.flush(&app.state.platform).await.unwrap();

    private.stop().await;
    app.clock.advance(Duration::from_secs(20));
    // Asked for again, not to be had, and decided by what was in force.
    let problem = refused(&acme.viewer).await;
    acme.viewer.get("/api/v1/limits").await.expect(200);
    acme.viewer.get(url(&problem)).await.expect(200);
    assert!(app.state.decisions.flush(&app.state.platform).await.is_err());
    app.clock.advance(Duration::from_secs(11));
    for who in [&acme.viewer, &globex.viewer] {
        who.get("/api/v1/limits").await.expect_problem(503, "unavailable");
        who.post("/api/v1/products", cog()).await.expect_problem(503, "unavailable");
    }

    private.start().await;
    until("it decides again", async || acme.viewer.get("/api/v1/limits").await.status == 200).await;
    until("what was kept is written down", async || {
        app.state.decisions.flush(&app.state.platform).await.ok();
        app.database.count("select count(*) from decisions").await == 3
    })
    .await;
    globex.viewer.get(url(&problem)).await.expect_problem(404, "not_found");
}
