//! Somebody who follows what happens by a WebSocket.

use super::Persona;
use futures::{SinkExt as _, StreamExt as _};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, http},
};

const PATIENCE: Duration = Duration::from_secs(20);
/// The one of RFC 6455.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub struct Socket(WebSocketStream<TcpStream>);

/// As a client asks for a socket, `query` and all: for those who are refused.
pub fn handshake(who: &Persona, query: &str) -> RequestBuilder {
    who.request(Method::GET, &format!("/api/v1/ws{query}"))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY)
}

impl Socket {
    pub async fn open(who: &Persona, query: &str) -> Self {
        Self::of(handshake(who, query), TcpSocket::new_v4().unwrap()).await
    }

    /// With room for very little that is not read.
    pub async fn open_narrow(who: &Persona, query: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::of(handshake(who, query), socket).await
    }

    pub async fn of(request: RequestBuilder, socket: TcpSocket) -> Self {
        let asked = request.build().unwrap();
        let address = format!("{}:{}", asked.url().host_str().unwrap(), asked.url().port().unwrap());
        let url = asked.url().as_str().replacen("http", "ws", 1);
        let mut request = http::Request::get(url).header("host", &address);
        request.headers_mut().unwrap().extend(asked.headers().clone());
        let stream = socket.connect(address.parse().unwrap()).await.unwrap();
        Self(client_async(request.body(()).unwrap(), stream).await.unwrap().0)
    }

    /// The next message, of those that say something.
    pub async fn next(&mut self) -> Value {
        loop {
            match self.message().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("it is closed: {frame:?}"),
                _ => {}
            }
        }
    }

    pub async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// Waits for the end, and answers what was said until then, and why it ended: the code and the reason.
    pub async fn rest(mut self) -> (Vec<Value>, u16, String) {
        let mut said = Vec::new();
        loop {
            match self.message().await {
                Message::Text(text) => said.push(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => {
                    let frame = frame.unwrap();
                    return (said, frame.code.into(), frame.reason.to_string());
                }
                _ => {}
            }
        }
    }

    async fn message(&mut self) -> Message {
        tokio::time::timeout(PATIENCE, self.0.next()).await.unwrap().unwrap().unwrap()
    }
}
