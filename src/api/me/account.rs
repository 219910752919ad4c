//! One's own account: taken along, and ended.

use crate::{
    account::{Org, User},
    authn::password::not_endless,
    error::{Error, Result},
    extract::{FreshlySignedIn, Json, SignedIn},
    ids::{ApiKeyId, AuditEventId, OrgId, RequestId, SessionId},
    refs::TargetRef,
    state::AppState,
    tenancy::gate::{
        self, Deleted, ExportedApiKey, ExportedEvent, ExportedPerson, ExportedSession, Membership,
    },
    trail::Trail,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use garde::Validate;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// All that is kept of a person, but for what proves them.
#[derive(Serialize, ToSchema)]
pub struct AccountExport {
    #[serde(with = "time::serde::rfc3339")]
    pub exported_at: OffsetDateTime,
    pub user: OwnUser,
    #[schema(max_items = 1_000)]
    pub memberships: Vec<OwnMembership>,
    /// The newest 1,000.
    #[schema(max_items = 1_000)]
    pub sessions: Vec<OwnSession>,
    /// Those you made, in the organisations you are in: the newest 1,000. They belong to the organisation, and stay.
    #[schema(max_items = 1_000)]
    pub api_keys: Vec<OwnApiKey>,
    /// What you did in the organisations you are in: the newest 10,000.
    #[schema(max_items = 10_000)]
    pub audit_events: Vec<OwnEvent>,
}

#[derive(Serialize, ToSchema)]
pub struct OwnUser {
    #[serde(flatten)]
    pub user: User,
    #[serde(with = "time::serde::rfc3339::option")]
    pub email_verified_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

#[derive(Serialize, ToSchema)]
pub struct OwnMembership {
    pub org: Org,
    #[schema(example = json!(["owner"]), max_items = 100)]
    pub roles: Vec<String>,
    #[schema(example = "active", max_length = 20)]
    pub status: String,
}

#[derive(Serialize, ToSchema)]
pub struct OwnSession {
    pub id: SessionId,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When you last proved who you are in it.
    #[serde(with = "time::serde::rfc3339")]
    pub authenticated_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub last_used_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
    #[schema(example = "logout", max_length = 60)]
    pub revoked_why: Option<String>,
    /// Whether a second factor was given.
    pub mfa: bool,
    #[schema(example = "192.0.2.7", max_length = 45)]
    pub ip: Option<String>,
    #[schema(example = "curl/8.5.0", max_length = 200)]
    pub user_agent: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct OwnApiKey {
    pub org: OrgId,
    pub id: ApiKeyId,
    #[schema(example = "shop frontend", max_length = 100)]
    pub name: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
}

/// Without `before` and `after`, which are the organisation's to read.
#[derive(Serialize, ToSchema)]
pub struct OwnEvent {
    pub org: OrgId,
    pub id: AuditEventId,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    #[schema(example = "session.started", max_length = 100)]
    pub action: String,
    pub target: TargetRef,
    #[schema(example = "192.0.2.7", max_length = 45)]
    pub ip: Option<String>,
    pub request_id: Option<RequestId>,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountDeletion {
    /// Yours, so that nobody else does it at your desk.
    #[garde(custom(not_endless))]
    #[schema(value_type = String, format = Password, example = "correct horse battery", max_length = 256)]
    pub password: SecretString,
}

const SESSIONS: i64 = 1_000;
const API_KEYS: i64 = 1_000;
const EVENTS: i64 = 10_000;

/// Take along what is kept of you
#[utoipa::path(get, path = "/me/export", tag = "me",
    responses((status = 200, description = "All of it, as a file to save.", body = AccountExport)))]
pub async fn export_me(
    State(state): State<AppState>,
    SignedIn { user, .. }: SignedIn,
    trail: Trail,
) -> Result<Response> {
    let pools = &state.pools;
    let export = AccountExport {
        exported_at: trail.at,
        user: gate::export_person(pools, user).await?.ok_or_else(Error::session_ended)?.into(),
        memberships: gate::orgs_of(pools, user).await?.into_iter().map(Into::into).collect(),
        sessions: gate::export_sessions(pools, user, SESSIONS).await?.into_iter().map(Into::into).collect(),
        api_keys: gate::export_api_keys(pools, user, API_KEYS).await?.into_iter().map(Into::into).collect(),
        audit_events: gate::export_events(pools, user, EVENTS).await?.into_iter().map(Into::into).collect(),
    };
    let file = [(header::CONTENT_DISPOSITION, format!("attachment; filename=\"insula-{user}.json\""))];
    Ok((file, Json(export)).into_response())
}

/// End your account
///
/// At once and for good: you leave every organisation, your sessions end, and your address is free for a new sign-up.
/// Orders and the audit keep your bare id. An organisation that has no other owner must be handed over or deleted first.
#[utoipa::path(delete, path = "/me", tag = "me", request_body = AccountDeletion,
    responses((status = 204, description = "It has ended."),
              (status = 409, description = "An organisation would be left without an owner; the answer names it (`last_owner`).")))]
