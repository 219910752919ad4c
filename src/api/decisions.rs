//! Decisions: why a request was refused, asked afterwards.

use crate::{
    authz::{Action, Permission, Resource},
    caller::Caller,
    decisions::{KEPT, Receipt},
    error::{OptionExt as _, Result},
    extract::{Json, Path, TenantDb},
    ids::RequestId,
    middleware::TenantRoutes,
    state::AppState,
    tenancy::TenantTx,
};
use axum::extract::State;
use utoipa_axum::routes;
use uuid::Uuid;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Resource::Decisions).allow_members(routes!(get_decision)).further(Action::Read)
}

const OF_OTHERS: Permission = Permission { resource: Resource::Decisions, action: Action::Read };

/// Why a request was refused
///
/// For each 403 `permission_denied` and each 429, for seven days: your own, and with the permission `decisions:read`
/// those of everybody in your organisation. `explain_url` in the refusal leads here. Costs nothing.
#[utoipa::path(get, path = "/decisions/{request_id}", tag = "decisions",
    params(("request_id" = RequestId, Path)),
    responses((status = 200, description = "What was decided, and by what.", body = Receipt)))]
async fn get_decision(
    State(state): State<AppState>,
    caller: Caller,
    db: TenantDb,
    Path(request): Path<RequestId>,
) -> Result<Json<Receipt>> {
    let (actor, receipt) = match state.decisions.find(caller.org(), request) {
        Some(refusal) => (refusal.actor, refusal.receipt.clone()),
        None => select(&mut db.read().await?, request).await?.or_not_found()?,
    };
    let theirs = actor == caller.actor().uuid();
    let in_time = receipt.at > state.clock.now() - KEPT;
    (in_time && (theirs || caller.may(OF_OTHERS))).then_some(Json(receipt)).or_not_found()
}

async fn select(tx: &mut TenantTx, request: RequestId) -> Result<Option<(Uuid, Receipt)>> {
    let row = sqlx::query!(
        "select actor_id, receipt from decisions where org_id = $1 and request_id = $2",
        tx.org().uuid(),
        request.uuid()
    )
    .fetch_optional(&mut **tx)
    .await?;
    let read = row.map(|row| serde_json::from_value(row.receipt).map(|receipt| (row.actor_id, receipt)));
    Ok(read.transpose().map_err(anyhow::Error::from)?)
}
