//! What every test stands on: a real server over a database of its own, and people to call it.

mod app;
mod binary;
mod cluster;
mod collector;
mod contract;
mod crowd;
mod dev;
mod dir;
mod document;
mod faults;
mod fence;
mod fleet;
mod forge;
pub mod hooks;
mod joining;
pub mod labour;
mod ledger;
mod listener;
mod mailbox;
mod persona;
mod private;
mod queries;
pub mod receiver;
mod redis_cluster;
mod reply;
mod roles;
mod sign_in;
mod smtp;
mod socket;
mod source;
pub mod standard_webhooks;
mod uploads;
mod wait;
mod watch;
mod wire;

pub use app::{Org, PASSWORD, TestApp, config};
pub use binary::{Binary, processes_of, signal_to};
pub use cluster::Database;
pub use collector::{Collector, Traced};
pub use crowd::Crowd;
pub use dev::Dev;
pub use dir::Dir;
pub use document::{Document, Operation, another_of_its_kind};
pub use fence::BREACHES;
pub use fleet::Fleet;
pub use forge::{Forge, encoded, nobodys_kid};
pub use joining::ACCEPT;
pub use listener::Listener;
pub use mailbox::Mailbox;
pub use persona::Persona;
pub use private::Private;
pub use queries::Queries;
pub use redis_cluster::RedisCluster;
pub use reply::Reply;
pub use sign_in::{AuthenticatorApp, claims, delete_with};
pub use smtp::Smtp;
pub use socket::{Socket, handshake};
pub use source::Source;
pub use uploads::{png, upload};
pub use wait::{until, until_within, within_a_second};
pub use wire::Wire;

use reqwest::Method;
use serde_json::{Value, json};

/// A product nobody else has.
pub fn cog() -> Value {
    json!({"sku": "COG-1", "name": "Cog", "price": {"amount": 1999, "currency": "EUR"}, "stock": 10})
}

/// Some pieces of a product of its own, at 2.50 euros.
pub fn product(sku: &str, stock: u32) -> Value {
    json!({"sku": sku, "name": sku, "price": {"amount": 250, "currency": "EUR"}, "stock": stock})
}

/// Sends a file of products to be imported.
pub async fn import(by: &Persona, media_type: &str, file: impl Into<reqwest::Body>) -> Reply {
    let request = by.request(Method::POST, "/api/v1/imports?resource=products");
    Reply::of(request.header("content-type", media_type).body(file)).await
}

/// What a resource is called.
#[track_caller]
pub fn id(resource: &Value) -> &str {
    resource["id"].as_str().unwrap()
}

/// Where a 422 says that the body is wrong.
#[track_caller]
pub fn pointers(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().unwrap().iter().map(|flaw| flaw["pointer"].as_str().unwrap()).collect()
}
