//! Passwords forgotten, reset and changed.

use super::{confirmation, no_good};
use crate::{
    authn::{
        opaque,
        password::{long_enough, not_endless, not_of_the_person},
    },
    error::{Error, Result},
    extract::{Json, SignedIn},
    ids::{SessionId, UserId},
    mail::Template,
    state::AppState,
    tenancy::gate::{self, Letter, PasswordChange},
    trail::Trail,
};
use axum::{extract::State, http::StatusCode};
use garde::Validate;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgottenPassword {
    #[garde(email, length(max = 254))]
    #[schema(example = "ada@example.com", format = Email, max_length = 254)]
    pub email: String,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordReset {
    /// From the mail.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    pub token: String,
    #[garde(custom(long_enough))]
    #[schema(value_type = String, format = Password, example = "correct horse battery", min_length = 12, max_length = 256)]
    pub password: SecretString,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    #[garde(custom(not_endless))]
    #[schema(value_type = String, format = Password, example = "correct horse battery", max_length = 256)]
    pub current_password: SecretString,
    #[garde(custom(long_enough))]
    #[schema(value_type = String, format = Password, example = "staple the wrong horse", min_length = 12, max_length = 256)]
    pub new_password: SecretString,
}

/// Ask for a new password
///
/// Sends a mail with a token that is good for half an hour, if somebody has this address; the answer is the same if
/// nobody has.
#[utoipa::path(post, path = "/auth/password/forgot", tag = "auth", request_body = ForgottenPassword,
    responses((status = 202, description = "A mail is on its way, if the address is known.")))]
pub async fn forgot_password(
    State(state): State<AppState>,
    trail: Trail,
    Json(ForgottenPassword { email }): Json<ForgottenPassword>,
) -> Result<StatusCode> {
    // Known or not, the work is the same.
    let letter = confirmation(&state, Template::ResetPassword, json!({}))?;
    gate::forgot_password(&state.pools, email.trim(), &letter, trail.at).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Set a new password
///
/// With the token from the mail, once. Ends every session of yours.
#[utoipa::path(post, path = "/auth/password/reset", tag = "auth", request_body = PasswordReset,
    responses((status = 204, description = "The password is set: sign in with it."),
              (status = 422, description = "The token is no good (any more), or the password is too easy to guess.")))]
pub async fn reset_password(
    State(state): State<AppState>,
    trail: Trail,
    Json(PasswordReset { token, password }): Json<PasswordReset>,
) -> Result<StatusCode> {
    let token = opaque::hash(&token);
    // Nothing is hashed for who has no token.
    let person = gate::password_reset(&state.pools, &token, trail.at).await?.ok_or_else(no_good)?;
    not_of_the_person(&password, "/password", &person.email, &person.name)?;
    let hash = state.hasher.hash(password).await?;
    let letter = Letter::new(Template::PasswordChanged, json!({}));
    let ended = gate::reset_password(&state.pools, &token, &hash, &letter, &trail).await?;
    forget(&state, ended.ok_or_else(no_good)?);
    Ok(StatusCode::NO_CONTENT)
}

/// Change your password
///
/// Ends every other session of yours.
#[utoipa::path(post, path = "/me/password", tag = "me", request_body = NewPassword,
    responses((status = 204, description = "The password is changed."),
              (status = 409, description = "It was changed by somebody else at the same time (`password_changed`)."),
              (status = 422, description = "The current password is wrong, or the new one too easy to guess.")))]
pub async fn change_password(
    State(state): State<AppState>,
    SignedIn { user, session, .. }: SignedIn,
    trail: Trail,
    Json(NewPassword { current_password, new_password }): Json<NewPassword>,
) -> Result<StatusCode> {
    let person = gate::user(&state.pools, user).await?.ok_or_else(Error::session_ended)?;
    not_of_the_person(&new_password, "/new_password", &person.email, &person.name)?;
    let old_hash = proven_password(&state, user, current_password, "/current_password").await?;
    let new_hash = state.hasher.hash(new_password).await?;
    let change = PasswordChange { user, old_hash: &old_hash, new_hash: &new_hash, session };
    let letter = Letter::new(Template::PasswordChanged, json!({}));
    let ended = gate::change_password(&state.pools, &change, &letter, &trail).await?;
    let meanwhile =
        || Error::conflict("password_changed", "the password has just been changed: sign in again");
    forget(&state, ended.ok_or_else(meanwhile)?);
    Ok(StatusCode::NO_CONTENT)
}

/// The hash that `password` fits.
///
/// # Errors
/// 422 at `pointer` where it is not that person's: they are signed in, so it is no matter of 401.
pub async fn proven_password(
    state: &AppState,
    user: UserId,
    password: SecretString,
    pointer: &str,
) -> Result<String> {
    let hash = gate::password_of(&state.pools, user).await?;
    let right = state.hasher.verify(password, hash.clone()).await?;
    hash.filter(|_| right)
        .ok_or_else(|| Error::invalid(pointer, "wrong_password", "that is not your password"))
}

/// Hashes a password that has just proven its person at the cost of today, where it was hashed at a lower one. That
/// may wait for the next time, and never keeps anybody from signing in.
pub async fn keep_up(state: &AppState, user: UserId, old_hash: &str, password: SecretString) {
    if !state.hasher.outdated(old_hash) {
        return;
    }
    let rehashed = async {
        let hash = state.hasher.hash(password).await?;
        gate::rehash(&state.pools, user, old_hash, &hash).await
    };
    if let Err(error) = rehashed.await {
        tracing::warn!(%user, %error, "a password could not be hashed anew");
    }
}

/// This replica need not wait to be told.
pub fn forget(state: &AppState, ended: Vec<SessionId>) {
    for session in ended {
        state.revoked.add(session);
    }
}
