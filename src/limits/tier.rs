//! A tier as it is stored, and the plan it compiles to: once per version, shared by every org on it.

use super::{
    policy::{Fault, Mode, Policy, Scope, Unit, is_slug},
    rule::{Meter, Rule, Step},
};
use crate::ids::{ApiKeyId, UserId};
use parking_lot::RwLock;
use std::{
    collections::HashSet,
    fmt::Write as _,
    sync::{Arc, Weak},
};
use time::OffsetDateTime;

/// Each adds to two headers of every answer.
const MOST_POLICIES: usize = 16;

/// Who uses an org's quota; each has cells of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    User(UserId),
    ApiKey(ApiKeyId),
}

/// One version of a tier: a named set of policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    pub slug: String,
    pub name: String,
    /// Grows by one with each edit.
    pub version: i64,
    pub policies: Vec<Policy>,
    /// When this version took effect.
    pub effective_at: OffsetDateTime,
}

impl Tier {
    /// All that is wrong; a tier without faults can be compiled. No policies at all means no limits.
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !is_slug(&self.slug) {
            faults.push(Fault::new("/slug", "must be a slug of at most 40 letters"));
        }
        if self.policies.len() > MOST_POLICIES {
            faults.push(Fault::new("/policies", "must be at most 16"));
        }
        let mut names = HashSet::new();
        for (place, policy) in self.policies.iter().enumerate() {
            let at = |field: &str| format!("/policies/{place}{field}");
            faults.extend(
                policy.validate().into_iter().map(|fault| Fault::new(at(&fault.pointer), fault.detail)),
            );
            if !names.insert(&policy.name) {
                faults.push(Fault::new(at("/name"), "is the name of another policy of this tier"));
            }
            if policy.scope == Scope::Ip {
                faults.push(Fault::new(
                    at("/scope"),
                    "can't be ip: addresses are limited before an org is known",
                ));
            }
        }
        faults
    }

    fn source(&self) -> Arc<str> {
        format!("tier:{}@v{}", self.slug, self.version).into()
    }
}

/// A compiled tier: immutable, and everything that can be worked out before a request comes.
#[derive(Debug)]
pub struct TierPlan {
    pub slug: Arc<str>,
    pub version: i64,
    rules: Vec<Arc<Rule>>,
    /// Of an announced version: what has no rule here that it takes the place of.
    to_come: Vec<Arc<Rule>>,
    users: View,
    keys: View,
    /// The last share that was asked for, and among how many: counts stay with the rule they were made under.
    share: RwLock<Option<(u32, Arc<Self>)>>,
    /// The plans of members who have the limits on users of another tier, one for each such tier.
    members: RwLock<Vec<(Weak<Self>, Arc<Self>)>>,
}

/// The rules that apply to one kind of caller, in the tier's order.
#[derive(Debug)]
pub(super) struct View {
    /// Those that cells count.
    pub rules: Vec<Arc<Rule>>,
    /// Monthly quotas.
    pub months: Vec<Arc<Rule>>,
    /// The `RateLimit-Policy` header, less the monthly quotas, whose month depends on the org.
    pub header: String,
    /// The `RateLimit-Notice` header; empty unless something lower is announced.
    pub notice: String,
}

impl TierPlan {
    /// Compiles `tier`. `earlier` are the versions before it, oldest first, as far back as anybody may still owe
    /// something: a count that slept through several changes is carried over each in turn. Without them it is
    /// carried over once, from the rule it was last charged by.
    pub fn new(tier: &Tier, earlier: &[Tier]) -> Result<Self, Vec<Fault>> {
        Self::announcing(tier, earlier, None)
    }

