//! The limiter by itself: `cargo bench --bench limits`. What a decision costs, how much memory a flood of invented keys
//! takes, and how long a sweep makes anybody wait.

#![expect(clippy::unwrap_used, reason = "what can't go on stops")]

mod cost;
mod flood;
mod memory;
mod sweeps;
#[path = "../tier.rs"]
mod tier;
mod watch;

use tier::{plan, policy};

fn main() {
    flood::addresses();
    flood::ids();
    sweeps::measure();
    cost::measure();
}
