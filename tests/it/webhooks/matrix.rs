//! Receivers of every kind: what each answer means for the delivery.

use super::{FAST, fast, history, make_product};
use crate::support::{
    Dir, Smtp, TestApp,
    hooks::{Hook, NewHook},
    receiver::{Answer, Authority, Receiver, status},
    until,
};
use serde_json::json;
use std::time::Duration;
use tokio::net::TcpListener;

/// What it answers, how each attempt ends (with its status), and how the delivery does.
type Row = (Vec<Answer>, &'static [(&'static str, Option<i16>)], &'static str);

fn says(status: u16, name: &'static str, value: &str) -> Answer {
    Answer::Says(status, Some((name, value.to_owned())), "noted".to_owned())
}

#[tokio::test]
async fn each_answer_ends_an_attempt_in_its_own_way_and_what_is_not_taken_is_tried_again() {
    let app = fast().await;
    let org = app.org().await;
    let elsewhere = Receiver::start([]).await;
    let rows: Vec<Row> = vec![
        (vec![status(200)], &[("succeeded", Some(200))], "succeeded"),
        (vec![status(201)], &[("succeeded", Some(201))], "succeeded"),
        (vec![status(204)], &[("succeeded", Some(204))], "succeeded"),
        (
            vec![
                says(301, "location", &elsewhere.url),
                says(307, "location", &elsewhere.url),
                says(308, "location", &elsewhere.url),
            ],
            &[("redirected", Some(301)), ("redirected", Some(307)), ("redirected", Some(308))],
            "failed",
        ),
        (
            vec![status(400), status(404), status(401)],
            &[("refused", Some(400)), ("refused", Some(404)), ("refused", Some(401))],
            "failed",
        ),
        (vec![status(410)], &[("refused", Some(410))], "failed"),
        (vec![status(500), status(200)], &[("refused", Some(500)), ("succeeded", Some(200))], "succeeded"),
        (
            vec![status(500), status(502), status(503)],
            &[("refused", Some(500)), ("refused", Some(502)), ("refused", Some(503))],
            "failed",
        ),
        (vec![Answer::Silence, status(200)], &[("timed_out", None), ("succeeded", Some(200))], "succeeded"),
        (vec![Answer::HangsUp, status(200)], &[("unreachable", None), ("succeeded", Some(200))], "succeeded"),
        (vec![Answer::Endless(200)], &[("succeeded", Some(200))], "succeeded"),
        (
            vec![Answer::Endless(500), status(200)],
            &[("refused", Some(500)), ("succeeded", Some(200))],
            "succeeded",
        ),
    ];
    let mut cases: Vec<(Hook, Receiver, Row)> = Vec::new();
    for row in rows {
        let receiver = Receiver::start(row.0.clone()).await;
        let hook = app.hook(org.id, NewHook { url: &receiver.url, ..NewHook::default() }).await;
        cases.push((hook, receiver, row));
    }
    make_product(&org.owner, "COG").await;
    for (hook, receiver, (answers, wanted, status)) in &cases {
        until(&format!("{wanted:?}"), async || app.all_are(hook, 1, status).await).await;
        let attempts = app.attempts(hook).await;
        let ended: Vec<_> = attempts.iter().map(|attempt| (&*attempt.outcome, attempt.status_code)).collect();
        assert_eq!(ended, *wanted, "{attempts:?}");
        let nth: Vec<_> = attempts.iter().map(|attempt| attempt.nth).collect();
        assert!(nth.iter().copied().eq(1..=i32::try_from(wanted.len()).unwrap()), "{nth:?}");
        assert_eq!(receiver.count(), answers.len(), "once for each attempt: {wanted:?}");
        let ids = receiver.ids();
        assert!(ids.iter().all(|id| *id == ids[0]), "each time under the same name: {ids:?}");
        let [delivery] = &app.deliveries(hook).await[..] else { panic!() };
        assert_eq!((delivery.attempts, &*delivery.asked_by), (i32::try_from(wanted.len()).unwrap(), "event"));
    }
    assert_eq!(elsewhere.count(), 0, "a redirection was followed");
    let gone = app.endpoint(&cases[5].0).await;
    assert_eq!((&*gone.status, gone.disabled_reason.as_deref()), ("disabled", Some("gone")));
    for (hook, ..) in cases.iter().filter(|(.., (answers, ..))| answers.len() != 1) {
        assert_eq!(app.endpoint(hook).await.status, "enabled");
    }
    let slow = &app.attempts(&cases[10].0).await[0];
    assert_eq!(slow.response_body.as_deref(), Some("the beginning"));
    assert_eq!(slow.error.as_deref(), Some("the answer did not end within 1 s"));
    let silent = &app.attempts(&cases[8].0).await[0];
    assert_eq!(silent.error.as_deref(), Some("there was no answer within 1 s"));
    assert!(silent.duration_milliseconds >= 1_000, "{silent:?}");
}

