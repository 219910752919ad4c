//! Who does not read what is sent is not waited for, and goes on later without missing anything.

use super::EVENTS;
use crate::support::{Listener, Org, Persona, Socket, TestApp, product, until};
use insula::events::Carrier;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Of about 140 kB each, which is more than fits into the buffers of two sockets and of everything between them.
const PRODUCTS: i64 = 120;
/// With room for many of them in a request.
const ROOM: &str = "[http]\nbody_limit_bytes = 8388608\n";

/// An org where much has happened, of which each event is large; and the number before the first of them.
async fn busy(app: &TestApp) -> (Org, i64) {
    let acme = app.org().await;
    app.number().await;
    let before = head(app, &acme).await;
    for batch in 0..PRODUCTS / 20 {
        let large = |nth| {
            let mut product = product(&format!("P{batch}-{nth}"), 1);
            product["description"] = "\u{1f3e0}".repeat(10_000).into();
            let notes = (0..50).map(|nth| (format!("note {nth}"), "\u{1f3e0}".repeat(500).into()));
            product["metadata"] = Value::Object(notes.collect());
            json!({"create": product})
        };
        let items: Vec<Value> = (0..20).map(large).collect();
        acme.owner.post("/api/v1/products/bulk", json!({"items": items})).await.expect(200);
    }
    app.number().await;
    assert_eq!(head(app, &acme).await, before + PRODUCTS);
    (acme, before)
}

async fn head(app: &TestApp, acme: &Org) -> i64 {
    app.database.count(format!("select max(seq) from events where org_id = '{}'", acme.id.uuid())).await
}

/// Asks for a stream, and reads nothing of it.
async fn mute(app: &TestApp, who: &Persona, after: i64) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = app.base.strip_prefix("http://").unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let token = who.token.as_ref().unwrap();
    let request = format!(
        "GET {EVENTS}?after={after} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The numbers and types of the events that come whole, until nothing more does, or one of the type `last`.
async fn heard(mut stream: TcpStream, mut read: Vec<u8>, last: &str) -> Vec<(i64, String)> {
    let mut heard = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    // A line that was cut ends in an error, as well it may.
    while let Ok(Ok(length)) = timeout(Duration::from_secs(20), stream.read(&mut chunk)).await
        && length > 0
    {
        read.extend_from_slice(&chunk[..length]);
        while let Some(end) = read.windows(2).position(|two| two == b"\n\n") {
            let event = String::from_utf8_lossy(&read[..end]).into_owned();
            read.drain(..end + 2);
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(id), Some(kind)) = (field("id: "), field("event: ")) {
                heard.push((id.parse().unwrap(), kind.to_owned()));
            }
        }
        if heard.last().is_some_and(|(_, kind)| kind == last) {
            break;
        }
    }
    heard
}

/// What comes until the first event has begun to.
async fn beginning(stream: &mut TcpStream) -> Vec<u8> {
    let (mut read, mut chunk) = (Vec::new(), [0; 1024]);
    while !read.windows(6).any(|six| six == b"event:") {
        let length = timeout(Duration::from_secs(20), stream.read(&mut chunk)).await.unwrap().unwrap();
        read.extend_from_slice(&chunk[..length]);
    }
    read
}

async fn until_dropped(app: &TestApp, acme: &Org) {
    until("who does not read is given up", async || app.state.streams.open_of(acme.id) == 0).await;
}

#[tokio::test]
async fn who_leaves_a_stream_unread_is_dropped_and_misses_nothing_on_coming_back() {
    let app = TestApp::start_with(&format!("{ROOM}unread_seconds = 1")).await;
    let (acme, before) = busy(&app).await;
    let stream = mute(&app, &acme.owner, before).await;
    until("the stream is open", async || app.state.streams.open_of(acme.id) == 1).await;
    until_dropped(&app, &acme).await;
    assert_eq!(app.state.streams.places.count(Carrier::ServerSent), 0);
    let heard: Vec<i64> = heard(stream, Vec::new(), "").await.into_iter().map(|(number, _)| number).collect();
    assert!(heard.len() < usize::try_from(PRODUCTS).unwrap(), "all of it was buffered: {}", heard.len());
    assert!(heard.iter().copied().eq((before + 1..).take(heard.len())), "{heard:?}");
    let after = heard.last().copied().unwrap_or(before);
    let mut listener = Listener::open(&acme.owner, Some(after)).await;
    for expected in after + 1..=before + PRODUCTS {
        assert_eq!(listener.next().await.id, Some(expected));
    }
}

#[tokio::test]
async fn who_leaves_a_socket_unread_is_dropped_told_where_they_were_and_misses_nothing() {
    let app = TestApp::start_with(&format!("{ROOM}unread_seconds = 1")).await;
    let (acme, before) = busy(&app).await;
    let socket = Socket::open_narrow(&acme.owner, &format!("?after={before}")).await;
    until_dropped(&app, &acme).await;
    assert_eq!(app.state.streams.places.count(Carrier::WebSocket), 0);
    let (heard, code, reason) = socket.rest().await;
    let heard: Vec<i64> = heard.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert!(heard.len() < usize::try_from(PRODUCTS).unwrap(), "all of it was buffered: {}", heard.len());
    assert!(heard.iter().copied().eq((before + 1..).take(heard.len())), "{heard:?}");
    let after: i64 = reason.strip_prefix("after=").unwrap().parse().unwrap();
    assert_eq!(code, 4408);
    assert!((before..=*heard.last().unwrap()).contains(&after), "{after} of {heard:?}");
    let mut socket = Socket::open(&acme.owner, &format!("?after={after}")).await;
    for expected in after + 1..=before + PRODUCTS {
        assert_eq!(socket.next().await["seq"], expected);
    }
}

#[tokio::test]
async fn who_reads_slowly_is_asked_anew_before_they_are_told_the_rest() {
    let app = TestApp::start_with(ROOM).await;
    let (acme, before) = busy(&app).await;
    let role = json!({"name": "sorter", "permissions": ["events:read", "categories:read"]});
    acme.owner.post("/api/v1/roles", role).await.expect(201);
    let mut stream = mute(&app, &acme.viewer, before).await;
    // Until then nobody has been asked whether they may read products.
    let read = beginning(&mut stream).await;
    let begun = Instant::now();
    acme.owner
        .patch(&format!("/api/v1/users/{}", acme.viewer.user()), json!({"roles": ["sorter"]}))
        .await
        .expect(200);
    acme.owner.post("/api/v1/categories", json!({"name": "Tools"})).await.expect(201);
    // It is time itself that is waited for: who takes longer is asked anew.
    until("they have taken longer than two seconds", async || begun.elapsed() > Duration::from_secs(3)).await;
    let heard = heard(stream, read, "category.created").await;
    assert_eq!(heard.last().unwrap().1, "category.created");
    // A hundred were read at a time, while they might still read them.
    assert!(heard.len() < 100, "the whole page was told: {}", heard.len());
}
