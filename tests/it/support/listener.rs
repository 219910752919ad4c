//! Somebody who follows what happens.

use super::Persona;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Listener {
    response: Response,
    /// What was not looked at yet: pieces end wherever they do, within a letter too.
    heard: Vec<u8>,
}

/// What is sent at a time: its id, and what it says.
#[derive(Debug)]
pub struct Heard {
    pub id: Option<i64>,
    pub kind: String,
    pub data: Value,
}

impl Listener {
    /// From now on, or after `last`.
    pub async fn open(who: &Persona, last: Option<i64>) -> Self {
        Self::try_open(who, last).await.unwrap()
    }

    /// The same; none where nobody answers, or not now.
    pub async fn try_open(who: &Persona, last: Option<i64>) -> Option<Self> {
        let mut request = who.request(Method::GET, "/api/v1/events").header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        Self::try_of(request).await
    }

    /// Of a request that is made in another way.
    pub async fn of(request: RequestBuilder) -> Self {
        Self::try_of(request).await.unwrap()
    }

    async fn try_of(request: RequestBuilder) -> Option<Self> {
        let response = request.send().await.ok()?;
        (response.status() == 200).then(|| Self { response, heard: Vec::new() })
    }

    /// How long a browser would wait before it connects again, as the first words say.
    pub async fn retry(&mut self) -> String {
        let said = self.said().await.unwrap();
        said.lines().find_map(|line| line.strip_prefix("retry: ")).unwrap().to_owned()
    }

    /// The next event.
    pub async fn next(&mut self) -> Heard {
        self.hear().await.unwrap()
    }

    /// Waits for the end, and answers what was heard until then.
    pub async fn rest(mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Some(next) = self.hear().await {
            heard.push(next);
        }
        heard
    }

    /// The next event; none at the end.
    pub async fn hear(&mut self) -> Option<Heard> {
        loop {
            let said = self.said().await?;
            let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            let Some(data) = field("data") else { continue };
            return Some(Heard {
                id: field("id").map(|id| id.parse().unwrap()),
                kind: field("event").unwrap_or_default().to_owned(),
                data: serde_json::from_str(data).unwrap(),
            });
        }
    }

    /// All up to the next empty line; nothing where the stream has ended.
    async fn said(&mut self) -> Option<String> {
        let mut looked_through = 0;
        loop {
            let end = self.heard[looked_through..].windows(2).position(|two| two == b"\n\n");
            if let Some(end) = end.map(|end| looked_through + end) {
                let rest = self.heard.split_off(end + 2);
                let said = std::mem::replace(&mut self.heard, rest);
                return Some(String::from_utf8(said).unwrap());
            }
            looked_through = self.heard.len().saturating_sub(1);
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.unwrap();
            self.heard.extend_from_slice(&chunk.ok().flatten()?);
        }
    }
}
