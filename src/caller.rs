//! Who is asking, in which org, through which door: what the tenant stack hands to a handler.

use crate::{
    authn::{Actor, Principal},
    authz::{self, Authz, Permission, Standing},
    error::{Error, Problem, Result},
    ids::OrgId,
    limits::Subject,
    tenancy::Status,
};
use axum::http::StatusCode;

/// A principal that was let through a door; to hold one is to have been admitted.
#[derive(Clone)]
pub struct Caller {
    principal: Principal,
    /// None for an API key: it is no member, and its scopes are what it may do.
    standing: Option<Standing>,
    permission: Option<Permission>,
}

impl Caller {
    /// Decides whether `principal` may pass a door that needs `permission`, or membership alone.
    ///
    /// # Errors
    /// 403, saying why, and which roles would have been let in.
    pub async fn admit(authz: &Authz, principal: Principal, permission: Option<Permission>) -> Result<Self> {
        let standing = match principal.actor {
            Actor::User { user, .. } => authz.standing(principal.org, user).await?,
            Actor::ApiKey { .. } => None,
        };
        Self::decide(authz, principal, standing, permission).await
    }

    /// Decides again where the org's policy has moved on since: `version` was read by an open transaction.
    pub async fn readmit(&self, authz: &Authz, version: i64) -> Result<Self> {
        let standing = match self.principal.actor {
            Actor::User { user, .. } => authz.standing_at(self.principal.org, user, version).await?,
            Actor::ApiKey { .. } => None,
        };
        Self::decide(authz, self.principal.clone(), standing, self.permission).await
    }

    async fn decide(
        authz: &Authz,
        principal: Principal,
        standing: Option<Standing>,
        permission: Option<Permission>,
    ) -> Result<Self> {
        match (&principal.actor, &standing) {
            (Actor::User { .. }, None) => {
                return Err(refused("not_a_member", "you are no member of this organisation (any more)"));
            }
            (Actor::User { .. }, Some(standing)) => {
                if standing.suspended {
                    return Err(refused(
                        "member_suspended",
                        "an admin of this organisation has suspended you",
                    ));
                }
                if let Some(permission) = permission
                    && !standing.may(permission)
                {
                    return Err(authz::refusal(standing.policy(), permission, &standing.roles));
                }
            }
            (Actor::ApiKey { scopes, .. }, _) => {
                if let Some(permission) = permission
                    && !scopes.contains(&permission.to_string())
                {
                    return Err(authz::refusal(&*authz.policy(principal.org).await?, permission, &[]));
                }
            }
        }
        Ok(Self { principal, standing, permission })
    }

    pub fn org(&self) -> OrgId {
        self.principal.org
    }

    pub fn actor(&self) -> &Actor {
        &self.principal.actor
    }

    /// The roles of a member; none for an API key.
    pub fn roles(&self) -> &[String] {
        self.standing.as_ref().map_or(&[], |standing| &standing.roles)
    }

    /// Whether the caller may do something else besides: what they may pass on to a key, say.
    pub fn may(&self, permission: Permission) -> bool {
        match &self.principal.actor {
            Actor::User { .. } => self.standing.as_ref().is_some_and(|standing| standing.may(permission)),
            Actor::ApiKey { scopes, .. } => scopes.contains(&permission.to_string()),
        }
    }

    /// The policy version that the decision was made under; none where no policy had a say.
    pub fn decided_at(&self) -> Option<i64> {
        self.standing.as_ref().map(|standing| standing.policy().version())
    }
}

/// The 403 of an org that is shut.
pub fn closed(status: Status) -> Error {
    match status {
        Status::Deleted => refused("org_deleted", "this organisation has been deleted"),
        Status::Active | Status::Suspended => refused("org_suspended", "this organisation is suspended"),
    }
}

/// A 403 that no role would change.
pub fn refused(code: &'static str, detail: &str) -> Error {
    Error::Forbidden(Box::new(Problem::new(StatusCode::FORBIDDEN, code, detail)))
}

/// As whom the limiter knows an actor.
pub fn subject(actor: &Actor) -> Subject {
    match actor {
        Actor::User { user, .. } => Subject::User(*user),
        Actor::ApiKey { key, .. } => Subject::ApiKey(*key),
    }
}
