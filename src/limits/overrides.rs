//! Overrides: exceptions from a tier's policies that end by themselves, since whoever asks for a plan looks at the clock.

use super::{
    policy::Policy,
    rule::{Rule, Step, nanos},
    tier::{Subject, TierPlan},
};
use crate::{
    clock::Clock,
    ids::{OrgId, OverrideId},
    tenancy::{Control, Override},
};
use std::sync::Arc;
use time::OffsetDateTime;

/// Plans with overrides that are remembered: those without are not among them.
const CAPACITY: u64 = 10_000;

/// The plans that overrides make of tiers, remembered until one of them begins, ends or changes.
#[derive(Clone)]
pub struct OverrideBook {
    clock: Clock,
    made: moka::sync::Cache<(OrgId, Option<Subject>), Arc<Made>>,
}

struct Made {
    control: Arc<Control>,
    tier: Arc<TierPlan>,
    /// In microseconds since 1970.
    until: u64,
    plan: Arc<TierPlan>,
}

impl OverrideBook {
    pub fn new(clock: Clock) -> Self {
        Self { clock, made: moka::sync::Cache::new(CAPACITY) }
    }

    /// `tier` as it holds now for `who`, or for the org alone where that is nobody.
    pub fn apply(
        &self,
        org: OrgId,
        control: &Arc<Control>,
        who: Option<Subject>,
        tier: Arc<TierPlan>,
    ) -> Arc<TierPlan> {
        if control.overrides.is_empty() {
            return tier;
        }
        let own = who.filter(|who| control.overrides.iter().any(|one| one.is_for(*who)));
        let now = self.clock.micros();
        if let Some(made) = self.made.get(&(org, own))
            && Arc::ptr_eq(&made.control, control)
            && Arc::ptr_eq(&made.tier, &tier)
            && now < made.until
        {
            return Arc::clone(&made.plan);
        }
        let that_count: Vec<_> = control.overrides.iter().filter(|one| one.counts_for(own)).collect();
        // In a replay there are some that have not begun yet.
        let bounds = that_count.iter().flat_map(|one| [one.from, one.until]).map(|at| nanos(at) / 1_000);
        let until = bounds.filter(|bound| now < *bound).min().unwrap_or(u64::MAX);
        let plan = Arc::new(tier.under(&that_count, self.clock.now()));
        let made = Made { control: Arc::clone(control), tier, until, plan: Arc::clone(&plan) };
        self.made.insert((org, own), Arc::new(made));
        plan
    }
}

impl Override {
    fn is_for(&self, who: Subject) -> bool {
        match who {
            Subject::User(user) => self.user == Some(user.uuid()),
            Subject::ApiKey(key) => self.api_key == Some(key.uuid()),
        }
    }

    fn is_for_all(&self) -> bool {
        self.user.is_none() && self.api_key.is_none()
    }

    fn counts_for(&self, who: Option<Subject>) -> bool {
        self.is_for_all() || who.is_some_and(|who| self.is_for(who))
    }

    fn holds_at(&self, at: u64) -> bool {
        (nanos(self.from)..nanos(self.until)).contains(&at)
    }

    fn of(&self, policy: &Policy) -> Policy {
        policy.overridden(self.quota, self.window_seconds, self.burst)
    }
}

impl Policy {
    /// The same with other numbers: its own window where there is no other, and the quota as burst.
    #[must_use]
    pub fn overridden(&self, quota: u32, window_seconds: Option<u32>, burst: Option<u32>) -> Self {
        Self {
            quota,
            window_seconds: window_seconds.unwrap_or(self.window_seconds),
            burst: burst.unwrap_or(quota),
            ..self.clone()
        }
    }
}

impl TierPlan {
    /// This plan at `now` under overrides, of which one for a member or key goes before one for the whole org. What a
    /// policy's overrides were is part of its past: a count that slept through the end of one is carried over as if it
    /// had been awake. One that can't be combined with its policy any more is left out.
    #[must_use]
    pub fn under(&self, overrides: &[&Override], now: OffsetDateTime) -> Self {
        let rules = self.rules().iter().map(|rule| {
            let of_this = overrides.iter().copied().filter(|one| {
                one.policy == rule.policy.name
                    && one.from <= now
                    && one.of(&rule.policy).validate().is_empty()
            });
            let mut of_this: Vec<_> = of_this.collect();
            if of_this.is_empty() {
                return Arc::clone(rule);
            }
            of_this.sort_by_key(|one| one.is_for_all());
            Arc::new(overridden(rule, &of_this, nanos(now)))
        });
        self.with_rules(rules.collect())
    }
}

