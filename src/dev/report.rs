//! What a developer is told: what takes its time, and at the end where everything is.

use super::demo::Demo;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Names a step before it is taken, and says how long it took where that was worth a look at the clock.
pub async fn step<T>(name: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let started = Instant::now();
    println!("  {name}");
    let done = work.await?;
    if started.elapsed() > Duration::from_secs(1) {
        println!("  .. took {:.1} s", started.elapsed().as_secs_f64());
    }
    Ok(done)
}

/// Ends with three lines that work when pasted.
pub fn welcome(demo: &Demo, file: &Path) {
    let url = &demo.base_url;
    println!("\nInsula is ready.\n");
    println!("  API       {url}/api/v1");
    println!("  docs      {url}/docs  and  {url}/redoc");
    println!("  mail      {url}/dev/mail  (nothing leaves this machine)");
    println!("  for programs, all of the below: {}\n", file.display());
    for org in &demo.orgs {
        println!("  {:<10}{:<12}API key {}", org.slug, org.tier, org.api_key);
        for member in &org.members {
            println!("    {:<10}{:<30}password {}", member.role, member.email, member.password);
        }
    }
    println!(
        "  platform\n    {:<10}{:<30}password {}",
        "operator", demo.operator.email, demo.operator.password
    );
    let Some(org) = demo.orgs.first() else { return };
    println!("\nTry:\n");
    println!("  curl -s {url}/api/v1/products -H 'Authorization: Bearer {}'\n", org.api_key);
    if let Some(owner) = org.members.first() {
        println!(
            "  curl -s {url}/api/v1/auth/login -H 'Content-Type: application/json' \
             -d '{{\"email\": \"{}\", \"password\": \"{}\"}}'\n",
            owner.email, owner.password
        );
    }
    println!("  curl -si {url}/api/v1/limits -H 'Authorization: Bearer {}'\n", org.api_key);
    println!("Ctrl-C stops everything.");
}
