//! A request that is over, as it is counted: whose it was, what it asked for, and what became of it.

use super::said::Said;
use crate::{
    ids::{ApiKeyId, OrgId, RequestId},
    limits::Decision,
};
use axum::http::StatusCode;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Let through by the limits, whatever the answer was, or whether anybody still waited for it.
    Passed,
    /// Refused by one.
    Limited,
    /// Let through, and answered 5xx.
    Error,
}

impl Outcome {
    pub const ALL: [Self; 3] = [Self::Passed, Self::Limited, Self::Error];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Limited => "limited",
            Self::Error => "error",
        }
    }
}

/// One request of somebody whose credentials were good.
#[derive(Debug)]
pub struct Call<'c> {
    pub request: RequestId,
    /// When it was over, in microseconds since 1970.
    pub at: u64,
    pub org: OrgId,
    /// None of people.
    pub key: Option<ApiKeyId>,
    /// The operation's id.
    pub route: &'c str,
    pub outcome: Outcome,
    pub limits: Limits<'c>,
}

/// What the limits had to do with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits<'c> {
    /// Whether they were asked: not of orgs that are closed, or that nobody may come into from there.
    pub were_asked: bool,
    /// Units that were charged.
    pub units: u32,
    /// Let through, though a policy in shadow would have refused it.
    pub is_shadowed: bool,
    /// What each policy said, packed.
    pub said: &'c [u8],
}

/// What is known of a request while it is on its way.
#[derive(Debug)]
pub struct Known {
    pub org: OrgId,
    pub key: Option<ApiKeyId>,
    pub route: &'static str,
    decided: Option<Decided>,
}

#[derive(Debug)]
struct Decided {
    is_admitted: bool,
    units: u32,
    is_shadowed: bool,
    said: Said,
}

impl Known {
    pub fn new(org: OrgId, key: Option<ApiKeyId>, route: &'static str) -> Self {
        Self { org, key, route, decided: None }
    }

    pub fn decided(&mut self, decision: &Decision) {
        let is_admitted = decision.admitted;
        self.decided = Some(Decided {
            is_admitted,
            units: if is_admitted { decision.cost } else { 0 },
            is_shadowed: is_admitted && decision.violated_in_shadow().next().is_some(),
            said: Said::of(decision),
        });
    }

    /// What became of it; without a status nobody waited for the answer.
    pub fn outcome(&self, status: Option<StatusCode>) -> Outcome {
        if self.decided.as_ref().is_some_and(|decided| !decided.is_admitted) {
            Outcome::Limited
        } else if status.is_some_and(|status| status.is_server_error()) {
            Outcome::Error
        } else {
            Outcome::Passed
        }
    }

    pub fn is_shadowed(&self) -> bool {
        self.decided.as_ref().is_some_and(|decided| decided.is_shadowed)
    }

    /// As it is counted.
    pub fn over(&self, request: RequestId, at: u64, outcome: Outcome) -> Call<'_> {
        let Self { org, key, route, .. } = *self;
        let limits = self.decided.as_ref().map_or(Limits::default(), |decided| Limits {
            were_asked: true,
            units: decided.units,
            is_shadowed: decided.is_shadowed,
            said: decided.said.bytes(),
        });
        Call { request, at, org, key, route, outcome, limits }
    }
}
