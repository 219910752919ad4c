//! My second factor: an authenticator app, and recovery codes for when it is lost.

use crate::{
    attempt::{self, Attempt},
    authn::totp::{Authenticator, RECOVERY_CODES, recovery_code, recovery_hash},
    error::{Error, Result},
    extract::{FreshlySignedIn, Json, SignedIn},
    ids::UserId,
    mail::Template,
    state::AppState,
    tenancy::gate::{self, Letter, Shown},
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

/// Whether a second factor is set up.
#[derive(Serialize, ToSchema)]
pub struct SecondFactor {
    /// Signing in asks for a code.
    pub enrolled: bool,
    #[serde(with = "time::serde::rfc3339::option")]
    pub confirmed_at: Option<OffsetDateTime>,
    #[schema(example = 10, minimum = 0, maximum = 10)]
    pub recovery_codes_left: i64,
}

/// A secret to be shared with an authenticator app: shown this once.
#[derive(Serialize, ToSchema)]
pub struct Enrolment {
    /// In base32, for typing in.
    #[schema(example = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", max_length = 64)]
    pub secret: String,
    /// For the app to read, drawn as a QR code.
    #[schema(
        example = "otpauth://totp/Insula:ada%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Insula",
        max_length = 1_000
    )]
    pub otpauth_uri: String,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondFactorCode {
    /// Of the authenticator app; where one is set up, a recovery code will do.
    #[garde(length(max = 40))]
    #[schema(example = "123456", max_length = 40)]
    pub code: String,
}

/// Like `k3vm-8q2x-7tzc-p4ha`, shown this once. Each is good for one sign-in without the app.
#[derive(Serialize, ToSchema)]
pub struct RecoveryCodes {
    #[schema(min_items = 10, max_items = 10)]
    pub recovery_codes: Vec<String>,
}

/// Fetch the state of my second factor
#[utoipa::path(get, path = "/me/totp", tag = "me",
    responses((status = 200, description = "Whether there is one.", body = SecondFactor)))]
pub async fn get_totp(State(state): State<AppState>, signed_in: SignedIn) -> Result<Json<SecondFactor>> {
    let known = gate::totp(&state.pools, signed_in.user).await?;
    let confirmed_at = known.as_ref().and_then(|totp| totp.confirmed_at);
    let recovery_codes_left = known.map_or(0, |totp| totp.recovery_codes);
    Ok(Json(SecondFactor { enrolled: confirmed_at.is_some(), confirmed_at, recovery_codes_left }))
}

/// Start to set up a second factor
///
/// Nothing is asked for until a code has been confirmed. Needs a sign-in at most five minutes old.
#[utoipa::path(post, path = "/me/totp", tag = "me",
    responses((status = 201, description = "A secret for the authenticator app.", body = Enrolment),
              (status = 409, description = "There is a second factor already (`already_enrolled`).")))]
pub async fn enrol_totp(
    State(state): State<AppState>,
    FreshlySignedIn(signed_in): FreshlySignedIn,
    trail: Trail,
) -> Result<Response> {
    let person = gate::user(&state.pools, signed_in.user).await?.ok_or_else(Error::session_ended)?;
    let app = Authenticator::new();
    let sealed = attempt::sealed(&state, person.id, &app)?;
    if !gate::start_totp(&state.pools, person.id, &sealed, trail.at).await? {
        return Err(already_enrolled());
    }
    let otpauth_uri = app.uri(&state.config.auth.totp_issuer, &person.email)?;
    let location = [(header::LOCATION, "/api/v1/me/totp")];
    Ok((StatusCode::CREATED, location, Json(Enrolment { secret: app.base32(), otpauth_uri })).into_response())
}

/// Confirm my second factor
///
/// From here on signing in asks for a code. The session that confirms counts as one with a second factor, from its
/// next refresh on.
#[utoipa::path(post, path = "/me/totp/confirm", tag = "me", request_body = SecondFactorCode,
    responses((status = 200, description = "It is set up.", body = RecoveryCodes),
              (status = 409, description = "There is a second factor already, or none was begun (`already_enrolled`, `not_enrolled`)."),
              (status = 429, description = "Too many attempts at this account.")))]
