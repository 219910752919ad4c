//! The naive reference of the tests: the list of all that ever happened to each count, replayed for each question.

use super::{Mode, Policy, Scope, Subject, TierPlan, rule::nanos};
use crate::tenancy::Override;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use time::OffsetDateTime;
use uuid::Uuid;

/// What happened to one count, at what nanosecond.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Charge(u64, u32),
    Change(u64, Numbers),
}

#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    pub interval: u64,
    pub burst: u32,
}

pub fn numbers(policy: &Policy) -> Numbers {
    let interval = u64::from(policy.window_seconds) * 1_000_000_000 / u64::from(policy.quota);
    Numbers { interval, burst: policy.burst }
}

/// Nanoseconds still owed at `now`: used units come back one by one, and stay used when their price changes.
pub fn owed(events: &[Event], now: u64) -> u64 {
    let (mut debt, mut last, mut interval) = (0_u64, 0, 1);
    for event in events {
        let (Event::Charge(at, _) | Event::Change(at, _)) = *event;
        debt = debt.saturating_sub(at - last);
        last = at;
        match *event {
            Event::Charge(_, cost) => debt += u64::from(cost) * interval,
            Event::Change(_, new) => {
                let carried = u128::from(debt) * u128::from(new.interval) / u128::from(interval);
                debt = u64::try_from(carried.min(u128::from(new.interval) * u128::from(new.burst))).unwrap();
                interval = new.interval;
            }
        }
    }
    debt.saturating_sub(now - last)
}

/// Which policies hold `who`: the words of the design, not the code of the plan.
pub fn applies(policy: &Policy, all: &[Policy], who: Subject) -> bool {
    match (policy.scope, who) {
        (Scope::Org, _) | (Scope::User, Subject::User(_)) | (Scope::ApiKey, Subject::ApiKey(_)) => true,
        (Scope::User, Subject::ApiKey(_)) => {
            !all.iter().any(|other| other.scope == Scope::ApiKey && other.mode == Mode::Enforce)
        }
        _ => false,
    }
}

/// The naive half: the policies, and the list of what happened to each count.
pub struct Books {
    pub policies: Vec<Policy>,
    pub overrides: Vec<Override>,
    /// How many of the overrides are over.
    pub ended: usize,
    pub whos: [Subject; 3],
    pub ledger: BTreeMap<(String, usize), Vec<Event>>,
}

/// The org's count is the same for everybody.
pub fn place(policy: &Policy, who: usize) -> (String, usize) {
    (format!("{} {:?}", policy.name, policy.scope), if policy.scope == Scope::Org { 9 } else { who })
}

impl Books {
    pub fn in_force(&self, now: OffsetDateTime) -> Vec<Policy> {
        let in_force = |policy: &Policy| {
            let mut overrides = self.overrides.iter();
            let one = overrides.find(|one| one.policy == policy.name && one.until > now);
            one.map_or_else(
                || policy.clone(),
                |one| policy.overridden(one.quota, one.window_seconds, one.burst),
            )
        };
        self.policies.iter().map(in_force).collect()
    }

    pub fn plan(&self, tier: &TierPlan, now: OffsetDateTime) -> Arc<TierPlan> {
        Arc::new(tier.under(&self.overrides.iter().collect::<Vec<_>>(), now))
    }

    /// Writes down what numbers hold from `at`.
    pub fn change(&mut self, at: OffsetDateTime, of: impl Fn(&Policy) -> bool) {
        for policy in self.in_force(at).iter().filter(|policy| of(policy)) {
            for who in 0..self.whos.len() {
                let events = self.ledger.entry(place(policy, who)).or_default();
                let at = nanos(at);
                if !matches!(events.last(), Some(Event::Change(last, _)) if *last == at) {
                    events.push(Event::Change(at, numbers(policy)));
                }
            }
        }
    }

    /// One for the whole org, where none holds for the same policy.
    pub fn except(&mut self, numbers: &Policy, now: OffsetDateTime, lasting: Duration) {
        if self.overrides.iter().any(|one| one.policy == numbers.name && one.until > now) {
            return;
        }
        self.overrides.push(Override {
            id: Uuid::nil(),
            user: None,
            api_key: None,
            policy: numbers.name.clone(),
            quota: numbers.quota,
            window_seconds: Some(numbers.window_seconds),
            burst: Some(numbers.burst),
            from: now,
            until: now + lasting,
        });
        self.overrides.sort_by_key(|one| one.until);
        self.change(now, |policy| policy.name == numbers.name);
    }

    /// Writes down those that have ended meanwhile, each at its second; whether there are any.
    pub fn end_overrides(&mut self, now: OffsetDateTime) -> bool {
        let over = self.overrides.iter().filter(|one| one.until <= now).count();
        let ended: Vec<_> = self.overrides[self.ended.min(over)..over].to_vec();
        for one in &ended {
            self.change(one.until, |policy| policy.name == one.policy);
        }
        self.ended = over;
        !ended.is_empty()
    }
}
