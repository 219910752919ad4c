//! Me: who is signed in, where, and how they prove it.

mod sessions;
mod totp;

mod account;

mod orgs;

use crate::{
    account::{Org, User},
    caller::{Caller, not_a_member},
    error::{Error, Result},
    extract::{Json, SignedIn},
    middleware::TenantRoutes,
    state::AppState,
    tenancy::gate,
};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_members()
        .allow_members(routes!(get_me))
        .allow_members(routes!(sessions::list_sessions))
        .allow_members(routes!(sessions::end_other_sessions))
        .allow_members(routes!(sessions::get_session))
        .allow_members(routes!(sessions::end_session))
        .allow_members(routes!(totp::get_totp))
        .allow_members(routes!(totp::enrol_totp))
        .allow_members(routes!(totp::disable_totp))
        .allow_members(routes!(totp::confirm_totp))
        .allow_members(routes!(totp::renew_recovery_codes))
        .allow_members(routes!(account::export_me))
        .allow_members(routes!(account::delete_me))
        .allow_members(routes!(orgs::list_my_orgs))
        .allow_members(routes!(orgs::create_my_org))
        .allow_members(routes!(orgs::get_my_org))
        .allow_members(routes!(orgs::leave_org))
}

#[derive(Serialize, ToSchema)]
pub struct Me {
    #[serde(flatten)]
    pub user: User,
    /// The address was shown to be theirs.
    pub email_verified: bool,
    /// The organisation that the access token speaks for.
    pub org: Org,
    /// Held in that organisation.
    #[schema(max_items = 100)]
    pub roles: Vec<String>,
    /// Every organisation to switch to.
    #[schema(max_items = 1_000)]
    pub orgs: Vec<Org>,
}

/// Who is signed in, and where
#[utoipa::path(get, path = "/me", tag = "me", responses((status = 200, description = "You.", body = Me)))]
async fn get_me(State(state): State<AppState>, caller: Caller, signed_in: SignedIn) -> Result<Json<Me>> {
    let user = gate::user(&state.pools, signed_in.user).await?.ok_or_else(Error::session_ended)?;
    let email_verified = gate::email_verified(&state.pools, signed_in.user).await?;
    let orgs: Vec<Org> =
        gate::orgs_of(&state.pools, signed_in.user).await?.into_iter().map(Into::into).collect();
    // Whoever has left it is told so here as well, before this replica hears of it.
    let org = orgs.iter().find(|org| org.id == caller.org()).cloned().ok_or_else(not_a_member)?;
    Ok(Json(Me { user: user.into(), email_verified, org, roles: caller.roles().to_vec(), orgs }))
}