    /// The same while a version to come is announced, whose lower limits clients are told of.
    pub fn announcing(tier: &Tier, earlier: &[Tier], to_come: Option<&Tier>) -> Result<Self, Vec<Fault>> {
        let faults = tier.validate();
        if !faults.is_empty() {
            return Err(faults);
        }
        let source = tier.source();
        let compile = |policy: &Policy| {
            let past = earlier.iter().filter_map(|tier| {
                let old = tier.policies.iter().find(|old| old.continues(policy))?;
                old.validate().is_empty().then(|| Step::new(old, tier.effective_at))
            });
            let mut rule = Rule::new(policy.clone(), Arc::clone(&source), tier.effective_at, past.collect());
            rule.notice = to_come.and_then(|to_come| {
                let next = to_come.policies.iter().find(|next| policy.continues(next))?;
                next.allows_less_than(Some(policy)).then(|| next.notice(to_come.effective_at).into())
            });
            Arc::new(rule)
        };
        let appearing = to_come.into_iter().flat_map(|to_come| {
            let fresh = |next: &&Policy| {
                next.validate().is_empty()
                    && next.allows_less_than(None)
                    && !tier.policies.iter().any(|policy| policy.continues(next))
            };
            let source = to_come.source();
            to_come.policies.iter().filter(fresh).map(move |next| {
                let mut rule =
                    Rule::new(next.clone(), Arc::clone(&source), to_come.effective_at, Box::default());
                rule.notice = Some(next.notice(to_come.effective_at).into());
                Arc::new(rule)
            })
        });
        let appearing = appearing.collect();
        let rules = tier.policies.iter().map(compile).collect();
        Ok(Self::of(tier.slug.as_str().into(), tier.version, rules, appearing))
    }

    /// The same tier with other rules.
    #[must_use]
    pub(super) fn with_rules(&self, rules: Vec<Arc<Rule>>) -> Self {
        Self::of(Arc::clone(&self.slug), self.version, rules, self.to_come.clone())
    }

    fn of(slug: Arc<str>, version: i64, rules: Vec<Arc<Rule>>, to_come: Vec<Arc<Rule>>) -> Self {
        let users = View::of(&rules, &to_come, |rule| matches!(rule.policy.scope, Scope::User | Scope::Org));
        let keys = View::of(&rules, &to_come, |rule| match rule.policy.scope {
            Scope::ApiKey | Scope::Org => true,
            Scope::User => !rules.iter().any(|other| stands_in(other, rule)),
            Scope::Ip => false,
        });
        let (share, members) = (RwLock::default(), RwLock::default());
        Self { slug, version, rules, to_come, users, keys, share, members }
    }

    /// This plan with the limits on users of `other` in place of its own; those on the org and its keys stay. Made once
    /// for each version of both, so that counts stay with their rules and nothing is allocated where it is known.
    pub fn with_users_of(self: &Arc<Self>, other: &Arc<Self>) -> Arc<Self> {
        if Arc::ptr_eq(self, other) {
            return Arc::clone(self);
        }
        // Only a version that is still in force is at that address: the weak reference keeps it.
        let made = |members: &[(Weak<Self>, Arc<Self>)]| {
            let known = members.iter().find(|(from, _)| std::ptr::eq(from.as_ptr(), Arc::as_ptr(other)));
            known.map(|(_, plan)| Arc::clone(plan))
        };
        if let Some(known) = made(&self.members.read()) {
            return known;
        }
        let mut members = self.members.write();
        if let Some(known) = made(&members) {
            return known;
        }
        let of_users = |rule: &&Arc<Rule>| rule.policy.scope == Scope::User;
        let joined = |theirs: &[Arc<Rule>], own: &[Arc<Rule>]| {
            let theirs = theirs.iter().filter(of_users);
            theirs.chain(own.iter().filter(|rule| !of_users(rule))).cloned().collect()
        };
        let (rules, to_come) = (joined(&other.rules, &self.rules), joined(&other.to_come, &self.to_come));
        let plan = Arc::new(Self::of(Arc::clone(&self.slug), self.version, rules, to_come));
        members.retain(|(from, _)| from.strong_count() > 0);
        members.push((Arc::downgrade(other), Arc::clone(&plan)));
        plan
    }

    /// What each of `replicas` may admit while they can't count together; see [`Rule::share`].
    pub(super) fn share(&self, replicas: u32) -> Arc<Self> {
        let replicas = replicas.max(1);
        if let Some((among, share)) = &*self.share.read()
            && *among == replicas
        {
            return Arc::clone(share);
        }
        let part = |rule: &Arc<Rule>| rule.share(replicas).map_or_else(|| Arc::clone(rule), Arc::new);
        let rules = self.rules.iter().map(part).collect();
        let share = Arc::new(Self::of(Arc::clone(&self.slug), self.version, rules, self.to_come.clone()));
        *self.share.write() = Some((replicas, Arc::clone(&share)));
        share
    }

