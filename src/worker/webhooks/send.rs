//! One request: signed as Standard Webhooks has it, sent, and its answer read as far as it comes in time.

use super::{
    client::WebhookClient,
    wire::{self, KEPT},
};
use crate::{
    clock::Clock,
    error::{Error, Result},
    vault::Vault,
    webhooks::{Attempt, Claimed, Outcome, retry_after},
};
use anyhow::anyhow;
use reqwest::{
    Response,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use std::time::{Duration, Instant};
use tokio::time::{Instant as Deadline, timeout_at};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Sends a delivery's event once.
///
/// # Errors
/// Where it can't even be signed. Whatever goes wrong with the endpoint is an attempt.
pub async fn attempt(
    client: &WebhookClient,
    vault: &Vault,
    clock: &Clock,
    claimed: &Claimed,
) -> Result<Attempt> {
    let body = serde_json::to_vec(&claimed.event).map_err(|error| Error::Internal(error.into()))?;
    let (at, begun) = (clock.now(), Instant::now());
    let headers = headers(claimed, vault, at.unix_timestamp(), &body)?;
    let sent = wire::headers(&headers);
    let (url, client_to_use) = match client.to(&claimed.url) {
        Ok(ways) => ways,
        Err(why) => {
            let why = (Outcome::ForbiddenAddress, format!("the URL {why}"));
            return Ok(Attempt::failed(at, begun.elapsed(), sent, why));
        }
    };
    let deadline = Deadline::now() + client.patience();
    let answering = client_to_use.post(url.as_url().clone()).headers(headers).body(body).send();
    let mut response = match timeout_at(deadline, answering).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            return Ok(Attempt::failed(at, begun.elapsed(), sent, wire::reason(&error)));
        }
        Err(_) => {
            let why = (Outcome::TimedOut, format!("there was no answer within {}", told(client.patience())));
            return Ok(Attempt::failed(at, begun.elapsed(), sent, why));
        }
    };
    let status = response.status().as_u16();
    let retry_after = wants_peace(&response).then(|| asked_for(&response, clock)).flatten();
    let response_headers = wire::headers(response.headers());
    // Whether it was taken is said already: an end that does not come changes nothing of that.
    let mut read = Vec::new();
    let error = match timeout_at(deadline, read_beginning(&mut response, &mut read)).await {
        Ok(Ok(())) => None,
        Ok(Err(_)) => Some("the answer broke off".to_owned()),
        Err(_) => Some(format!("the answer did not end within {}", told(client.patience()))),
    };
    Ok(Attempt {
        outcome: Outcome::of(status),
        status: Some(status),
        response_headers: Some(response_headers),
        response_body: Some(wire::text(&read)),
        error,
        retry_after,
        ..Attempt::failed(at, begun.elapsed(), sent, (Outcome::of(status), String::new()))
    })
}

/// A signature for each secret, so that whoever knows any of them can check one.
fn headers(claimed: &Claimed, vault: &Vault, timestamp: i64, body: &[u8]) -> Result<HeaderMap> {
    let id = claimed.event.id.to_string();
    let secrets = claimed.secrets(vault)?;
    let signatures: Vec<String> =
        secrets.iter().map(|secret| secret.sign(&id, timestamp, body)).collect::<Result<_>>()?;
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|error| Error::Internal(anyhow!("a webhook's header: {error}")))
    };
    Ok(HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (ID, value(&id)?),
        (TIMESTAMP, timestamp.into()),
        (SIGNATURE, value(&signatures.join(" "))?),
    ]))
}

/// 429 Too Many Requests and 503 Service Unavailable: those whose `Retry-After` is about requests like this.
fn wants_peace(response: &Response) -> bool {
    [429, 503].contains(&response.status().as_u16())
}

fn asked_for(response: &Response, clock: &Clock) -> Option<Duration> {
    retry_after(response.headers().get(RETRY_AFTER)?.to_str().ok()?, clock.now())
}

async fn read_beginning(response: &mut Response, read: &mut Vec<u8>) -> reqwest::Result<()> {
    while read.len() < KEPT
        && let Some(chunk) = response.chunk().await?
    {
        read.extend_from_slice(&chunk[..chunk.len().min(KEPT - read.len())]);
    }
    Ok(())
}

/// `20 s`, or `250 ms` where it is no whole number of them.
fn told(patience: Duration) -> String {
    match patience.subsec_millis() {
        0 => format!("{} s", patience.as_secs()),
        _ => format!("{} ms", patience.as_millis()),
    }
}
