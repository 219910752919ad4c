//! The organisations that one is in: to be founded, and to be left.

use crate::{
    account::{Org, slug},
    error::{Error, OptionExt as _, Result},
    extract::{Json, Path, SignedIn},
    ids::{OrgId, UserId},
    state::AppState,
    tenancy::gate::{self, Leaving, Membership, NewOrg},
    trail::Trail,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An organisation, and what its member is in it.
#[derive(Serialize, ToSchema)]
pub struct MyOrg {
    #[serde(flatten)]
    pub org: Org,
    #[schema(example = json!(["member"]), max_items = 100)]
    pub roles: Vec<String>,
    /// Whether an admin of it has suspended you.
    #[schema(example = "active", max_length = 9)]
    pub member_status: String,
}

#[derive(Serialize, ToSchema)]
pub struct MyOrgs {
    /// The one joined first comes first.
    #[schema(max_items = 1_000)]
    pub data: Vec<MyOrg>,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrganisation {
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(example = "Acme", min_length = 1, max_length = 200)]
    pub name: String,
}

/// How many one person may own.
const MOST: i64 = 50;

/// List your organisations
#[utoipa::path(get, path = "/me/orgs", tag = "me",
    responses((status = 200, description = "Every organisation you are a member of.", body = MyOrgs)))]
pub async fn list_my_orgs(
    State(state): State<AppState>,
    SignedIn { user, .. }: SignedIn,
) -> Result<Json<MyOrgs>> {
    let orgs = gate::orgs_of(&state.pools, user).await?;
    Ok(Json(MyOrgs { data: orgs.into_iter().map(Into::into).collect() }))
}

/// Found another organisation
///
/// You own it, and it has a sandbox; switch to it to work in it.
#[utoipa::path(post, path = "/me/orgs", tag = "me", request_body = NewOrganisation,
    responses((status = 201, description = "It exists, on the sign-up tier.", body = MyOrg),
              (status = 409, description = "You own as many as one person may (`too_many_orgs`).")))]
pub async fn create_my_org(
    State(state): State<AppState>,
    SignedIn { user, .. }: SignedIn,
    trail: Trail,
    Json(NewOrganisation { name }): Json<NewOrganisation>,
) -> Result<Response> {
    let wanted = slug(&name);
    let mut slug = wanted.clone();
    let id = loop {
        let new = NewOrg { id: OrgId::new(), sandbox: OrgId::new(), slug: &slug, name: &name };
        match gate::found_org(&state.pools, user, &new, MOST, &trail).await {
            Ok(true) => break new.id,
            Ok(false) => {
                return Err(Error::conflict(
                    "too_many_orgs",
                    format!("you own {MOST} organisations: delete one, or hand it over"),
                ));
            }
            Err(Error::Conflict { code: "slug_taken", .. }) => {
                slug = format!("{wanted}-{:04x}", rand::random::<u16>());
            }
            Err(error) => return Err(error),
        }
    };
    let org = select(&state, user, id).await?;
    let location = [(header::LOCATION, format!("/api/v1/me/orgs/{id}"))];
    Ok((StatusCode::CREATED, location, Json(org)).into_response())
}

/// Fetch one of your organisations
#[utoipa::path(get, path = "/me/orgs/{id}", tag = "me", params(("id" = OrgId, Path)),
    responses((status = 200, description = "The organisation.", body = MyOrg)))]
pub async fn get_my_org(
    State(state): State<AppState>,
    SignedIn { user, .. }: SignedIn,
    Path(id): Path<OrgId>,
) -> Result<Json<MyOrg>> {
    select(&state, user, id).await.map(Json)
}

/// Leave an organisation
///
/// Its tokens are refused from then on.
#[utoipa::path(delete, path = "/me/orgs/{id}", tag = "me", params(("id" = OrgId, Path)),
    responses((status = 204, description = "You are no member of it any more."),
              (status = 409, description = "Nobody else owns it, or you would be left without any (`last_owner`, `last_org`).")))]
pub async fn leave_org(
    State(state): State<AppState>,
    SignedIn { user, .. }: SignedIn,
    trail: Trail,
    Path(id): Path<OrgId>,
) -> Result<StatusCode> {
    match gate::leave(&state.pools, user, id, &trail).await? {
        Leaving::Left => {
            state.authz.forget(id);
            state.directory.forget(id);
            Ok(StatusCode::NO_CONTENT)
        }
        Leaving::NotFound => Err(Error::NotFound),
        Leaving::LastOwner => Err(Error::conflict(
            "last_owner",
            "nobody else owns this organisation: make another member its owner first, or delete it",
        )),
        Leaving::LastOrg => Err(Error::conflict(
            "last_org",
            "this is your only organisation: found another first, or delete the account instead",
        )),
    }
}

impl From<Membership> for MyOrg {
    fn from(membership: Membership) -> Self {
        let (roles, member_status) = (membership.roles.clone(), membership.member_status.clone());
        Self { org: membership.into(), roles, member_status }
    }
}

async fn select(state: &AppState, user: UserId, id: OrgId) -> Result<MyOrg> {
    let orgs = gate::orgs_of(&state.pools, user).await?;
    orgs.into_iter().find(|org| org.id == id).map(Into::into).or_not_found()
}
