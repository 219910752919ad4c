//! `insula serve` and `insula worker` as processes: what they refuse to start with, and how they stop.

use super::support::{Binary, Database, TestApp, cog, until};
use serde_json::json;
use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

const KEY: (&str, &str) = ("INSULA_AUTH__MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
const APP: &str = "INSULA_DATABASE__APP_URL";
const PLATFORM: &str = "INSULA_DATABASE__PLATFORM_URL";

#[tokio::test]
async fn serving_without_settings_names_the_first_that_is_needed() {
    let (code, said) = Binary::run(&["serve"], &[]).await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("INSULA_DATABASE__APP_URL: is not set"), "{said}");

    let (code, said) = Binary::run(&["serve"], &[(APP, "postgres://insula_app@localhost/insula")]).await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("INSULA_DATABASE__PLATFORM_URL: is not set"), "{said}");

    let (code, said) = Binary::run(&["migrate"], &[]).await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("INSULA_DATABASE__OWNER_URL: is not set"), "{said}");
}

#[tokio::test]
async fn a_setting_that_cannot_be_used_is_named_with_its_reason() {
    for (key, value, reason) in [
        ("INSULA_HTTP__LISTEN", "nowhere", "socket address"),
        ("INSULA_METRICS__LISTEN", "9090", "string"),
        ("INSULA_METRICS__LISTEN", "localhost", "socket address"),
        ("INSULA_HTTP__TIMEOUT_SECONDS", "soon", "u64"),
        ("INSULA_HTTP__TIMEOUT_SECONDS", "0", "at least 1"),
        ("INSULA_HTTP__PUBLIC_URL", "example.com", "is no address"),
        ("INSULA_HTTP__ALLOWED_ORIGINS", "[\"example.com\"]", "is no origin"),
        ("INSULA_AUTH__MASTER_KEY", "c2hvcnQ=", "32 random bytes"),
        ("INSULA_DATABASE__APP_CONNECTIONS", "0", "at least 1"),
        ("INSULA_LOG__FORMAT", "xml", "json"),
        ("INSULA_AUTH__ARGON2_MEMORY_KIB", "64", "7 MiB"),
        ("INSULA_AUTH__ARGON2_PASSES", "0", "1 to 20"),
        ("INSULA_USAGE__RETENTION_DAYS", "0", "at least 1"),
        ("INSULA_TRACES__SAMPLE", "2", "0 (none) to 1"),
        ("INSULA_TRACES__OTLP_URL", "otel-collector:4318", "is no address"),
        ("INSULA_MAIL__FROM", "nobody", "is no sender"),
        ("INSULA_MAIL__SMTP_URL", "mail.example.com", "is no SMTP address"),
        ("INSULA_MAIL__LINK_BASE", "example.com", "is no address"),
    ] {
        let nowhere =
            ["postgres://insula_app@127.0.0.1:1/insula", "postgres://insula_platform@127.0.0.1:1/insula"];
        let said = refusal(&nowhere, key, value).await;
        assert!(said.contains(key) && said.contains(reason), "{key}={value}: {said}");
    }
}

/// These are understood only by those who use them, after the settings were read.
#[tokio::test]
async fn an_address_a_log_filter_and_a_limit_that_cannot_be_used_are_settings_too() {
    let database = Database::new().await;
    let urls = [database.url("insula_app"), database.url("insula_platform")];
    for (key, value) in [
        (APP, "db.example.com"),
        (PLATFORM, "postgres://host:port/insula"),
        ("INSULA_LOG__FILTER", "insula=loud=louder"),
        ("INSULA_LIMITS__IP__QUOTA_PER_MINUTE", "0"),
    ] {
        let said = refusal(&[&urls[0], &urls[1]], key, value).await;
        let named = key.strip_suffix("__QUOTA_PER_MINUTE").unwrap_or(key);
        assert!(said.contains(named), "{key}={value}: {said}");
    }
}

/// What is said, with exit status 2, where one setting is this and the others are good.
async fn refusal([app, platform]: &[&str; 2], key: &str, value: &str) -> String {
    let good = [
        (APP, *app),
        (PLATFORM, *platform),
        ("INSULA_DATABASE__CONNECT_SECONDS", "1"),
        ("INSULA_HTTP__LISTEN", "127.0.0.1:0"),
        KEY,
    ];
    let (code, said) = Binary::run(&["serve"], &[&good[..], &[(key, value)]].concat()).await;
    assert_eq!(code, 2, "{key}={value}: {said}");
    said
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_of_before_anything_is_waited_for() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (key, other) in
        [("INSULA_HTTP__LISTEN", "INSULA_METRICS__LISTEN"), ("INSULA_METRICS__LISTEN", "INSULA_HTTP__LISTEN")]
    {
        let settings = [
            (key, address.as_str()),
            (other, "127.0.0.1:0"),
            (APP, "postgres://insula_app@127.0.0.1:1/insula"),
            (PLATFORM, "postgres://insula_platform@127.0.0.1:1/insula"),
            KEY,
        ];
        let (code, said) = Binary::run(&["serve"], &settings).await;
        assert_eq!(code, 1, "{key}: {said}");
        assert!(said.contains(&format!("can't listen on {address}")) && said.contains("in use"), "{said}");
    }
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_process_ends() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let made = acme.owner.post("/api/v1/products", cog()).await.expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/products/{id}");
    let mut served = Binary::serve(&app.database, &[]);
    let base = served.base().await;
    until("it says that mails wait", async || served.stderr().contains("mails are queued and not sent"))
        .await;
    globex.owner.at(&base).get(&path).await.expect_problem(404, "not_found");

    let lock = app.database.lock_product(&id).await;
    let (owner, patched) = (acme.owner.at(&base), path.clone());
    let slow = tokio::spawn(async move { owner.patch(&patched, json!({"name": "Slow"})).await });
    until("the request waits", async || app.database.waiting().await == 1).await;
    served.signal("TERM");
    until("nobody else is let in", async || {
        tokio::net::TcpStream::connect(base.trim_start_matches("http://")).await.is_err()
    })
    .await;
    assert!(served.is_running() && !slow.is_finished());

    lock.release().await;
    assert_eq!(slow.await.unwrap().expect(200)["name"], "Slow");
    assert_eq!(served.ended().await.code(), Some(0), "{}", served.stderr());
    assert!(!served.stderr().contains("still in flight"), "{}", served.stderr());
    assert_eq!(acme.owner.get(&path).await.expect(200)["name"], "Slow");
}

