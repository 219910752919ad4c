//! `insula health`: asks a server whether it is ready.

use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// One line of one answer needs no HTTP client.
pub async fn ready(address: &str) -> bool {
    let host = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let ask = async {
        let mut stream = TcpStream::connect(host).await?;
        let request = format!("GET /health/ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; "HTTP/1.1 200".len()];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer.ends_with(b" 200"))
    };
    matches!(tokio::time::timeout(Duration::from_secs(3), ask).await, Ok(Ok(true)))
}
