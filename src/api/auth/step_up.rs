//! Proving anew who one is, for what can't be undone (RFC 9470).

use crate::{
    attempt::{Attempt, has_second_factor},
    authn::{jwt::Bearer, password::not_endless},
    caller::Caller,
    error::{Error, Result},
    extract::{Json, SignedIn},
    state::AppState,
    tenancy::gate,
    trail::Trail,
};
use axum::extract::State;
use garde::Validate;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct StepUp {
    #[garde(custom(not_endless))]
    #[schema(value_type = String, format = Password, example = "correct horse battery", max_length = 256)]
    pub password: SecretString,
    /// Of the authenticator app, or a recovery code: needed where a second factor is set up.
    #[garde(length(max = 40))]
    #[schema(max_length = 40)]
    pub code: Option<String>,
}

/// An access token that says how lately its bearer has proven who they are.
#[derive(Serialize, ToSchema)]
pub struct FreshToken {
    /// Send it as `Authorization: Bearer`.
    #[schema(max_length = 4_096)]
    pub access_token: String,
    #[schema(example = "Bearer", max_length = 6)]
    pub token_type: &'static str,
    /// Seconds.
    #[schema(example = 900)]
    pub expires_in: i64,
}

/// Prove anew who you are
///
/// Answers an access token of the same session that is good for five minutes of what asks for a fresh sign-in.
/// Wrong passwords and codes count like those of signing in.
#[utoipa::path(post, path = "/auth/step-up", tag = "auth", request_body = StepUp,
    responses((status = 200, description = "A fresh access token.", body = FreshToken),
              (status = 422, description = "The password or the code is wrong, or a code is needed."),
              (status = 429, description = "Too many attempts at this account.")))]
pub async fn step_up(
    State(state): State<AppState>,
    caller: Caller,
    signed_in: SignedIn,
    trail: Trail,
    Json(StepUp { password, code }): Json<StepUp>,
) -> Result<Json<FreshToken>> {
    let (user, session, org) = (signed_in.user, signed_in.session, caller.org());
    match (has_second_factor(&state, user).await?, &code) {
        (true, None) => {
            return Err(Error::invalid(
                "/code",
                "required",
                "a code of your authenticator app is needed too",
            ));
        }
        (false, Some(_)) => {
            return Err(Error::invalid("/code", "not_enrolled", "you have no second factor: leave it out"));
        }
        _ => {}
    }
    prove(&state, &signed_in, password, code.as_deref(), &trail).await?;
    let proof = gate::step_up(&state.pools, session, user, org, code.is_some(), &trail)
        .await?
        .ok_or_else(Error::session_ended)?;
    let email_verified = gate::email_verified(&state.pools, user).await?;
    let signed_in_at = proof.at.unix_timestamp();
    let bearer = Bearer { user, org, session, signed_in_at, mfa: proof.mfa, email_verified };
    Ok(Json(FreshToken {
        access_token: state.tokens.issue(&bearer)?,
        token_type: "Bearer",
        expires_in: state.tokens.lifetime(),
    }))
}

async fn prove(
    state: &AppState,
    signed_in: &SignedIn,
    password: SecretString,
    code: Option<&str>,
    trail: &Trail,
) -> Result<()> {
    let person = gate::user(&state.pools, signed_in.user).await?.ok_or_else(Error::session_ended)?;
    let attempt = Attempt::begin(state, &person.email, trail).await?;
    let hash = gate::user_by_email(&state.pools, &person.email).await?.map(|account| account.password_hash);
    if !attempt.password(password, hash).await? {
        attempt.failed().await?;
        return Err(Error::invalid("/password", "wrong", "this is not your password"));
    }
    if let Some(code) = code
        && !attempt.code(person.id, code).await?
    {
        attempt.failed().await?;
        return Err(Error::invalid("/code", "wrong", "the code is wrong, or was used before"));
    }
    attempt.succeeded().await
}
