//! Which org the principal speaks for, whether that org is in good standing, and where the principal stands in it.

use super::Refusable;
use crate::{
    authn::Principal,
    caller::{Stance, closed},
    error::Error,
    state::AppState,
    tenancy::Status,
};
use anyhow::anyhow;
use axum::{
    extract::{Request, State},
    middleware::Next,
};

/// Inserts the org's `Control` and the principal's `Stance`: `rate_limit` takes the tiers from them, and `guard` decides
/// by the latter.
pub async fn resolve_org(State(state): State<AppState>, mut request: Request, next: Next) -> Refusable {
    let Some(principal) = request.extensions().get::<Principal>() else {
        return Err(Error::Internal(anyhow!("resolve_org stands below authenticate")));
    };
    let control = state.directory.get(principal.org).await?;
    if control.status != Status::Active {
        return Err(closed(control.status));
    }
    let stance = Stance::of(&state.authz, principal).await?;
    request.extensions_mut().insert(control);
    request.extensions_mut().insert(stance);
    Ok(next.run(request).await)
}
