//! What is counted is what the log says, to the request, however often processes are killed meanwhile and the database is
//! gone.

use super::support::{Binary, Database, Dir, Org, Private, TestApp, until, until_within};
use futures::future::join_all;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use time::format_description::well_known::Rfc3339;

/// Org, operation, outcome.
type Cell = (String, String, String);
type Counts = BTreeMap<Cell, i64>;

/// Of which the test itself asks, through another server.
const OURS: [&str; 2] = ["get_usage", "create_api_key"];

/// Who asks, and what they ask for.
fn asks(orgs: &[&Org], keys: &[String]) -> Vec<(String, Method, &'static str)> {
    let mut asks = Vec::new();
    let people = orgs.iter().flat_map(|org| [&org.owner, &org.viewer]);
    let tokens = people.map(|who| who.token.clone().unwrap()).chain(keys.iter().cloned());
    for token in tokens {
        for (method, path) in [
            (Method::GET, "/api/v1/org"),
            (Method::GET, "/api/v1/products"),
            (Method::GET, "/api/v1/limits"),
            (Method::GET, "/api/v1/products/nothing"),
            (Method::POST, "/api/v1/categories"),
            (Method::GET, "/api/v1/audit-events"),
        ] {
            asks.push((token.clone(), method, path));
        }
    }
    // Nobody's: it is in the log, and in nobody's count.
    asks.push(("nonsense".to_owned(), Method::GET, "/api/v1/org"));
    asks
}

/// Asks again and again until nobody answers any more. Some hang up before they are answered.
async fn press(
    base: String,
    asks: Arc<Vec<(String, Method, &'static str)>>,
    nth: usize,
    answered: Arc<AtomicUsize>,
) {
    let client = Client::new();
    for turn in 0.. {
        let (token, method, path) = &asks[(turn * 7 + nth * 5) % asks.len()];
        let mut request = client.request(method.clone(), format!("{base}{path}")).bearer_auth(token);
        if *method == Method::POST {
            request = request.json(&json!({"name": format!("{nth} {turn}")}));
        }
        if turn % 13 == 5 {
            request = request.timeout(Duration::from_millis(2));
        }
        match request.send().await {
            Ok(_) => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if error.is_timeout() => {}
            Err(_) => return,
        }
    }
}

/// Lets them press on a server of its own, does something to it meanwhile, and kills it. Answers what it had to say.
async fn round(
    (database, folder): (&Database, &str),
    asks: &Arc<Vec<(String, Method, &'static str)>>,
    meanwhile: impl AsyncFnOnce(),
) -> String {
    let mut served = serve(database, folder);
    let base = served.base().await;
    let answered = Arc::new(AtomicUsize::new(0));
    let pressing: Vec<_> =
        (0..8).map(|nth| tokio::spawn(press(base.clone(), asks.clone(), nth, answered.clone()))).collect();
    let more = async |count: usize| {
        let from = answered.load(Ordering::Relaxed);
        let is_over = async || answered.load(Ordering::Relaxed) >= from + count;
        until_within(Duration::from_mins(2), "it answers", is_over).await;
    };
    more(150).await;
    meanwhile().await;
    more(50).await;
    served.signal("KILL");
    served.ended().await;
    join_all(pressing).await;
    served.stderr()
}

fn serve(database: &Database, folder: &str) -> Binary {
    let settings = [
        ("INSULA_USAGE__JOURNAL", folder),
        ("INSULA_DATABASE__ACQUIRE_SECONDS", "1"),
        ("INSULA_LIMITS__IP__QUOTA_PER_MINUTE", "60000"),
        ("INSULA_LIMITS__IP__BURST", "30000"),
    ];
    Binary::serve(database, &settings)
}

/// The lines of a log that are whole: who is killed may leave a part of one.
fn lines(log: &str) -> impl Iterator<Item = Value> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok())
}

/// What the access log says, and the ids of the requests in it.
fn logged(logs: &[String]) -> (Counts, i64, BTreeSet<String>) {
    let (mut counts, mut shadowed, mut ids) = (Counts::new(), 0, BTreeSet::new());
    for line in logs.iter().flat_map(|log| lines(log)) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (Some(org), Some(operation), Some(outcome)) =
            (text(&line["span"]["org"]), text(&line["operation"]), text(&line["outcome"]))
        else {
            continue;
        };
        assert!(["answered", "abandoned"].contains(&line["message"].as_str().unwrap()), "{line}");
        assert!(ids.insert(text(&line["span"]["request_id"]).unwrap()), "twice: {line}");
        *counts.entry((org, operation, outcome)).or_default() += 1;
        shadowed += i64::from(line["shadowed"] == true);
    }
    (counts, shadowed, ids)
}

