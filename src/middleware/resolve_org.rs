//! Which org the principal speaks for, whether that org is in good standing, what it asks of who comes in, and where the
//! principal stands in it.

use super::{Door, Refusable};
use crate::{
    access,
    authn::Principal,
    caller::{Stance, closed},
    error::Error,
    state::AppState,
    tenancy::Status,
    trail::ClientIp,
};
use anyhow::anyhow;
use axum::{
    extract::{Request, State},
    middleware::Next,
};

/// Inserts the org's `Control` and the principal's `Stance`: `rate_limit` takes the tiers from them, and `guard` decides
/// by the latter.
pub async fn resolve_org(
    State((state, door)): State<(AppState, Door)>,
    mut request: Request,
    next: Next,
) -> Refusable {
    let (Some(principal), Some(client)) =
        (request.extensions().get::<Principal>(), request.extensions().get::<ClientIp>())
    else {
        return Err(Error::Internal(anyhow!("resolve_org stands below authenticate and client_ip")));
    };
    let control = state.directory.get(principal.org).await?;
    if control.status != Status::Active {
        return Err(closed(control.status));
    }
    if !door.personal
        && let Some(demand) = access::unmet(&control.access, &principal.actor, client.ip).first()
    {
        return Err(demand.refusal());
    }
    let stance = Stance::of(&state.authz, principal).await?;
    request.extensions_mut().insert(control);
    request.extensions_mut().insert(stance);
    Ok(next.run(request).await)
}
