//! Signing in with a password.

use super::{
    login_totp::challenge,
    password::keep_up,
    session::{Session, open_session},
};
use crate::{
    attempt::{Attempt, has_second_factor},
    authn::password::not_endless,
    error::{Error, Result},
    extract::Json,
    state::AppState,
    tenancy::gate::{self, Person},
    trail::Trail,
};
use axum::extract::State;
use garde::Validate;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct Login {
    #[garde(length(max = 254))]
    #[schema(example = "ada@example.com", max_length = 254)]
    pub email: String,
    #[garde(custom(not_endless))]
    #[schema(value_type = String, format = Password, example = "correct horse battery", max_length = 256)]
    pub password: SecretString,
    /// The id or slug of the organisation to sign in to; the first one joined where absent.
    #[garde(length(max = 64))]
    #[schema(example = "acme", max_length = 64)]
    pub org: Option<String>,
}

/// Sign in
///
/// Whoever has a second factor is answered 401 `mfa_required` with a `challenge`, good for five minutes: send it with a
/// code to `/auth/login/totp`.
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = Login,
    responses((status = 200, description = "Signed in.", body = Session),
              (status = 401, description = "The address or the password is wrong, or a code is needed besides (`invalid_credentials`, `mfa_required`)."),
              (status = 403, description = "The user is no member of that organisation."),
              (status = 429, description = "Too many attempts, from this address or at this account.")))]
pub async fn login(
    State(state): State<AppState>,
    trail: Trail,
    Json(login): Json<Login>,
) -> Result<Json<Session>> {
    let email = login.email.trim();
    let attempt = Attempt::begin(&state, email, &trail).await?;
    let account = gate::user_by_email(&state.pools, email).await?;
    let hash = account.as_ref().map(|account| account.password_hash.clone());
    let right = attempt.password(login.password.clone(), hash).await?;
    let Some(account) = account.filter(|_| right) else {
        attempt.failed().await?;
        return Err(Error::Unauthenticated {
            code: "invalid_credentials",
            detail: "no account has this e-mail address and password",
        });
    };
    keep_up(&state, account.id, &account.password_hash, login.password).await;
    if has_second_factor(&state, account.id).await? {
        attempt.right_so_far().await?;
        return Err(challenge(&state, account.id, login.org.as_deref(), &trail).await?);
    }
    attempt.succeeded().await?;
    let person = Person { id: account.id, email: account.email, name: account.name };
    open_session(&state, person, false, login.org.as_deref(), &trail).await.map(Json)
}
