//! Signing up, signing in, and staying signed in.

mod invitations;
mod login;
mod login_totp;
mod refresh;
mod register;
mod session;
mod step_up;

use crate::middleware::{PublicRoutes, TenantRoutes};
use utoipa_axum::routes;

pub fn public_routes() -> PublicRoutes {
    PublicRoutes::default()
        .open(routes!(register::register))
        .open(routes!(login::login))
        .open(routes!(login_totp::login_totp))
        .open(routes!(refresh::refresh))
        .open(routes!(invitations::accept_invitation))
}

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_members()
        .allow_members(routes!(refresh::switch_org))
        .allow_members(routes!(refresh::logout))
        .allow_members(routes!(step_up::step_up))
}
