//! What came back, and what a test says of it.

use reqwest::{RequestBuilder, header::HeaderMap};
use serde_json::Value;

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub bytes: Vec<u8>,
}

impl Reply {
    /// What the document says of such answers is held against every one of them.
    pub async fn of(request: RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let is_cut = request.url().query_pairs().any(|(name, _)| name == "fields");
        let response = client.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // A stream never ends by itself; that it begins is all that is asked here.
        let streams = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let bytes = if streams { Vec::new() } else { response.bytes().await.unwrap().to_vec() };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let reply = Self { status, headers, text, bytes };
        if let Err(why) = super::contract::check(&method, &path, is_cut, &reply) {
            panic!("{method} {path} was answered as the document does not say: {why}\n{reply:?}");
        }
        reply
    }

    /// The body, of an answer with this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// The body, of a problem+json with this status and code.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["code"], code, "{}", self.text);
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        problem
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Where its `Link` with this relation leads (RFC 8288).
    pub fn link(&self, relation: &str) -> Option<String> {
        let ending = format!(">; rel=\"{relation}\"");
        let link = self.header("link").split(", ").find_map(|link| link.strip_suffix(&ending))?;
        Some(link.trim_start_matches('<').to_owned())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// All of the answer that must not tell another org's row from none: everything but what names the request.
    pub fn without_request_id(&self) -> (u16, String) {
        let id = self.header("x-request-id");
        (self.status, self.text.replace(id, "req_"))
    }

    /// The same with its headers, less those that count or date requests.
    pub fn but_for_the_request(&self) -> String {
        let (status, text) = self.without_request_id();
        let passing = ["x-request-id", "date", "ratelimit"];
        let kept = self.headers.iter().filter(|(name, _)| !passing.contains(&name.as_str()));
        let mut headers: Vec<String> = kept.map(|(name, value)| format!("{name}: {value:?}")).collect();
        headers.sort();
        format!("{status}\n{}\n\n{text}", headers.join("\n"))
    }
}
