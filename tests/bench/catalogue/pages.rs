//! What the last page of a long list takes beside the first; and the first, where its answer is at hand.

use crate::{House, client::Client, percentile, timed};
use serde_json::Value;

/// What the last page may take, in parts of the first.
const TARGET: f64 = 1.5;
const ROUNDS: usize = 300;
const LIMIT: u32 = 100;

pub fn measure(house: &House) {
    for sort in ["-created_at", "name"] {
        let first = format!("/api/v1/products?limit={LIMIT}&sort={sort}");
        let (last, pages) = walk(house, &first);
        let mut clients = [Client::new(house.bare.address), Client::new(house.bare.address)];
        let mut took = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for ((client, path), took) in clients.iter_mut().zip([&first, &last]).zip(&mut took) {
                took.push(timed(client, path, &house.large).0);
            }
        }
        let [one, many] = took.each_mut().map(|took| percentile(took, 50));
        println!(
            "sort={sort}: page 1 {one:.2} ms, page {pages} {many:.2} ms (medians of {ROUNDS}): {:.2} times, may be {TARGET}; \
             p95 {:.2} and {:.2} ms",
            many / one,
            percentile(&mut took[0], 95),
            percentile(&mut took[1], 95),
        );
    }
    let mut kept = Vec::new();
    let mut client = Client::new(house.keeping.address);
    for _ in 0..ROUNDS {
        let path = format!("/api/v1/products?limit={LIMIT}");
        kept.push(timed(&mut client, &path, &house.large).0);
    }
    println!("page 1 where it is kept: p50 {:.2} ms", percentile(&mut kept, 50));
}

/// To the last page, and which it is.
fn walk(house: &House, first: &str) -> (String, u32) {
    let mut client = Client::new(house.bare.address);
    let (mut path, mut page) = (first.to_owned(), 1);
    loop {
        let (_, body) = timed(&mut client, &path, &house.large);
        let told: Value = serde_json::from_str(&body).unwrap();
        // Full, as the first is: they are compared.
        if page * LIMIT >= house.products {
            assert_eq!(told["data"].as_array().unwrap().len(), LIMIT as usize);
            return (path, page);
        }
        path = format!("{first}&cursor={}", told["next_cursor"].as_str().unwrap());
        page += 1;
    }
}
