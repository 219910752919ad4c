//! A client that costs next to nothing: one connection, one request at a time, in a thread that sleeps otherwise.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

pub struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// What is sent, made once.
#[derive(Clone)]
pub struct Request(String);

impl Request {
    pub fn new(method: &str, path: &str, token: Option<&str>, headers: &str, body: &str) -> Self {
        let bearer = token.map_or(String::new(), |token| format!("authorization: Bearer {token}\r\n"));
        let length = body.len();
        Self(format!(
            "{method} {path} HTTP/1.1\r\nhost: insula\r\n{bearer}{headers}\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: vec![0; 1 << 20] }
    }

    /// The status of the answer and its body; nothing where the connection broke.
    pub fn send(&mut self, request: &Request) -> Option<(u16, String)> {
        let answer = self.exchange(request);
        if answer.is_none() {
            self.stream = None;
        }
        answer
    }

    fn exchange(&mut self, request: &Request) -> Option<(u16, String)> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.address).ok()?;
                stream.set_nodelay(true).ok()?;
                stream.set_read_timeout(Some(Duration::from_mins(1))).ok()?;
                none.insert(stream)
            }
        };
        stream.write_all(request.0.as_bytes()).ok()?;
        let mut got = 0;
        loop {
            let read = stream.read(&mut self.buffer[got..]).ok().filter(|read| *read > 0)?;
            got += read;
            let Some(head) = self.buffer[..got].windows(4).position(|end| end == b"\r\n\r\n") else {
                continue;
            };
            let text = std::str::from_utf8(&self.buffer[..head]).ok()?.to_ascii_lowercase();
            let status = text.split(' ').nth(1)?.parse().ok()?;
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = head + 4 + length.map_or(Some(0), |length| length.parse::<usize>().ok())?;
            while got < whole {
                got += stream.read(&mut self.buffer[got..]).ok().filter(|read| *read > 0)?;
            }
            return Some((status, String::from_utf8_lossy(&self.buffer[head + 4..whole]).into_owned()));
        }
    }
}
