//! Invitations: how people become members, each by a link that opens once.

mod store;

use crate::{
    authn::opaque::OpaqueToken,
    authz::{
        Action::{Create, Delete, Read, Update},
        Resource::Invitations,
        guard,
    },
    error::{Error, Flaw, OptionExt as _, Result},
    events::{self, Entry},
    extract::{Action, Json, List, ListParams, Listed, Path, SignedIn, TenantDb, Turn},
    ids::{InvitationId, UserId},
    mail::Template,
    middleware::TenantRoutes,
    page::{Filter, Kind, Listing, Page, Sort},
    state::AppState,
    tenancy::gate::{self, Letter},
    trail::Trail,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Invitations)
        .allow(Read, routes!(list_invitations))
        .allow(Create, routes!(create_invitation))
        .allow(Read, routes!(get_invitation))
        .allow(Update, routes!(resend_invitation))
        .allow(Delete, routes!(revoke_invitation))
}

#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub struct Invitation {
    pub id: InvitationId,
    #[schema(example = "ada@example.com", max_length = 254)]
    pub email: String,
    /// Held from acceptance on.
    #[schema(example = json!(["member"]), max_items = 100)]
    pub roles: Vec<String>,
    pub status: InvitationStatus,
    /// Null where an API key did.
    pub invited_by: Option<UserId>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub accepted_at: Option<OffsetDateTime>,
    pub accepted_by: Option<UserId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum InvitationStatus {
    Pending,
    /// Not accepted in time; it can be sent again.
    Expired,
    Accepted,
    Revoked,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    #[garde(email, length(max = 254))]
    #[schema(example = "ada@example.com", format = Email, max_length = 254)]
    pub email: String,
    /// None that hold more than you do yourself.
    #[garde(length(min = 1, max = 100))]
    #[schema(example = json!(["member"]), min_items = 1, max_items = 100)]
    pub roles: Vec<String>,
}

impl Listed for Invitation {
    type Row = Self;
    const LISTING: &'static Listing = &Listing {
        columns: "id, email, roles, status, invited_by, created_at, expires_at, accepted_at, accepted_by",
        from: "invitations where org_id = $1",
        sorts: &[Sort { name: "created_at", column: "created_at", cast: "timestamptz" }],
        filters: &[Filter {
            name: "status",
            predicate: "status =",
            kind: Kind::OneOf(&["pending", "accepted", "revoked"]),
            about: "In this standing; `pending` finds the expired ones too.",
        }],
    };
}

/// List invitations
#[utoipa::path(get, path = "/invitations", tag = "invitations", params(ListParams<Invitation>),
    responses((status = 200, description = "A page of invitations.", body = Page<Invitation>)))]
async fn list_invitations(
    State(state): State<AppState>,
    db: TenantDb,
    list: List<Invitation>,
) -> Result<Response> {
    let mut page = list.page(&mut *db.read().await?).await?;
    let now = state.clock.now();
    page.data = page.data.into_iter().map(|invitation| invitation.seen_at(now)).collect();
    Ok(list.answer(page))
}

/// Invite somebody
///
/// Mails a link to the address, good for seven days and one acceptance. To give a role that can change members takes a
/// sign-in at most five minutes old.
#[utoipa::path(post, path = "/invitations", tag = "invitations", request_body = NewInvitation,
    responses((status = 201, description = "The invitation is on its way.", body = Invitation),
              (status = 409, description = "The address is invited or a member already, or too many are pending (`already_invited`, `already_member`, `too_many_pending`, `sandbox`).")))]
async fn create_invitation(
    State(state): State<AppState>,
    db: TenantDb,
    trail: Trail,
    Json(new): Json<NewInvitation>,
) -> Result<Response> {
    let email = new.email.trim().to_lowercase();
    let mut roles = new.roles;
    let mut turn = db.in_turn().await?;
    let unknown: Vec<Flaw> = roles
        .iter()
        .enumerate()
        .filter(|(_, role)| turn.graph.get(role).is_none())
        .map(|(at, _)| Flaw::new(format!("/roles/{at}"), "not_found", "there is no such role"))
        .collect();
    if !unknown.is_empty() {
        return Err(Error::Invalid(unknown));
    }
    roles.sort();
    roles.dedup();
    check_grant(&state, &turn, &roles)?;
    store::refuse_sandbox(&mut turn.tx).await?;
    store::refuse_member(&mut turn.tx, &email).await?;
    store::expire(&mut turn.tx, &email, trail.at).await?;
    store::refuse_too_many(&mut turn.tx, trail.at).await?;
    let by = SignedIn::of(&turn.caller).ok().map(|signed_in| signed_in.user);
    let invitation = store::insert(&mut turn.tx, &email, &roles, by, trail.at).await?;
    send(&state, &mut turn, &invitation, &trail).await?;
    record(&mut turn, &trail, "invitation.created", &invitation).await?;
    turn.tx.commit().await?;
    let location = [(header::LOCATION, format!("/api/v1/invitations/{}", invitation.id))];
    Ok((StatusCode::CREATED, location, Json(invitation)).into_response())
}