#[tokio::test]
async fn an_attempt_is_written_down_with_what_was_sent_and_answered_and_no_secret() {
    let app = fast().await;
    let org = app.org().await;
    let long = Answer::Says(400, Some(("x-trace", "abc".to_owned())), "é\0".repeat(4_000));
    let receiver = Receiver::start([long]).await;
    let hook = app.hook(org.id, NewHook { url: &receiver.url, ..NewHook::default() }).await;
    make_product(&org.owner, "COG").await;
    until("it was delivered", async || app.all_are(&hook, 1, "succeeded").await).await;

    let first = &app.attempts(&hook).await[0];
    let came = &receiver.received()[0];
    assert_eq!(came.line, "POST /hooks?tenant=1 HTTP/1.1");
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature", "content-type"] {
        assert_eq!(first.request_headers[name], came.headers[name], "{name}");
    }
    assert_eq!(came.headers["content-type"], "application/json");
    assert!(came.headers["user-agent"].starts_with("Insula-Webhooks/"), "{came:?}");
    assert_eq!(first.response_headers.as_ref().unwrap()["x-trace"], "abc");
    let body = first.response_body.as_ref().unwrap();
    assert!(body.starts_with("é\u{fffd}é\u{fffd}") && body.len() < 8_192, "{} octets", body.len());
    assert_eq!(first.error, None);

    // The very octets that `GET` answers.
    app.number().await;
    let event = &history(&org, "product.created").await[0];
    let told = org.owner.get(&format!("/api/v1/events/history/{event}")).await;
    assert_eq!((event.as_str(), came.body.as_str()), (came.id(), told.text.as_str()));
    let secret = hook.secret.trim_start_matches("whsec_");
    assert_eq!(app.database.mentions(secret).await, [""; 0]);
}

#[tokio::test]
async fn whoever_wants_to_be_left_alone_for_a_while_is() {
    let app = fast().await;
    let org = app.org().await;
    for (status, header, least) in [(429, "1", 1_000), (503, "1", 1_000), (500, "1", 0)] {
        let receiver = Receiver::start([says(status, "retry-after", header)]).await;
        let hook = app.hook(org.id, NewHook { url: &receiver.url, ..NewHook::default() }).await;
        make_product(&org.owner, &format!("COG-{status}")).await;
        until("it was delivered", async || app.all_are(&hook, 1, "succeeded").await).await;
        let came = receiver.received();
        let between = came[1].at - came[0].at;
        assert!(between >= Duration::from_millis(least), "{status}: again after {between:?}");
    }
}

