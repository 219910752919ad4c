//! Signing in with a password.

use super::{
    password::keep_up,
    session::{Session, open_session},
};
use crate::{
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
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = Login,
    responses((status = 200, description = "Signed in.", body = Session),
              (status = 401, description = "The address or the password is wrong."),
              (status = 403, description = "The user is no member of that organisation.")))]
pub async fn login(
    State(state): State<AppState>,
    trail: Trail,
    Json(login): Json<Login>,
) -> Result<Json<Session>> {
    let account = gate::user_by_email(&state.pools, login.email.trim()).await?;
    let hash = account.as_ref().map(|account| account.password_hash.clone());
    let right = state.hasher.verify(login.password.clone(), hash).await?;
    let Some(account) = account.filter(|_| right) else {
        return Err(Error::Unauthenticated {
            code: "invalid_credentials",
            detail: "no account has this e-mail address and password",
        });
    };
    keep_up(&state, &account, login.password).await;
    let person = Person { id: account.id, email: account.email, name: account.name };
    open_session(&state, person, false, login.org.as_deref(), &trail).await.map(Json)
}
