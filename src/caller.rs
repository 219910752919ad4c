//! Who is asking, in which org, through which door: what the tenant stack hands to a handler.

use crate::{
    authn::{Actor, Principal},
    authz::{self, Authz, OrgPolicy, Permission, Standing},
    error::{Error, Problem, Result},
    ids::OrgId,
    limits::Subject,
    tenancy::{Status, TenantTx},
};
use axum::http::StatusCode;
use std::sync::Arc;

/// Where a principal stands in its org, as this replica remembers it: none for an API key, or who is no member.
#[derive(Clone)]
pub struct Stance(pub Option<Standing>);

impl Stance {
    pub async fn of(authz: &Authz, principal: &Principal) -> Result<Self> {
        match principal.actor {
            Actor::User { user, .. } => authz.standing(principal.org, user).await.map(Self),
            Actor::ApiKey { .. } => Ok(Self(None)),
        }
    }

    /// The tier whose limits on users hold for this one in place of the org's.
    pub fn tier(&self) -> Option<&str> {
        self.0.as_ref()?.tier.as_deref()
    }
}

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
    pub async fn admit(
        authz: &Authz,
        principal: Principal,
        Stance(standing): Stance,
        permission: Option<Permission>,
    ) -> Result<Self> {
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

    /// Decides again by what `tx` reads, which holds `version` of the policy fast; answers the policy too.
    pub async fn readmit_in(
        &self,
        authz: &Authz,
        tx: &mut TenantTx,
        version: i64,
    ) -> Result<(Self, Arc<OrgPolicy>)> {
        let user = match self.principal.actor {
            Actor::User { user, .. } => Some(user),
            Actor::ApiKey { .. } => None,
        };
        let (policy, standing) = authz.standing_in(tx, version, user).await?;
        let caller = Self::decide(authz, self.principal.clone(), standing, self.permission).await?;
        Ok((caller, policy))
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

    /// The tier whose limits on users hold for the caller in place of the org's.
    pub fn tier(&self) -> Option<&str> {
        self.standing.as_ref()?.tier.as_deref()
    }

    /// # Errors
    /// 403 `beyond_your_own` where one of `roles` holds more than the caller.
    pub fn check_holds(
        &self,
        policy: &OrgPolicy,
        roles: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<()> {
        authz::no_more_than(|permission| self.may(permission), policy, roles)
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
