//! Addresses confirmed and changed.

use super::{
    confirmation, no_good,
    password::{forget, proven_password},
};
use crate::{
    authn::{opaque, password::not_endless},
    error::{Error, Result},
    extract::{Action, FreshlySignedIn, Json, SignedIn},
    mail::Template,
    state::AppState,
    tenancy::gate::{self, EmailChange, Letter},
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
pub struct EmailToken {
    /// From the mail.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    pub token: String,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEmail {
    #[garde(email, length(max = 254))]
    #[schema(example = "ada@example.com", format = Email, max_length = 254)]
    pub email: String,
    /// Yours.
    #[garde(custom(not_endless))]
    #[schema(value_type = String, format = Password, example = "correct horse battery", max_length = 256)]
    pub password: SecretString,
}

/// Confirm an e-mail address
///
/// With the token from the mail, once. Of a change of address it takes both, in either order.
#[utoipa::path(post, path = "/auth/email/verify", tag = "auth", request_body = EmailToken,
    responses((status = 204, description = "Confirmed."),
              (status = 409, description = "Somebody has signed up with the new address meanwhile (`email_taken`)."),
              (status = 422, description = "The token is no good (any more).")))]
pub async fn verify_email(
    State(state): State<AppState>,
    trail: Trail,
    Json(EmailToken { token }): Json<EmailToken>,
) -> Result<StatusCode> {
    let letter = Letter::new(Template::EmailChanged, json!({}));
    let ended = gate::confirm_email(&state.pools, &opaque::hash(&token), &letter, &trail).await?;
    forget(&state, ended.ok_or_else(no_good)?);
    Ok(StatusCode::NO_CONTENT)
}

/// Send the mail that verifies your address again
///
/// Nothing is sent to an address that is verified, nor more than five times in half an hour.
#[utoipa::path(post, path = "/me/email/verification", tag = "me",
    responses((status = 202, description = "A mail is on its way, if your address is not verified.")))]
pub async fn send_verification(
    State(state): State<AppState>,
    SignedIn { user, .. }: SignedIn,
    trail: Trail,
    _: Action,
) -> Result<StatusCode> {
    let letter = confirmation(&state, Template::VerifyEmail, json!({}))?;
    gate::send_verification(&state.pools, user, &letter, trail.at).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Change your e-mail address
///
/// Sends a token to the address so far and one to the new one. It changes once both are confirmed, within half an hour;
/// every other session of yours ends then. If somebody has the new address, the answer is the same.
#[utoipa::path(post, path = "/me/email", tag = "me", request_body = NewEmail,
    responses((status = 202, description = "Mails are on their way."),
              (status = 422, description = "The password is wrong, or the address is yours already.")))]
pub async fn change_email(
    State(state): State<AppState>,
    FreshlySignedIn(SignedIn { user, session, .. }): FreshlySignedIn,
    trail: Trail,
    Json(NewEmail { email, password }): Json<NewEmail>,
) -> Result<StatusCode> {
    let email = email.trim().to_lowercase();
    let person = gate::user(&state.pools, user).await?.ok_or_else(Error::session_ended)?;
    proven_password(&state, user, password, "/password").await?;
    if email == person.email.to_lowercase() {
        return Err(Error::invalid("/email", "unchanged", "this is your address already"));
    }
    let to_old = confirmation(&state, Template::ConfirmEmailChange, json!({"new_email": email}))?;
    let to_new = confirmation(&state, Template::ConfirmNewEmail, json!({}))?;
    let change = EmailChange { user, email: &email, session, to_old: &to_old, to_new: &to_new };
    gate::request_email_change(&state.pools, &change, &trail).await?;
    Ok(StatusCode::ACCEPTED)
}
