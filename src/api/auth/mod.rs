//! Signing up, signing in, and staying signed in.

mod invitations;
mod login;
mod refresh;
mod register;
mod session;

use crate::middleware::{PublicRoutes, TenantRoutes};
use utoipa_axum::routes;

pub fn public_routes() -> PublicRoutes {
    PublicRoutes::default()
        .open(routes!(register::register))
        .open(routes!(login::login))
        .open(routes!(refresh::refresh))
        .open(routes!(invitations::accept_invitation))
}

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_members()
        .allow_members(routes!(refresh::switch_org))
        .allow_members(routes!(refresh::logout))
}