pub async fn delete_me(
    State(state): State<AppState>,
    FreshlySignedIn(SignedIn { user, .. }): FreshlySignedIn,
    trail: Trail,
    Json(AccountDeletion { password }): Json<AccountDeletion>,
) -> Result<StatusCode> {
    let person = gate::user(&state.pools, user).await?.ok_or_else(Error::session_ended)?;
    let account = gate::user_by_email(&state.pools, &person.email).await?;
    if !state.hasher.verify(password, account.map(|account| account.password_hash)).await? {
        return Err(Error::invalid("/password", "wrong_password", "this is not your password"));
    }
    match gate::delete_account(&state.pools, user, &trail).await? {
        Deleted::Gone { sessions } => {
            for session in sessions {
                state.revoked.add(session);
            }
            Ok(StatusCode::NO_CONTENT)
        }
        Deleted::SoleOwnerOf(orgs) => {
            let orgs = orgs.join(", ");
            Err(Error::conflict(
                "last_owner",
                format!("you are the only owner of {orgs}: make somebody else an owner, or delete it, first"),
            ))
        }
    }
}

impl From<ExportedPerson> for OwnUser {
    fn from(person: ExportedPerson) -> Self {
        let ExportedPerson { id, email, name, email_verified_at, created_at } = person;
        Self { user: User { id, email, name }, email_verified_at, created_at }
    }
}

impl From<Membership> for OwnMembership {
    fn from(membership: Membership) -> Self {
        let (roles, status) = (membership.roles.clone(), membership.member_status.clone());
        Self { org: membership.into(), roles, status }
    }
}

impl From<ExportedSession> for OwnSession {
    fn from(session: ExportedSession) -> Self {
        let ExportedSession {
            id,
            created_at,
            authenticated_at,
            last_used_at,
            expires_at,
            revoked_at,
            revoked_why,
            mfa,
            ip,
            user_agent,
        } = session;
        Self {
            id,
            created_at,
            authenticated_at,
            last_used_at,
            expires_at,
            revoked_at,
            revoked_why,
            mfa,
            ip,
            user_agent,
        }
    }
}

impl From<ExportedApiKey> for OwnApiKey {
    fn from(key: ExportedApiKey) -> Self {
        let ExportedApiKey { org, id, name, created_at, expires_at, revoked_at } = key;
        Self { org, id, name, created_at, expires_at, revoked_at }
    }
}

impl From<ExportedEvent> for OwnEvent {
    fn from(event: ExportedEvent) -> Self {
        let ExportedEvent { org, id, at, action, target_type, target, ip, request_id } = event;
        let target = TargetRef::of(target_type, target);
        Self { org, id, at, action, target, ip, request_id }
    }
}