    /// The policies, as compiled, in the tier's order.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.rules.iter().map(|rule| &rule.policy)
    }

    /// Those that apply to somebody.
    pub fn policies_of(&self, who: Subject) -> impl Iterator<Item = &Policy> {
        let view = self.view(who);
        view.rules.iter().chain(&view.months).map(|rule| &rule.policy)
    }

    /// How long after the last call anybody may still owe something: the slowest refill of an empty bucket.
    pub fn memory(&self) -> std::time::Duration {
        let depths = self.rules.iter().filter_map(|rule| rule.bucket()).map(|bucket| bucket.depth);
        std::time::Duration::from_nanos(depths.max().unwrap_or(0))
    }

    pub(super) fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    pub(super) fn view(&self, who: Subject) -> &View {
        match who {
            Subject::User(_) => &self.users,
            Subject::ApiKey(_) => &self.keys,
        }
    }
}

impl View {
    fn of(rules: &[Arc<Rule>], to_come: &[Arc<Rule>], applies: impl Fn(&Rule) -> bool) -> Self {
        let told = rules.iter().chain(to_come).filter(|rule| applies(rule));
        let notice = told.filter_map(|rule| rule.notice.as_deref()).collect::<Vec<_>>().join(", ");
        let all = rules.iter().filter(|rule| applies(rule)).cloned();
        let (months, rules): (Vec<_>, Vec<_>) = all.partition(|rule| matches!(rule.meter, Meter::Month));
        let header = policy_header(&rules);
        Self { rules, months, header, notice }
    }

    /// The rules that count requests over time.
    pub fn buckets(&self) -> impl Iterator<Item = &Arc<Rule>> + Clone {
        self.rules.iter().filter(|rule| rule.bucket().is_some())
    }

    /// The rules that count requests in flight.
    pub fn gauges(&self) -> impl Iterator<Item = &Arc<Rule>> + Clone {
        self.rules.iter().filter(|rule| rule.bucket().is_none())
    }

    /// The most that may ever come at once.
    pub fn largest_cost(&self) -> u32 {
        let enforced = self.buckets().filter(|rule| !rule.is_shadow());
        enforced.map(|rule| rule.policy.burst).min().unwrap_or(u32::MAX)
    }
}

/// draft-ietf-httpapi-ratelimit-headers-10, section 3. Shadows are nobody's business but the operator's.
fn policy_header(rules: &[Arc<Rule>]) -> String {
    let mut header = String::new();
    for rule in rules.iter().filter(|rule| !rule.is_shadow()) {
        let Policy { name, quota, window_seconds, unit, .. } = &rule.policy;
        let comma = if header.is_empty() { "" } else { ", " };
        let _ = match unit {
            Unit::Requests => write!(header, "{comma}\"{name}\";q={quota};w={window_seconds}"),
            Unit::Concurrent => write!(header, "{comma}\"{name}\";q={quota};qu=\"concurrent-requests\""),
        };
    }
    header
}

