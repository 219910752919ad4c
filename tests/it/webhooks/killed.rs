//! Workers that are killed, or told to stop, in the midst of it: nothing is lost, and what comes twice has one name.

use super::{history, make_product, make_products};
use crate::support::{
    Binary, Database, TestApp,
    hooks::NewHook,
    receiver::{Answer, Receiver},
    until, until_within,
};
use std::{collections::BTreeSet, time::Duration};

const EVENTS: usize = 60;

fn worker(database: &Database) -> Binary {
    let settings = [
        ("INSULA_WEBHOOKS__ALLOWED_NETWORKS", "[\"127.0.0.0/8\"]"),
        ("INSULA_WEBHOOKS__TIMEOUT_MILLISECONDS", "500"),
        ("INSULA_WEBHOOKS__RETRY_SECONDS", "[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]"),
        ("INSULA_JOBS__WORKERS", "0"),
    ];
    Binary::work(database, &settings)
}

#[tokio::test]
async fn every_event_arrives_however_often_workers_are_killed_and_twice_only_under_the_same_name() {
    // Which numbers what happens, and delivers nothing itself.
    let app = TestApp::start().await;
    let org = app.org().await;
    let receiver = Receiver::slow(Duration::from_millis(60)).await;
    let hook = app.hook(org.id, NewHook { url: &receiver.url, concurrency: 2, ..NewHook::default() }).await;
    make_products(&org.owner, EVENTS).await;
    let mut workers = [worker(&app.database), worker(&app.database)];
    for kill in 1..=4 {
        let far = EVENTS * kill / 6;
        until_within(Duration::from_mins(1), "it goes on", async || receiver.count() >= far).await;
        workers[kill % 2].signal("KILL");
        workers[kill % 2].ended().await;
        workers[kill % 2] = worker(&app.database);
    }
    until_within(Duration::from_mins(1), "all is delivered", async || {
        app.all_are(&hook, EVENTS, "succeeded").await
    })
    .await;
    let events: BTreeSet<String> = history(&org, "product.created").await.into_iter().collect();
    let came: BTreeSet<String> = receiver.ids().into_iter().collect();
    assert_eq!(events.len(), EVENTS);
    assert_eq!(came, events, "each, and nothing else");
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_gives_back_what_it_is_at() {
    let app = TestApp::start().await;
    let org = app.org().await;
    let receiver = Receiver::start([Answer::Silence]).await;
    let hook = app.hook(org.id, NewHook { url: &receiver.url, ..NewHook::default() }).await;
    let settings = [
        ("INSULA_WEBHOOKS__ALLOWED_NETWORKS", "[\"127.0.0.0/8\"]"),
        ("INSULA_WEBHOOKS__TIMEOUT_MILLISECONDS", "60000"),
        ("INSULA_JOBS__WORKERS", "0"),
    ];
    let mut stops = Binary::work(&app.database, &settings);
    make_product(&org.owner, "COG").await;
    until("it is under way", async || receiver.count() == 1).await;
    stops.signal("TERM");
    assert!(stops.ended().await.success(), "{}", stops.stderr());
    let [left] = &app.deliveries(&hook).await[..] else { panic!() };
    assert_eq!((&*left.status, left.attempts), ("waiting", 0));
    let _other = worker(&app.database);
    until("another delivers it", async || app.all_are(&hook, 1, "succeeded").await).await;
    let ids = receiver.ids();
    assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
}
