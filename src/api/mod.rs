//! The tenants' rooms: one noun, one file, read downwards: who may come in, what crosses the wire, what
//! happens, what Postgres is told.
//!
//! Conventions: plural paths without a trailing slash; POST answers 201 with `Location`, PATCH is a JSON
//! merge patch (RFC 7396), DELETE answers 204, an action takes `{}` or nothing; lists are
//! `{data, next_cursor, has_more}`; times are RFC 3339 in UTC; money is in minor units; a field or query
//! parameter that is not known is refused; another org's row is a 404 like one that never was.

pub mod api_keys;
pub mod audit_events;
pub mod auth;
pub mod categories;
pub mod decisions;
pub mod dev_mail;
pub mod docs;
pub mod events;
pub mod explain;
pub mod exports;
pub mod files;
pub mod health;
pub mod imports;
pub mod invitations;
pub mod jobs;
pub mod limits;
pub mod me;
pub mod orders;
pub mod org;
pub mod permissions;
pub mod products;
pub mod roles;
pub mod schedules;
pub mod search;
pub mod tiers;
pub mod usage;
pub mod user_permissions;
pub mod users;
pub mod webhooks;

use serde::{Deserialize, Deserializer};

/// For the fields of a merge patch: absent is `None`, and null is a value like any other, refused where the
/// field can't be null. Needs `#[serde(default)]` beside it.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
