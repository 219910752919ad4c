//! What goes over the wire and comes back, as it is written down: headers, the beginning of an answer, what went wrong.

use super::client::{ForbiddenAddress, NoSuchName};
use crate::webhooks::Outcome;
use reqwest::header::HeaderMap;
use serde_json::{Map, Value};
use std::{error::Error, io};

/// Octets of an answer that are kept.
pub const KEPT: usize = 4 << 10;
/// Octets of its headers.
const KEPT_OF_HEADERS: usize = 8 << 10;

/// By their names; of several of a name, one text. What is beyond a bearable size is left out.
pub fn headers(headers: &HeaderMap) -> Value {
    let (mut told, mut size) = (Map::new(), 0);
    for (name, value) in headers {
        size += name.as_str().len() + value.len();
        if size > KEPT_OF_HEADERS {
            break;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        match told.get_mut(name.as_str()) {
            Some(Value::String(before)) => *before = format!("{before}, {value}"),
            _ => {
                told.insert(name.as_str().to_owned(), value.into_owned().into());
            }
        }
    }
    told.into()
}

/// As text: what is no UTF-8, and the zeros that Postgres has no text with, are replaced.
pub fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(KEPT)]).replace('\0', "\u{fffd}")
}

/// Why there is no answer, in words for whoever runs the endpoint; nothing of our own insides.
pub fn reason(error: &reqwest::Error) -> (Outcome, String) {
    let unreachable = |words: &str| (Outcome::Unreachable, words.to_owned());
    for cause in causes(error) {
        if let Some(forbidden) = cause.downcast_ref::<ForbiddenAddress>() {
            return (Outcome::ForbiddenAddress, forbidden.to_string());
        }
        if let Some(unknown) = cause.downcast_ref::<NoSuchName>() {
            return unreachable(&unknown.to_string());
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return (Outcome::TlsFailed, tls.to_string());
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused => return unreachable("the connection was refused"),
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    return unreachable("there is no way to the address");
                }
                _ => {}
            }
        }
    }
    if error.is_connect() {
        return unreachable("there was no connection");
    }
    unreachable("the connection broke off before there was an answer")
}

/// The error and what caused it, with what an [`io::Error`] is wrapped around: that does not tell of it by itself.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> Vec<&'e (dyn Error + 'static)> {
    let (mut causes, mut next) = (Vec::new(), Some(error));
    while let Some(cause) = next {
        causes.push(cause);
        let mut inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = cause.source();
        while let Some(wrapped) = inner {
            causes.push(wrapped);
            next = wrapped.source().or(next);
            inner = wrapped.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_kept_of_an_answer_is_text_and_not_too_much() {
        assert_eq!(text(b"fine\0\xff"), "fine\u{fffd}\u{fffd}");
        assert_eq!(text(&[b'a'; KEPT + 1]).len(), KEPT);

        let mut sent = HeaderMap::new();
        sent.append("x-trace", "1".parse().unwrap());
        sent.append("x-trace", "2".parse().unwrap());
        sent.append("x-odd", reqwest::header::HeaderValue::from_bytes(b"caf\xe9").unwrap());
        assert_eq!(headers(&sent), json!({"x-trace": "1, 2", "x-odd": "caf\u{fffd}"}));
        for nth in 0..100 {
            let name: reqwest::header::HeaderName = format!("x-{nth}").parse().unwrap();
            sent.append(name, "a".repeat(1000).parse().unwrap());
        }
        assert!(headers(&sent).to_string().len() < KEPT_OF_HEADERS * 2);
    }

    #[test]
    fn what_an_io_error_is_wrapped_around_is_found() {
        let tls = rustls::Error::General("no".to_owned());
        let wrapped = io::Error::other(io::Error::other(tls));
        assert!(causes(&wrapped).iter().any(|cause| cause.is::<rustls::Error>()));
    }
}
