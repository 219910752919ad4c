//! Signing up, signing in, and staying signed in.

mod email;
mod invitations;
mod login;
mod login_totp;
mod password;
mod refresh;
mod register;
mod session;
mod step_up;

use crate::{
    authn::opaque::OpaqueToken,
    error::{Error, Result},
    mail::Template,
    middleware::{PublicRoutes, TenantRoutes},
    state::AppState,
    tenancy::gate::{Confirmation, Letter},
};
use serde_json::Value;
use utoipa_axum::routes;

pub fn public_routes() -> PublicRoutes {
    PublicRoutes::default()
        .open(routes!(register::register))
        .open(routes!(login::login))
        .open(routes!(login_totp::login_totp))
        .open(routes!(refresh::refresh))
        .open(routes!(invitations::accept_invitation))
        .open(routes!(password::forgot_password))
        .open(routes!(password::reset_password))
        .open(routes!(email::verify_email))
}

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_members()
        .allow_members(routes!(refresh::switch_org))
        .allow_members(routes!(refresh::logout))
        .allow_members(routes!(step_up::step_up))
        .allow_members(routes!(password::change_password))
        .allow_members(routes!(email::send_verification))
        .allow_members(routes!(email::change_email))
}

/// A letter with a token of its own.
fn confirmation(state: &AppState, template: Template, params: Value) -> Result<Confirmation> {
    let OpaqueToken { text, hash } = OpaqueToken::new("mail");
    Confirmation::new(Letter::new(template, params), &state.vault, &text.into(), hash)
}

/// Unknown, used, expired and replaced by a later one look the same.
fn no_good() -> Error {
    Error::invalid("/token", "invalid_token", "this token is no good (any more): ask for a new mail")
}
