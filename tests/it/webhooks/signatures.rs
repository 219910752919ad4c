//! Signatures, as the official libraries of receivers check them.

use super::{fast, make_product};
use crate::support::{
    hooks::NewHook,
    receiver::{Received, Receiver},
    standard_webhooks::{LIBRARIES, verified},
    until,
};
use std::time::Duration;

#[tokio::test]
async fn the_official_libraries_believe_what_is_sent_and_nothing_that_was_changed() {
    let app = fast().await;
    let org = app.org().await;
    let receiver = Receiver::start([]).await;
    let hook = app.hook(org.id, NewHook { url: &receiver.url, ..NewHook::default() }).await;
    let other = app
        .hook(org.id, NewHook { url: &receiver.url, events: &["role.created"], ..NewHook::default() })
        .await;
    make_product(&org.owner, "Zoë's").await;
    until("it has come", async || receiver.count() == 1).await;
    let came = receiver.received().remove(0);
    let with = |name: &str, value: &str| {
        let mut changed = came.clone();
        changed.headers.insert(name.to_owned(), value.to_owned());
        changed
    };
    for library in LIBRARIES {
        let event = verified(library, &hook.secret, &came).unwrap_or_else(|| panic!("{library:?}"));
        assert_eq!(event["type"], "product.created");
        assert_eq!(event["data"]["object"]["sku"], "Zoë's");

        let later = came.headers["webhook-timestamp"].parse::<i64>().unwrap() + 1;
        for (changed, what) in [
            (Received { body: came.body.replace("Zoë", "Zoe"), ..came.clone() }, "the body"),
            (with("webhook-id", "evt_01jd8yq3c5f4x7t9k2m6n8p0rs"), "the id"),
            (with("webhook-timestamp", &later.to_string()), "the time"),
        ] {
            assert_eq!(verified(library, &hook.secret, &changed), None, "{library:?}: {what}");
        }
        assert_eq!(verified(library, &other.secret, &came), None, "{library:?}: another's secret");
    }
}

#[tokio::test]
async fn while_a_secret_is_rotated_whoever_knows_either_believes_and_later_the_new_one_alone() {
    let app = fast().await;
    let org = app.org().await;
    let receiver = Receiver::start([]).await;
    let hook = app.hook(org.id, NewHook { url: &receiver.url, ..NewHook::default() }).await;
    // Within what receivers take for the present.
    let until_then = app.clock.now() + Duration::from_mins(2);
    let new = app.rotate(&hook, until_then).await;
    make_product(&org.owner, "IN-BETWEEN").await;
    until("it has come", async || receiver.count() == 1).await;
    app.clock.advance(Duration::from_secs(121));
    make_product(&org.owner, "LATER").await;
    until("it has come too", async || receiver.count() == 2).await;

    let came = receiver.received();
    for library in LIBRARIES {
        let believes = |secret: &str, nth: usize| verified(library, secret, &came[nth]).is_some();
        assert!(believes(&hook.secret, 0) && believes(&new, 0), "{library:?}: while both hold");
        assert!(believes(&new, 1), "{library:?}: the new one");
        assert!(!believes(&hook.secret, 1), "{library:?}: the old one holds no more");
    }
}