/// `overrides` of one policy, those that go before others first.
fn overridden(rule: &Rule, overrides: &[&Override], now: u64) -> Rule {
    let in_force = |at: u64| overrides.iter().find(|one| one.holds_at(at));
    let steps = || rule.past.iter().chain([&rule.step]);
    let of_tier = |at: u64| steps().rfind(|step| step.at <= at).unwrap_or(&rule.step);

    let bounds = overrides.iter().flat_map(|one| [nanos(one.from), nanos(one.until)]);
    let mut moments: Vec<u64> = steps().map(|step| step.at).chain(bounds).filter(|at| *at <= now).collect();
    moments.sort_unstable();
    moments.dedup();
    let mut past: Vec<Step> = Vec::new();
    for at in moments {
        let step = match in_force(at) {
            Some(one) => Step::new(&one.of(&rule.policy), one.from),
            None => *of_tier(at),
        };
        let same = past.last().is_some_and(|last| (last.interval, last.depth) == (step.interval, step.depth));
        if !same {
            past.push(Step { at, ..step });
        }
    }
    let step = past.pop().unwrap_or(rule.step);
    let past = past.into();
    match in_force(now) {
        Some(one) => {
            let source = format!("override:{}", OverrideId::from_uuid(one.id)).into();
            Rule::at_step(one.of(&rule.policy), source, step, past)
        }
        None => Rule {
            notice: rule.notice.clone(),
            ..Rule::at_step(rule.policy.clone(), Arc::clone(&rule.source), step, past)
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Scope,
        fixture::{HOUR, MINUTE, World, policy},
    };
    use super::*;
    use crate::{
        ids::{ApiKeyId, UserId},
        tenancy::{Access, Status},
    };
    use std::time::Duration;
    use uuid::Uuid;

    /// Of the policy `user`, for as long as this from now.
    fn exception(world: &World, quota: u32, lasting: Duration) -> Override {
        Override {
            id: Uuid::nil(),
            user: None,
            api_key: None,
            policy: "user".into(),
            quota,
            window_seconds: None,
            burst: None,
            from: world.clock.now(),
            until: world.clock.now() + lasting,
        }
    }

    fn control(overrides: Vec<Override>) -> Arc<Control> {
        Arc::new(Control {
            status: Status::Active,
            tier: "free".into(),
            policy_version: 1,
            access: Access::default(),
            overrides: overrides.into(),
        })
    }

    #[test]
    fn an_override_ends_by_the_clock_alone_and_what_was_used_is_carried_there_and_back() {
        let mut world = World::new();
        let book = OverrideBook::new(world.clock.clone());
        let tier = world.plan([policy("user", Scope::User, 10, HOUR), policy("org", Scope::Org, 100, HOUR)]);
        assert_eq!(world.passing(&tier, 10), 10);
        let control = control(vec![exception(&world, 40, HOUR / 2)]);
        let plan = |world: &World| book.apply(world.org, &control, Some(world.user), Arc::clone(&tier));

        let lifted = plan(&world);
        assert_eq!(world.passing(&lifted, 40), 30);
        assert_eq!(world.reading(&lifted, "user").source, "override:ovr_00000000000000000000000000");
        assert_eq!(world.reading(&lifted, "org").used, 40);
        world.clock.advance(Duration::from_micros(1_799_999_999));
        assert!(Arc::ptr_eq(&plan(&world), &lifted), "or each request would make it anew");
        world.clock.advance(Duration::from_micros(1));
        let after = plan(&world);
        assert_eq!(world.reading(&after, "user").source, "tier:free@v1");
        // Half an hour at 40 an hour gave 20 back; of ten nobody owes more than ten.
        assert_eq!(world.passing(&after, 1), 0);
        world.clock.advance(HOUR / 10);
        assert_eq!(world.passing(&after, 20), 1);
    }

    #[test]
    fn a_count_that_slept_through_an_override_s_end_is_repaid_at_its_rate_until_then() {
        let mut world = World::new();
        let tier = world.plan([policy("user", Scope::User, 10, HOUR)]);
        let one = exception(&world, 1_000, 6 * MINUTE);
        let lifted = Arc::new(tier.under(&[&one], world.clock.now()));
        assert_eq!(world.passing(&lifted, 100), 100);
        world.clock.advance(12 * MINUTE);
        let after = Arc::new(tier.under(&[&one], world.clock.now()));
        assert_eq!(world.passing(&after, 20), 10, "six minutes at 1000 an hour brought all of it back");
    }

    #[test]
    fn one_for_a_member_goes_before_the_org_s_and_is_nobody_else_s() {
        let mut world = World::new();
        let book = OverrideBook::new(world.clock.clone());
        let tier = world.plan([policy("user", Scope::User, 10, HOUR)]);
        let Subject::User(user) = world.user else { unreachable!() };
        let own = Override { user: Some(user.uuid()), ..exception(&world, 5, HOUR) };
        let control = control(vec![own, exception(&world, 20, 2 * HOUR)]);
        let quota = |who| {
            let plan = book.apply(world.org, &control, Some(who), Arc::clone(&tier));
            plan.policies().next().unwrap().quota
        };
        let (other, key) = (Subject::User(UserId::new()), Subject::ApiKey(ApiKeyId::new()));
        assert_eq!([quota(world.user), quota(other), quota(key)], [5, 20, 20]);
        world.clock.advance(HOUR);
        assert_eq!([quota(world.user), quota(other)], [20, 20]);
        world.clock.advance(HOUR);
        assert_eq!([quota(world.user), quota(other)], [10, 10]);
    }

    #[test]
    fn a_tier_s_edit_under_an_override_holds_once_that_ends() {
        let mut world = World::new();
        let first = world.tier([policy("user", Scope::User, 10, HOUR)]);
        let one = exception(&world, 100, HOUR);
        world.clock.advance(MINUTE);
        let second = world.tier([policy("user", Scope::User, 30, HOUR)]);
        let edited = Arc::new(TierPlan::new(&second, &[first]).unwrap());
        let quota = |plan: &TierPlan| plan.policies().next().unwrap().quota;
        assert_eq!(quota(&edited.under(&[&one], world.clock.now())), 100);
        world.clock.advance(HOUR);
        let after = edited.under(&[&one], world.clock.now());
        assert_eq!(quota(&after), 30);
        assert_eq!(after.rules()[0].step.at, nanos(one.until), "since then, not since the edit");
    }
}
