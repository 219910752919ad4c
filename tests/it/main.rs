//! One binary, one file per room. What a test arranges it arranges through the API; `support` alone knows SQL.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on stops where it is")]

mod support;

mod boot;
mod bus;
mod cancellation;
mod dev_server;
mod local;
mod outage;
mod process;
mod products;
mod readme;