/// The last requests of the journals that ended processes have left, by their ids.
fn last_of_left(logs: &[String]) -> BTreeSet<String> {
    let left =
        logs.iter().flat_map(|log| lines(log)).filter_map(|line| line["last"].as_str().map(str::to_owned));
    left.flat_map(|last| last.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// What `GET /usage` says of all of them.
async fn counted(app: &TestApp, orgs: &[&Org]) -> (Counts, i64) {
    let (mut counts, mut shadowed) = (Counts::new(), 0);
    let at = |at: time::OffsetDateTime| at.format(&Rfc3339).unwrap();
    let now = app.clock.now();
    let (from, to) = (at(now - Duration::from_hours(1)), at(now + Duration::from_hours(2)));
    for org in orgs {
        let path = format!("/api/v1/usage?group_by=route&granularity=hour&from={from}&to={to}");
        let told = org.owner.get(&path).await.expect(200);
        for row in told["data"].as_array().unwrap() {
            let route = row["route"].as_str().unwrap();
            if OURS.contains(&route) {
                continue;
            }
            shadowed += row["shadow"].as_i64().unwrap();
            for (column, outcome) in [("passed", "passed"), ("limited", "limited"), ("errors", "error")] {
                let count = row[column].as_i64().unwrap();
                if count > 0 {
                    *counts.entry((org.id.to_string(), route.to_owned(), outcome.to_owned())).or_default() +=
                        count;
                }
            }
        }
    }
    (counts, shadowed)
}

#[tokio::test]
async fn use_is_the_access_log_to_the_request_though_processes_are_killed_and_the_database_goes_away() {
    let (mut private, database) = Private::migrated().await;
    let app = TestApp::start_on(database.clone(), "").await;
    let tier = json!({"name": "Free", "reason": "for this test", "policies": [
        {"name": "user", "scope": "user", "quota": 12, "window_seconds": 60},
        {"name": "soon", "scope": "org", "quota": 10, "window_seconds": 60, "mode": "shadow"},
        {"name": "month", "scope": "org", "quota": 90, "period": "month"},
    ]});
    app.operator().await.put("/operator/v1/tiers/free", tier).await.expect(200);
    let (acme, globex) = (app.org_on("free").await, app.org_on("free").await);
    let quiet = app.org().await;
    let mut keys = Vec::new();
    for org in [&acme, &quiet] {
        keys.push(app.api_key(org, &["org:read", "products:read"]).await.token.unwrap());
    }
    let asks = Arc::new(asks(&[&acme, &globex, &quiet], &keys));
    let folder = Dir::new();
    let path = folder.path().to_str().unwrap().to_owned();
    let here = (&database, path.as_str());

    let mut logs = vec![
        round(here, &asks, async || {}).await,
        round(here, &asks, async || database.cut_off("insula_platform").await).await,
        round(here, &asks, async || private.stop().await).await,
    ];
    private.start().await;
    let back = "another replica serves again";
    until(back, async || acme.owner.get("/api/v1/usage").await.status != 503).await;
    logs.push(round(here, &asks, async || database.cut_off("insula_platform").await).await);

    let mut last = serve(&database, &path);
    last.base().await;
    let untold = "select count(*) from usage_alerts where told_at is null";
    until("all that was left is counted", async || std::fs::read_dir(&path).unwrap().count() == 1).await;
    until("all is told", async || database.count(untold).await == 0).await;
    last.signal("TERM");
    last.ended().await;
    logs.push(last.stderr());

    let tier = json!({"name": "Free", "reason": "so that there is enough left to ask", "policies": [
        {"name": "plenty", "scope": "org", "quota": 1_000_000, "window_seconds": 60},
    ]});
    app.operator().await.put("/operator/v1/tiers/free", tier).await.expect(200);
    let orgs = [&acme, &globex, &quiet];
    let ((counted, shadow_counted), (logged, shadow_logged, ids)) =
        (counted(&app, &orgs).await, logged(&logs));
    assert!(logged.values().sum::<i64>() > 500, "{logged:?}");
    for outcome in ["passed", "limited", "error"] {
        assert!(logged.keys().any(|(.., known)| known == outcome), "no request was {outcome}: {logged:?}");
    }
    assert!(shadow_logged > 0);
    // Of a process that is killed between a record and its line, the record is there: it names the request.
    let unlogged: Vec<_> = last_of_left(&logs).into_iter().filter(|id| !ids.contains(id)).collect();
    let without_line = counted.values().sum::<i64>() - logged.values().sum::<i64>();
    let differing: Vec<_> = logged.iter().filter(|(cell, count)| counted.get(cell) < Some(count)).collect();
    assert!(differing.is_empty(), "in the log and not counted: {differing:?}");
    assert_eq!(without_line, i64::try_from(unlogged.len()).unwrap(), "explained by {unlogged:?}");
    assert!(unlogged.len() <= 4 * 4, "four processes, with no more threads than that: {unlogged:?}");
    assert!(shadow_counted >= shadow_logged && shadow_counted - shadow_logged <= without_line);
    for org in [&acme, &globex] {
        let told = database.told_by(org.id, "usage.threshold_reached").await;
        let percents: BTreeSet<_> = told.iter().map(|alert| alert["percent"].as_i64().unwrap()).collect();
        assert!(percents.len() == told.len() && percents.contains(&100), "each part is told once: {told:?}");
    }
    println!(
        "{} requests in the log, {} without a line, all counted",
        logged.values().sum::<i64>(),
        unlogged.len()
    );
}
