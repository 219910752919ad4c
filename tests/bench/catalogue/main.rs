//! How long the catalogue takes to be read and searched over HTTP, on a real server, where it is large:
//! `cargo bench --bench catalogue`.
//!
//! One organisation has a million products, each with the same word in it, and beside it a thousand have a thousand each.
//! What is compared is asked in turns, in one run. `CATALOGUE_LARGE` and `CATALOGUE_SMALL` say how many products these
//! have, and `CATALOGUE_ORGS` how many are small.

#![expect(clippy::unwrap_used, reason = "what can't go on stops")]

#[path = "../neighbours/client.rs"]
mod client;
mod house;
mod pages;
mod search;
#[path = "../neighbours/server.rs"]
mod server;

use client::{Client, Request};
use house::House;
use std::{
    env,
    time::{Duration, Instant},
};

fn main() {
    let house = House::build(setting("CATALOGUE_LARGE", 1_000_000), setting("CATALOGUE_SMALL", 1_000));
    pages::measure(&house);
    search::measure(&house);
}

#[expect(clippy::disallowed_methods, reason = "the settings of a bench are no settings of the program")]
fn setting<T: std::str::FromStr>(name: &str, usual: T) -> T {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Asks for something until the limit allows it, and says how long it then took, and what was answered.
fn timed(client: &mut Client, path: &str, token: &str) -> (Duration, String) {
    let request = Request::new("GET", path, Some(token), "", "");
    loop {
        let begun = Instant::now();
        let (status, body) = client.send(&request).unwrap();
        match status {
            200 => return (begun.elapsed(), body),
            429 => std::thread::sleep(Duration::from_millis(20)),
            _ => panic!("{path}: {status} {body}"),
        }
    }
}

/// In milliseconds, of times that are put in order: what so many hundredths of them did not exceed.
fn percentile(took: &mut [Duration], hundredths: usize) -> f64 {
    took.sort_unstable();
    took[(took.len() - 1) * hundredths / 100].as_secs_f64() * 1_000.0
}
