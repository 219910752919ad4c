//! Row-level security is the guarantee, and the predicate in each statement only the plan.

use super::make;
use crate::support::{BREACHES, Org, TestApp};
use serde_json::json;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;

/// Two orgs with rows in every table that has a fence.
async fn two_orgs(app: &TestApp) -> (Org, Org) {
    let (acme, globex) = (app.org().await, app.org().await);
    for org in [&acme, &globex] {
        for collection in [
            "/api/v1/api-keys",
            "/api/v1/categories",
            "/api/v1/decisions",
            "/api/v1/imports",
            "/api/v1/jobs",
            "/api/v1/schedules",
            "/api/v1/webhooks/{id}/attempts",
            "/api/v1/products/{id}/images",
            "/api/v1/orders",
            "/api/v1/invitations",
            "/api/v1/roles",
        ] {
            make(app, &org.owner, "", collection).await;
        }
    }
    limit_by_the_month_with_exceptions(app, [&acme, &globex]).await;
    app.state.authz.uses().flush(&app.state.platform).await.unwrap();
    app.state.decisions.flush(&app.state.platform).await.unwrap();
    app.state.meter.fold(&app.state.platform).await.unwrap();
    for org in [&acme, &globex] {
        app.died_in_an_upload(org.id, app.clock.now()).await;
    }
    app.seal().await;
    app.number().await;
    (acme, globex)
}

/// Has each use something of a monthly quota and half of a daily one, under a policy in shadow, and an override.
async fn limit_by_the_month_with_exceptions(app: &TestApp, orgs: [&Org; 2]) {
    let operator = app.operator().await;
    let month = json!({"name": "month", "scope": "org", "quota": 1_000_000, "period": "month"});
    // Of which half is used by the next request.
    let day = json!({"name": "day", "scope": "org", "quota": 2, "window_seconds": 86_400});
    let trial = json!({"name": "trial", "scope": "org", "quota": 9, "window_seconds": 60, "mode": "shadow"});
    let tier = json!({"name": "Enterprise", "policies": [month, day, trial], "reason": "to have rows"});
    operator.put("/operator/v1/tiers/enterprise", tier).await.expect(200);
    let expires_at = (app.clock.now() + Duration::from_hours(1)).format(&Rfc3339).unwrap();
    for org in orgs {
        org.owner.get("/api/v1/org").await.expect(200);
        let exception = json!({"org": org.slug, "policy": "month", "quota": 2_000_000, "expires_at": expires_at,
                               "reason": "to have rows"});
        operator.post("/operator/v1/overrides", exception).await.expect(201);
    }
}

#[tokio::test]
async fn a_statement_that_forgets_the_org_finds_the_own_rows_alone() {
    let app = TestApp::start().await;
    let (acme, globex) = two_orgs(&app).await;
    let tables = app.database.fenced_tables().await;
    assert!(tables.len() >= 10, "a fence is missing: there are {}", tables.len());
    for fenced in &tables {
        for org in [&acme, &globex] {
            let (own, others) = app.database.rows_seen(fenced, org.id).await;
            assert!(own > 0, "{}: give both orgs rows of it in two_orgs, to be seen or not", fenced.table);
            assert_eq!(others, 0, "{} leaks", fenced.table);
        }
        let given = app.database.give_away(fenced, acme.id, globex.id).await;
        assert_eq!(given, Err("42501".to_owned()), "{}: rows can be written for another org", fenced.table);
        // Not "0 rows": who forgets to set the org is told.
        assert_eq!(app.database.without_an_org(fenced).await, "42704", "{}", fenced.table);
    }
}

/// Were this not so, the test above would prove nothing.
#[tokio::test]
async fn any_breach_of_the_fence_shows_rows_of_others_at_once() {
    let app = TestApp::start().await;
    let (acme, _globex) = two_orgs(&app).await;
    for fenced in app.database.fenced_tables().await {
        for (breach, repair) in BREACHES {
            app.database.alter(&fenced, breach).await;
            let (_, others) = app.database.rows_seen(&fenced, acme.id).await;
            assert!(others > 0, "{}: {breach} changes nothing", fenced.table);

            app.database.alter(&fenced, repair).await;
            let (_, others) = app.database.rows_seen(&fenced, acme.id).await;
            assert_eq!(others, 0, "{}: {repair} does not help", fenced.table);
        }
    }
}
