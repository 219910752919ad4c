//! A role that is changed at one process is enforced at the others within a second, with the change bus cut too; and
//! nobody signs in again.

use super::support::{Binary, Persona, TestApp, until, within_a_second};
use serde_json::json;
use std::time::{Duration, Instant};

const KEY: (&str, &str) = ("INSULA_AUTH__MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");

#[tokio::test]
async fn three_processes_follow_a_changed_role_within_a_second() {
    follow(false).await;
}

#[tokio::test]
async fn three_processes_follow_a_changed_role_within_a_second_when_the_notification_is_lost() {
    follow(true).await;
}

/// Where nobody is told at all, whoever opens a transaction is told by the database itself.
#[tokio::test]
async fn with_the_bus_cut_a_right_taken_away_is_gone_from_the_next_request_that_asks_the_database() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let fleet = Fleet::start(&app).await;
    let (admin, clerks, path) = clerks(&app, &acme, &fleet).await;
    app.database.cut_bus().await;
    admin.patch(&path, json!({"permissions": permissions(false)})).await.expect(200);
    let changed = Instant::now();
    for clerk in &clerks {
        // What nobody has asked yet: an answer that is at hand is told for a second at most.
        clerk.get("/api/v1/categories?limit=7").await.expect_problem(403, "permission_denied");
    }
    println!("the bus cut, at the first request of each: {:?}", changed.elapsed());
    globex.viewer.at(&fleet.bases[2]).get("/api/v1/categories").await.expect(200);
}

async fn follow(quietly: bool) {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let fleet = Fleet::start(&app).await;
    if quietly {
        app.database.cut_notify().await;
    }
    let (admin, clerks, path) = clerks(&app, &acme, &fleet).await;
    let stranger = globex.viewer.at(&fleet.bases[1]);
    let mut slowest = Duration::ZERO;
    for round in 0..6 {
        let allowed = round % 2 == 1;
        admin.patch(&path, json!({"permissions": permissions(allowed)})).await.expect(200);
        let changed = Instant::now();
        for clerk in &clerks {
            // With a body that is wrong: refused at the door or after it, before any transaction begins.
            let expected = if allowed { 422 } else { 403 };
            within_a_second("the change is enforced", async || {
                clerk.post("/api/v1/categories", json!({})).await.status == expected
            })
            .await;
        }
        slowest = slowest.max(changed.elapsed());
        println!("round {round}: at all three after {:?}", changed.elapsed());
        stranger.get("/api/v1/categories").await.expect(200);
    }
    println!("slowest: {slowest:?}");
}

fn permissions(allowed: bool) -> Vec<&'static str> {
    if allowed { vec!["orders:read", "categories:read", "categories:create"] } else { vec!["orders:read"] }
}

/// The same clerk at each process, who may, and the path of the role that says so; the admin works at the first.
async fn clerks(app: &TestApp, acme: &super::support::Org, fleet: &Fleet) -> (Persona, Vec<Persona>, String) {
    let admin = acme.admin.at(&fleet.bases[0]);
    let role = json!({"name": "clerk", "permissions": permissions(true)});
    let path = admin.post("/api/v1/roles", role).await.header("location").to_owned();
    let clerk = app.member(acme.id, &acme.slug, "clerk").await;
    let clerks: Vec<_> = fleet.bases.iter().map(|base| clerk.at(base)).collect();
    for clerk in &clerks {
        until("they come in", async || clerk.get("/api/v1/categories").await.status == 200).await;
        clerk.post("/api/v1/categories", json!({})).await.expect(422);
    }
    (admin, clerks, path)
}

/// Three `insula serve` on the database of a `TestApp`.
struct Fleet {
    bases: Vec<String>,
    _processes: Vec<Binary>,
}

impl Fleet {
    async fn start(app: &TestApp) -> Self {
        let (tenants, platform) = (app.database.url("insula_app"), app.database.url("insula_platform"));
        let settings = [
            ("INSULA_DATABASE__APP_URL", tenants.as_str()),
            ("INSULA_DATABASE__PLATFORM_URL", &platform),
            ("INSULA_HTTP__LISTEN", "127.0.0.1:0"),
            ("INSULA_HTTP__PUBLIC_URL", "http://insula.test"),
            KEY,
        ];
        let mut processes: Vec<_> = (0..3).map(|_| Binary::start(&["serve"], &settings)).collect();
        let mut bases = Vec::new();
        for process in &mut processes {
            bases.push(process.base().await);
        }
        Self { bases, _processes: processes }
    }
}
