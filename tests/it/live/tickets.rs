//! Tickets: each opens one stream, for whoever could have opened it themselves, and nothing else.

use super::{EVENTS, make};
use crate::support::{Binary, Listener, Persona, Reply, Socket, TestApp, claims, handshake, id, until};
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use tokio::net::TcpSocket;

const TICKET: &str = "/api/v1/events/ticket";

async fn ticket(of: &Persona) -> String {
    of.post(TICKET, json!({})).await.expect(201)["ticket"].as_str().unwrap().to_owned()
}

fn by(ticket: &str) -> String {
    format!("{EVENTS}?ticket={ticket}")
}

#[tokio::test]
async fn a_ticket_opens_one_stream_of_either_kind_for_whom_it_was_asked() {
    let app = TestApp::start_with("[http]\nallowed_origins = [\"https://app.example.com\"]").await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.number().await;
    let key = app.api_key(&acme, &["events:read", "products:read"]).await;
    let issued = acme.viewer.post(TICKET, json!({})).await;
    issued.expect(201);
    assert_eq!(issued.header("cache-control"), "no-store");
    let page = |path: &str| app.anon().request(Method::GET, path).header("origin", "https://app.example.com");
    let first = issued.json()["ticket"].as_str().unwrap().to_owned();
    let opened = page(&by(&first)).send().await.unwrap();
    assert_eq!(opened.headers()["cache-control"], "no-store");
    assert_eq!(opened.headers()["access-control-allow-origin"], "https://app.example.com");
    drop(opened);
    app.anon().get(&by(&first)).await.expect_problem(401, "invalid_ticket");

    let mut listener = Listener::of(page(&by(&ticket(&acme.viewer).await))).await;
    assert_eq!(listener.retry().await, "2000");
    let second = ticket(&key).await;
    let request =
        handshake(&app.anon(), &format!("?ticket={second}")).header("origin", "https://app.example.com");
    let mut socket = Socket::of(request, TcpSocket::new_v4().unwrap()).await;
    make(&globex, "THEIRS").await;
    make(&acme, "OURS").await;
    let heard = listener.next().await;
    assert_eq!(heard.data["data"]["object"]["sku"], "OURS");
    assert_eq!(socket.next().await, heard.data);
    Reply::of(handshake(&app.anon(), &format!("?ticket={second}")))
        .await
        .expect_problem(401, "invalid_ticket");
}

#[tokio::test]
async fn a_used_an_expired_an_unknown_and_a_forged_ticket_are_told_the_same() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (used, expired) = (ticket(&acme.viewer).await, ticket(&acme.viewer).await);
    assert_eq!(app.anon().get(&by(&used)).await.status, 200);
    app.clock.advance(Duration::from_secs(29));
    assert_eq!(app.anon().get(&by(&ticket(&acme.viewer).await)).await.status, 200);
    let last_moment = ticket(&acme.viewer).await;
    app.clock.advance(Duration::from_secs(30));
    let unknown = format!("insula_ticket_{}", "A".repeat(43));
    let twice = format!("{}&ticket={}", ticket(&acme.viewer).await, ticket(&acme.viewer).await);
    let nowhere = app.anon().get(&by(&unknown)).await;
    nowhere.expect_problem(401, "invalid_ticket");
    for bad in [used, expired, last_moment, "forged".to_owned(), String::new(), twice] {
        let refused = app.anon().get(&by(&bad)).await;
        assert_eq!(refused.but_for_the_request(), nowhere.but_for_the_request(), "{bad}");
    }
}

#[tokio::test]
async fn of_two_that_come_with_the_same_ticket_one_comes_in_at_whichever_replica() {
    let app = TestApp::start().await;
    let other = app.replica().await;
    let acme = app.org().await;
    let ticket = by(&ticket(&acme.viewer).await);
    let racers = [app.anon(), other.anon()];
    let replies = join_all((0..8).map(|racer: usize| racers[racer % 2].get(&ticket))).await;
    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401, 401, 401, 401, 401, 401, 401]);
}

