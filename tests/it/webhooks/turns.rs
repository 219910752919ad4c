//! Whose turn it is: as many at a time as an endpoint wants, in order where it wants that, and nobody waits for others.

use super::{FAST, fast, history, make_product, make_products};
use crate::support::{
    TestApp,
    hooks::NewHook,
    receiver::{Answer, Receiver, status},
    until,
};

#[tokio::test]
async fn an_endpoint_that_wants_order_gets_each_event_after_the_one_before_has_arrived() {
    let app = fast().await;
    let org = app.org().await;
    // The first three times it is not at home.
    let receiver = Receiver::start([status(500), Answer::HangsUp, status(200), status(503)]).await;
    let hook = app.hook(org.id, NewHook { url: &receiver.url, ordered: true, ..NewHook::default() }).await;
    make_products(&org.owner, 5).await;
    until("all have arrived", async || app.all_are(&hook, 5, "succeeded").await).await;
    let events = history(&org, "product.created").await;
    let nth = |id: &String| events.iter().position(|event| event == id).unwrap();
    let came: Vec<usize> = receiver.ids().iter().map(nth).collect();
    assert_eq!(came, [0, 0, 0, 1, 1, 2, 3, 4]);
    assert_eq!(receiver.most_at_once(), 1);
}

#[tokio::test]
async fn what_is_given_up_is_not_waited_for_any_more() {
    let app = fast().await;
    let org = app.org().await;
    let receiver = Receiver::start([status(500), status(500), status(500)]).await;
    let hook = app.hook(org.id, NewHook { url: &receiver.url, ordered: true, ..NewHook::default() }).await;
    make_products(&org.owner, 2).await;
    until("the second has arrived", async || receiver.count() == 4).await;
    until("that is written down", async || app.deliveries(&hook).await[1].status == "succeeded").await;
    assert_eq!(app.deliveries(&hook).await[0].status, "failed");
    let ids = receiver.ids();
    assert!(ids[0] == ids[2] && ids[2] != ids[3], "{ids:?}");
}

#[tokio::test]
async fn an_endpoint_has_as_many_requests_under_way_as_it_wants_and_no_more() {
    let app = fast().await;
    let org = app.org().await;
    let receiver = Receiver::start([]).await;
    receiver.answer(Answer::Held);
    let hook = app.hook(org.id, NewHook { url: &receiver.url, concurrency: 3, ..NewHook::default() }).await;
    let other = Receiver::start([]).await;
    app.hook(org.id, NewHook { url: &other.url, concurrency: 20, ..NewHook::default() }).await;
    make_products(&org.owner, 12).await;
    until("three are under way", async || receiver.count() == 3).await;
    // The other endpoint of the org gets all of its own meanwhile.
    until("the other has all", async || other.count() == 12).await;
    assert_eq!(receiver.count(), 3);
    receiver.release();
    until("all have arrived", async || app.all_are(&hook, 12, "succeeded").await).await;
    assert_eq!(receiver.most_at_once(), 3);
}

#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_nobody_else_s_however_much_waits_for_it() {
    // So few at a time that those that hang could take them all.
    let few = FAST
        .replace("in_flight = 64", "in_flight = 8")
        .replace("timeout_milliseconds = 1000", "timeout_milliseconds = 60000");
    let app = TestApp::start_with(&few).await;
    let (acme, globex) = (app.org().await, app.org().await);
    let hangs = Receiver::start([]).await;
    hangs.answer(Answer::Silence);
    let mut stuck = Vec::new();
    for _ in 0..3 {
        let new = NewHook { url: &hangs.url, concurrency: 20, ..NewHook::default() };
        stuck.push(app.hook(acme.id, new).await);
    }
    make_products(&acme.owner, 40).await;
    until("it hangs", async || hangs.count() == 2).await;

    let receiver = Receiver::start([]).await;
    let hook = app.hook(globex.id, NewHook { url: &receiver.url, ..NewHook::default() }).await;
    make_products(&globex.owner, 30).await;
    until("globex is told", async || app.all_are(&hook, 30, "succeeded").await).await;
    assert_eq!(hangs.count(), 2, "one org has a quarter of all at most");
    for hook in &stuck {
        assert!(app.deliveries(hook).await.len() == 40, "there was nothing to wait for");
    }
}

#[tokio::test]
async fn those_that_fail_leave_half_of_all_to_those_that_do_not() {
    let few = FAST
        .replace("in_flight = 64", "in_flight = 4")
        .replace("timeout_milliseconds = 1000", "timeout_milliseconds = 60000");
    let app = TestApp::start_with(&few).await;
    let mut failing = Vec::new();
    for _ in 0..5 {
        let org = app.org().await;
        let receiver = Receiver::start([status(500)]).await;
        receiver.answer(Answer::Silence);
        let hook = app.hook(org.id, NewHook { url: &receiver.url, ..NewHook::default() }).await;
        make_product(&org.owner, "FIRST").await;
        failing.push((org, receiver, hook));
    }
    until("each has failed once, and two hang", async || {
        let mut counts: Vec<usize> = failing.iter().map(|(_, receiver, _)| receiver.count()).collect();
        counts.sort_unstable();
        counts == [1, 1, 1, 2, 2]
    })
    .await;
    let org = app.org().await;
    let receiver = Receiver::start([]).await;
    let hook = app.hook(org.id, NewHook { url: &receiver.url, ..NewHook::default() }).await;
    make_products(&org.owner, 10).await;
    until("who is well is told", async || app.all_are(&hook, 10, "succeeded").await).await;
}
