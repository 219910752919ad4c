//! How long a search takes, for what is in one product and for what is in each of them.

use crate::{House, client::Client, percentile, timed};
use serde_json::Value;
use std::time::{Duration, Instant};

/// For one question.
const ENOUGH: Duration = Duration::from_secs(5);
const ROUNDS: usize = 100;

const QUESTIONS: [(&str, &str); 9] = [
    ("one product, by its sku", "/api/v1/search?q=SKU-777"),
    ("one product, two words", "/api/v1/search?q=lantern+776"),
    ("one product, misspelt", "/api/v1/search?q=lantren+776"),
    ("no product", "/api/v1/search?q=chandelier"),
    ("each product, the word", "/api/v1/search?q=common"),
    ("each product, its beginning", "/api/v1/search?q=comm"),
    ("each product, its description", "/api/v1/search?q=steel"),
    ("a fifth of them, two words", "/api/v1/search?q=common+lantern"),
    ("each product, as a list", "/api/v1/products?q=common"),
];

pub fn measure(house: &House) {
    println!("{:<34}{:>12}{:>10}{:>10}{:>10}", "search", "", "p50 ms", "p95 ms", "asked");
    for (what, path) in QUESTIONS {
        for (whose, token) in [("large", &house.large), ("small", &house.small)] {
            let mut client = Client::new(house.bare.address);
            let (_, body) = timed(&mut client, path, token);
            let found = serde_json::from_str::<Value>(&body).unwrap()["data"].as_array().unwrap().len();
            let (begun, mut took) = (Instant::now(), Vec::new());
            while took.len() < ROUNDS && begun.elapsed() < ENOUGH {
                took.push(timed(&mut client, path, token).0);
            }
            let [p50, p95] = [50, 95].map(|hundredths| percentile(&mut took, hundredths));
            println!("{what:<34}{whose:>12}{p50:>10.2}{p95:>10.2}{:>10}  {found} shown", took.len());
        }
    }
}