#[tokio::test]
async fn no_other_door_opens_by_a_ticket_and_this_one_not_by_two_things_at_once() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let ticket = ticket(&acme.owner).await;
    for path in ["/api/v1/products", "/api/v1/events/history", "/api/v1/me", "/api/v1/orders"] {
        let refused = app.anon().get(&format!("{path}?ticket={ticket}")).await;
        refused.expect_problem(401, "unauthenticated");
    }
    let posted = app.anon().post(&format!("{TICKET}?ticket={ticket}"), json!({})).await;
    posted.expect_problem(401, "unauthenticated");
    app.bearer(&ticket).get(EVENTS).await.expect_problem(401, "invalid_api_key");
    acme.owner.get(&by(&ticket)).await.expect_problem(401, "invalid_token");
    assert_eq!(app.anon().get(&by(&ticket)).await.status, 200, "nobody has used it yet");
}

#[tokio::test]
async fn a_ticket_is_worth_what_its_bearer_is_when_it_is_used() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let key = app.api_key(&acme, &["events:read"]).await;
    let keys = acme.owner.get("/api/v1/api-keys").await.expect(200);
    let deaf = json!({"name": "deaf", "permissions": ["products:read"]});
    acme.owner.post("/api/v1/roles", deaf).await.expect(201);

    let (of_the_viewer, of_the_key) = (ticket(&acme.viewer).await, ticket(&key).await);
    let (of_the_member, of_the_admin) = (ticket(&acme.member).await, ticket(&acme.admin).await);
    let session = claims(&json!({"access_token": acme.viewer.token}))["sid"].as_str().unwrap().to_owned();
    acme.viewer.delete(&format!("/api/v1/me/sessions/{session}")).await.expect(204);
    acme.owner.delete(&format!("/api/v1/api-keys/{}", id(&keys["data"][0]))).await.expect(204);
    let member = format!("/api/v1/users/{}", acme.member.user());
    acme.owner.patch(&member, json!({"roles": ["deaf"]})).await.expect(200);

    app.anon().get(&by(&of_the_viewer)).await.expect_problem(401, "invalid_ticket");
    app.anon().get(&by(&of_the_key)).await.expect_problem(401, "invalid_api_key");
    app.anon().get(&by(&of_the_member)).await.expect_problem(403, "permission_denied");
    acme.member.post(TICKET, json!({})).await.expect_problem(403, "permission_denied");
    assert_eq!(app.anon().get(&by(&of_the_admin)).await.status, 200);
}

#[tokio::test]
async fn what_is_kept_of_a_ticket_opens_nothing_and_is_swept() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let ticket = ticket(&acme.viewer).await;
    let token = acme.viewer.token.clone().unwrap();
    let (_, signature) = token.rsplit_once('.').unwrap();
    let known = |what: &str| format!("select count(*) from event_tickets t where t::text like '%{what}%'");
    assert_eq!(app.database.count("select count(*) from event_tickets").await, 1);
    assert_eq!(app.database.count(known(&ticket)).await, 0);
    assert_eq!(app.database.count(known(signature)).await, 0);
    assert_eq!(app.database.count("select count(*) from events where type like '%ticket%'").await, 0);
    app.clock.advance(Duration::from_secs(31));
    insula::worker::sweep_rows(&app.state).await.unwrap();
    assert_eq!(app.database.count("select count(*) from event_tickets").await, 0);
}

#[tokio::test]
async fn a_ticket_stands_in_no_line_of_the_log() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let mut served = Binary::serve(&app.database, &[]);
    let there = Persona::new(&served.base().await, None);
    let ticket = ticket(&acme.viewer).await;
    assert_eq!(there.get(&by(&ticket)).await.status, 200);
    let again = there.get(&format!("/api/v1/ws?ticket={ticket}")).await;
    again.expect_problem(401, "invalid_ticket");
    let log = || format!("{}{}", served.stdout(), served.stderr());
    until("both are in the log", async || {
        ["/api/v1/events\"", "/api/v1/ws\""].iter().all(|path| log().contains(path))
    })
    .await;
    assert!(!log().contains(&ticket[20..]), "{}", log());
}
