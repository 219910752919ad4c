//! Signing in, second step: a code for the challenge that the right password was answered with.

use super::session::{Session, open_session};
use crate::{
    attempt::Attempt,
    authn::opaque::{self, OpaqueToken},
    error::{Error, Result},
    extract::Json,
    ids::UserId,
    state::AppState,
    tenancy::gate,
    trail::Trail,
};
use axum::extract::State;
use garde::Validate;
use serde::Deserialize;
use time::Duration;
use utoipa::ToSchema;

/// How long a challenge waits for its code.
const PATIENCE: Duration = Duration::minutes(5);
/// Codes that may be tried on one challenge; beyond them the password is asked for again.
const TRIES: i32 = 5;

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginTotp {
    /// What `/auth/login` answered.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    pub challenge: String,
    /// Of the authenticator app, or a recovery code.
    #[garde(length(max = 40))]
    #[schema(example = "123456", max_length = 40)]
    pub code: String,
}

/// The refusal that asks for a second factor: they have the password.
pub async fn challenge(state: &AppState, user: UserId, org: Option<&str>, trail: &Trail) -> Result<Error> {
    let token = OpaqueToken::new("challenge");
    gate::add_challenge(&state.pools, &token.hash, user, org, trail.at + PATIENCE, trail.at).await?;
    Ok(Error::SecondFactor { challenge: token.text.into(), expires_in: PATIENCE.whole_seconds() })
}

/// Sign in with a second factor
#[utoipa::path(post, path = "/auth/login/totp", tag = "auth", request_body = LoginTotp,
    responses((status = 200, description = "Signed in.", body = Session),
              (status = 401, description = "The code is wrong or was used, or the challenge is no good any more (`invalid_code`, `invalid_challenge`)."),
              (status = 403, description = "The user is no member of the organisation that was asked for."),
              (status = 429, description = "Too many attempts, from this address or at this account.")))]
pub async fn login_totp(
    State(state): State<AppState>,
    trail: Trail,
    Json(LoginTotp { challenge, code }): Json<LoginTotp>,
) -> Result<Json<Session>> {
    let hash = opaque::hash(&challenge);
    let challenged =
        gate::try_challenge(&state.pools, &hash, TRIES, trail.at).await?.ok_or_else(invalid_challenge)?;
    let person = challenged.person;
    let attempt = Attempt::begin(&state, &person.email, &trail).await?;
    if !attempt.code(person.id, &code).await? {
        attempt.failed().await?;
        return Err(Error::Unauthenticated {
            code: "invalid_code",
            detail: "the code is wrong, or was used before: wait for the next one",
        });
    }
    attempt.succeeded().await?;
    if !gate::meet_challenge(&state.pools, &hash).await? {
        return Err(invalid_challenge());
    }
    open_session(&state, person, true, challenged.org.as_deref(), &trail).await.map(Json)
}

fn invalid_challenge() -> Error {
    Error::Unauthenticated {
        code: "invalid_challenge",
        detail: "this challenge is no good (any more): sign in with your password again",
    }
}
