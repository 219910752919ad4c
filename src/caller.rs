//! Who is asking, in which org, through which door: what the tenant stack hands to a handler.

use crate::{
    authn::{Actor, Principal},
    authz::{self, Authz, Field, Permission, PermissionSet, RoleGraph, Standing, Uses},
    error::{Error, Problem, Result},
    ids::OrgId,
    limits::Subject,
    tenancy::{Status, TenantTx},
};
use axum::http::StatusCode;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

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
    uses: Uses,
    /// Whether it was decided again, by whoever has a copy of this.
    outdated: Arc<AtomicBool>,
}

/// What callers may see of a kind of resource: to those who may see the same, it is told the same.
#[derive(Clone, Copy)]
pub struct Sight {
    /// A bit for each thing that not everybody may see, and this caller may.
    pub of: fn(&Caller) -> u64,
    /// Notes that a caller makes use of it, as [`Caller::see`] does.
    pub used: fn(&Caller),
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
        self.outdated.store(true, Ordering::Relaxed);
        let standing = match self.principal.actor {
            Actor::User { user, .. } => authz.standing_at(self.principal.org, user, version).await?,
            Actor::ApiKey { .. } => None,
        };
        Self::decide(authz, self.principal.clone(), standing, self.permission).await
    }

    /// Decides again by what `tx` reads, which holds `version` of the policy fast.
    pub async fn readmit_in(&self, authz: &Authz, tx: &mut TenantTx, version: i64) -> Result<Self> {
        self.outdated.store(true, Ordering::Relaxed);
        let standing = match self.principal.actor {
            Actor::User { user, .. } => authz.standing_in(tx, version, user).await?,
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
                return Err(not_a_member());
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
                    && !within(scopes, permission)
                {
                    return Err(authz::refusal(&*authz.policy(principal.org).await?, permission, &[]));
                }
            }
        }
        let uses = authz.uses().clone();
        let caller = Self { principal, standing, permission, uses, outdated: Arc::default() };
        if let Some(permission) = permission {
            caller.note(permission);
        }
        Ok(caller)
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
            Actor::ApiKey { scopes, .. } => within(scopes, permission),
        }
    }

    /// The same, where the caller is about to make use of it.
    pub fn exercise(&self, permission: Permission) -> bool {
        let may = self.may(permission);
        if may {
            self.note(permission);
        }
        may
    }

    fn note(&self, permission: Permission) {
        if let Actor::User { user, .. } = self.principal.actor {
            self.uses.note(self.principal.org, user, permission);
        }
    }

    /// `resources` as the caller may see them.
    pub fn see<'a, T: 'a>(&self, fields: &[Field<T>], resources: impl IntoIterator<Item = &'a mut T>) {
        let hidden: Vec<_> = fields.iter().filter(|field| !self.exercise(field.permission)).collect();
        if !hidden.is_empty() {
            for resource in resources {
                for field in &hidden {
                    (field.hide)(resource);
                }
            }
        }
    }

    /// Whether the caller may write those of `fields` that they have `given`, by name.
    ///
    /// # Errors
    /// 403, naming the permission.
    pub fn check_fields<T>(&self, fields: &[Field<T>], given: &[(&str, bool)]) -> Result<()> {
        let is_given = |field: &Field<T>| given.iter().any(|(name, is)| *is && *name == field.name);
        let denied = fields.iter().find(|field| is_given(field) && !self.exercise(field.permission));
        denied.map_or(Ok(()), |field| Err(self.refusal(field.permission)))
    }

    /// The 403 of a caller who came in, and does not hold what some of it needs.
    pub fn refusal(&self, permission: Permission) -> Error {
        match &self.standing {
            Some(standing) => authz::refusal(standing.policy(), permission, &standing.roles),
            None => Error::Forbidden(Box::new(
                Problem::new(
                    StatusCode::FORBIDDEN,
                    "permission_denied",
                    format!("this needs the scope {permission}: an admin can make a key that has it"),
                )
                .with("permission", permission.to_string()),
            )),
        }
    }

    /// The tier whose limits on users hold for the caller in place of the org's.
    pub fn tier(&self) -> Option<&str> {
        self.standing.as_ref()?.tier.as_deref()
    }

    /// All that the caller may do, where the org's roles are these.
    pub fn own(&self, graph: &RoleGraph) -> PermissionSet {
        match &self.principal.actor {
            Actor::User { .. } => graph.effective(self.roles()),
            Actor::ApiKey { scopes, .. } => PermissionSet::read(scopes).with_implied(),
        }
    }

    /// Whether a transaction found the policy changed since this was decided: what it then read is not for this caller,
    /// but for who they are by now.
    pub fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }

    /// The policy version that the decision was made under; none where no policy had a say.
    pub fn decided_at(&self) -> Option<i64> {
        self.standing.as_ref().map(|standing| standing.policy().version())
    }
}

/// Whether a key's scopes come to a permission.
fn within(scopes: &[String], permission: Permission) -> bool {
    let has = |permission: Permission| scopes.contains(&permission.to_string());
    has(permission) || permission.implied_by().is_some_and(has)
}

/// The 403 of an org that is shut.
pub fn closed(status: Status) -> Error {
    match status {
        Status::Deleted => refused("org_deleted", "this organisation has been deleted"),
        Status::Active | Status::Suspended => refused("org_suspended", "this organisation is suspended"),
    }
}

/// The 403 of whoever has no place in the org.
pub fn not_a_member() -> Error {
    refused("not_a_member", "you are no member of this organisation (any more)")
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
