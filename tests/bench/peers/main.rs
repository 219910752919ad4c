//! Insula beside other servers that do the same work over one Postgres, for the harness that measures them:
//! `cargo build --release --bench peers`, then give the harness `--adapter tests/bench/peers/insula.json`.
//!
//! The adapter says what the harness is to run: `fill` makes a database in its cluster, `serve` is Insula as it is, `pairs`
//! signs people in, `cleanup` takes away what was written.

#![expect(clippy::unwrap_used, reason = "what can't go on stops")]

mod cluster;
mod fill;
mod pairs;
mod serve;

use cluster::Cluster;

#[tokio::main]
async fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let cluster = Cluster::of_the_harness();
    match std::env::args().nth(1).as_deref() {
        Some("fill") => Box::pin(fill::fill(&cluster)).await,
        Some("serve") => Box::pin(serve::serve(&cluster)).await,
        Some("pairs") => pairs::write(&cluster).await,
        Some("cleanup") => cluster.run(include_str!("cleanup.sql")).await,
        // `cargo bench` runs everything there is, and this is nothing by itself.
        _ => println!("peers: for a harness that compares servers; see tests/bench/peers/insula.json"),
    }
}
