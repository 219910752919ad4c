//! One binary, one file per room. What a test arranges it arranges through the API; `support` alone knows SQL.
#![expect(clippy::unwrap_used, reason = "a test that can't go on stops where it is")]

mod support;

mod api_keys;
mod auth;
mod categories;
mod charges;
mod contract;
mod cors;
mod ip_limits;
mod limits;
mod local;
mod operator;
mod orders;
mod pages;
mod plans;
mod problems;
mod product_values;
mod products;
mod schema;
mod sessions;
mod standing;
mod stock;
mod tier_edits;
