//! Accepting an invitation: the link proves the address, and what else is asked depends on who has it.

use super::{
    password::keep_up,
    session::{Answer, Session, choose, new_token, open_session, signed_out},
};
use crate::{
    attempt::{Attempt, has_second_factor},
    authn::{
        Actor, Principal,
        opaque::{self, OpaqueToken},
        password::{long_enough, not_endless, not_of_the_person},
    },
    caller::refused,
    error::{Error, Flaw, Result},
    extract::Json,
    ids::UserId,
    middleware::identify,
    state::AppState,
    tenancy::gate::{self, Invited, Newcomer, OpenInvitation, Person},
    trail::{ClientIp, Trail},
};
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use garde::Validate;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// Of the link in the mail.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    pub token: String,
    /// Needed where the address has no account yet.
    #[garde(inner(length(chars, min = 1, max = 200)))]
    #[schema(example = "Ada Lovelace", min_length = 1, max_length = 200)]
    pub name: Option<String>,
    /// A new one, or that of the account; not needed where that account is signed in.
    #[garde(inner(custom(not_endless)))]
    #[schema(value_type = Option<String>, format = Password, example = "correct horse battery", max_length = 256)]
    pub password: Option<SecretString>,
    /// Of the authenticator app, or a recovery code: needed where the account has a second factor.
    #[garde(inner(length(max = 40)))]
    #[schema(max_length = 40)]
    pub code: Option<String>,
}

/// Accept an invitation
///
/// Signs in to the organisation: with an account made for the address, with the one it has (its `password`), or with
/// the session whose access token is sent as `Authorization: Bearer`.
#[utoipa::path(post, path = "/auth/invitations/accept", tag = "auth", request_body = Acceptance,
    responses((status = 200, description = "Signed in, as who one was before.", body = Session),
              (status = 201, description = "Signed up, and signed in.", body = Session),
              (status = 401, description = "The token opens no invitation (any more), or the password is wrong (`invalid_invitation`, `invalid_credentials`, `invalid_token`)."),
              (status = 403, description = "Somebody else than the one invited is signed in."),
              (status = 409, description = "The address has just been registered (`email_taken`)."),
              (status = 429, description = "Too many attempts, from this address or at this account.")))]
pub async fn accept_invitation(
    State(state): State<AppState>,
    trail: Trail,
    Extension(client): Extension<ClientIp>,
    headers: HeaderMap,
    Json(acceptance): Json<Acceptance>,
) -> Result<Response> {
    let secret = opaque::hash(&acceptance.token);
    let invitation = gate::invitation(&state.pools, &secret, trail.at).await?.ok_or_else(invalid)?;
    if headers.contains_key(header::AUTHORIZATION) {
        let (principal, _) = identify(&state, &headers, client.ip).await?;
        let session = accept_signed_in(&state, &secret, invitation, &principal, &trail).await?;
        return Ok(Json(session).into_response());
    }
    let OpenInvitation { org, email, account } = invitation;
    let (status, person, mfa) = if let Some(account) = account {
        let (password, code) = (acceptance.password, acceptance.code.as_deref());
        let (person, mfa) = prove(&state, account, password, code, &trail).await?;
        accept(&state, &secret, person.id, None, &trail).await?;
        (StatusCode::OK, person, mfa)
    } else {
        let (name, password) = newcomer(&email, acceptance.name, acceptance.password)?;
        let password_hash = state.hasher.hash(password).await?;
        let person = Person { id: UserId::new(), email, name };
        let new = Newcomer { name: &person.name, password_hash: &password_hash };
        accept(&state, &secret, person.id, Some(&new), &trail).await?;
        (StatusCode::CREATED, person, false)
    };
    let session = open_session(&state, person, mfa, Some(&org.to_string()), &trail).await?;
    Ok((status, Json(session)).into_response())
}

