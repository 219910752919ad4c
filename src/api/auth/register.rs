//! Signing up.

use super::{
    confirmation,
    session::{Session, open_session},
};
use crate::{
    account::slug,
    authn::password::{long_enough, not_of_the_person},
    error::{Error, Result},
    extract::Json,
    ids::{OrgId, UserId},
    mail::Template,
    state::AppState,
    tenancy::gate::{self, Person, Registration},
    trail::Trail,
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use garde::Validate;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    #[garde(email, length(max = 254))]
    #[schema(example = "ada@example.com", format = Email, max_length = 254)]
    pub email: String,
    #[garde(custom(long_enough))]
    #[schema(value_type = String, format = Password, example = "correct horse battery", min_length = 12, max_length = 256)]
    pub password: SecretString,
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(example = "Ada Lovelace", min_length = 1, max_length = 200)]
    pub name: String,
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(example = "Acme", min_length = 1, max_length = 200)]
    pub org_name: String,
}

/// Sign up
///
/// Makes a user, their organisation on the sign-up tier, and its sandbox; and sends a mail to confirm the address.
#[utoipa::path(post, path = "/auth/register", tag = "auth", request_body = NewAccount,
    responses((status = 201, description = "Signed up, and signed in.", body = Session),
              (status = 409, description = "The e-mail address is registered (`email_taken`).")))]
pub async fn register(
    State(state): State<AppState>,
    trail: Trail,
    Json(new): Json<NewAccount>,
) -> Result<Response> {
    let email = new.email.trim().to_lowercase();
    not_of_the_person(&new.password, "/password", &email, &new.name)?;
    let password_hash = state.hasher.hash(new.password).await?;
    let user = UserId::new();
    let wanted = slug(&new.org_name);
    let letter = confirmation(&state, Template::VerifyEmail, json!({}))?;
    let mut slug = wanted.clone();
    loop {
        let registration = Registration {
            user,
            email: &email,
            name: &new.name,
            password_hash: &password_hash,
            org: OrgId::new(),
            sandbox: OrgId::new(),
            slug: &slug,
            org_name: &new.org_name,
            letter: &letter,
        };
        match gate::register(&state.pools, &registration, &trail).await {
            Ok(()) => break,
            Err(Error::Conflict { code: "slug_taken", .. }) => {
                slug = format!("{wanted}-{:04x}", rand::random::<u16>());
            }
            Err(error) => return Err(error),
        }
    }
    let session =
        open_session(&state, Person { id: user, email, name: new.name }, false, None, &trail).await?;
    Ok((StatusCode::CREATED, Json(session)).into_response())
}
