//! What every test stands on: a real server over a database of its own, and people to call it.

mod app;
mod cluster;
mod document;
mod fence;
mod persona;
mod reply;
mod source;

pub use app::{Org, TestApp};
pub use cluster::Database;
pub use document::{Document, Operation, another_of_its_kind};
pub use fence::BREACHES;
pub use persona::Persona;
pub use reply::Reply;
pub use source::Source;

use serde_json::{Value, json};

/// A product nobody else has.
pub fn cog() -> Value {
    json!({"sku": "COG-1", "name": "Cog", "price": {"amount": 1999, "currency": "EUR"}, "stock": 10})
}
