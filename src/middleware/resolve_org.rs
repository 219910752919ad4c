//! Which org the principal speaks for, and whether that org is in good standing.

use super::Refusable;
use crate::{authn::Principal, caller::closed, error::Error, state::AppState, tenancy::Status};
use anyhow::anyhow;
use axum::{
    extract::{Request, State},
    middleware::Next,
};

/// Inserts the org's `Control`, which `rate_limit` takes the tier from.
pub async fn resolve_org(State(state): State<AppState>, mut request: Request, next: Next) -> Refusable {
    let Some(principal) = request.extensions().get::<Principal>() else {
        return Err(Error::Internal(anyhow!("resolve_org stands below authenticate")));
    };
    let control = state.directory.get(principal.org).await?;
    if control.status != Status::Active {
        return Err(closed(control.status));
    }
    request.extensions_mut().insert(control);
    Ok(next.run(request).await)
}
