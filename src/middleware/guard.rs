//! Whether the principal's role may do this; behind it stands a `Caller`.

use super::{Door, Refusable};
use crate::{
    authn::Principal,
    caller::{Caller, Stance, refused},
    error::Error,
    state::AppState,
    tenancy::PLATFORM,
};
use anyhow::anyhow;
use axum::{
    extract::{Request, State},
    middleware::Next,
};

pub async fn guard(
    State((state, door)): State<(AppState, Door)>,
    mut request: Request,
    next: Next,
) -> Refusable {
    let stance = request.extensions_mut().remove::<Stance>();
    let (Some(principal), Some(stance)) = (request.extensions().get::<Principal>(), stance) else {
        return Err(Error::Internal(anyhow!("guard stands below resolve_org")));
    };
    if door.platform && principal.org != PLATFORM {
        return Err(refused("operators_only", "only operators of the platform come in here"));
    }
    let caller = Caller::admit(&state.authz, principal.clone(), stance, door.permission).await?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}
