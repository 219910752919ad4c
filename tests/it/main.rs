//! One binary, one file per room. What a test arranges it arranges through the API; `support` alone knows SQL.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on stops where it is")]

mod support;

mod doors;
mod floors;
mod isolation;
mod local;
mod openapi;
mod policy;
mod products;
mod walls;
