//! What a quiet organisation notices of its neighbours, on a real server: `cargo bench --bench neighbours`.
//!
//! It asks at a steady pace, alone and beside one that sends 50 times its limit, one whose queries are slow, and both;
//! and beside the same queries past the server, which shows what the machine makes of them. All in turns, and in one run.
//! `NEIGHBOURS_ROUNDS` and `NEIGHBOURS_SECONDS` say how often and how long.

#![expect(clippy::unwrap_used, reason = "what can't go on stops")]

mod client;
mod house;
mod load;
mod server;

use house::House;
use load::{Neighbour, Quiet};
use std::{env, sync::Arc, time::Duration};

/// What p99 may be beside neighbours, in parts of what it is alone.
const TARGET: f64 = 1.5;

fn main() {
    let rounds = setting("NEIGHBOURS_ROUNDS", 5);
    let seconds = Duration::from_secs(setting("NEIGHBOURS_SECONDS", 6));
    let house = Arc::new(House::build());
    let settings = [
        ("alone", vec![]),
        ("beside 50 times its limit (free: 500/s)", vec![Neighbour::Flood { per_second: 500 }]),
        ("beside slow queries (a locked row)", vec![Neighbour::Locked]),
        ("beside slow queries (counting 200,000 rows)", vec![Neighbour::Counting]),
        ("beside a flood and a locked row", vec![Neighbour::Flood { per_second: 500 }, Neighbour::Locked]),
        ("beside a flood and counting", vec![Neighbour::Flood { per_second: 500 }, Neighbour::Counting]),
        ("beside 1 query past the house", vec![Neighbour::Past { connections: 1 }]),
        ("beside 4 queries past the house", vec![Neighbour::Past { connections: 4 }]),
    ];
    let quiet = Quiet::new(&house);
    // The first requests fill caches and open connections.
    quiet.asks_for(Duration::from_secs(2));
    let mut all: Vec<_> = settings.iter().map(|_| load::Seen::default()).collect();
    for _ in 0..rounds {
        for ((_, neighbours), seen) in settings.iter().zip(&mut all) {
            let noise = load::Noise::start(&house, neighbours);
            std::thread::sleep(Duration::from_millis(500));
            let round = quiet.asks_for(seconds);
            noise.stop(seen);
            seen.add(round);
        }
    }
    println!("{rounds} rounds of {} s, {} requests a second of the quiet one", seconds.as_secs(), load::PACE);
    println!(
        "{:<46}{:>8}{:>8}{:>8}{:>18}{:>7}{:>8}{:>9}  neighbours",
        "the quiet one", "p50 ms", "p99 ms", "x alone", "p99 of rounds", "late", "asked", "refused"
    );
    let alone = all[0].percentile(99.0);
    for ((name, _), seen) in settings.iter().zip(&all) {
        let (least, most) = seen.spread();
        println!(
            "{name:<46}{:>8.2}{:>8.2}{:>8.2}{:>18}{:>7.2}{:>8}{:>9}  {}",
            seen.percentile(50.0),
            seen.percentile(99.0),
            seen.percentile(99.0) / alone,
            format!("{least:.2} .. {most:.2}"),
            seen.lateness(),
            seen.asked(),
            seen.refused(),
            seen.neighbours()
        );
    }
    let held_back =
        |neighbours: &[Neighbour]| !neighbours.iter().any(|one| matches!(one, Neighbour::Past { .. }));
    let house: Vec<_> = settings
        .iter()
        .zip(&all)
        .filter(|((_, neighbours), _)| held_back(neighbours))
        .map(|(_, seen)| seen)
        .collect();
    let worst = house.iter().map(|seen| seen.percentile(99.0) / alone).fold(0.0, f64::max);
    let refused: usize = house.iter().map(|seen| seen.refused()).sum();
    println!("worst p99: {worst:.2} x alone (target {TARGET}), {refused} refusals (target 0)");
}

#[expect(clippy::disallowed_methods, reason = "cargo passes its own arguments to a benchmark")]
fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