pub async fn confirm_totp(
    State(state): State<AppState>,
    SignedIn { user, session, .. }: SignedIn,
    trail: Trail,
    Json(SecondFactorCode { code }): Json<SecondFactorCode>,
) -> Result<Json<RecoveryCodes>> {
    let begun = gate::totp(&state.pools, user).await?.ok_or_else(not_enrolled)?;
    if begun.confirmed_at.is_some() {
        return Err(already_enrolled());
    }
    let person = gate::user(&state.pools, user).await?.ok_or_else(Error::session_ended)?;
    let attempt = Attempt::begin(&state, &person.email, &trail).await?;
    let app = attempt::authenticator(&state, user, &begun.secret)?;
    let Some(step) = app.step_of(&code, trail.at.unix_timestamp())? else {
        attempt.failed().await?;
        return Err(wrong_code());
    };
    attempt.right_so_far().await?;
    let (codes, hashes) = recovery_codes();
    let shown = Shown { sealed: &begun.secret, step, session };
    let letter = Letter::new(Template::MfaEnabled, json!({}));
    if !gate::confirm_totp(&state.pools, user, &shown, &hashes, &letter, &trail).await? {
        return Err(already_enrolled());
    }
    Ok(Json(codes))
}

/// Take off my second factor
///
/// Needs a code, and a sign-in at most five minutes old.
#[utoipa::path(delete, path = "/me/totp", tag = "me", request_body = SecondFactorCode,
    responses((status = 204, description = "Signing in asks for the password alone."),
              (status = 409, description = "There is none (`not_enrolled`)."),
              (status = 429, description = "Too many attempts at this account.")))]
pub async fn disable_totp(
    State(state): State<AppState>,
    FreshlySignedIn(SignedIn { user, .. }): FreshlySignedIn,
    trail: Trail,
    Json(SecondFactorCode { code }): Json<SecondFactorCode>,
) -> Result<StatusCode> {
    check(&state, user, &code, &trail).await?;
    let letter = Letter::new(Template::MfaDisabled, json!({}));
    if !gate::disable_totp(&state.pools, user, &letter, &trail).await? {
        return Err(not_enrolled());
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Renew my recovery codes
///
/// Those before are good no more.
#[utoipa::path(post, path = "/me/totp/recovery-codes", tag = "me", request_body = SecondFactorCode,
    responses((status = 200, description = "A new set.", body = RecoveryCodes),
              (status = 409, description = "There is no second factor (`not_enrolled`)."),
              (status = 429, description = "Too many attempts at this account.")))]
pub async fn renew_recovery_codes(
    State(state): State<AppState>,
    SignedIn { user, .. }: SignedIn,
    trail: Trail,
    Json(SecondFactorCode { code }): Json<SecondFactorCode>,
) -> Result<Json<RecoveryCodes>> {
    check(&state, user, &code, &trail).await?;
    let (codes, hashes) = recovery_codes();
    if !gate::renew_recovery_codes(&state.pools, user, &hashes, &trail).await? {
        return Err(not_enrolled());
    }
    Ok(Json(codes))
}

/// Takes a code of a second factor that is set up; a wrong one counts as an attempt to sign in.
async fn check(state: &AppState, user: UserId, code: &str, trail: &Trail) -> Result<()> {
    if !attempt::has_second_factor(state, user).await? {
        return Err(not_enrolled());
    }
    let person = gate::user(&state.pools, user).await?.ok_or_else(Error::session_ended)?;
    let attempt = Attempt::begin(state, &person.email, trail).await?;
    if !attempt.code(user, code).await? {
        attempt.failed().await?;
        return Err(wrong_code());
    }
    attempt.right_so_far().await
}

fn recovery_codes() -> (RecoveryCodes, Vec<Vec<u8>>) {
    let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| recovery_code()).collect();
    let hashes = codes.iter().map(|code| recovery_hash(code)).collect();
    (RecoveryCodes { recovery_codes: codes }, hashes)
}

fn wrong_code() -> Error {
    Error::invalid("/code", "wrong", "the code is wrong, or was used before: wait for the next one")
}

fn already_enrolled() -> Error {
    Error::conflict("already_enrolled", "a second factor is set up: take it off first")
}

fn not_enrolled() -> Error {
    Error::conflict("not_enrolled", "there is no second factor: begin with POST /api/v1/me/totp")
}
