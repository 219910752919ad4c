//! Every call of an operator is in the platform's audit before its answer goes out, reads too.

use super::{Door, Refusable};
use crate::{
    authn::Principal,
    error::Error,
    events::{self, Entry},
    ids::OrgId,
    state::AppState,
    tenancy::PLATFORM,
    trail::Trail,
};
use axum::{
    RequestExt as _,
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
};
use serde_json::json;

/// Of an address that was made up.
const LONGEST_PATH: usize = 500;

/// Below `rate_limit`, so that nobody can fill the audit faster than they may call, and above `guard`, so that what a
/// role does not allow is told of too. A read that can't be recorded is not answered; a change is recorded in its own
/// transaction besides, and has happened.
pub async fn audited(
    State((state, door)): State<(AppState, Door)>,
    mut request: Request,
    next: Next,
) -> Refusable {
    let operator = match request.extensions().get::<Principal>() {
        Some(principal) if door.platform && principal.org == PLATFORM => principal.actor.clone(),
        _ => return Ok(next.run(request).await),
    };
    let trail: Trail = request.extract_parts_with_state(&state).await?;
    let method = request.method().clone();
    let path: String = request.uri().path().chars().take(LONGEST_PATH).collect();
    let template =
        request.extensions().get::<MatchedPath>().map_or_else(|| path.clone(), |at| at.as_str().to_owned());
    let org = org_named(&request);

    let response = next.run(request).await;

    let entry = match org {
        Some(org) => Entry::new("operator.called", "org", org.uuid().to_string()),
        None => Entry::new("operator.called", "operation", format!("{method} {template}")),
    };
    let entry = entry.after(json!({
        "method": method.as_str(),
        "path": path,
        "operation": format!("{method} {template}"),
        "status": response.status().as_u16(),
    }));
    let recorded = async {
        let mut tx = state.platform.begin().await?;
        events::record_by_platform(&mut tx, PLATFORM, Some(&operator), &trail, entry).await?;
        tx.commit().await
    };
    match recorded.await {
        Ok(()) => Ok(response),
        Err(error) if method == Method::GET => {
            tracing::error!(%error, "what an operator read can't be recorded, so it is not answered");
            Err(Error::Unavailable("the audit can't be written"))
        }
        Err(error) => {
            tracing::error!(%error, %method, path, "the call of an operator is not in the audit");
            Ok(response)
        }
    }
}

/// The org that a call is about: a part of its path, or its parameter `org`. By slug it is not known here.
fn org_named(request: &Request) -> Option<OrgId> {
    let in_path = request.uri().path().split('/').find_map(|part| part.parse().ok());
    in_path.or_else(|| {
        let pairs = request.uri().query()?.split('&');
        pairs.filter_map(|pair| pair.strip_prefix("org=")).find_map(|org| org.parse().ok())
    })
}
