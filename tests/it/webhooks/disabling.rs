//! Endpoints that are gone or have failed for days are sent nothing any more, and whoever looks after the org is told.

use super::{fast, make_product, make_products};
use crate::support::{
    Org, Persona, TestApp,
    hooks::NewHook,
    receiver::{Receiver, status},
    until,
};
use insula::worker;
use serde_json::{Value, json};
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

/// What is waiting is tried so often that it is never given up.
async fn stubborn() -> TestApp {
    let waits = vec!["0.1"; 500].join(", ");
    let settings =
        format!("[webhooks]\nin_flight = 64\ntimeout_milliseconds = 1000\nretry_seconds = [{waits}]\n");
    TestApp::start_with(&settings).await
}

/// The same person, signed in again: days have passed.
async fn back(app: &TestApp, org: &Org) -> Persona {
    app.signed_in(org.owner.user(), org.id).await
}

async fn address(who: &Persona) -> String {
    who.get("/api/v1/me").await.expect(200)["email"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_endpoint_that_has_failed_for_days_and_fails_again_is_disabled_and_owners_and_admins_are_told() {
    let app = stubborn().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let mut addresses = Vec::new();
    for (who, wanted) in
        [(&acme.owner, 1), (&acme.admin, 1), (&acme.member, 0), (&acme.viewer, 0), (&globex.owner, 0)]
    {
        addresses.push((address(who).await, wanted));
    }
    let (broken, fine, listener) =
        (Receiver::start([]).await, Receiver::start([]).await, Receiver::start([]).await);
    broken.answer(status(500));
    let hook = app.hook(acme.id, NewHook { url: &broken.url, ..NewHook::default() }).await;
    let well = app.hook(globex.id, NewHook { url: &fine.url, ..NewHook::default() }).await;
    let hears = NewHook { url: &listener.url, events: &["webhook.disabled"], ..NewHook::default() };
    app.hook(acme.id, hears).await;
    make_product(&acme.owner, "COG").await;
    make_product(&globex.owner, "COG").await;
    until("it has failed", async || app.endpoint(&hook).await.failing_since.is_some()).await;
    app.clock.advance(4 * DAY);
    let so_far = broken.count();
    until("it goes on failing", async || broken.count() > so_far + 1).await;
    assert_eq!(app.endpoint(&hook).await.status, "enabled", "after four days");
    make_product(&back(&app, &acme).await, "ANOTHER").await;

    app.clock.advance(DAY);
    until("it is disabled", async || app.endpoint(&hook).await.status == "disabled").await;
    assert_eq!(app.endpoint(&hook).await.disabled_reason.as_deref(), Some("failing"));
    until("what waited is discarded", async || {
        app.deliveries(&hook).await.iter().all(|delivery| delivery.status == "discarded")
    })
    .await;
    let count = broken.count();
    make_product(&back(&app, &acme).await, "LATER").await;
    until("the other webhook hears of it", async || listener.count() == 1).await;
    assert_eq!(broken.count(), count, "it is sent nothing any more");

    let object = app.told_disabled(&hook).await;
    assert_eq!(
        (&object["disabled_reason"], &object["last_answer"]),
        (&json!("failing"), &json!("status 500"))
    );
    let event: Value = serde_json::from_str(&listener.received()[0].body).unwrap();
    assert_eq!(event["actor"]["type"], "system");
    assert!(broken.url.starts_with(event["data"]["object"]["origin"].as_str().unwrap()));
    assert!(!event.to_string().contains("tenant=1"), "what may be a token: {event}");
    let audited = app.last_audited(&acme, "webhook.disabled").await;
    assert_eq!(audited.actor_type, "system");
    for (address, wanted) in addresses {
        let mails = app.mailbox().of_kind(&address, "webhook_disabled").await;
        assert_eq!(mails.len(), wanted, "{address}");
        for mail in mails {
            assert_eq!(mail.params["reason"], "failing");
            assert_eq!(mail.params["answer"], "status 500");
            assert_eq!(mail.params["webhook"], json!(hook.id));
            assert!(
                !mail.params["url"].as_str().unwrap().contains('?'),
                "what may be a token: {:?}",
                mail.params
            );
            assert_eq!(mail.org, Some(acme.id.uuid()));
        }
    }
    assert_eq!(app.endpoint(&well).await.status, "enabled");
}

#[tokio::test]
async fn a_success_in_between_is_a_new_beginning() {
    let app = stubborn().await;
    let org = app.org().await;
    let receiver = Receiver::start([]).await;
    receiver.answer(status(500));
    let hook = app.hook(org.id, NewHook { url: &receiver.url, ..NewHook::default() }).await;
    make_product(&org.owner, "COG").await;
    until("it has failed", async || app.endpoint(&hook).await.failing_since.is_some()).await;
    app.clock.advance(4 * DAY);
    receiver.answer(status(200));
    until("it is well", async || app.endpoint(&hook).await.failing_since.is_none()).await;
    receiver.answer(status(500));
    app.clock.advance(2 * DAY);
    make_product(&back(&app, &org).await, "ANOTHER").await;
    until("it fails again", async || app.endpoint(&hook).await.failing_since.is_some()).await;
    let count = receiver.count();
    until("and again", async || receiver.count() > count + 1).await;
    assert_eq!(app.endpoint(&hook).await.status, "enabled");
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_disabled_at_once() {
    let app = fast().await;
    let org = app.org().await;
    let receiver = Receiver::start([status(410)]).await;
    let hook = app.hook(org.id, NewHook { url: &receiver.url, ordered: true, ..NewHook::default() }).await;
    make_products(&org.owner, 3).await;
    until("it is disabled", async || app.endpoint(&hook).await.status == "disabled").await;
    until("what waited is discarded", async || {
        let mut statuses: Vec<_> = app.deliveries(&hook).await.into_iter().map(|one| one.status).collect();
        statuses.sort();
        statuses == ["discarded", "discarded", "failed"]
    })
    .await;
    assert_eq!(receiver.count(), 1);
    assert_eq!(app.told_disabled(&hook).await["disabled_reason"], "gone");
}

#[tokio::test]
async fn what_was_delivered_long_ago_is_forgotten_with_its_attempts_and_so_are_secrets_that_have_expired() {
    let app = fast().await;
    let org = app.org().await;
    let receiver = Receiver::start([]).await;
    let hook = app.hook(org.id, NewHook { url: &receiver.url, ..NewHook::default() }).await;
    app.rotate(&hook, app.clock.now() + Duration::from_mins(1)).await;
    make_product(&org.owner, "COG").await;
    until("it was delivered", async || app.all_are(&hook, 1, "succeeded").await).await;
    worker::sweep_rows(&app.state).await.unwrap();
    assert_eq!((app.attempts(&hook).await.len(), app.secrets(&hook).await), (1, 2));

    app.clock.advance(31 * DAY);
    worker::sweep_rows(&app.state).await.unwrap();
    assert_eq!((app.deliveries(&hook).await.len(), app.attempts(&hook).await.len()), (0, 0));
    assert_eq!(app.secrets(&hook).await, 1, "the current one");
}
