//! What Redis calls things. All of an org's cells share a hash tag, so that one call may touch them.

use super::super::{policy::Scope, rule::Rule, tier::Subject};
use crate::ids::OrgId;
use uuid::Uuid;

/// When each replica was last heard of.
pub(super) const REPLICAS: &str = "rl:replicas";

/// `who` is not asked for where the org as a whole is counted.
pub(super) fn cell(org: OrgId, who: Option<Subject>, rule: &Rule) -> String {
    let name = &rule.policy.name;
    match (rule.policy.scope, who) {
        (Scope::Org, _) | (_, None) => format!("rl:{{{org}}}:{name}"),
        (_, Some(Subject::User(user))) => format!("rl:{{{org}}}:{user}:{name}"),
        (_, Some(Subject::ApiKey(key))) => format!("rl:{{{org}}}:{key}:{name}"),
    }
}

/// When whom the rule counts was made, in microseconds since 1970: who is younger than a Redis has lost nothing with
/// the one before.
pub(super) fn made(org: OrgId, who: Option<Subject>, rule: &Rule) -> u64 {
    let who = match (rule.policy.scope, who) {
        (Scope::Org, _) | (_, None) => org.uuid(),
        (_, Some(Subject::User(user))) => user.uuid(),
        (_, Some(Subject::ApiKey(key))) => key.uuid(),
    };
    moment(org.uuid()).max(moment(who))
}

/// Ids carry the millisecond they were made in; what is no such id is as old as can be.
fn moment(id: Uuid) -> u64 {
    id.get_timestamp().map_or(0, |at| {
        let (seconds, nanos) = at.to_unix();
        seconds.saturating_mul(1_000_000).saturating_add(u64::from(nanos / 1_000))
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{HOUR, World, policy};
    use super::*;
    use crate::{clock::Clock, ids::UserId, tenancy::PLATFORM};
    use std::sync::Arc;

    fn rule(scope: Scope) -> Arc<Rule> {
        let mut world = World::new();
        Arc::clone(&world.plan([policy("calls", scope, 10, HOUR)]).rules()[0])
    }

    #[test]
    fn cells_of_an_org_are_on_one_node_and_no_two_principals_share_one() {
        let world = World::new();
        let org = world.org;
        let (Subject::User(user), Subject::ApiKey(key)) = (world.user, world.key) else { unreachable!() };
        assert_eq!(cell(org, Some(world.user), &rule(Scope::Org)), format!("rl:{{{org}}}:calls"));
        assert_eq!(cell(org, Some(world.key), &rule(Scope::Org)), format!("rl:{{{org}}}:calls"));
        assert_eq!(cell(org, Some(world.user), &rule(Scope::User)), format!("rl:{{{org}}}:{user}:calls"));
        assert_eq!(cell(org, Some(world.key), &rule(Scope::User)), format!("rl:{{{org}}}:{key}:calls"));
    }

    #[test]
    fn a_new_member_of_an_old_org_is_as_young_as_themselves() {
        let now = Clock::system().micros();
        let young = Subject::User(UserId::new());
        assert!(made(PLATFORM, Some(young), &rule(Scope::User)).abs_diff(now) < 60_000_000);
        assert!(made(PLATFORM, Some(young), &rule(Scope::Org)) < now - 60_000_000);
    }
}
