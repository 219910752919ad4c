//! One binary, one file per room. What a test arranges it arranges through the API; `support` alone knows SQL.
#![expect(clippy::unwrap_used, reason = "a test that can't go on stops where it is")]

mod support;

mod api_keys;
mod auth;
mod boot;
mod bus;
mod cancellation;
mod categories;
mod charges;
mod contract;
mod cors;
mod decisions;
mod dev_server;
mod doors;
mod explain;
mod floors;
mod ip_limits;
mod isolation;
mod limits;
mod local;
mod openapi;
mod operator;
mod orders;
mod outage;
mod pages;
mod plans;
mod policy;
mod policy_check;
mod problems;
mod process;
mod product_values;
mod products;
mod readme;
mod replicas;
mod schema;
mod sessions;
mod standing;
mod stock;
mod tier_edits;
mod walls;
