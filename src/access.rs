//! What an org asks of whoever comes in, beside good credentials and a role.

use crate::{
    authn::Actor,
    error::{Error, Problem},
    tenancy::Access,
};
use axum::http::StatusCode;
use std::net::IpAddr;

/// Something that an org asks for, and a caller does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    KnownAddress,
    SecondFactor,
    VerifiedEmail,
}

/// What of it a caller does not have, the address first: who comes from elsewhere is told no more than that. An API key
/// has neither a second factor nor an e-mail address, and is asked for none.
pub fn unmet(access: &Access, actor: &Actor, ip: IpAddr) -> Vec<Demand> {
    let (mfa, email_verified) = match actor {
        Actor::User { mfa, email_verified, .. } => (*mfa, *email_verified),
        Actor::ApiKey { .. } => (true, true),
    };
    let demands = [
        (Demand::KnownAddress, !access.allowed_ips.allow(ip)),
        (Demand::SecondFactor, access.require_mfa && !mfa),
        (Demand::VerifiedEmail, access.require_verified_email && !email_verified),
    ];
    demands.into_iter().filter_map(|(demand, is_unmet)| is_unmet.then_some(demand)).collect()
}

impl Demand {
    /// The 403 of whoever does not meet it.
    pub fn refusal(self) -> Error {
        let (code, detail) = match self {
            Self::KnownAddress => ("ip_not_allowed", "this organisation lets nobody in from your address"),
            Self::SecondFactor => (
                "mfa_required",
                "this organisation asks for a second factor: enrol at POST /api/v1/me/totp, then sign in again",
            ),
            Self::VerifiedEmail => (
                "email_not_verified",
                "this organisation asks for a confirmed e-mail address: follow the link in the mail that was sent \
                 to you, then refresh your session at POST /api/v1/auth/refresh",
            ),
        };
        Error::Forbidden(Box::new(Problem::new(StatusCode::FORBIDDEN, code, detail)))
    }
}