/// Fetch one invitation
#[utoipa::path(get, path = "/invitations/{id}", tag = "invitations", params(("id" = InvitationId, Path)),
    responses((status = 200, description = "The invitation.", body = Invitation)))]
async fn get_invitation(
    State(state): State<AppState>,
    db: TenantDb,
    Path(id): Path<InvitationId>,
) -> Result<Json<Invitation>> {
    let invitation = store::select(&mut db.read().await?, id).await?.or_not_found()?;
    Ok(Json(invitation.seen_at(state.clock.now())))
}

/// Send an invitation again
///
/// With a new link and seven more days; the link sent before is dead.
#[utoipa::path(post, path = "/invitations/{id}/resend", tag = "invitations", params(("id" = InvitationId, Path)),
    responses((status = 200, description = "The invitation is on its way again.", body = Invitation),
              (status = 409, description = "It has been accepted or revoked (`already_accepted`, `revoked`).")))]
async fn resend_invitation(
    State(state): State<AppState>,
    db: TenantDb,
    trail: Trail,
    Path(id): Path<InvitationId>,
    _: Action,
) -> Result<Json<Invitation>> {
    let mut turn = db.in_turn().await?;
    let invitation = store::select(&mut turn.tx, id).await?.or_not_found()?;
    check_grant(&state, &turn, &invitation.roles)?;
    invitation.check_open()?;
    if invitation.expires_at <= trail.at {
        store::refuse_too_many(&mut turn.tx, trail.at).await?;
    }
    let invitation = store::extend(&mut turn.tx, id, trail.at).await?;
    send(&state, &mut turn, &invitation, &trail).await?;
    record(&mut turn, &trail, "invitation.resent", &invitation).await?;
    turn.tx.commit().await?;
    Ok(Json(invitation))
}

/// Revoke an invitation
///
/// Its link is dead at once.
#[utoipa::path(delete, path = "/invitations/{id}", tag = "invitations", params(("id" = InvitationId, Path)),
    responses((status = 204, description = "It is revoked."),
              (status = 409, description = "It has been accepted: remove the member (`already_accepted`).")))]
async fn revoke_invitation(db: TenantDb, trail: Trail, Path(id): Path<InvitationId>) -> Result<StatusCode> {
    let mut turn = db.in_turn().await?;
    let invitation = store::select(&mut turn.tx, id).await?.or_not_found()?;
    if invitation.status == InvitationStatus::Revoked {
        return Ok(StatusCode::NO_CONTENT);
    }
    invitation.check_open()?;
    store::revoke(&mut turn.tx, id).await?;
    record(&mut turn, &trail, "invitation.revoked", &invitation).await?;
    turn.tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Invitation {
    fn seen_at(self, now: OffsetDateTime) -> Self {
        let expired = self.status == InvitationStatus::Pending && self.expires_at <= now;
        let status = if expired { InvitationStatus::Expired } else { self.status };
        Self { status, ..self }
    }

    fn check_open(&self) -> Result<()> {
        match self.status {
            InvitationStatus::Pending | InvitationStatus::Expired => Ok(()),
            InvitationStatus::Accepted => {
                Err(Error::conflict("already_accepted", "this invitation has been accepted"))
            }
            InvitationStatus::Revoked => {
                Err(Error::conflict("revoked", "this invitation has been revoked: invite them anew"))
            }
        }
    }
}

/// As for giving the roles to a member: whether the inviter still could is not asked again at acceptance.
fn check_grant(state: &AppState, turn: &Turn, roles: &[String]) -> Result<()> {
    guard::reaches(&turn.graph, turn.caller.own(&turn.graph), roles)?;
    if roles.iter().any(|role| guard::gives_power(&turn.graph, None, &turn.graph, role)) {
        SignedIn::of(&turn.caller)?.check_fresh(&state.clock)?;
    }
    Ok(())
}

/// A link in a mail to the one invited, which alone opens the invitation from here on.
async fn send(state: &AppState, turn: &mut Turn, invitation: &Invitation, trail: &Trail) -> Result<()> {
    let token = OpaqueToken::new("invitation");
    let (org_name, inviter) =
        store::names(&mut turn.tx, SignedIn::of(&turn.caller).ok().map(|by| by.user)).await?;
    let params = json!({
        "invited_by": inviter.as_ref().unwrap_or(&org_name),
        "org_name": org_name,
        "roles": invitation.roles,
    });
    let letter = Letter::new(Template::Invitation, params).with_token(&state.vault, &token.text.into())?;
    store::set_secret(&mut turn.tx, invitation.id, Some(&token.hash)).await?;
    gate::queue_mail(&mut turn.tx, &invitation.email, &letter, trail.at).await
}

async fn record(turn: &mut Turn, trail: &Trail, action: &'static str, invitation: &Invitation) -> Result<()> {
    let Invitation { id, email, roles, .. } = invitation;
    let entry = Entry::new(action, "invitation", id.uuid().to_string());
    let about = json!({"email": email, "roles": roles});
    let entry = match action {
        "invitation.revoked" => entry.before(about),
        _ => entry.after(about),
    };
    events::record(&mut turn.tx, turn.caller.actor(), trail, entry).await
}
