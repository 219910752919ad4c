//! How often one address may knock before it is known who it is.

use super::Refusable;
use crate::{
    error::{Error, Problem, Result},
    state::AppState,
    trail::ClientIp,
};
use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
};

pub async fn ip_limit(State(state): State<AppState>, request: Request, next: Next) -> Refusable {
    charge(&state, &request)?;
    Ok(next.run(request).await)
}

/// Where an address that we have signed is all that one needs: who holds one comes in, and who guesses is slowed down.
pub async fn limit_guesses(State(state): State<AppState>, request: Request, next: Next) -> Refusable {
    let client = request.extensions().get::<ClientIp>().copied();
    let response = next.run(request).await;
    if response.status() == StatusCode::NOT_FOUND {
        charge_client(&state, client.as_ref())?;
    }
    Ok(response)
}

/// Charges the address of a request, on a public route or after credentials that were not good.
pub fn charge(state: &AppState, request: &Request) -> Result<()> {
    charge_client(state, request.extensions().get::<ClientIp>())
}

fn charge_client(state: &AppState, client: Option<&ClientIp>) -> Result<()> {
    let Some(client) = client else { return Ok(()) };
    state.ip_limiter.check(client.ip, 1).map_err(|retry_after| {
        let detail = format!("too many attempts from your address: wait {retry_after} s");
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
            .with("violated_policies", vec!["ip"])
            .header(header::RETRY_AFTER, retry_after);
        "https://iana.org/assignments/http-problem-types#quota-exceeded".clone_into(&mut problem.kind);
        Error::Limited(Box::new(problem))
    })
}
