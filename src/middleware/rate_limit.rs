//! How much the org's tier lets this principal do, said in the headers of every answer.

use super::{Door, Refusable};
use crate::{
    authn::Principal,
    caller::{Stance, subject},
    error::{Error, Problem},
    limits::{Decision, Reading, record::Recorded},
    metering::Slip,
    state::AppState,
    tenancy::Control,
};
use anyhow::anyhow;
use axum::{
    extract::{Request, State},
    http::{HeaderName, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use std::sync::Arc;
use time::format_description::well_known::Rfc3339;

pub async fn rate_limit(
    State((state, door)): State<(AppState, Door)>,
    request: Request,
    next: Next,
) -> Refusable {
    let extensions = request.extensions();
    let (Some(principal), Some(control), Some(stance)) =
        (extensions.get::<Principal>(), extensions.get::<Arc<Control>>(), extensions.get::<Stance>())
    else {
        return Err(Error::Internal(anyhow!("rate_limit stands below resolve_org")));
    };
    let who = subject(&principal.actor);
    let plan = state.plan(principal.org, control, who, stance.tier()).await?;
    // Permits of concurrency policies are held until the answer is made.
    let (org, cost) = (principal.org, door.cost);
    let decision = state.limits.decide(org, who, &plan, cost).await;
    let (at, admitted) = (decision.at_micros(), decision.admitted);
    state.recorder.push(Recorded { at, org, who, route: door.route, cost, admitted });
    if let Some(slip) = extensions.get::<Slip>() {
        slip.decided(&decision);
    }
    let mut response =
        if decision.admitted { next.run(request).await } else { refusal(&decision).into_response() };
    tell(&decision, &mut response);
    Ok(response)
}

fn tell(decision: &Decision, response: &mut Response) {
    for (name, value) in decision.headers().pairs() {
        if let Some(value) = super::header_value(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
}

fn refusal(decision: &Decision) -> Error {
    let violated: Vec<&str> = decision.violated().collect();
    let named = violated.join(" and ");
    let (code, detail) = match decision.retry_after() {
        Some(seconds) => {
            ("rate_limited", format!("the limit {named} of your tier is used up: wait {seconds} s"))
        }
        None => (
            "cost_exceeds_burst",
            format!("this request costs {} units, more than the limit {named} ever holds", decision.cost),
        ),
    };
    let limits: Vec<Value> = decision
        .readings()
        .iter()
        .filter(|reading| reading.violated && !reading.shadow)
        .map(|reading| told(reading, decision.cost))
        .collect();
    let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, code, detail)
        .with("violated_policies", violated)
        .with("limits", limits);
    "https://iana.org/assignments/http-problem-types#quota-exceeded".clone_into(&mut problem.kind);
    Error::Limited(Box::new(problem))
}

fn told(reading: &Reading, cost: u32) -> Value {
    json!({
        "policy": reading.policy,
        "scope": reading.scope,
        "limit": reading.limit,
        "used": reading.used,
        "cost": cost,
        "next_at": reading.next_at.and_then(|at| at.format(&Rfc3339).ok()),
        "source": reading.source,
    })
}
