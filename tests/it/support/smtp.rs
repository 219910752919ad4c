//! A mail server that says what it is told to, and keeps what it is sent.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, DropGuard};

#[derive(Clone, Default)]
struct Desk {
    answers: Arc<Mutex<VecDeque<&'static str>>>,
    received: Arc<Mutex<Vec<String>>>,
}

pub struct Smtp {
    address: SocketAddr,
    desk: Desk,
    _stop: DropGuard,
}

impl Smtp {
    /// Answers the first recipients as told, and takes every other.
    pub async fn start(answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, desk, stop) =
            (listener.local_addr().unwrap(), Desk::default(), CancellationToken::new());
        desk.answers.lock().unwrap().extend(answers);
        let (at_desk, until) = (desk.clone(), stop.clone());
        tokio::spawn(until.run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(converse(client, at_desk.clone()));
            }
        }));
        Self { address, desk, _stop: stop.drop_guard() }
    }

    /// Sends there.
    pub fn settings(&self) -> String {
        format!("[mail]\nsmtp_url = \"{}\"\n", self.url())
    }

    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Whole messages, as they came.
    pub fn received(&self) -> Vec<String> {
        self.desk.received.lock().unwrap().clone()
    }
}

/// RFC 5321, as little of it as a client needs.
async fn converse(client: TcpStream, desk: Desk) {
    let (from, mut to) = client.into_split();
    let mut lines = BufReader::new(from).lines();
    let mut message: Option<String> = None;
    if to.write_all(b"220 ready\r\n").await.is_err() {
        return;
    }
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match (&mut message, line.split(' ').next().unwrap_or_default()) {
            (Some(text), ".") => {
                desk.received.lock().unwrap().push(std::mem::take(text));
                message = None;
                "250 taken"
            }
            (Some(text), _) => {
                text.push_str(&line);
                text.push('\n');
                continue;
            }
            (None, "RCPT") => desk.answers.lock().unwrap().pop_front().unwrap_or("250 fine"),
            (None, "DATA") => {
                message = Some(String::new());
                "354 go on"
            }
            (None, "QUIT") => "221 bye",
            (None, _) => "250 fine",
        };
        // Who is told to hang keeps the other side waiting.
        if answer == "hang" {
            return std::future::pending().await;
        }
        if to.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
            return;
        }
    }
}