/// A policy for keys takes the place of those for users; a shadow does not, or it would change what is enforced.
fn stands_in(other: &Rule, user: &Rule) -> bool {
    other.policy.scope == Scope::ApiKey
        && (other.policy.unit, other.policy.period) == (user.policy.unit, user.policy.period)
        && other.policy.mode == Mode::Enforce
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{HOUR, World, concurrent, policy};
    use super::*;

    #[test]
    fn every_fault_says_where_it_is() {
        let mut tier = World::new().tier([
            policy("user", Scope::User, 10, HOUR),
            policy("user", Scope::Org, 0, HOUR),
            policy("address", Scope::Ip, 10, HOUR),
        ]);
        tier.slug = "Free tier".into();
        let pointers: Vec<_> = tier.validate().into_iter().map(|fault| fault.pointer).collect();
        assert_eq!(
            pointers,
            ["/slug", "/policies/1/quota", "/policies/1/burst", "/policies/1/name", "/policies/2/scope"]
        );
        assert!(TierPlan::new(&tier, &[]).is_err());
    }

    #[test]
    fn the_largest_numbers_that_are_valid_compile_and_hold() {
        let mut world = World::new();
        let plan = world.plan([
            Policy { window_seconds: 2_678_400, burst: 11, ..policy("rare", Scope::User, 1, HOUR) },
            Policy { window_seconds: 5, ..policy("often", Scope::Org, u32::MAX, HOUR) },
        ]);
        assert!(world.ask(&plan, 11).admitted);
        let refused = world.ask(&plan, 11);
        assert_eq!(refused.retry_after(), Some(11 * 2_678_400));
        assert_eq!(world.reading(&plan, "often").used, 11);
    }

    #[test]
    fn a_member_on_another_tier_has_its_limits_on_users_and_the_org_s_own_on_everything_else() {
        let mut world = World::new();
        let free = world.plan([
            policy("user", Scope::User, 10, HOUR),
            policy("day", Scope::User, 20, HOUR),
            policy("keys", Scope::ApiKey, 7, HOUR),
            policy("org", Scope::Org, 50, HOUR),
        ]);
        let big =
            world.plan([policy("user", Scope::User, 1_000, HOUR), policy("org", Scope::Org, 9_000, HOUR)]);
        let names = |plan: &TierPlan| {
            plan.policies().map(|policy| format!("{} {}", policy.name, policy.quota)).collect::<Vec<_>>()
        };
        let theirs = free.with_users_of(&big);
        assert_eq!(names(&theirs), ["user 1000", "keys 7", "org 50"]);
        assert!(Arc::ptr_eq(&theirs, &free.with_users_of(&big)), "or each request would make it anew");
        assert!(Arc::ptr_eq(&free, &free.with_users_of(&free)));
        let newer = world.plan([policy("user", Scope::User, 2_000, HOUR)]);
        drop(big);
        assert_eq!(names(&free.with_users_of(&newer)), ["user 2000", "keys 7", "org 50"]);
        assert_eq!(free.members.read().len(), 1, "what is in force nowhere is let go of");
    }

    #[test]
    fn what_a_member_used_stays_used_when_their_tier_changes_and_the_org_is_charged_either_way() {
        let mut world = World::new();
        let free = world.plan([policy("user", Scope::User, 10, HOUR), policy("org", Scope::Org, 50, HOUR)]);
        let big = world.plan([policy("user", Scope::User, 1_000, HOUR)]);
        let theirs = free.with_users_of(&big);
        assert!(world.ask(&free, 10).admitted && !world.ask(&free, 1).admitted);
        assert!(world.ask(&theirs, 30).admitted);
        assert_eq!(world.reading(&theirs, "user").used, 40);
        assert_eq!(world.ask(&theirs, 11).violated().collect::<Vec<_>>(), ["org"], "40 of 50 are used");
        assert!(!world.ask(&free, 1).admitted, "of ten, nobody has more than ten used");
        assert_eq!(world.reading(&free, "org").used, 40);
    }

    #[test]
    fn the_shares_of_all_replicas_are_the_whole_and_a_small_one_is_still_something() {
        let mut world = World::new();
        let few = Policy { burst: 2, ..policy("few", Scope::User, 2, HOUR) };
        let plan = world.plan([policy("many", Scope::Org, 60, HOUR), few, concurrent("busy", Scope::Org, 4)]);
        let share = plan.share(3);
        let bursts: Vec<_> = share.policies().map(|policy| policy.burst).collect();
        assert_eq!(bursts, [20, 1, 4]);
        let intervals =
            |plan: &TierPlan| plan.users.buckets().map(|rule| rule.step.interval).collect::<Vec<_>>();
        assert_eq!(
            intervals(&share),
            intervals(&plan).into_iter().map(|whole| whole * 3).collect::<Vec<_>>()
        );
        assert!(Arc::ptr_eq(&share, &plan.share(3)), "or its counts would be carried over each time");
        assert_eq!(plan.share(2).users.largest_cost(), 1);
    }
}
