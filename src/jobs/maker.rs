//! Who had a job made, and what they may do at the moment it is done: of work that nobody asked for just then.

use super::run::{Broken, Run};
use crate::{
    authz::{Authz, Permission, PermissionSet, Standing},
    ids::UserId,
    tenancy::PlatformDb,
};
use time::OffsetDateTime;

pub enum Maker {
    Member(Box<Standing>),
    Key(PermissionSet),
    /// A member who has left or is suspended, a key that was revoked or has expired.
    Nobody,
}

impl Maker {
    pub fn may(&self, permission: Permission) -> bool {
        match self {
            Self::Member(standing) => standing.may(permission),
            Self::Key(scopes) => scopes.contains(permission),
            Self::Nobody => false,
        }
    }

    /// # Errors
    /// [`Broken::ForGood`] where they may not do all of that any more: no attempt will do better.
    pub fn must(&self, permissions: &[Permission]) -> Result<(), Broken> {
        if matches!(self, Self::Nobody) {
            let why = "who made the schedule has left the organisation, is suspended, or is a key that works no more";
            return Err(Broken::ForGood(why.to_owned()));
        }
        match permissions.iter().find(|permission| !self.may(**permission)) {
            None => Ok(()),
            Some(missing) => Err(Broken::ForGood(format!(
                "who made the schedule does not hold the permission {missing} any more"
            ))),
        }
    }
}

impl Run {
    /// Whoever had the job made, as they stand at `now`: no older than this call.
    pub async fn maker(&self, authz: &Authz, now: OffsetDateTime) -> Result<Maker, Broken> {
        let org = self.job.org;
        let (tx, opening) = self.read_at().await?;
        drop(tx);
        if let Some(user) = self.job.created_by_user.map(UserId::from_uuid) {
            let standing = authz.standing_at(org, user, opening.policy_version).await?;
            let standing = standing.filter(|standing| !standing.suspended);
            return Ok(standing.map_or(Maker::Nobody, |standing| Maker::Member(Box::new(standing))));
        }
        let Some(key) = self.job.created_by_key else { return Ok(Maker::Nobody) };
        // A test key's row is its owner's, which the sandbox that it works in does not see.
        let mut tx = PlatformDb::new(self.pools.clone()).begin().await?;
        let scopes = sqlx::query_scalar!(
            "select scopes from api_keys
             where org_id = coalesce((select sandbox_of from orgs where id = $1), $1) and id = $2
               and revoked_at is null and expires_at > $3",
            org.uuid(),
            key,
            now
        );
        let scopes = scopes.fetch_optional(&mut *tx).await?;
        Ok(scopes.map_or(Maker::Nobody, |scopes| Maker::Key(PermissionSet::read(&scopes).with_implied())))
    }
}
