//! What the audit and the events tell of webhooks. Paths and queries of URLs may hold tokens of whoever runs the endpoint,
//! so of a URL they tell the origin, and a digest by which another one is seen to be another.

use super::Webhook;
use crate::{audit::hex, events::Entry, webhooks::origin};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const KIND: &str = "webhook";

pub fn created(webhook: &Webhook) -> Entry {
    Entry::made("webhook.created", KIND, webhook.id.uuid(), &settings(webhook))
}

/// None where nothing is different.
pub fn updated(before: &Webhook, after: &Webhook) -> Option<Entry> {
    let (was, is) = (settings(before), settings(after));
    (was != is).then(|| Entry::changed("webhook.updated", KIND, after.id.uuid(), &was, &is))
}

pub fn deleted(webhook: &Webhook) -> Entry {
    Entry::gone("webhook.deleted", KIND, webhook.id.uuid(), &settings(webhook))
}

/// Something else that was done with one.
pub fn done(action: &'static str, webhook: &Webhook, how: Value) -> Entry {
    Entry::new(action, KIND, webhook.id.uuid().to_string()).after(how)
}

/// What somebody has set.
fn settings(webhook: &Webhook) -> Value {
    let Webhook { description, events, status, ordered, concurrency, .. } = webhook;
    json!({
        "origin": origin(&webhook.url),
        "url_sha256": hex(&Sha256::digest(&webhook.url)[..8]),
        "description": description,
        "events": events,
        "status": status,
        "ordered": ordered,
        "concurrency": concurrency,
    })
}
