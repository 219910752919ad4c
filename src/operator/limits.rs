//! What holds for whom: the limits of any principal, with where each comes from and how it stands.

use crate::{
    authz::{Action::Read, Resource},
    error::{Error, OptionExt as _, Result},
    extract::{Json, Query},
    ids::{ApiKeyId, OrgId, UserId},
    limits::{Reading, Subject},
    middleware::TenantRoutes,
    state::AppState,
    tenancy::PlatformTx,
};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_operators(Resource::PlatformLimits).allow(Read, routes!(get_platform_limits))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Principal {
    /// The organisation, by id or slug.
    #[param(example = "acme", max_length = 63)]
    org: String,
    /// One of its members.
    user: Option<UserId>,
    /// Or one of its API keys.
    api_key: Option<ApiKeyId>,
}

#[derive(Serialize, ToSchema)]
pub struct PlatformLimits {
    pub org: OrgId,
    /// The organisation's own.
    #[schema(example = "free", max_length = 40)]
    pub tier: String,
    /// Whose limits on users hold for this member in place of the organisation's, if any.
    #[schema(example = "pro", max_length = 40)]
    pub member_tier: Option<String>,
    /// Every policy that applies, shadows too, the tightest first.
    #[schema(max_items = 16)]
    pub data: Vec<Reading>,
}

/// Fetch the limits of a member or an API key
///
/// What is enforced for them at this moment, each with its source: the tier and its version, or an override. Charges
/// nobody.
#[utoipa::path(get, path = "/limits", tag = "operator: limits", params(Principal),
    responses((status = 200, description = "Every policy that applies, and what is left of it.", body = PlatformLimits),
              (status = 404, description = "There is no such organisation, member or key.")))]
async fn get_platform_limits(
    State(state): State<AppState>,
    Query(Principal { org, user, api_key }): Query<Principal>,
) -> Result<Json<PlatformLimits>> {
    let mut tx = state.platform.begin().await?;
    let org = tx.org_named(&org).await?.or_not_found()?;
    let who = match (user, api_key) {
        (Some(user), None) => Subject::User(user),
        (None, Some(key)) if has_key(&mut tx, org, key).await? => Subject::ApiKey(key),
        (None, Some(_)) => return Err(Error::NotFound),
        _ => return Err(Error::malformed("bad_parameter", "name either a `user` or an `api_key`")),
    };
    drop(tx);
    let member_tier = match who {
        Subject::User(user) => state.authz.standing(org, user).await?.or_not_found()?.tier,
        Subject::ApiKey(_) => None,
    };
    let control = state.directory.get(org).await?;
    let plan = state.plan(org, &control, who, member_tier.as_deref()).await?;
    let data = state.limits.peek(org, who, &plan, 1).await;
    let member_tier = member_tier.map(|tier| tier.to_string());
    Ok(Json(PlatformLimits { org, tier: control.tier.clone(), member_tier, data }))
}

async fn has_key(tx: &mut PlatformTx, org: OrgId, key: ApiKeyId) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from api_keys where org_id = $1 and id = $2) as "found!""#,
        org.uuid(),
        key.uuid()
    );
    Ok(found.fetch_one(&mut **tx).await?)
}