#[tokio::test]
async fn a_request_that_does_not_end_is_waited_for_as_long_as_is_set_and_no_longer() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let made = acme.owner.post("/api/v1/products", cog()).await.expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    let mut served = Binary::serve(&app.database, &[("INSULA_HTTP__SHUTDOWN_SECONDS", "1")]);
    let stuck = acme.owner.at(&served.base().await);

    let lock = app.database.lock_product(&id).await;
    let path = format!("/api/v1/products/{id}");
    let stuck = tokio::spawn(async move { stuck.patch(&path, json!({"name": "Stuck"})).await });
    until("the request waits", async || app.database.waiting().await == 1).await;
    served.signal("TERM");
    let asked = Instant::now();
    assert_eq!(served.ended().await.code(), Some(0), "{}", served.stderr());
    // Less than the lock would have been waited for.
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(served.stderr().contains("requests were still in flight after 1 s"), "{}", served.stderr());
    stuck.abort();
    lock.release().await;
}

#[tokio::test]
async fn a_server_that_still_waits_for_its_database_stops_at_once_when_told_to() {
    let nowhere = "postgres://insula_app@127.0.0.1:1/insula";
    let mut served = Binary::start(
        &["serve"],
        &[(APP, nowhere), (PLATFORM, nowhere), ("INSULA_HTTP__LISTEN", "127.0.0.1:0"), KEY],
    );
    until("it waits", async || served.stderr().contains("can't be reached yet")).await;
    served.signal("TERM");
    let asked = Instant::now();
    assert_eq!(served.ended().await.code(), Some(0), "{}", served.stderr());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_worker_apart_gives_its_job_back_when_stopped_and_one_that_is_killed_leaves_it_to_the_next() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    acme.owner.post("/api/v1/products", cog()).await.expect(201);
    let new = json!({"resource": "products", "format": "csv"});
    let asked = acme.owner.post("/api/v1/exports", new).await;
    asked.expect(202);
    let job = async || acme.owner.get(asked.header("location")).await.expect(200);
    // Asked of the database: while the clock stands still, nobody's limits come back.
    let is = async |status: &str| {
        let jobs = format!("select count(*) from jobs where status = '{status}'");
        until(status, async || app.database.count(&jobs).await == 1).await
    };

    // Whoever exports them waits in the midst of it.
    let gate = "create policy gate on products as restrictive for select to insula_app
                using (pg_advisory_xact_lock_shared(7) is not null)";
    app.database.run(gate).await;
    let lock = app.database.lock("select pg_advisory_xact_lock(7)").await;
    let mut stopped = Binary::work(&app.database, &[]);
    is("running").await;
    stopped.signal("TERM");
    assert_eq!(stopped.ended().await.code(), Some(0), "{}", stopped.stderr());
    let given_back = job().await;
    assert_eq!((&given_back["status"], &given_back["attempts"]), (&json!("queued"), &json!(0)));

    let mut killed = Binary::work(&app.database, &[]);
    is("running").await;
    killed.signal("KILL");
    killed.ended().await;
    lock.release().await;
    assert_eq!(job().await["status"], "running", "nobody knows yet");
    let _last = Binary::work(&app.database, &[]);
    is("succeeded").await;
    let done = job().await;
    assert_eq!(done["attempts"], 2);
    let file = acme.owner.get(done["result"]["path"].as_str().unwrap()).await;
    assert!(file.status == 200 && file.text.lines().count() == 2, "{}", file.text);
}

#[tokio::test]
async fn an_operator_who_is_made_at_the_command_line_signs_in_with_what_is_printed_and_is_in_the_audit() {
    let app = TestApp::start().await;
    let (url, platform) = (app.database.url("insula_app"), app.database.url("insula_platform"));
    let settings = [(APP, url.as_str()), (PLATFORM, &platform), KEY];
    let (code, said) = Binary::run(&["operator", "olga@platform.example"], &settings).await;
    assert_eq!(code, 0, "{said}");
    let (_, password) = said.trim().rsplit_once(' ').unwrap();
    let login = json!({"email": "olga@platform.example", "password": password});
    let olga = app.anon().post("/api/v1/auth/login", login).await.expect(200);
    let olga = app.bearer(olga["access_token"].as_str().unwrap());
    olga.get("/operator/v1/orgs").await.expect(200);

    let told = app.audited(insula::tenancy::PLATFORM).await;
    let [joined] = &told.iter().filter(|line| line.action == "member.joined").collect::<Vec<_>>()[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        (joined.actor_type.as_str(), &joined.after),
        ("system", &Some(json!({"roles": ["operator"]})))
    );
}
