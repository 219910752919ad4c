//! What every test stands on: a real server over a database of its own, and people to call it.

mod app;
mod binary;
mod cluster;
mod dev;
mod dir;
mod faults;
mod persona;
mod private;
mod reply;
mod wait;

pub use app::{Org, TestApp, config};
pub use binary::{Binary, processes_of};
pub use cluster::Database;
pub use dev::Dev;
pub use dir::Dir;
pub use persona::Persona;
pub use private::Private;
pub use reply::Reply;
pub use wait::until;

use serde_json::{Value, json};

/// A product nobody else has.
pub fn cog() -> Value {
    json!({"sku": "COG-1", "name": "Cog", "price": {"amount": 1999, "currency": "EUR"}, "stock": 10})
}
