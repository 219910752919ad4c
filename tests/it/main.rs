//! One binary, one file per room. What a test arranges it arranges through the API; `support` alone knows SQL.
#![expect(clippy::unwrap_used, reason = "a test that can't go on stops where it is")]

mod support;

mod boot;
mod bus;
mod cancellation;
mod contract;
mod dev_server;
mod limits;
mod local;
mod operator;
mod outage;
mod process;
mod products;
mod readme;
