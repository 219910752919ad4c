//! The servers that `insula dev` and the tests start for themselves: private, socket only, gone when we are.
//!
//! `postgres` and `redis` each say how one server is made and reached; `claim` lets one owner into a
//! directory, `place` finds one that the server's account may use, `supervise` ties its life to ours.

mod binaries;
mod claim;
mod cluster;
mod place;
mod postgres;
mod redis;
mod supervise;

pub use postgres::{Durability, Postgres};
pub use redis::Redis;

use std::fmt::Write as _;

/// Percent-encodes everything but slashes and what RFC 3986 calls unreserved.
fn encode(text: &[u8]) -> String {
    text.iter().fold(String::new(), |mut url, &byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                url.push(byte.into());
            }
            _ => _ = write!(url, "%{byte:02X}"),
        }
        url
    })
}