#[tokio::test]
async fn tls_is_spoken_to_whoever_is_trusted_and_nothing_is_said_to_others() {
    let (trusted, stranger, dir) = (Authority::new(), Authority::new(), Dir::new());
    let roots = dir.path().join("roots.pem");
    std::fs::write(&roots, trusted.pem()).unwrap();
    let app = TestApp::start_with(&format!("{FAST}extra_roots_file = {roots:?}\n")).await;
    let org = app.org().await;
    let (good, bad) = (Receiver::secure(&trusted).await, Receiver::secure(&stranger).await);
    // Who speaks first, and something else.
    let plain = Smtp::start(&[]).await;
    // Of a name that the certificate is not for.
    let misnamed = good.url.replace("localhost", "127.0.0.1");
    let not_tls = plain.url().replace("smtp:", "https:");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = format!("http://{nobody}/");
    let mut hooks = Vec::new();
    for (url, outcome, status) in [
        (good.url.as_str(), "succeeded", "succeeded"),
        (&bad.url, "tls_failed", "failed"),
        (&misnamed, "tls_failed", "failed"),
        (&not_tls, "tls_failed", "failed"),
        (&nobody, "unreachable", "failed"),
        ("https://10.0.0.1/", "forbidden_address", "failed"),
        ("https://[::ffff:169.254.169.254]/latest/meta-data", "forbidden_address", "failed"),
        ("http://user:password@127.0.0.1/", "forbidden_address", "failed"),
    ] {
        hooks.push((app.hook(org.id, NewHook { url, ..NewHook::default() }).await, url, outcome, status));
    }
    make_product(&org.owner, "COG").await;
    for (hook, url, outcome, status) in &hooks {
        until(url, async || app.all_are(hook, 1, status).await).await;
        let attempts = app.attempts(hook).await;
        assert!(attempts.iter().all(|attempt| attempt.outcome == *outcome), "{url}: {attempts:?}");
        assert_eq!(attempts[0].error.is_some(), *outcome != "succeeded", "{attempts:?}");
    }
    assert_eq!((good.count(), bad.count()), (1, 0));
}

#[tokio::test]
async fn an_org_s_webhooks_are_told_of_what_they_want_to_hear_and_of_no_other_org() {
    let app = TestApp::start_with(&format!("{FAST}\n[metrics]\nlisten = \"127.0.0.1:0\"")).await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (theirs, all, own, off) = (
        Receiver::start([]).await,
        Receiver::start([]).await,
        Receiver::start([]).await,
        Receiver::start([]).await,
    );
    // What was done to have them is told to nobody.
    app.number().await;
    app.hook(globex.id, NewHook { url: &theirs.url, events: &["*"], ..NewHook::default() }).await;
    let hears = app.hook(acme.id, NewHook { url: &all.url, events: &["*"], ..NewHook::default() }).await;
    let wanted = ["category.created", "product.created"];
    let picks = app.hook(acme.id, NewHook { url: &own.url, events: &wanted, ..NewHook::default() }).await;
    let shut = app.hook(acme.id, NewHook { url: &off.url, events: &["*"], ..NewHook::default() }).await;
    app.disable(&shut).await;

    make_product(&acme.owner, "COG").await;
    acme.owner.post("/api/v1/roles", json!({"name": "clerk"})).await.expect(201);
    acme.owner.post("/api/v1/categories", json!({"name": "Parts"})).await.expect(201);
    until("all of it has come", async || app.all_are(&hears, 3, "succeeded").await).await;
    until("what was wanted has come", async || app.all_are(&picks, 2, "succeeded").await).await;
    let types = |receiver: &Receiver| {
        let mut types: Vec<_> = receiver
            .received()
            .iter()
            .map(|came| serde_json::from_str::<serde_json::Value>(&came.body).unwrap())
            .map(|event| {
                assert_eq!(event["org"], json!(acme.id));
                event["type"].as_str().unwrap().to_owned()
            })
            .collect();
        types.sort();
        types
    };
    assert_eq!(types(&all), ["category.created", "product.created", "role.created"]);
    assert_eq!(types(&own), ["category.created", "product.created"]);
    assert_eq!((theirs.count(), off.count()), (0, 0));

    let metrics = app.anon().at(app.metrics.as_ref().unwrap()).get("/metrics").await.text;
    for line in [
        r#"insula_webhook_attempts_total{outcome="succeeded"} 5"#,
        r#"insula_webhook_deliveries{state="waiting"} 0"#,
        "insula_webhook_deliveries_oldest_wait_seconds 0",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line} is not in\n{metrics}");
    }
}