/// Of somebody who is signed in, whose session goes on in the org they are invited to.
async fn accept_signed_in(
    state: &AppState,
    secret: &[u8],
    invitation: OpenInvitation,
    principal: &Principal,
    trail: &Trail,
) -> Result<Session> {
    let Actor::User { user, session, .. } = principal.actor else {
        return Err(refused("user_required", "an API key can't accept an invitation: sign in as a person"));
    };
    let person = invitation.account.filter(|account| account.id == user).ok_or_else(wrong_account)?.into();
    accept(state, secret, user, None, trail).await?;
    let orgs = gate::orgs_of(&state.pools, user).await?;
    let org = choose(&orgs, Some(&invitation.org.to_string()))?;
    let token = OpaqueToken::new("refresh");
    let new = new_token(state, &token, trail);
    let proof = gate::switch(&state.pools, session, org.id, &new, trail).await?.ok_or_else(signed_out)?;
    Answer { session, person, proof, org, orgs, token }.session(state).await
}

async fn accept(
    state: &AppState,
    secret: &[u8],
    user: UserId,
    new: Option<&Newcomer<'_>>,
    trail: &Trail,
) -> Result<()> {
    // Of several at once with the same link one comes first, and the others find it used.
    if gate::accept_invitation(&state.pools, secret, user, new, trail).await? {
        Ok(())
    } else {
        Err(invalid())
    }
}

/// Whoever has the link has the mail of the address, and not yet its account. Answers who it is, and whether they gave a
/// second factor.
async fn prove(
    state: &AppState,
    account: Invited,
    password: Option<SecretString>,
    code: Option<&str>,
    trail: &Trail,
) -> Result<(Person, bool)> {
    let Some(password) = password else {
        return Err(Error::invalid(
            "/password",
            "missing_field",
            "the address has an account: send its password, or its access token as Authorization",
        ));
    };
    let attempt = Attempt::begin(state, &account.email, trail).await?;
    if !attempt.password(password.clone(), account.password_hash.clone()).await? {
        attempt.failed().await?;
        return Err(Error::Unauthenticated {
            code: "invalid_credentials",
            detail: "the account of the invited address has another password",
        });
    }
    let mfa = has_second_factor(state, account.id).await?;
    if mfa {
        let Some(code) = code else {
            attempt.right_so_far().await?;
            return Err(Error::invalid(
                "/code",
                "required",
                "a code of your authenticator app is needed too",
            ));
        };
        if !attempt.code(account.id, code).await? {
            attempt.failed().await?;
            return Err(Error::invalid("/code", "wrong", "the code is wrong, or was used before"));
        }
    }
    attempt.succeeded().await?;
    if let Some(hash) = &account.password_hash {
        keep_up(state, account.id, hash, password).await;
    }
    Ok((account.into(), mfa))
}

fn newcomer(
    email: &str,
    name: Option<String>,
    password: Option<SecretString>,
) -> Result<(String, SecretString)> {
    let mut flaws = Vec::new();
    let mut missing = |pointer| {
        flaws.push(Flaw::new(pointer, "missing_field", "the address has no account yet: this makes it one"));
    };
    if name.is_none() {
        missing("/name");
    }
    match &password {
        None => missing("/password"),
        Some(password) => {
            if let Err(error) = long_enough(password, &()) {
                flaws.push(Flaw::new("/password", "invalid", error.message()));
            }
        }
    }
    match (name, password) {
        (Some(name), Some(password)) if flaws.is_empty() => {
            not_of_the_person(&password, "/password", email, &name)?;
            Ok((name, password))
        }
        _ => Err(Error::Invalid(flaws)),
    }
}

impl From<Invited> for Person {
    fn from(Invited { id, email, name, .. }: Invited) -> Self {
        Self { id, email, name }
    }
}

/// Unknown, used, revoked and expired look the same.
fn invalid() -> Error {
    Error::Unauthenticated {
        code: "invalid_invitation",
        detail: "this invitation is no good (any more): ask whoever invited you for another",
    }
}

fn wrong_account() -> Error {
    refused("wrong_account", "this invitation is for somebody else than who is signed in: sign out first")
}
