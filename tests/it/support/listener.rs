//! Somebody who follows what happens.

use super::Persona;
use reqwest::{Method, Response};
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Listener {
    response: Response,
    heard: String,
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
        let response = request.send().await.ok()?;
        (response.status() == 200).then(|| Self { response, heard: String::new() })
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
            if let Some((said, rest)) = self.heard.split_once("\n\n") {
                let (said, rest) = (said.to_owned(), rest.to_owned());
                self.heard = rest;
                let field =
                    |name: &str| said.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
                let Some(data) = field("data") else { continue };
                return Some(Heard {
                    id: field("id").map(|id| id.parse().unwrap()),
                    kind: field("event").unwrap_or_default().to_owned(),
                    data: serde_json::from_str(data).unwrap(),
                });
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.unwrap();
            self.heard.push_str(str::from_utf8(&chunk.ok().flatten()?).unwrap());
        }
    }
}
