//! A place among an org's streams: how many there may be here, and in all processes together.

use crate::{
    error::{Error, Problem, Result},
    events::{Carrier, Place},
    ids::OrgId,
    limits::Granted,
    state::AppState,
};
use axum::http::{StatusCode, header};
use serde_json::json;

/// Seconds after which it is worth asking again: streams come and go.
const RETRY_AFTER: u32 = 5;
const ENTITLEMENT: &str = "live_connections";

/// # Errors
/// 429 where there is none.
pub async fn take(state: &AppState, org: OrgId, carrier: Carrier) -> Result<Place> {
    let most = state.config.events.streams_per_org;
    let place = state.streams.follow(org, carrier, most).ok_or_else(|| full(most))?;
    let control = state.directory.get(org).await?;
    let granted = state.tiers.granted(&control.tier).await?;
    if let Some(most) = granted.entitlements.live_connections {
        state
            .streams
            .confirm(&state.pools, org, most)
            .await?
            .map_err(|open| used_up(&granted, most, open))?;
    }
    Ok(place)
}

/// The 429 of an org that has all that its tier grants.
fn used_up(granted: &Granted, most: u32, open: u32) -> Error {
    let detail = format!(
        "your organisation's tier has {most} connections for events ({ENTITLEMENT}), and {open} are open: close one, or \
         wait for one to end"
    );
    let source = format!("tier:{}@v{}", granted.plan.slug, granted.plan.version);
    let limit = json!({"policy": ENTITLEMENT, "scope": "org", "limit": most, "used": open, "cost": 1,
                       "next_at": null, "source": source});
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_connections", detail)
        .with("violated_policies", vec![ENTITLEMENT])
        .with("limits", vec![limit]);
    wait(problem)
}

/// The 429 of an org that has all that one process gives anybody.
fn full(most: usize) -> Error {
    let detail = format!(
        "{most} streams of your organisation are open at this server, as many as it takes: close one, or wait for one to \
         end"
    );
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail);
    wait(problem.with("violated_policies", vec!["streams"]))
}

fn wait(problem: Problem) -> Error {
    let mut problem = problem.header(header::RETRY_AFTER, RETRY_AFTER);
    "https://iana.org/assignments/http-problem-types#quota-exceeded".clone_into(&mut problem.kind);
    Error::Limited(Box::new(problem))
}
